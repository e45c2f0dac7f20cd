use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use config::{AgentConfig, UnknownAgents};
use domain::AgentId;
use policy::{AgentPolicy, Engine, Target};
use skills::SkillTree;
use store::Store;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backend::Backend;
use crate::errand::Upstreams;
use crate::host::Host;
use crate::injection::Blocks;
use crate::metrics::Metrics;
use crate::possessions::Possessions;
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
    /// What policies run on.
    pub engine: Arc<Engine>,
    /// Skill folders.
    pub skills: Arc<SkillTree>,
    /// Where they are.
    pub skills_dir: PathBuf,
    /// Where the adapter folders are of agents for which config names none.
    pub lora_dir: PathBuf,
    /// The database.
    pub store: Store,
    /// Where things are counted.
    pub metrics: Metrics,
    /// After which silence a session is over.
    pub idle_timeout: Duration,
    /// After which silence the client of a stream is told to wait on; zero: never.
    pub keep_alive: Duration,
}

impl Host {
    /// Puts the parts together and starts the recorder. Call within a tokio runtime.
    pub fn new(parts: HostParts) -> Self {
        let store = Arc::new(parts.store);
        let possessions = Arc::new(Possessions::new(parts.skills_dir, parts.lora_dir));
        let registry = registry(parts.default, parts.named, parts.unknown, &possessions);
        Host {
            registry: ArcSwap::from_pointee(registry),
            reloads: Mutex::default(),
            possessions,
            sessions: Sessions::new(parts.idle_timeout, Uuid::new_v4().as_u64_pair().0),
            engine: parts.engine,
            skills: parts.skills,
            blocks: Blocks::new(),
            upstreams: Arc::new(Upstreams::new(parts.upstreams, parts.metrics.clone())),
            keep_alive: parts.keep_alive,
            recorder: Recorder::start(store.clone(), parts.metrics.clone()),
            store,
            metrics: parts.metrics,
            idle_timeout: parts.idle_timeout,
            closing: CancellationToken::new(),
        }
    }
}

/// The agents, each with what is its own.
pub(crate) fn registry(
    default: AgentParts,
    named: Vec<AgentParts>,
    unknown: UnknownAgents,
    possessions: &Arc<Possessions>,
) -> Registry {
    let agent = |parts| agent(parts, possessions);
    Registry::new(agent(default), named.into_iter().map(agent), unknown, possessions.clone())
}

fn agent(parts: AgentParts, possessions: &Possessions) -> Arc<Agent> {
    let target = |t: &config::Target| Target { upstream: t.upstream.as_str().into(), model: t.model.as_str().into() };
    let targets = parts.config.targets.iter().map(target).collect();
    let fallbacks = parts.config.fallbacks.iter().map(target).collect();
    let values = possessions.values(&parts.id);
    let files = possessions.files(&parts.id, &parts.config.rl.lora_output);
    Arc::new(Agent { id: parts.id, config: parts.config, policy: parts.policy, targets, fallbacks, values, files })
}
