use std::sync::Arc;

use crate::{AgentId, Digest, SessionId, TurnId};

/// What the policy says of a finished turn as training material.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Keep it, with this weight (finite, 0 to 10).
    Keep {
        /// 1 is ordinary.
        weight: f32,
    },
    /// Leave it out.
    Drop {
        /// For the operator; escaped before it is shown.
        reason: String,
    },
}

/// Tokens exactly as they were sampled, never re-tokenised from text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenTrace {
    /// The prompt's token ids.
    pub prompt: Arc<[u32]>,
    /// The answer's token ids, the end token included when it was sampled.
    pub completion: Vec<u32>,
    /// Natural-log probability of each answer token under the untruncated distribution at temperature 1.
    pub logprobs: Vec<f32>,
}

/// A tool that a model wants to have called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// The model's id of this call.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments, in JSON as the model wrote them.
    pub arguments: String,
}

/// Training material from one turn. Its content (request and answer) is the turn's record.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The turn it comes from; one turn gives at most one sample.
    pub turn: TurnId,
    /// Whose.
    pub agent: AgentId,
    /// In which conversation.
    pub session: SessionId,
    /// The module that judged it.
    pub policy: Digest,
    /// The version of the skill library when the prompt was made.
    pub skill_generation: u64,
    /// The policy's weight.
    pub weight: f32,
    /// How good the policy found the turn, from -1 to 1; none when it did not say.
    pub reward: Option<f32>,
    /// Tokens, where the upstream gives them.
    pub tokens: Option<TokenTrace>,
}

/// Who says how good a turn was. Of several the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RewardSource {
    /// The agent's policy, by its `reward` hook.
    Policy,
    /// A model that judges.
    Judge,
    /// Whoever the turn was answered for.
    Feedback,
}

/// Where a sample stands on its way to the trainer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SampleState {
    /// Durable, not yet scored.
    Captured,
    /// The policy left it out: kept without tokens, so that the operator sees why, and never trained on.
    Dropped,
}
