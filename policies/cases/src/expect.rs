use std::collections::BTreeMap;

/// What must come of a case. Only what the case names is asked and compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// Codes of what `validate-config` must object to; none: nothing, which every case without this demands.
    pub problems: Option<Vec<String>>,
    /// Where the turn goes.
    pub route: Option<Expected<ExpectedRoute>>,
    /// The skills, in order.
    pub select: Option<Expected<Vec<String>>>,
    /// The layout.
    pub render: Option<Expected<Words>>,
    /// As many as the case has calls; empty when it does not ask.
    pub gate: Vec<Expected<ExpectedGate>>,
    /// The verdict.
    pub filter: Option<Expected<ExpectedVerdict>>,
    /// The reward; none: the turn says nothing.
    pub reward: Option<Expected<Option<f32>>>,
    /// What is kept afterwards under these keys; none: nothing.
    pub kv: BTreeMap<String, Option<String>>,
    /// What these files hold afterwards, by `root/path`; none: there is no such file.
    pub files: BTreeMap<String, Option<String>>,
    /// What occurs in the words for the operator.
    pub log: Vec<String>,
}

/// What a hook must answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected<T> {
    /// This.
    Is(T),
    /// Nothing: it fails with this code of a problem, or class of failure (`trap`, `cpu`, `memory`, `bad_output`, …).
    Fails(String),
}

/// Words that are expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Words {
    /// Whatever they are.
    Any,
    /// Exactly these.
    Are(String),
    /// These occur.
    Contain(String),
}

/// Where the turn must go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedRoute {
    /// `upstream/model`.
    To(String),
    /// To nobody.
    Refuse(Words),
}

/// What a tool call must meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedGate {
    /// The client gets it.
    Allow,
    /// It does not.
    Deny(Words),
    /// An operator decides.
    Hold(Words),
}

/// What must become of a finished turn.
#[derive(Clone, Debug, PartialEq)]
pub enum ExpectedVerdict {
    /// Kept, with this weight; none: with any.
    Keep(Option<f32>),
    /// Left out, for this reason.
    Drop(Words),
}
