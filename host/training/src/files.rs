//! Adapters' files: read, written and removed off the async threads.

use std::collections::BTreeSet;

use adapters::{Checkpoint, Shelf, ShelfError};
use domain::{AgentId, Digest};
use store::{AdapterState, StoreError, StoredAdapter};

use crate::{Files, Training};

/// Why an agent's files could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no agent `{0}`")]
    NoAgent(AgentId),
    #[error("agent `{agent}` has no adapter {generation} to resume from: see `rl.resume_from_ckpt`")]
    NoCheckpoint { agent: AgentId, generation: u64 },
    #[error("a part of the host has failed")]
    Failed,
}

impl Training {
    /// The agent's adapters.
    pub(crate) fn shelf(&self, agent: &AgentId) -> Result<Shelf, FilesError> {
        let settings = self.host.settings(agent).ok_or_else(|| FilesError::NoAgent(agent.clone()))?;
        Ok(Shelf::new(settings.folder))
    }

    /// Does something with the agent's adapters.
    pub(crate) async fn on_shelf<T: Send + 'static>(
        &self,
        agent: &AgentId,
        work: impl FnOnce(&Shelf) -> Result<T, ShelfError> + Send + 'static,
    ) -> Result<T, FilesError> {
        let shelf = self.shelf(agent)?;
        let done = tokio::task::spawn_blocking(move || work(&shelf)).await;
        Ok(done.map_err(|_| FilesError::Failed)??)
    }

    /// An adapter's files, which are what they were when it was made.
    pub(crate) async fn files_of(&self, adapter: &StoredAdapter) -> Result<Files, FilesError> {
        let (folder, digest) = (adapter.folder.clone(), adapter.digest);
        Ok(self.on_shelf(&adapter.agent, move |shelf| shelf.read(&folder, &digest)).await?.into())
    }

    /// What an agent without an adapter begins with.
    pub(crate) async fn checkpoint(&self, agent: &AgentId, from: &Checkpoint) -> Result<Files, FilesError> {
        match from {
            Checkpoint::Folder(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || adapters::read_folder(&path)).await;
                Ok(read.map_err(|_| FilesError::Failed)??.into())
            }
            Checkpoint::Generation(generation) => {
                let none = || FilesError::NoCheckpoint { agent: agent.clone(), generation: *generation };
                let adapter = self.store.adapter(agent, *generation).await?.ok_or_else(none)?;
                self.files_of(&adapter).await
            }
        }
    }

    /// Writes a new adapter.
    pub(crate) async fn publish(&self, agent: &AgentId, folder: String, files: Files) -> Result<Digest, FilesError> {
        self.on_shelf(agent, move |shelf| shelf.put(&folder, &files)).await
    }

    /// Removes the folders of adapters that are neither among the newest `keep` that do not serve, nor live, nor the live one's parent;
    /// and folders that no adapter has come of. Returns their names.
    pub(crate) async fn tidy(&self, agent: &AgentId, keep: usize) -> Result<Vec<String>, FilesError> {
        let lane = self.lane(agent);
        let swap = lane.swap.lock().await;
        let adapters = self.store.adapters(agent).await?;
        let live = adapters.iter().find(|adapter| adapter.state == AdapterState::Live);
        let needed: BTreeSet<u64> = live.iter().flat_map(|live| [live.generation, live.parent]).collect();
        let mut stay: BTreeSet<String> = BTreeSet::new();
        let mut spare = 0;
        for adapter in adapters.iter().filter(|adapter| adapter.state != AdapterState::Removed) {
            let is_needed = needed.contains(&adapter.generation);
            let kept = is_needed || spare < keep;
            spare += usize::from(!is_needed);
            // The store keeps what is just being trained on.
            if kept || !self.store.remove_adapter(agent, adapter.generation, "tidied up").await? {
                stay.insert(adapter.folder.clone());
            }
        }
        // The step under way may have written its folder already.
        if let Some(open) = self.store.open_batch(agent).await? {
            stay.insert(adapters::folder_name(open.generation, open.id));
        }
        let removed = self.on_shelf(agent, move |shelf| shelf.keep_only(&stay)).await?;
        drop(swap);
        Ok(removed)
    }
}
