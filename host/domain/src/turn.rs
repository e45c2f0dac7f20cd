use std::time::{Duration, SystemTime};

use crate::{AgentId, Digest, SessionId, TurnId};

/// What an agent's turns are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Skills are injected; nothing is kept for training.
    SkillsOnly,
    /// Skills are injected, and finished turns become samples that the agent's adapter is trained on.
    Rl,
    /// As `rl`, and training waits until it is told to.
    Auto,
}

/// Whether a person or a task speaks, or the client's own housekeeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TurnKind {
    /// Injected, sampled, learned from.
    Main,
    /// Heartbeats, compaction, titles: passed through and no more.
    Side,
}

/// How an agent's skills are found for a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RetrievalMode {
    /// By MetaClaw's lists of words, one for each category; nothing is ranked.
    Template,
    /// By the words that question and skill share.
    Bm25,
    /// By what they mean.
    Embedding,
    /// By both.
    #[default]
    Hybrid,
}

impl RetrievalMode {
    /// As configuration and answers write it.
    pub fn as_str(self) -> &'static str {
        match self {
            RetrievalMode::Template => "template",
            RetrievalMode::Bm25 => "bm25",
            RetrievalMode::Embedding => "embedding",
            RetrievalMode::Hybrid => "hybrid",
        }
    }

    /// Whether it needs to know what texts mean.
    pub fn embeds(self) -> bool {
        matches!(self, RetrievalMode::Embedding | RetrievalMode::Hybrid)
    }
}

/// Where a skill's folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SkillScope {
    /// `_shared/`, curated by people, seen by every agent.
    Shared,
    /// The agent's own folder; wins over a shared skill of the same name.
    Own,
}

/// Who made a decision: the answer to "why did it do that".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecisionSource {
    /// The agent's own module.
    Policy,
    /// The built-in module, because the agent has none for this hook or its own failed.
    Builtin,
    /// The version of the agent's module that served before a reload, because the present one failed.
    Previous,
    /// Whoever stands in for a module that failed so often that it is not asked for a while.
    Breaker,
}

/// Tokens as the upstream counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens.
    pub prompt: u64,
    /// Answer tokens.
    pub completion: u64,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TurnOutcome {
    /// The whole answer arrived and went out.
    Complete,
    /// The policy refused; the upstream was not asked.
    Refused,
    /// The client went away before the end.
    Cancelled,
    /// The upstream failed or broke off.
    Failed,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The client said so.
    Header,
    /// Nothing came for the idle timeout.
    Idle,
    /// The host shut down.
    Shutdown,
}

/// One finished turn, as it is kept.
#[derive(Clone, Debug)]
pub struct TurnRecord {
    /// The turn.
    pub id: TurnId,
    /// Whose.
    pub agent: AgentId,
    /// In which conversation of that agent.
    pub session: SessionId,
    /// Where that conversation happens, in the client's words (`X-Session-Key`): sessions that follow one another share it.
    pub session_key: Option<String>,
    /// What the client said the turn was.
    pub kind: TurnKind,
    /// When the request arrived.
    pub started: SystemTime,
    /// From the request's arrival to the last byte of the answer.
    pub duration: Duration,
    /// From the request's arrival to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// The upstream's name in config.
    pub upstream: String,
    /// The model that was asked.
    pub model: String,
    /// The client's request body, as it came, without our injection. JSON.
    pub request: bytes::Bytes,
    /// The answer: a `chat.completion` JSON object, put together from chunks when it was streamed. May be empty.
    pub answer: bytes::Bytes,
    /// Names of the skills injected, in order.
    pub skills: Vec<String>,
    /// The module that chose them, and whether it was the agent's own.
    pub policy: (Digest, DecisionSource),
    /// The generation of the agent's adapter that answered; 0 is the model without one.
    pub adapter: u64,
    /// Tokens, when the upstream said.
    pub usage: Option<Usage>,
    /// How it ended.
    pub outcome: TurnOutcome,
}
