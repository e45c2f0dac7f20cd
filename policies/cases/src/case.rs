use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::expect::Expect;
use crate::outcome::Hook;
use crate::within::Within;

/// The cases of one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Suite {
    /// In the order of the file; names are unique.
    pub cases: Vec<Case>,
}

/// One situation, and what the policy must make of it. Everything that the file leaves open has its default already.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What the case shows, in a person's words.
    pub name: String,
    /// Where it begins in the file, counted from 1.
    pub line: u64,
    /// The agent's `config:`.
    pub config: Map<String, Value>,
    /// The turn that is to be decided on.
    pub turn: Turn,
    /// The catalog, in the order of the names.
    pub skills: Vec<Skill>,
    /// What a search finds, by its words; `*` stands for all that are not named. Without an entry the runner's own index decides.
    pub search: BTreeMap<String, Vec<Hit>>,
    /// For `render`: which skills were selected. None: what `select` answered in this case, else all of the catalog.
    pub selected: Option<Vec<String>>,
    /// What was kept before.
    pub kv: BTreeMap<String, Vec<u8>>,
    /// What is in the agent's folders before.
    pub files: Files,
    /// What `gate` is asked about, one after another, each in an instance of its own.
    pub calls: Vec<ToolCall>,
    /// The finished turn, for `filter` and `reward`.
    pub sample: Sample,
    /// What must come of it.
    pub expect: Expect,
    /// What the WebAssembly run may use.
    pub within: Within,
}

/// See `turn.turn` of the contract.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Turn {
    /// `_default` unless the case names one.
    pub agent: String,
    /// The session's id.
    pub session: String,
    /// How many turns the session has had before.
    pub index: u32,
    /// `main` or `side`.
    pub kind: String,
    /// `skills_only`, `rl` or `auto`.
    pub mode: String,
    /// Milliseconds since 1970-01-01 UTC.
    pub received_at: u64,
    /// The model that the client asked for; may be empty.
    pub requested_model: String,
    /// The text of the last user message.
    pub user_text: String,
    /// Bytes; unless the case says otherwise, those of the messages' texts.
    pub body_size: u64,
    /// The oldest first.
    pub messages: Vec<Message>,
    /// The tools that the client offers.
    pub tools: Vec<String>,
    /// Never empty.
    pub targets: Vec<Target>,
}

/// One message of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, …
    pub role: String,
    /// What it says.
    pub text: String,
}

/// A place where the turn may be answered: `upstream/model` in a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// What is before the first `/`.
    pub upstream: String,
    /// What is behind it; may be empty.
    pub model: String,
}

/// A skill of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skill {
    /// Unique in the catalog.
    pub name: String,
    /// When to use it.
    pub description: String,
    /// The instructions themselves.
    pub body: String,
    /// Free text; may be empty.
    pub category: String,
    /// `shared` or `own`.
    pub scope: String,
    /// Estimated prompt tokens; unless the case says otherwise, a quarter of the bytes that the host would inject.
    pub tokens: u32,
}

/// What a search finds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hit {
    /// A skill of the catalog.
    pub name: String,
    /// Greater than 0.
    pub score: f32,
}

/// Texts by path, in each of the agent's folders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Files {
    /// The agent's own skills.
    pub skills: BTreeMap<String, String>,
    /// Everybody's.
    pub shared: BTreeMap<String, String>,
    /// The agent's adapters.
    pub lora: BTreeMap<String, String>,
}

/// A tool that the model wants to have called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToolCall {
    /// `call-1`, `call-2`, … unless the case says otherwise.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// JSON, or whatever text the case gives.
    pub arguments: String,
}

/// See `sample.sample` of the contract.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// As in the turn.
    pub agent: String,
    /// As in the turn.
    pub session: String,
    /// As in the turn.
    pub received_at: u64,
    /// The model that answered; unless the case says otherwise, that of the turn's first target.
    pub model: String,
    /// As in the turn, unless the case says otherwise.
    pub user_text: String,
    /// As in the turn, unless the case says otherwise.
    pub messages: Vec<Message>,
    /// The assistant's words.
    pub answer: String,
    /// `stop` unless the case says otherwise.
    pub finish_reason: String,
    /// 0 unless the case says otherwise.
    pub prompt_tokens: u64,
    /// 0 unless the case says otherwise.
    pub completion_tokens: u64,
    /// Skills that were injected.
    pub skills: Vec<String>,
    /// The tools that the answer calls.
    pub calls: Vec<ToolCall>,
    /// Whether token ids were captured.
    pub has_tokens: bool,
}

impl Target {
    /// As a case writes it: `upstream/model`, or the upstream alone when it names no model.
    pub fn name(&self) -> String {
        let slash = if self.model.is_empty() { "" } else { "/" };
        format!("{}{slash}{}", self.upstream, self.model)
    }
}

impl Case {
    /// The hooks that this case asks, in the order of a turn. The first failure does not keep the later ones from being asked.
    pub fn asks(&self) -> Vec<Hook> {
        let Expect { route, select, render, gate, filter, reward, .. } = &self.expect;
        let asked = [
            (Hook::Route, route.is_some()),
            (Hook::Select, select.is_some()),
            (Hook::Render, render.is_some()),
            (Hook::Gate, !gate.is_empty()),
            (Hook::Filter, filter.is_some()),
            (Hook::Reward, reward.is_some()),
        ];
        asked.into_iter().filter_map(|(hook, is_asked)| is_asked.then_some(hook)).collect()
    }

    /// The `config:` as the module gets it.
    pub fn config_json(&self) -> String {
        serde_json::to_string(&self.config).unwrap_or_else(|_| "{}".to_owned())
    }

    /// The skills that `render` is given, when `select` answered with `selected`, if it was asked and did.
    pub fn rendered(&self, selected: Option<&[String]>) -> Vec<String> {
        match (&self.selected, selected) {
            (Some(names), _) => names.clone(),
            (None, Some(names)) => names.to_vec(),
            (None, None) => self.skills.iter().map(|skill| skill.name.clone()).collect(),
        }
    }

    /// What the case says that a search for these words finds; none: the runner's own index decides.
    pub fn found(&self, query: &str) -> Option<&[Hit]> {
        self.search.get(query).or_else(|| self.search.get("*")).map(Vec::as_slice)
    }

    /// A skill of the catalog.
    pub fn skill(&self, name: &str) -> Option<&Skill> {
        self.skills.iter().find(|skill| skill.name == name)
    }
}
