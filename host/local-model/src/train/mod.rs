//! Training adapters: exact gradients of a Llama-family model's log-probabilities, losses, AdamW.
//!
//! The gradients are made by hand, on the engine's own 8-bit weights: so importance ratios start at 1, and frozen weights
//! cost no gradient and no second copy. [`Trainee::forward_backward`] is the story; [`pass`] is one way through the model
//! and back for several sequences at once, [`layer`] a layer of it.

mod adamw;
mod attention;
mod head;
mod layer;
mod linear;
mod loss;
mod parameters;
mod pass;
mod product;
#[cfg(test)]
mod tests;
mod trainee;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub(crate) use adamw::Moments;
pub(crate) use parameters::{Change, MAX_RANK, Parameters};
pub use trainee::Trainee;

/// What an adapter's matrices are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoraShape {
    /// Of each change, at least 1.
    pub rank: usize,
    /// A change counts `alpha / rank` times.
    pub alpha: f32,
    /// Which linear layers it changes, in the order of [`crate::Projection::ALL`].
    pub projections: [bool; 7],
}

/// An example: a prompt and what was drawn after it.
#[derive(Clone, Debug)]
pub struct Datum {
    /// The prompt's tokens, then the completion's.
    pub tokens: Arc<[u32]>,
    /// How many of them are the prompt's.
    pub prompt: usize,
    /// Of each token of the completion, its log-probability when it was drawn: temperature 1, nothing cut off.
    pub logprobs: Vec<f32>,
    /// Of each token of the completion, how much better than expected it was. For [`Loss::CrossEntropy`], its weight.
    pub advantages: Vec<f32>,
}

/// What is made small. All are sums over tokens: whoever wants a mean divides the advantages.
///
/// With π the probability now, ρ its ratio to that when the token was drawn, and A the advantage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// `-A log π`
    CrossEntropy,
    /// `-ρ A`
    ImportanceSampling,
    /// `-min(ρ A, clip(ρ, low, high) A)`
    Ppo {
        /// The least ratio, such as 0.8.
        low: f32,
        /// The largest, such as 1.2.
        high: f32,
    },
    /// `-clip(ρ, low, high) A log π`, the ratio taken as given.
    Cispo {
        /// The least ratio, such as 0.8.
        low: f32,
        /// The largest, such as 1.2.
        high: f32,
    },
}

/// The settings of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// How far a step goes.
    pub learning_rate: f32,
    /// How long gradients are remembered.
    pub beta1: f32,
    /// How long their squares are.
    pub beta2: f32,
    /// Keeps small gradients from being divided by nothing.
    pub eps: f32,
    /// Share of a parameter that a step at learning rate 1 takes away.
    pub weight_decay: f32,
    /// The largest norm of all gradients together; larger ones are shortened to it. 0: never.
    pub clip_norm: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW { learning_rate: 3e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, clip_norm: 1.0 }
    }
}

/// What [`Trainee::forward_backward`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The loss, summed over all tokens.
    pub loss: f64,
    /// Of each datum, the log-probability of each token of its completion, before this step.
    pub logprobs: Vec<Vec<f32>>,
    /// Share of the completions' tokens whose ratio was cut.
    pub clipped: f64,
    /// Estimated Kullback-Leibler divergence from the model now to the one that drew the tokens, in nats per token
    /// (mean of `ρ - 1 - log ρ`).
    pub drift: f64,
    /// Tokens of the completions.
    pub tokens: u64,
}

/// What [`Trainee::optim_step`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optim {
    /// The norm of all gradients together, before it was shortened.
    pub grad_norm: f64,
    /// Whether it was.
    pub clipped: bool,
    /// The norm of what was added to the parameters.
    pub update_norm: f64,
    /// The norm of the parameters after that.
    pub parameter_norm: f64,
}

/// Stops training from another thread, and shows how far it is.
#[derive(Debug, Default)]
pub struct Watch {
    stop: AtomicBool,
    done: AtomicU64,
    total: AtomicU64,
}

impl Watch {
    /// Nothing done, nothing to stop.
    pub fn new() -> Self {
        Watch::default()
    }

    /// Ends the batch under way, before its next layer.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether it was told to stop.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// How many tokens of the batch are through, and how many there are.
    pub fn progress(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    fn begin(&self, total: usize) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total as u64, Ordering::Relaxed);
    }

    fn done(&self, tokens: usize) {
        self.done.store(tokens as u64, Ordering::Relaxed);
    }
}
