use std::path::PathBuf;
use std::time::Duration;

use adapters::Checkpoint;
use local_model::{AdamW, LoraShape, Loss};

/// How an agent trains.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Whether, and when.
    pub mode: Mode,
    /// Why it cannot be trained, whatever its mode is: its upstream gives no tokens, say. For the operator.
    pub refused: Option<String>,
    /// How many samples make a batch.
    pub batch_size: usize,
    /// What a new adapter is like. One that exists keeps its own.
    pub shape: LoraShape,
    /// What is minimised.
    pub loss: Loss,
    /// How the parameters follow the gradient; its learning rate is the one after the warm-up.
    pub adam: AdamW,
    /// Over so many first steps the learning rate grows to its full size.
    pub warmup_steps: u64,
    /// Longer samples, prompt and answer together, are not trained on.
    pub max_tokens: usize,
    /// Which samples are too old.
    pub staleness: Staleness,
    /// How often the judge is asked about a sample; 0: it is not.
    pub votes: u32,
    /// How many further answers are drawn to each prompt that a batch has one answer to, for the judge to grade; 0: none.
    pub candidates: usize,
    /// The pause before an adapter that could not be loaded is loaded again, and before a sample whose judging failed is judged again;
    /// each further one of these is twice as long, up to an hour.
    pub retry_wait: Duration,
    /// What an adapter must do before it serves.
    pub gate: Gate,
    /// Whether a person decides which adapter serves.
    pub review: bool,
    /// How many adapters that serve no more are kept.
    pub keep: usize,
    /// Where this agent's adapters are, and no other's.
    pub folder: PathBuf,
    /// What to begin with, where no adapter serves yet.
    pub resume: Option<Checkpoint>,
    /// What everything random follows from.
    pub seed: u64,
    /// How many threads compute; at least 1.
    pub threads: usize,
}

/// Whether an agent is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No.
    Off,
    /// Samples are collected and scored; a step happens when an operator wants it.
    WhenTold,
    /// As soon as there is a batch.
    Ready,
}

/// Which samples are too old to be trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// Captured longer ago than this.
    pub age: Duration,
    /// Answered by an adapter more than so many generations ago.
    pub adapters: u64,
    /// Answered before the agent's skills were changed.
    pub skills: bool,
}

/// What an adapter must do before it serves, and while it does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// How far from its parent it may be, in nats a token, on what was asked before.
    pub max_drift: f64,
    /// How many prompts are answered by both and compared; 0: none.
    pub prompts: usize,
    /// Whether the judge says which of two answers is better.
    pub judge: bool,
    /// Of how many prompts one is kept out of training, for the comparison; 0: none.
    pub held_out: u64,
    /// After how many samples it is asked whether the agent has got worse; 0: never.
    pub watch: u64,
}

impl Settings {
    /// The learning rate of an adapter's `step`th step, the first being 0.
    pub(crate) fn adam_at(&self, step: u64) -> AdamW {
        let share = (step + 1) as f32 / (self.warmup_steps + 1) as f32;
        AdamW { learning_rate: self.adam.learning_rate * share.min(1.0), ..self.adam }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Gate { max_drift: 0.5, prompts: 4, judge: false, held_out: 8, watch: 8 }
    }
}

impl Default for Staleness {
    fn default() -> Self {
        Staleness { age: Duration::from_secs(14 * 24 * 3600), adapters: 4, skills: false }
    }
}
