use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use config::{AgentConfig, UnknownAgents};
use domain::AgentId;
use policy::{AgentPolicy, Engine, Target};
use skills::SkillTree;
use store::Store;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backend::Backend;
use crate::errand::Upstreams;
use crate::feedback::MAX_FEEDBACK;
use crate::host::Host;
use crate::injection::Blocks;
use crate::metrics::Metrics;
use crate::possessions::Possessions;
use crate::recorder::Recorder;
use crate::registry::{Agent, Registry};
use crate::sessions::Sessions;
use crate::uses::Uses;

/// One agent's parts.
pub struct AgentParts {
    /// Its id.
    pub id: AgentId,
    /// Its settings.
    pub config: Arc<AgentConfig>,
    /// Its hooks, or why they cannot be had.
    pub policy: Result<Arc<AgentPolicy>, Arc<str>>,
}

/// What a configuration makes of a host: another one takes its place as a whole when the configuration changes. The caller has
/// opened each part and checked that every target's upstream is among `upstreams`.
pub struct Configured {
    /// `_default`.
    pub default: AgentParts,
    /// The agents that config names.
    pub named: Vec<AgentParts>,
    /// What happens to others.
    pub unknown: UnknownAgents,
    /// By name.
    pub upstreams: HashMap<String, Reached>,
    /// After which silence a session is over.
    pub idle_timeout: Duration,
    /// After which silence the client of a stream is told to wait on; zero: never.
    pub keep_alive: Duration,
    /// How much memory the adapters of all agents may take, in bytes.
    pub adapter_memory: usize,
}

/// Somebody who can be asked.
pub struct Reached {
    /// Who answers. One that stays as it is, is the same as before.
    pub backend: Arc<Backend>,
    /// How many tokens a prompt and its answer may have together, where the configuration says so.
    pub window: Option<u32>,
}

/// What a [`Host`] is made of.
pub struct HostParts {
    /// What may change as it runs.
    pub configured: Configured,
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
}

impl Host {
    /// Puts the parts together and starts the recorder. Call within a tokio runtime.
    pub fn new(parts: HostParts) -> Self {
        let store = Arc::new(parts.store);
        let possessions = Arc::new(Possessions::new(parts.skills_dir, parts.lora_dir));
        let idle_timeout = parts.configured.idle_timeout;
        let registry = registry(parts.configured, &possessions, &parts.metrics);
        let (skills, of) = (parts.skills.clone(), possessions.clone());
        let metrics = parts.metrics.clone();
        let uses = Arc::new(Uses { store: store.clone(), skills, possessions: of, metrics });
        Host {
            registry: ArcSwap::from_pointee(registry),
            reloads: Mutex::default(),
            retired: Mutex::default(),
            held_calls: Arc::default(),
            possessions,
            sessions: Sessions::new(idle_timeout, Uuid::new_v4().as_u64_pair().0),
            engine: parts.engine,
            skills: parts.skills,
            blocks: Blocks::new(),
            recorder: Recorder::start(store.clone(), uses.clone(), parts.metrics.clone()),
            feedback: Semaphore::new(MAX_FEEDBACK),
            uses,
            store,
            metrics: parts.metrics,
            closing: CancellationToken::new(),
        }
    }
}

/// The agents, each with what is its own, and whom they may ask.
pub(crate) fn registry(configured: Configured, possessions: &Arc<Possessions>, metrics: &Metrics) -> Registry {
    possessions.adapters.limit(configured.adapter_memory);
    let upstreams = Arc::new(Upstreams::new(configured.upstreams, metrics.clone()));
    let agent = |parts| agent(parts, &upstreams, possessions);
    Registry {
        named: configured.named.into_iter().map(agent).map(|agent| (agent.id.clone(), agent)).collect(),
        default: agent(configured.default),
        unknown: configured.unknown,
        seen: RwLock::default(),
        keep_alive: configured.keep_alive,
        possessions: possessions.clone(),
        upstreams: upstreams.clone(),
    }
}

fn agent(parts: AgentParts, upstreams: &Arc<Upstreams>, possessions: &Possessions) -> Arc<Agent> {
    let target = |t: &config::Target| Target { upstream: t.upstream.as_str().into(), model: t.model.as_str().into() };
    Arc::new(Agent {
        targets: parts.config.targets.iter().map(target).collect(),
        fallbacks: parts.config.fallbacks.iter().map(target).collect(),
        upstreams: upstreams.clone(),
        values: possessions.values(&parts.id),
        experience: possessions.experience(&parts.id),
        files: possessions.files(&parts.id, &parts.config.rl.lora_output),
        adapter: possessions.adapter(&parts.id),
        id: parts.id,
        config: parts.config,
        policy: parts.policy,
    })
}
