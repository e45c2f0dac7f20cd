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
    /// How they were drawn.
    pub sampled_with: SampledWith,
}

/// How an answer's tokens were drawn: whether their probabilities are those that `logprobs` says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampledWith {
    /// 1 is the model's own distribution; 0 always took the likeliest.
    pub temperature: f32,
    /// The share that the likeliest tokens had together; 1 is all of them.
    pub top_p: f32,
    /// How many of the likeliest tokens were drawn from; 0 is all of them.
    pub top_k: u32,
    /// Whether tokens that the answer had were made less likely.
    pub penalized: bool,
    /// The model that drew them, as its file's SHA-256; none where nobody knows.
    pub base: Option<Digest>,
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
    /// The generation of the adapter that answered; 0 is the model without one.
    pub adapter: u64,
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

/// Where a sample stands on its way to the trainer:
/// `captured → scored → eligible → claimed → consumed | expired | rejected`, or `held-out` once scored, or `dropped` from the
/// beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SampleState {
    /// Durable, not yet scored.
    Captured,
    /// It has a reward, and is not yet checked.
    Scored,
    /// It waits for a batch.
    Eligible,
    /// It was kept out of training, to compare adapters by.
    HeldOut,
    /// It is in the batch that is being trained on.
    Claimed,
    /// It was trained on, or its batch was and failed the checks: never again.
    Consumed,
    /// It came too late to be trained on.
    Expired,
    /// It cannot be trained on; its reason says why.
    Rejected,
    /// The policy left it out: kept without tokens, so that the operator sees why, and never trained on.
    Dropped,
}

/// How good a turn was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// From -1 to 1.
    pub reward: f32,
    /// How many votes it is the mean of; 1 where nobody voted.
    pub votes: u32,
    /// How far the votes lie apart (their standard deviation); 0 where nobody voted.
    pub spread: f32,
    /// Who said so.
    pub source: RewardSource,
}

impl SampledWith {
    /// Whether the tokens were drawn from the distribution that `logprobs` is of, so that they can be trained on as they are.
    pub fn is_exact(self) -> bool {
        SampledWith { base: None, ..self } == SampledWith::default()
    }
}

impl Default for SampledWith {
    fn default() -> Self {
        SampledWith { temperature: 1.0, top_p: 1.0, top_k: 0, penalized: false, base: None }
    }
}

impl SampleState {
    /// Every state, in the order of a sample's way.
    pub const ALL: [SampleState; 9] = [
        SampleState::Captured,
        SampleState::Scored,
        SampleState::Eligible,
        SampleState::HeldOut,
        SampleState::Claimed,
        SampleState::Consumed,
        SampleState::Expired,
        SampleState::Rejected,
        SampleState::Dropped,
    ];

    /// Its word in the database, in JSON and on the terminal.
    pub fn as_str(self) -> &'static str {
        match self {
            SampleState::Captured => "captured",
            SampleState::Scored => "scored",
            SampleState::Eligible => "eligible",
            SampleState::HeldOut => "held-out",
            SampleState::Claimed => "claimed",
            SampleState::Consumed => "consumed",
            SampleState::Expired => "expired",
            SampleState::Rejected => "rejected",
            SampleState::Dropped => "dropped",
        }
    }
}

impl Score {
    /// What somebody said who does not vote.
    pub fn said(reward: f32, source: RewardSource) -> Self {
        Score { reward, votes: 1, spread: 0.0, source }
    }

    /// Whether it is a reward at all: a number from -1 to 1, with a spread that is one.
    pub fn is_valid(self) -> bool {
        (-1.0..=1.0).contains(&self.reward) && (0.0..=2.0).contains(&self.spread)
    }
}

impl RewardSource {
    /// Its word in the database, in JSON and on the terminal.
    pub fn as_str(self) -> &'static str {
        match self {
            RewardSource::Policy => "policy",
            RewardSource::Feedback => "feedback",
            RewardSource::Judge => "judge",
        }
    }
}
