use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use config::{AgentConfig, UnknownAgents, UnknownRule};
use domain::AgentId;
use policy::{AgentPolicy, FileSource, Target};
use protocol::{Block, ChatRequest};

use crate::adapters::Slot;
use crate::errand::Upstreams;
use crate::experience::AgentExperience;
use crate::possessions::Possessions;
use crate::values::AgentValues;

/// One agent as the pipeline sees it.
#[derive(Clone)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// Its settings.
    pub config: Arc<AgentConfig>,
    /// Its hooks, or why they cannot be had: then this agent is not served, and only this one.
    pub policy: Result<Arc<AgentPolicy>, Arc<str>>,
    /// Where its turns may go; the first is the configured choice. Not empty.
    pub targets: Arc<[Target]>,
    /// Where a turn goes whose target fails, in order.
    pub fallbacks: Arc<[Target]>,
    /// Whoever the two above name.
    pub(crate) upstreams: Arc<Upstreams>,
    /// What its policy keeps.
    pub(crate) values: Arc<AgentValues>,
    /// What came of its skills.
    pub(crate) experience: Arc<AgentExperience>,
    /// Its folders, for a policy that has the grant.
    pub(crate) files: Arc<dyn FileSource>,
    /// Its adapter.
    pub(crate) adapter: Arc<Slot>,
}

impl Agent {
    /// Whether a request that goes to this target, by number, has room for the block.
    pub(crate) fn has_room_for(&self, block: &Block, request: &ChatRequest, target: usize) -> bool {
        let target = self.targets.get(target);
        let window = target.and_then(|target| self.upstreams.window(target, &request.model(), &self.config));
        window.is_none_or(|window| window.has_room_for(block, request))
    }
}

/// The agents that exist: those that config names, `_default`, and unknown ones that have spoken, up to a cap.
pub(crate) struct Registry {
    pub(crate) named: HashMap<AgentId, Arc<Agent>>,
    pub(crate) default: Arc<Agent>,
    pub(crate) unknown: UnknownAgents,
    pub(crate) seen: RwLock<HashMap<AgentId, Arc<Agent>>>,
    /// Whoever they may ask.
    pub(crate) upstreams: Arc<Upstreams>,
    /// After which silence the client of a stream is told to wait on; zero: never.
    pub(crate) keep_alive: Duration,
    pub(crate) possessions: Arc<Possessions>,
}

/// Why an agent is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownAgent {
    /// `agents_unknown: reject`
    #[error("no agent `{0}` is configured here: add it under `agents:` or leave X-Agent-Id out")]
    Rejected(AgentId),
    /// The cap is reached.
    #[error(
        "agent `{0}` is not configured and {1} unknown agents exist already: add it under `agents:` or raise `agents_unknown_cap`"
    )]
    TooMany(AgentId, usize),
}

impl Registry {
    /// The agent of that id, by the rules for unknown ones.
    pub(crate) fn find(&self, id: &AgentId) -> Result<Arc<Agent>, UnknownAgent> {
        if *id == AgentId::Default {
            return Ok(self.default.clone());
        }
        if let Some(agent) = self.named.get(id) {
            return Ok(agent.clone());
        }
        match self.unknown.rule {
            UnknownRule::Default => Ok(self.default.clone()),
            UnknownRule::Reject => Err(UnknownAgent::Rejected(id.clone())),
            UnknownRule::Own => self.find_own(id, self.unknown.cap as usize),
        }
    }

    /// The agent of that id, if it is configured or has spoken.
    pub(crate) fn known(&self, id: &AgentId) -> Option<Arc<Agent>> {
        if *id == AgentId::Default {
            return Some(self.default.clone());
        }
        let seen = || self.seen.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(id).cloned();
        self.named.get(id).cloned().or_else(seen)
    }

    /// An unknown agent has `_default`'s settings and policy, and everything else of its own.
    fn find_own(&self, id: &AgentId, cap: usize) -> Result<Arc<Agent>, UnknownAgent> {
        let read = self.seen.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(agent) = read.get(id) {
            return Ok(agent.clone());
        }
        drop(read);
        let mut seen = self.seen.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !seen.contains_key(id) && seen.len() >= cap {
            return Err(UnknownAgent::TooMany(id.clone(), cap));
        }
        let own = || {
            Arc::new(Agent {
                id: id.clone(),
                values: self.possessions.values(id),
                experience: self.possessions.experience(id),
                files: self.possessions.usual_files(id),
                adapter: self.possessions.adapter(id),
                ..Agent::clone(&self.default)
            })
        };
        Ok(seen.entry(id.clone()).or_insert_with(own).clone())
    }

    /// Every agent known so far, `_default` first, then by name.
    pub(crate) fn all(&self) -> Vec<Arc<Agent>> {
        let seen = self.seen.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut all: Vec<_> = self.named.values().chain(seen.values()).cloned().collect();
        drop(seen);
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all.insert(0, self.default.clone());
        all
    }
}
