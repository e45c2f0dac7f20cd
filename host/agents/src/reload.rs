use std::sync::{Arc, PoisonError};

use config::UnknownAgents;
use domain::AgentId;
use policy::AgentPolicy;

use crate::build::{AgentParts, registry};
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

    /// Puts other agents in the place of the present ones, at once: a turn that has begun goes on with the agent that it began
    /// with, and each later one sees the new ones only. The caller has checked that every target's upstream is there.
    pub fn replace_agents(&self, default: AgentParts, named: Vec<AgentParts>, unknown: UnknownAgents) {
        self.registry.store(Arc::new(registry(default, named, unknown, &self.possessions)));
    }

    /// Whether there is an upstream of this name.
    pub fn has_upstream(&self, name: &str) -> bool {
        self.upstreams.has(name)
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
