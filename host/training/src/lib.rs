//! From samples to adapters: each agent in a lane of its own.
//!
//! ```text
//! captured ─► scoring (feedback, the policy's reward, else the judge) ─► scored ─► checks ─► eligible | held-out | rejected
//! eligible ─► choice (groups whole, equal ones left out) ─► claim ─► open the parent ─► forward_backward ─► optim_step ─► save
//!          ─► gate (finite, drift, answers, judged pairs) ─► commit: samples consumed, adapter live, shadow or rejected ─► serve
//! serve    ─► watch: worse than its parent? ─► rollback
//! ```
//!
//! Each arrow that matters is one transaction of the store. A step that does not come to its commit, whatever the reason, has changed
//! nothing: its batch is trained on again, from the parent's checkpoint, by a handle that nobody has used, with the same numbers.
//! Answers never wait for any of this.

mod advantage;
mod backend;
mod batch;
mod candidates;
mod checks;
mod claiming;
mod driver;
mod embedded;
mod exchange;
mod files;
mod gate;
mod lane;
mod metrics;
mod operator;
mod scoring;
mod serving;
mod settings;
mod statistics;
mod step;
mod vigil;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use domain::{AgentId, TurnId};
use store::Store;
use tokio::sync::Notify;

pub use backend::{
    Backend, BackendError, Batch, Facts, Files, Handle, Normalisation, Opening, Passed, Played, Player, Prompt,
    Stepped, Trainer, Version, Work,
};
pub use driver::Driver;
pub use embedded::{Embedded, Served, Serving};
pub use metrics::Metrics;
pub use operator::OperatorError;
pub use settings::{Gate, Mode, Settings, Staleness};

use lane::Lane;

/// What agents are trained with, and what operators do to it. One for the whole process.
pub struct Training {
    pub(crate) store: Arc<Store>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) metrics: Metrics,
    /// Somebody wants the driver to look.
    pub(crate) asked: Notify,
    lanes: Mutex<HashMap<AgentId, Arc<Lane>>>,
}

/// The host, as training sees it.
pub trait Host: Send + Sync {
    /// The agents that are to be trained, as far as they are named: status shows these whatever there is of them.
    fn agents(&self) -> Vec<AgentId>;

    /// How this agent is trained; none when there is no such agent any more.
    fn settings(&self, agent: &AgentId) -> Option<Settings>;

    /// Who trains this agent and answers for it; none when its upstream does not.
    fn backend(&self, agent: &AgentId) -> Option<Backend>;

    /// The version of the agent's skills.
    fn skill_generation(&self, agent: &AgentId) -> Option<u64>;

    /// Who judges this agent's answers, if anybody does.
    fn judge(&self, agent: &AgentId) -> Option<Arc<dyn judge::Ask>>;

    /// Hears how good the judge found a turn: skills that had a part in it are credited or blamed.
    fn note_outcome<'a>(&'a self, agent: &'a AgentId, turn: TurnId, reward: f32) -> Noting<'a>;
}

/// Something is being noted; what fails is the host's to say.
pub type Noting<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

impl Training {
    /// Training from what `store` holds, for the agents of `host`.
    pub fn new(store: Arc<Store>, metrics: Metrics, host: Arc<dyn Host>) -> Arc<Self> {
        Arc::new(Training { store, host, metrics, asked: Notify::new(), lanes: Mutex::default() })
    }

    /// Has the driver look at once: settings may have changed.
    pub fn refresh(&self) {
        self.asked.notify_one();
    }

    /// What is remembered of this agent.
    pub(crate) fn lane(&self, agent: &AgentId) -> Arc<Lane> {
        // Agents are bounded by config.
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.entry(agent.clone()).or_default().clone()
    }
}
