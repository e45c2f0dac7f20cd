use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use config::{AgentConfig, UnknownAgents};
use domain::AgentId;
use policy::{AgentPolicy, Target};
use skills::SkillTree;
use store::Store;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backend::Backend;
use crate::host::Host;
use crate::injection::Blocks;
use crate::metrics::Metrics;
use crate::recorder::Recorder;
use crate::registry::{Agent, Registry};
use crate::sessions::Sessions;

/// One agent's parts.
pub struct AgentParts {
    /// Its id.
    pub id: AgentId,
    /// Its settings.
    pub config: Arc<AgentConfig>,
    /// Its hooks, or why they cannot be had.
    pub policy: Result<Arc<AgentPolicy>, Arc<str>>,
}

/// What a [`Host`] is made of. The caller has opened each part and checked that every target's upstream is among `upstreams`.
pub struct HostParts {
    /// `_default`.
    pub default: AgentParts,
    /// The agents that config names.
    pub named: Vec<AgentParts>,
    /// What happens to others.
    pub unknown: UnknownAgents,
    /// By name.
    pub upstreams: HashMap<String, Backend>,
    /// Skill folders.
    pub skills: Arc<SkillTree>,
    /// The database.
    pub store: Store,
    /// Where things are counted.
    pub metrics: Metrics,
    /// After which silence a session is over.
    pub idle_timeout: Duration,
}

impl Host {
    /// Puts the parts together and starts the recorder. Call within a tokio runtime.
    pub fn new(parts: HostParts) -> Self {
        let store = Arc::new(parts.store);
        let registry = Registry::new(agent(parts.default), parts.named.into_iter().map(agent), parts.unknown);
        Host {
            registry,
            sessions: Sessions::new(parts.idle_timeout, Uuid::new_v4().as_u64_pair().0),
            skills: parts.skills,
            blocks: Blocks::new(),
            upstreams: parts.upstreams,
            recorder: Recorder::start(store.clone(), parts.metrics.clone()),
            store,
            metrics: parts.metrics,
            idle_timeout: parts.idle_timeout,
            closing: CancellationToken::new(),
        }
    }
}

fn agent(parts: AgentParts) -> Arc<Agent> {
    let target = |t: &config::Target| Target { upstream: t.upstream.as_str().into(), model: t.model.as_str().into() };
    let targets = parts.config.targets.iter().map(target).collect();
    Arc::new(Agent { id: parts.id, config: parts.config, policy: parts.policy, targets })
}
