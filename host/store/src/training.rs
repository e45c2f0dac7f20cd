//! What agents are trained on: samples on their way, the batches that are trained on, and the adapters that come of them.
//!
//! ```text
//! capture ─► captured ─► score ─► scored ─► admit ─► eligible ─► claim ─► claimed ─► commit ─► consumed, and an adapter
//!              └ postpone ┘         │                  ▲                     │
//!                                   └ hold out         └───── release ◄──────┘   (a crash leaves it claimed: it goes on)
//! ```
//!
//! Each arrow is one transaction. What is not allowed where a sample stands changes nothing, and says so. A batch has samples
//! of one agent, and an agent one batch at a time; only a commit makes samples consumed, in the same transaction in which their
//! adapter gets its row. So each sample is trained on once, whenever the host dies.

mod adapters;
pub(crate) mod read;
pub(crate) mod write;

use std::time::SystemTime;

use domain::{AgentId, Sample, SampleState, Score, TurnId};
use uuid::Uuid;

use crate::codes::token_bytes;
use crate::error::StoreError;
use crate::queue::Job;
use crate::rows::Hash;
use crate::{Archive, SampleCount, Store, StoredSample};

pub use adapters::{AdapterState, NewAdapter, StoredAdapter};
pub(crate) use write::{Step, TrainJob};

/// A sample that may be scored now.
#[derive(Clone, Debug)]
pub struct ToScore {
    /// The sample; its policy's reward is in it.
    pub sample: StoredSample,
    /// Which turn of its session, from 0.
    pub position: u64,
    /// The turn that followed in the session and answers this one's answer. None while there is none, and when the client has
    /// asked the same again: what comes after that is about another answer.
    pub next: Option<TurnId>,
    /// Whether the session has ended.
    pub ended: bool,
    /// What a client has said of the turn.
    pub feedback: Option<f32>,
    /// How many attempts have failed.
    pub attempts: u32,
}

/// From where on samples are too old to be trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// Captured before this.
    pub oldest: SystemTime,
    /// Answered with an earlier adapter.
    pub least_adapter: u64,
    /// Answered with another version of the skills, where that matters.
    pub skill_generation: Option<u64>,
}

/// What is to become a batch.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The batch's name.
    pub batch: Uuid,
    /// The adapter that is trained on, which must be the live one; 0 is the model alone.
    pub parent: u64,
    /// The samples. Those that are not eligible any more are left out.
    pub turns: Vec<TurnId>,
    /// With fewer than these there is no batch.
    pub least: usize,
}

/// The samples of one step of training.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its name.
    pub id: Uuid,
    /// Whose.
    pub agent: AgentId,
    /// The adapter that is trained on; 0 is the model alone.
    pub parent: u64,
    /// The number for the adapter that comes of it, which no other has or had.
    pub generation: u64,
    /// The samples, the oldest first, with the scores that they had when they were claimed.
    pub samples: Vec<StoredSample>,
    /// When it was claimed.
    pub begun: SystemTime,
}

/// How training stands for an agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lane {
    /// Whether an operator has stopped it.
    pub paused: bool,
    /// The running mean of rewards.
    pub baseline: Option<f64>,
    /// How many batches were committed.
    pub steps: u64,
    /// How many failures there were since the last of them.
    pub failures: u32,
    /// The last failure since then.
    pub error: Option<String>,
    /// When it is tried again.
    pub not_before: Option<SystemTime>,
}

/// How good one answer was, and which others it is not independent of.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewarded {
    /// From -1 to 1.
    pub reward: f64,
    /// The row of its conversation.
    pub session: Uuid,
    /// As [`StoredSample::prompt_key`](crate::StoredSample::prompt_key).
    pub prompt_key: Option<[u8; 16]>,
}

/// What names a sample's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SampleKeys {
    /// The prompt's token ids.
    pub(crate) prompt: Hash,
    /// Agent, session, prompt and completion.
    pub(crate) identity: Hash,
}

impl Store {
    /// Returns after a commit in which samples, turns or ends of sessions were: there may be something to score or to train
    /// on. One that happened since the last call counts. For one caller at a time.
    pub async fn sample_news(&self) {
        self.shared.sample_news.notified().await;
    }

    /// The agent's captured samples that can be scored now, the oldest first: they have tokens, it is not too early to try them
    /// again, and there is something to go by: a policy's reward, a client's feedback, or, where `judged`, what followed in the
    /// session, or its end.
    pub async fn samples_to_score(
        &self,
        agent: &AgentId,
        judged: bool,
        limit: usize,
    ) -> Result<Vec<ToScore>, StoreError> {
        self.reader.samples_to_score(agent, judged, limit).await
    }

    /// Gives a captured sample its score; `false` when it is not captured, or has no tokens.
    pub async fn score(&self, turn: TurnId, score: Score) -> Result<bool, StoreError> {
        if !score.is_valid() {
            return Err(StoreError::Score { reward: score.reward, spread: score.spread });
        }
        Ok(self.train(Step::Score { turn, score }).await? > 0)
    }

    /// Notes that an attempt to score a captured sample has failed, and when the next one is; none: it is rejected for that.
    pub async fn postpone_score(
        &self,
        turn: TurnId,
        error: &str,
        until: Option<SystemTime>,
    ) -> Result<bool, StoreError> {
        Ok(self.train(Step::Postpone { turn, error: error.to_owned(), until }).await? > 0)
    }

    /// The agent's samples in one state, the oldest first; of those held out, the newest.
    pub async fn samples_in(
        &self,
        agent: &AgentId,
        state: SampleState,
        limit: usize,
    ) -> Result<Vec<StoredSample>, StoreError> {
        self.reader.samples_in(agent, state, limit).await
    }

    /// Lets a scored sample be trained on.
    pub async fn admit(&self, turn: TurnId) -> Result<bool, StoreError> {
        Ok(self.train(Step::Move { turn, to: SampleState::Eligible, reason: None }).await? > 0)
    }

    /// Keeps a scored sample out of training, to compare adapters by.
    pub async fn hold_out(&self, turn: TurnId) -> Result<bool, StoreError> {
        Ok(self.train(Step::Move { turn, to: SampleState::HeldOut, reason: None }).await? > 0)
    }

    /// Rejects a sample that no batch has.
    pub async fn reject(&self, turn: TurnId, reason: &str) -> Result<bool, StoreError> {
        let reason = Some(reason.to_owned());
        Ok(self.train(Step::Move { turn, to: SampleState::Rejected, reason }).await? > 0)
    }

    /// Lets an agent's samples expire that are too old and that no batch has, and says how many.
    pub async fn expire(&self, agent: &AgentId, staleness: Staleness) -> Result<u64, StoreError> {
        self.train(Step::Expire { agent: agent.clone(), staleness }).await
    }

    /// Claims eligible samples of an agent for one step of training. None, and nothing is changed, when too few are left, when
    /// the agent has a batch under way, and when the parent is not the live adapter. Asked again with the name of the batch
    /// that is under way, it is that one.
    pub async fn claim(&self, agent: &AgentId, claim: Claim) -> Result<Option<Batch>, StoreError> {
        let batch = claim.batch;
        self.train(Step::Claim { agent: agent.clone(), claim }).await?;
        Ok(self.open_batch(agent).await?.filter(|open| open.id == batch))
    }

    /// The agent's batch under way, as it was claimed, also by a host that died since.
    pub async fn open_batch(&self, agent: &AgentId) -> Result<Option<Batch>, StoreError> {
        self.reader.open_batch(agent).await
    }

    /// Gives a batch's samples back: they are eligible again. `false` when it is not under way.
    pub async fn release(&self, batch: Uuid) -> Result<bool, StoreError> {
        Ok(self.train(Step::Release { batch, reject: None }).await? > 0)
    }

    /// Gives a batch up that cannot be trained on: its samples are rejected for that. `false` when it is not under way.
    pub async fn abandon(&self, batch: Uuid, reason: &str) -> Result<bool, StoreError> {
        Ok(self.train(Step::Release { batch, reject: Some(reason.to_owned()) }).await? > 0)
    }

    /// Ends a batch: its samples are consumed, and the adapter has its row and, if it is live, the place of its parent. The
    /// lane's failures are forgotten. A batch that was committed already stays as it is, and its adapter is returned. None, and
    /// nothing is changed, when the batch is not under way, its parent is not live any more, or the number was used.
    pub async fn commit(&self, batch: Uuid, adapter: NewAdapter) -> Result<Option<StoredAdapter>, StoreError> {
        if self.train(Step::Commit { batch, adapter }).await? == 0 {
            return Ok(None);
        }
        self.reader.adapter_of(batch).await
    }

    /// The scored turns that one adapter has answered, the newest 4,096 at most and first, whatever became of the samples; 0 is
    /// the model alone.
    pub async fn rewarded(&self, agent: &AgentId, generation: u64) -> Result<Vec<Rewarded>, StoreError> {
        self.reader.rewarded(agent, generation).await
    }

    /// How training stands for an agent.
    pub async fn lane(&self, agent: &AgentId) -> Result<Lane, StoreError> {
        self.reader.lane(agent).await
    }

    /// Stops training for an agent, or lets it go on.
    pub async fn set_paused(&self, agent: &AgentId, paused: bool) -> Result<(), StoreError> {
        self.train(Step::Pause { agent: agent.clone(), paused }).await.map(drop)
    }

    /// Notes that training has failed for an agent and when it is tried again, and says how often since the last commit.
    pub async fn lane_failed(&self, agent: &AgentId, error: &str, until: SystemTime) -> Result<u32, StoreError> {
        let failures = self.train(Step::Fail { agent: agent.clone(), error: error.to_owned(), until }).await?;
        Ok(u32::try_from(failures).unwrap_or(u32::MAX))
    }

    async fn train(&self, step: Step) -> Result<u64, StoreError> {
        self.queue.ask(|reply| Job::Train(Box::new(TrainJob { step, reply }))).await
    }
}

impl Archive {
    /// How training stands for an agent.
    pub async fn lane(&self, agent: &AgentId) -> Result<Lane, StoreError> {
        self.reader.lane(agent).await
    }

    /// How many samples there are, by agent and state.
    pub async fn sample_counts(&self) -> Result<Vec<SampleCount>, StoreError> {
        self.reader.counts().await
    }
}

impl SampleKeys {
    /// Of a sample that has tokens.
    pub(crate) fn of(sample: &Sample) -> Option<Self> {
        let tokens = sample.tokens.as_ref()?;
        let prompt = token_bytes(&tokens.prompt);
        let mut identity = blake3::Hasher::new();
        // No name holds a zero byte, and the lengths say where the tokens are parted.
        for name in [sample.agent.as_str(), sample.session.as_str()] {
            identity.update(name.as_bytes()).update(&[0]);
        }
        identity.update(&(tokens.prompt.len() as u64).to_le_bytes());
        identity.update(&prompt).update(&token_bytes(&tokens.completion));
        Some(SampleKeys { prompt: short(blake3::hash(&prompt)), identity: short(identity.finalize()) })
    }
}

fn short(hash: blake3::Hash) -> Hash {
    let mut short = Hash::default();
    short.copy_from_slice(&hash.as_bytes()[..size_of::<Hash>()]);
    short
}
