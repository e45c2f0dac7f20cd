//! The adapters that come of training: which there are, and which one is live.

use std::time::SystemTime;

use domain::{AgentId, Digest};
use uuid::Uuid;

use super::Step;
use crate::error::StoreError;
use crate::{Archive, Store};

/// An adapter that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAdapter {
    /// A number that no adapter of the agent has or had, greater than all of them.
    pub generation: u64,
    /// `Live`, `Shadow` or `Rejected`.
    pub state: AdapterState,
    /// Where its files are, within the agent's folder.
    pub folder: String,
    /// Over its files.
    pub digest: Digest,
    /// The model that it changes.
    pub base: String,
    /// What was measured, JSON of whoever trained.
    pub metrics: String,
    /// Why it stands where it does.
    pub reason: Option<String>,
    /// The agent's running mean of rewards from now on; none leaves it.
    pub baseline: Option<f64>,
}

/// An adapter as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAdapter {
    /// Whose.
    pub agent: AgentId,
    /// Which one, from 1.
    pub generation: u64,
    /// The one that it was trained on; 0 is the model alone.
    pub parent: u64,
    /// What it was trained with; none when it was not trained here.
    pub batch: Option<Uuid>,
    /// Where it stands.
    pub state: AdapterState,
    /// Where its files are, within the agent's folder.
    pub folder: String,
    /// Over its files.
    pub digest: Digest,
    /// The model that it changes.
    pub base: String,
    /// What was measured, JSON of whoever trained.
    pub metrics: String,
    /// When it was made.
    pub created: SystemTime,
    /// When its state last changed.
    pub changed: SystemTime,
    /// Why it stands where it does.
    pub reason: Option<String>,
}

/// Where an adapter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdapterState {
    /// It waits to be promoted.
    Shadow,
    /// It answers the agent's turns.
    Live,
    /// It was live, and another has taken its place.
    Retired,
    /// It has failed the checks.
    Rejected,
    /// It was live, and was taken back.
    RolledBack,
    /// Its files are gone, or may go.
    Removed,
}

impl Store {
    /// Keeps an adapter that was not trained here; if it is live, the one before is retired. None when the number was used.
    pub async fn add_adapter(
        &self,
        agent: &AgentId,
        parent: u64,
        adapter: NewAdapter,
    ) -> Result<Option<StoredAdapter>, StoreError> {
        let generation = adapter.generation;
        if self.train(Step::Add { agent: agent.clone(), parent, adapter }).await? == 0 {
            return Ok(None);
        }
        self.adapter(agent, generation).await
    }

    /// The number for the agent's next adapter: greater than every one that was used or is going to be.
    pub async fn next_generation(&self, agent: &AgentId) -> Result<u64, StoreError> {
        self.reader.next_generation(agent).await
    }

    /// The agent's adapters, the newest first.
    pub async fn adapters(&self, agent: &AgentId) -> Result<Vec<StoredAdapter>, StoreError> {
        self.reader.adapters(agent).await
    }

    /// One adapter.
    pub async fn adapter(&self, agent: &AgentId, generation: u64) -> Result<Option<StoredAdapter>, StoreError> {
        self.reader.adapter(agent, generation).await
    }

    /// The agent's live adapter; none is the model alone.
    pub async fn head(&self, agent: &AgentId) -> Result<Option<StoredAdapter>, StoreError> {
        self.reader.head(agent).await
    }

    /// The live adapters of all agents.
    pub async fn heads(&self) -> Result<Vec<StoredAdapter>, StoreError> {
        self.reader.heads().await
    }

    /// Makes an adapter live and retires the one before; 0 is the model alone. `false` when there is no such adapter, its files
    /// are gone, or it is live.
    pub async fn promote(&self, agent: &AgentId, generation: u64, reason: &str) -> Result<bool, StoreError> {
        let step = Step::Promote { agent: agent.clone(), generation, reason: reason.to_owned() };
        Ok(self.train(step).await? > 0)
    }

    /// Takes the live adapter back, and makes `to` live: 0 is the model alone, and none the nearest ancestor that was not taken
    /// back, rejected or removed itself, or the model alone. Returns what was live and what is. None, and nothing is changed,
    /// when nothing was live, or `to` is not there or has no files any more.
    pub async fn rollback(
        &self,
        agent: &AgentId,
        to: Option<u64>,
        reason: &str,
    ) -> Result<Option<(StoredAdapter, Option<StoredAdapter>)>, StoreError> {
        let step = Step::Rollback { agent: agent.clone(), to, reason: reason.to_owned() };
        let generation = self.train(step).await?;
        let before = if generation == 0 { None } else { self.adapter(agent, generation).await? };
        match before {
            Some(before) => Ok(Some((before, self.head(agent).await?))),
            None => Ok(None),
        }
    }

    /// Notes that an adapter's files may go. `false` when it is live, or is being trained on.
    pub async fn remove_adapter(&self, agent: &AgentId, generation: u64, reason: &str) -> Result<bool, StoreError> {
        let step = Step::Remove { agent: agent.clone(), generation, reason: reason.to_owned() };
        Ok(self.train(step).await? > 0)
    }
}

impl Archive {
    /// The agent's adapters, the newest first.
    pub async fn adapters(&self, agent: &AgentId) -> Result<Vec<StoredAdapter>, StoreError> {
        self.reader.adapters(agent).await
    }
}

impl AdapterState {
    /// Its word in the database, in JSON and on the terminal.
    pub fn as_str(self) -> &'static str {
        match self {
            AdapterState::Shadow => "shadow",
            AdapterState::Live => "live",
            AdapterState::Retired => "retired",
            AdapterState::Rejected => "rejected",
            AdapterState::RolledBack => "rolled-back",
            AdapterState::Removed => "removed",
        }
    }
}

impl crate::codes::Code for AdapterState {
    const ALL: &'static [Self] = &[
        AdapterState::Shadow,
        AdapterState::Live,
        AdapterState::Retired,
        AdapterState::Rejected,
        AdapterState::RolledBack,
        AdapterState::Removed,
    ];

    fn code(self) -> &'static str {
        self.as_str()
    }
}
