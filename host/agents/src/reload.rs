use std::sync::{Arc, MutexGuard, PoisonError};

use domain::AgentId;
use policy::AgentPolicy;

use crate::backend::Backend;
use crate::build::{Configured, registry};
use crate::host::Host;
use crate::metrics::ReloadLabels;

/// What reloading has come to since the host was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloads {
    /// How often it was tried.
    pub count: u64,
    /// What could not be taken over the last time, and what serves instead: one sentence each.
    pub problems: Vec<String>,
}

impl Host {
    /// The policy that serves this agent now; the reason when none does.
    pub fn policy_of(&self, id: &AgentId) -> Option<Result<Arc<AgentPolicy>, Arc<str>>> {
        self.registry.load().known(id).map(|agent| agent.policy.clone())
    }

    /// Puts what another configuration has made in the place of the present, at once: a turn that has begun goes on with the
    /// agent and the upstreams that it began with, and each later one sees the new ones only.
    pub fn replace(&self, configured: Configured) {
        self.sessions.set_idle_timeout(configured.idle_timeout);
        let next = Arc::new(registry(configured, &self.possessions, &self.metrics));
        let before = self.registry.swap(next.clone());
        self.retired().extend(before.upstreams.replaced_by(&next.upstreams));
    }

    /// Closes what a reload has replaced, once nobody uses it any more.
    pub(crate) async fn close_replaced(&self) {
        let unused: Vec<_> = self.retired().extract_if(.., |backend| Arc::strong_count(backend) == 1).collect();
        for backend in unused {
            backend.close().await;
        }
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Arc<Backend>>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a reload: what could not be taken over; `changed` says whether anything was.
    pub fn note_reload(&self, changed: bool, problems: Vec<String>) {
        let result = match (changed, problems.is_empty()) {
            (_, true) => "ok",
            (true, false) => "partly",
            (false, false) => "refused",
        };
        self.metrics.reloads.get_or_create(&ReloadLabels { result }).inc();
        let mut reloads = self.reloads.lock().unwrap_or_else(PoisonError::into_inner);
        *reloads = Reloads { count: reloads.count + 1, problems };
    }

    /// What reloading has come to.
    pub fn reloads(&self) -> Reloads {
        self.reloads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
