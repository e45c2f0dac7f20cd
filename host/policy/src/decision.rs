use std::fmt;

use domain::{DecisionSource, Digest};

/// What a hook decided, and who did.
#[derive(Clone, Debug)]
pub struct Decided<T> {
    /// The decision. There always is one.
    pub value: T,
    /// The agent's own module, or the built-in one.
    pub source: DecisionSource,
    /// Of the module that decided.
    pub digest: Digest,
    /// Why the agent's own module did not decide, when it should have.
    pub failure: Option<Failure>,
    /// What the one that decided has used, with the hooks before that its instance answered.
    pub used: Used,
}

/// What an instance has used since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Instructions, as wasmtime counts them; none unless the engine is [metered](crate::EngineOptions::metered).
    pub fuel: Option<u64>,
    /// Bytes of memory.
    pub memory: u64,
}

/// Where a turn goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteDecision {
    /// To this one of the turn's targets: an index that is in range.
    To(usize),
    /// Nowhere: the client gets these words instead, 1 to 4,096 bytes.
    Refuse(String),
}

/// What the prompt gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These skills, in this order; names that the catalog has, each once.
    Skills(Vec<String>),
    /// Nothing: the module failed, and the operator wants the turn refused then.
    Deny,
}

/// How the chosen skills are laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rendering {
    /// As the host does it.
    Usual,
    /// This text, at most 256 KiB; the empty one puts nothing into the prompt.
    Text(String),
}

/// Whether the client gets a tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It does.
    Allow,
    /// It does not, and reads these words instead, 1 to 4,096 bytes.
    Deny(String),
    /// An operator decides; for this reason, 1 to 4,096 bytes.
    Hold(String),
}

impl Selection {
    /// The names; none when the turn is denied.
    pub fn skills(&self) -> &[String] {
        match self {
            Selection::Skills(names) => names,
            Selection::Deny => &[],
        }
    }
}

/// The words of a refusal that a failure rule makes.
pub const DENIED: &str = "This agent's policy cannot decide at the moment, so nothing was asked of a model.";

/// How a module failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which limit or rule.
    pub class: FailureClass,
    /// One sentence for the operator; control characters escaped, at most 1 KiB.
    pub message: String,
}

/// What went wrong, as a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// The module could not be started.
    Link,
    /// The module gave up: a panic, an access out of bounds, a division by zero.
    Trap,
    /// It used up its CPU time.
    Cpu,
    /// It took too long altogether.
    Wall,
    /// No place became free in time.
    Queue,
    /// It wanted more memory or table space than it may have.
    Memory,
    /// It ran out of stack.
    Stack,
    /// It answered, but not with what it may.
    BadOutput,
    /// It answered with a `problem`.
    PolicyError,
    /// It was not asked, because it failed too often before.
    Breaker,
}

impl FailureClass {
    /// Every class, for those who count them.
    pub const ALL: [FailureClass; 10] = [
        FailureClass::Link,
        FailureClass::Trap,
        FailureClass::Cpu,
        FailureClass::Wall,
        FailureClass::Queue,
        FailureClass::Memory,
        FailureClass::Stack,
        FailureClass::BadOutput,
        FailureClass::PolicyError,
        FailureClass::Breaker,
    ];

    /// Whether the module itself is to blame, and not a crowd of turns or the host's end.
    pub(crate) fn is_the_modules_fault(self) -> bool {
        !matches!(self, FailureClass::Queue | FailureClass::Breaker)
    }

    /// The label: stable, lower-case, with underscores.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureClass::Link => "link",
            FailureClass::Trap => "trap",
            FailureClass::Cpu => "cpu",
            FailureClass::Wall => "wall",
            FailureClass::Queue => "queue",
            FailureClass::Memory => "memory",
            FailureClass::Stack => "stack",
            FailureClass::BadOutput => "bad_output",
            FailureClass::PolicyError => "policy_error",
            FailureClass::Breaker => "breaker",
        }
    }
}

impl Failure {
    /// A failure whose message may hold words of the guest, which are escaped and cut here.
    pub(crate) fn new(class: FailureClass, message: &str) -> Self {
        Failure { class, message: crate::text::printable(message, MAX_MESSAGE) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class.as_str(), self.message)
    }
}

/// The most of a failure's message that is kept, in bytes.
const MAX_MESSAGE: usize = 1 << 10;
