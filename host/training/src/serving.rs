//! What the store says is live, is what answers. Called after each change, at the start, and whenever the driver looks: a change that
//! did not reach the model the first time reaches it then.

use std::sync::Arc;
use std::time::Instant;

use domain::AgentId;
use store::StoredAdapter;

use crate::Training;
use crate::backend::{Backend, BackendError, Version};
use crate::files::FilesError;
use crate::lane::{Lane, Served};

/// Why an adapter does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServingError {
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(
        "adapter {agent}@{generation} was trained on another base model ({base}) than the one that answers now ({now})"
    )]
    OtherBase { agent: AgentId, generation: u64, base: String, now: String },
}

impl Training {
    /// Lets the agent's live adapter answer, if it does not yet. Where it cannot, the model alone does.
    pub(crate) async fn reconcile(&self, agent: &AgentId) {
        let lane = self.lane(agent);
        let swap = lane.swap.lock().await;
        if let Err(error) = self.swap(agent, &lane).await {
            self.trouble(agent, &lane, error.to_string());
        }
        drop(swap);
    }

    /// As [`Training::reconcile`], for who holds the lane's `swap`.
    pub(crate) async fn swap(&self, agent: &AgentId, lane: &Lane) -> Result<(), ServingError> {
        let Some(backend) = self.host.backend(agent) else {
            lane.now().served = None;
            return Ok(());
        };
        let head = self.store.head(agent).await?;
        let wanted = head.as_ref().map(version_of);
        if lane.now().served.as_ref().is_some_and(|served| served.is(&backend.player, wanted.as_ref())) {
            return Ok(());
        }
        let loaded = match &head {
            Some(head) => self.load(&backend, head).await.map(|()| wanted.clone()),
            None => Ok(None),
        };
        // What cannot be loaded is no reason to go on with what was taken back.
        let served = loaded.as_ref().ok().cloned().flatten();
        backend.player.serve(agent, served.as_ref()).await?;
        let generation = served.as_ref().map_or(0, |version| version.generation);
        self.metrics.serves(agent, generation);
        let name = head.as_ref().map(|head| head.folder.clone());
        self.on_shelf(agent, move |shelf| shelf.set_current(name.as_deref())).await?;
        // Only now: whoever is interrupted before does all of it again.
        let wait = || self.host.settings(agent).map(|settings| settings.retry_wait).unwrap_or_default();
        let again = loaded.is_err().then(|| Instant::now() + wait());
        lane.now().served = Some(Served { by: Arc::downgrade(&backend.player), version: wanted, again });
        loaded?;
        lane.now().trouble = None;
        tracing::info!(%agent, generation, "an adapter serves");
        Ok(())
    }

    async fn load(&self, backend: &Backend, head: &StoredAdapter) -> Result<(), ServingError> {
        let now = backend.trainer.facts().base.to_string();
        if head.base != now {
            let (agent, generation, base) = (head.agent.clone(), head.generation, head.base.clone());
            return Err(ServingError::OtherBase { agent, generation, base, now });
        }
        let files = self.files_of(head).await?;
        Ok(backend.player.load(&version_of(head), files).await?)
    }

    /// Says what stands in the way, once.
    pub(crate) fn trouble(&self, agent: &AgentId, lane: &Lane, error: String) {
        let mut now = lane.now();
        if now.trouble.as_ref() != Some(&error) {
            tracing::error!(%agent, %error, "the agent's adapter does not serve, or cannot be trained");
            now.trouble = Some(error);
        }
    }
}

/// The name of an adapter that was made.
pub(crate) fn version_of(adapter: &StoredAdapter) -> Version {
    let (agent, folder) = (adapter.agent.clone(), adapter.folder.clone());
    Version { agent, generation: adapter.generation, folder, digest: adapter.digest }
}
