use std::collections::BTreeMap;

use serde::Serialize;

/// The decisions that a policy makes, in the order of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Which upstream and model answer.
    Route,
    /// Which skills the prompt gets.
    Select,
    /// How they are laid out.
    Render,
    /// Whether the client gets a tool call.
    Gate,
    /// Whether the turn becomes a sample.
    Filter,
    /// How good it was.
    Reward,
}

/// What came of a case. Two runs of one policy on one case must give the same, but for `fuel` and `memory`, which only WebAssembly has.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// What `validate-config` objected to. When there is something, no hook was asked.
    pub problems: Vec<Complaint>,
    /// None: not asked.
    pub route: Option<Answer<Route>>,
    /// None: not asked.
    pub select: Option<Answer<Vec<String>>>,
    /// None: not asked.
    pub render: Option<Answer<String>>,
    /// One for each call of the case; empty: not asked.
    pub gate: Vec<Answer<Gate>>,
    /// None: not asked.
    pub filter: Option<Answer<Verdict>>,
    /// None: not asked.
    pub reward: Option<Answer<Option<f32>>>,
    /// What is kept afterwards.
    pub kv: BTreeMap<String, Vec<u8>>,
    /// What the agent's folders hold afterwards, by `root/path`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// `level: message`, in order.
    pub log: Vec<String>,
    /// Instructions: the largest of the case's instances.
    pub fuel: Option<u64>,
    /// Bytes of memory: likewise.
    pub memory: Option<u64>,
}

/// What a hook answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<T> {
    /// This.
    Is(T),
    /// It failed.
    Fails(Complaint),
    /// The policy does not have this hook.
    NoHook,
}

/// A problem that a policy named, or how it failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Complaint {
    /// The code of the policy's problem, or a class of failure: `trap`, `cpu`, `memory`, `bad_output`, …
    pub code: String,
    /// One sentence.
    pub message: String,
}

/// Where the turn goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// `upstream/model`.
    To(String),
    /// Nowhere; the client gets these words.
    Refuse(String),
}

/// What a tool call meets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// The client gets it.
    Allow,
    /// It does not, and reads this.
    Deny(String),
    /// An operator decides; for this reason.
    Hold(String),
}

/// What becomes of a finished turn.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Kept, with this weight.
    Keep(f32),
    /// Left out, for this reason.
    Drop(String),
}

impl Hook {
    /// Every hook, in the order of a turn.
    pub const ALL: [Hook; 6] = [Hook::Route, Hook::Select, Hook::Render, Hook::Gate, Hook::Filter, Hook::Reward];

    /// Its name in cases and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Hook::Route => "route",
            Hook::Select => "select",
            Hook::Render => "render",
            Hook::Gate => "gate",
            Hook::Filter => "filter",
            Hook::Reward => "reward",
        }
    }
}

impl<T> Answer<T> {
    /// What it answered, if it did.
    pub fn value(&self) -> Option<&T> {
        match self {
            Answer::Is(value) => Some(value),
            Answer::Fails(_) | Answer::NoHook => None,
        }
    }
}

impl Complaint {
    /// The engine's class of a failure and its message; a policy's own problem, which the engine gives as `policy_error` with
    /// `code: message`, under its own code.
    pub fn of_engine(class: &str, message: &str) -> Self {
        match message.split_once(": ").filter(|_| class == "policy_error") {
            Some((code, message)) => Complaint { code: code.to_owned(), message: message.to_owned() },
            None => Complaint { code: class.to_owned(), message: message.to_owned() },
        }
    }
}
