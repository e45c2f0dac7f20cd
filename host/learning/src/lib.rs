//! Skills that grow out of an agent's own sessions.
//!
//! ```text
//! store: a session is due ─► a lesson begins ─► episodes ─► question ─► the agent's own model (or `rl.evolver_*`)
//!                                                                          │ add, update, merge, retire, nothing
//!           the agent's folder ◄─ apply ◄─ tryout (where asked) ◄─ checks (form, secrets, likeness, whose it is) ◄─ answer
//!           store: version, provenance, "learned from" in one transaction
//! ```
//!
//! A turn's answer never waits for any of this. What may be lost in a crash is a model's answer that was not kept yet; then it is
//! asked for again. Skill text is data, and so is everything that it is made of: nothing of a transcript reaches another agent,
//! `_shared`, or a file that a person wrote.

mod answer;
mod apply;
mod checks;
mod demotion;
mod driver;
mod episodes;
mod history;
mod lesson;
mod likeness;
mod metrics;
mod operator;
mod question;
mod screen;
mod tryout;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::AgentId;
use judge::{Pair, Preference};
use serde_json::Value;
use skills::SkillTree;
use store::Store;
use tokio::sync::Notify;

pub use driver::Driver;
pub use history::archived;
pub use metrics::Metrics;
pub use operator::OperatorError;

/// What is learned from and into, and what operators do to it. One for the whole process.
pub struct Learning {
    pub(crate) store: Arc<Store>,
    pub(crate) skills: Arc<SkillTree>,
    pub(crate) skills_dir: PathBuf,
    pub(crate) metrics: Metrics,
    /// Somebody wants a lesson tried now.
    pub(crate) asked: Notify,
    /// One change at a time of an agent's folder and versions.
    folders: Mutex<HashMap<AgentId, Arc<tokio::sync::Mutex<()>>>>,
}

/// How an agent learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether it does.
    pub enabled: bool,
    /// After how many main turns of a session that goes on; 0: only at its end.
    pub every: u64,
    /// Whether a person decides on everything that is learned.
    pub review: bool,
    /// How many learned skills it may have in use.
    pub max_skills: usize,
    /// Which proposals are tried out before they are used.
    pub verify: Verify,
    /// How many questions to models that may take in a day.
    pub verify_budget: u64,
    /// The pause before a lesson that failed is tried again; each further one is twice as long, up to an hour.
    pub retry_wait: Duration,
}

/// Which proposals are tried out, by answering turns that they came from with and without them, before they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// None.
    Off,
    /// About one in four, by their content.
    Sample,
    /// Every one.
    Always,
}

/// A turn that is answered again, by the agent's own model.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The chat request, without a model and without what steers sampling.
    pub body: Value,
    /// The skills in its prompt, as they are laid out; none: no skill.
    pub block: Option<String>,
    /// The model that answered the turn, to be asked where nothing else is said.
    pub model: String,
}

/// What a model is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// A list of chat messages.
    pub messages: Value,
    /// The JSON schema of the answer, for providers that can hold a model to it.
    pub schema: Value,
    /// The model that the turns were answered by, to be asked where nothing else is said.
    pub model: String,
}

/// What a model has answered.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its words.
    pub text: String,
    /// Which model it was.
    pub model: String,
    /// Whether it came to its end, and was not cut at some limit.
    pub whole: bool,
}

/// An answer on its way; the error is a sentence for the operator.
pub type Telling<'a> = Pin<Box<dyn Future<Output = Result<Told, String>> + Send + 'a>>;

/// What a judge prefers, on its way; the error is a sentence for the operator.
pub type Judging<'a> = Pin<Box<dyn Future<Output = Result<Preference, String>> + Send + 'a>>;

/// Who writes skills, and who is asked whether they are any good.
pub trait Evolver: Send + Sync {
    /// How this agent learns; none when there is no such agent any more.
    fn settings(&self, agent: &AgentId) -> Option<Settings>;

    /// Asks the model that writes this agent's skills.
    fn ask<'a>(&'a self, agent: &'a AgentId, question: &'a Question) -> Telling<'a>;

    /// Answers a turn once more, with the agent's own model and as little chance as it allows. No tool is called.
    fn replay<'a>(&'a self, agent: &'a AgentId, replay: &'a Replay) -> Telling<'a>;

    /// Asks whoever judges this agent's answers, in both orders. `model` answered the turn.
    fn prefer<'a>(&'a self, agent: &'a AgentId, pair: &'a Pair, model: &'a str) -> Judging<'a>;
}

impl Learning {
    /// Learning from what `store` has recorded into the skills below `skills_dir`, which `skills` follows.
    pub fn new(store: Arc<Store>, skills: Arc<SkillTree>, skills_dir: PathBuf, metrics: Metrics) -> Arc<Self> {
        Arc::new(Learning { store, skills, skills_dir, metrics, asked: Notify::new(), folders: Mutex::default() })
    }

    /// The right to change an agent's folder and versions.
    pub(crate) fn folder_of(&self, agent: &AgentId) -> Arc<tokio::sync::Mutex<()>> {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        // Agents are bounded by config; what nobody holds is forgotten all the same.
        folders.retain(|_, lock| Arc::strong_count(lock) > 1);
        folders.entry(agent.clone()).or_default().clone()
    }
}
