//! Who trains and who plays. Both answer later, for they may be far away; both are told everything by value, for a training handle whose
//! outcome is unknown is never used again, and an adapter's name never means another adapter.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use domain::{AgentId, Digest, TokenTrace};
use local_model::{AdamW, Datum, LoraShape, Loss, Watch};

/// Something that is done elsewhere. Dropping it gives it up.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// The files of a checkpoint, by name: what a backend needs to go on from it.
pub type Files = Arc<[(String, Vec<u8>)]>;

/// Why a backend did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BackendError {
    /// It has failed; a sentence for the operator.
    #[error("{0}")]
    Failed(String),
    /// It has no room just now.
    #[error("the model is busy")]
    Busy,
    /// The host is shutting down, or nobody wants it any more.
    #[error("it was given up")]
    Stopped,
}

/// An agent's backend.
#[derive(Clone)]
pub struct Backend {
    /// Who trains.
    pub trainer: Arc<dyn Trainer>,
    /// Who answers, with the adapters that come of it.
    pub player: Arc<dyn Player>,
}

/// What a backend is.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The base model's name.
    pub base_name: String,
    /// The base model's digest: adapters of another one do not fit.
    pub base: Digest,
    /// How many tokens there are.
    pub vocab: usize,
    /// How many a prompt and its answer may have together.
    pub context: usize,
    /// What it makes of a batch's sum.
    pub normalisation: Normalisation,
}

/// What a backend does with the losses of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalisation {
    /// It adds them up.
    Sum,
    /// Each sample's is the mean over its answer, and a batch's the mean over samples.
    MeanOfMeans,
}

/// Trains adapters.
pub trait Trainer: Send + Sync {
    /// What it is.
    fn facts(&self) -> Facts;

    /// Opens a handle on a checkpoint, with its optimiser; or on a fresh adapter.
    fn open(&self, from: Opening) -> Work<'_, Box<dyn Handle>>;
}

/// Where a handle begins.
#[derive(Clone, Debug)]
pub enum Opening {
    /// An adapter that changes nothing yet.
    Fresh {
        /// What it is like.
        shape: LoraShape,
        /// What its random numbers follow from.
        seed: u64,
    },
    /// What was saved.
    Checkpoint(Files),
}

/// An adapter in training. It is used for one step, and dropped when anything in it fails.
pub trait Handle: Send {
    /// How many steps were taken, all in all.
    fn steps(&self) -> u64;

    /// Adds the gradient of a batch.
    fn forward_backward(&mut self, work: Batch, watch: Arc<Watch>) -> Work<'_, Passed>;

    /// Takes a step along the gradient.
    fn optim_step(&mut self, adam: AdamW) -> Work<'_, Stepped>;

    /// The checkpoint as it is now.
    fn save(&mut self) -> Work<'_, Files>;
}

/// What is trained on.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The samples, advantages and all.
    pub data: Arc<[Datum]>,
    /// What is minimised.
    pub loss: Loss,
    /// How many threads may compute.
    pub threads: usize,
}

/// What a pass over a batch says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Passed {
    /// The loss, as this backend adds it up.
    pub loss: f64,
    /// How far the learner is from what sampled, in nats a token.
    pub drift: f64,
    /// Which share of the tokens met the loss's thresholds.
    pub clipped: f64,
    /// How many tokens were worked on.
    pub tokens: u64,
}

/// What a step says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stepped {
    /// Before it was clipped.
    pub gradient_norm: f64,
    /// How far the parameters went.
    pub update_norm: f64,
    /// How large they are now.
    pub parameter_norm: f64,
}

/// An adapter, by a name that never means another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// Whose.
    pub agent: AgentId,
    /// Which one of the agent's.
    pub generation: u64,
    /// The name of its folder, which its batch is part of.
    pub folder: String,
    /// What its files are, together.
    pub digest: Digest,
}

/// What is to be answered.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// The conversation, as tokens.
    pub tokens: Arc<[u32]>,
    /// The most tokens of an answer.
    pub max_tokens: usize,
    /// The same seed gives the same answer.
    pub seed: u64,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Played {
    /// The tokens, as sampled at temperature 1.
    pub trace: TokenTrace,
    /// In words.
    pub text: String,
    /// Whether it came to an end by itself.
    pub ended: bool,
}

/// Answers with adapters, or, where there is none, with the base model.
pub trait Player: Send + Sync {
    /// Makes a version known under its name, until it is unloaded as often as it was loaded. Nobody is served by it yet.
    fn load<'a>(&'a self, version: &'a Version, files: Files) -> Work<'a, ()>;

    /// Takes one load back. Who is being answered by the version is answered to the end.
    fn unload<'a>(&'a self, version: &'a Version) -> Work<'a, ()>;

    /// Answers a prompt with a version that was loaded.
    fn sample<'a>(&'a self, version: Option<&'a Version>, prompt: Prompt) -> Work<'a, Played>;

    /// Whether nobody is being answered just now.
    fn is_idle(&self) -> bool;

    /// The log-probability of each token from `from` on.
    fn score<'a>(&'a self, version: Option<&'a Version>, tokens: Arc<[u32]>, from: usize) -> Work<'a, Vec<f32>>;

    /// From now on the agent's turns are answered with this version, and one load of it is taken back: what serves needs no name, and is
    /// forgotten by itself when something else serves. Turns under way are not touched.
    fn serve<'a>(&'a self, agent: &'a AgentId, version: Option<&'a Version>) -> Work<'a, ()>;
}
