use super::{Datum, Loss};
use crate::ModelError;

/// The largest log-probability that is taken for rounding above 0.
const ROUNDING: f32 = 1e-3;

/// What one token adds to the loss, and how the loss changes with its log-probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) loss: f64,
    pub(super) slope: f64,
    /// Whether its ratio was cut.
    pub(super) clipped: bool,
}

impl Loss {
    /// Of a token with log-probability `now`, drawn at `then`.
    pub(super) fn of(self, now: f64, then: f64, advantage: f64) -> Part {
        let ratio = (now - then).exp();
        let cut = |low: f32, high: f32| ratio.clamp(low.into(), high.into());
        match self {
            Loss::CrossEntropy => Part { loss: -advantage * now, slope: -advantage, clipped: false },
            Loss::ImportanceSampling => Part { loss: -ratio * advantage, slope: -ratio * advantage, clipped: false },
            Loss::Ppo { low, high } => {
                let (free, held) = (ratio * advantage, cut(low, high) * advantage);
                // Held back only where going on would help: the smaller of the two is the one that counts.
                let clipped = held < free;
                Part { loss: -free.min(held), slope: if clipped { 0.0 } else { -free }, clipped }
            }
            Loss::Cispo { low, high } => {
                let held = cut(low, high);
                Part { loss: -held * advantage * now, slope: -held * advantage, clipped: held != ratio }
            }
        }
    }

    pub(super) fn check(self) -> Result<(), ModelError> {
        match self {
            Loss::Ppo { low, high } | Loss::Cispo { low, high }
                if !(low >= 0.0 && high.is_finite() && low <= 1.0 && high >= 1.0) =>
            {
                Err(ModelError::Training(format!(
                    "ratios are cut to {low} and {high}, but must be from 0 to 1 and at least 1"
                )))
            }
            _ => Ok(()),
        }
    }
}

impl Datum {
    /// Tokens of the completion.
    pub(super) fn completion(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    /// Says what is wrong with it, for a model that knows `vocab` tokens and holds `context`.
    pub(super) fn check(&self, vocab: usize, context: usize) -> Result<(), String> {
        if self.prompt == 0 {
            return Err("its prompt is empty".to_owned());
        }
        if self.tokens.len() <= self.prompt {
            return Err("its completion is empty".to_owned());
        }
        if self.tokens.len() > context {
            return Err(format!("it has {} tokens, and the model holds {context}", self.tokens.len()));
        }
        if let Some(token) = self.tokens.iter().find(|token| **token as usize >= vocab) {
            return Err(format!("its token {token} is not one of the {vocab} there are"));
        }
        let completion = self.completion();
        for (what, numbers) in [("log-probabilities", &self.logprobs), ("advantages", &self.advantages)] {
            if numbers.len() != completion {
                return Err(format!("it has {} {what} for {completion} tokens", numbers.len()));
            }
            if let Some(number) = numbers.iter().find(|x| !x.is_finite()) {
                return Err(format!("one of its {what} is {number}"));
            }
        }
        match self.logprobs.iter().find(|x| **x > ROUNDING) {
            Some(logprob) => Err(format!("one of its log-probabilities is {logprob}, above 0")),
            None => Ok(()),
        }
    }
}
