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

#[cfg(test)]
mod tests {
    use super::*;

    const LOSSES: [Loss; 4] = [
        Loss::CrossEntropy,
        Loss::ImportanceSampling,
        Loss::Ppo { low: 0.8, high: 1.2 },
        Loss::Cispo { low: 0.8, high: 1.2 },
    ];

    #[test]
    fn each_loss_is_its_formula_and_each_slope_its_difference() {
        for loss in LOSSES {
            for i in 0..2_000 {
                let (now, then) = (-6.0 * f64::from(i % 47) / 47.0, -6.0 * f64::from(i % 53) / 53.0);
                let advantage = f64::from(i % 31) / 10.0 - 1.5;
                let (low, high) = (f64::from(0.8f32), f64::from(1.2f32));
                let formula = |now: f64| {
                    let ratio = (now - then).exp();
                    let cut = ratio.max(low).min(high);
                    match loss {
                        Loss::CrossEntropy => -advantage * now,
                        Loss::ImportanceSampling => -ratio * advantage,
                        Loss::Ppo { .. } => -(ratio * advantage).min(cut * advantage),
                        Loss::Cispo { .. } => -cut * advantage * now,
                    }
                };
                let part = loss.of(now, then, advantage);
                assert!((part.loss - formula(now)).abs() < 1e-12, "{loss:?} {now} {then} {advantage}: {part:?}");
                let ratio = (now - then).exp();
                if [low, high].iter().any(|edge| (ratio - edge).abs() < 1e-4) {
                    continue;
                }
                let slope = match loss {
                    // The ratio is taken as given.
                    Loss::Cispo { .. } => -ratio.max(low).min(high) * advantage,
                    _ => (formula(now + 1e-6) - formula(now - 1e-6)) / 2e-6,
                };
                assert!((part.slope - slope).abs() < 1e-6 * slope.abs().max(1.0), "{loss:?}: {part:?}, not {slope}");
            }
        }
    }

    #[test]
    fn cutting_begins_at_the_thresholds_and_on_the_side_that_hurts() {
        let (ppo, cispo) = (LOSSES[2], LOSSES[3]);
        let at = |loss: Loss, ratio: f64, advantage: f64| {
            let part = loss.of(ratio.ln() - 1.0, -1.0, advantage);
            (part.clipped, part.slope == 0.0)
        };
        // PPO holds back only who has gone far enough in the praised direction, and then altogether.
        for (ratio, advantage, want) in [
            (1.1999, 1.0, false),
            (1.2001, 1.0, true),
            (0.7999, 1.0, false),
            (0.8001, -1.0, false),
            (0.7999, -1.0, true),
            (1.2001, -1.0, false),
        ] {
            assert_eq!(at(ppo, ratio, advantage), (want, want), "{ratio} {advantage}");
        }
        // CISPO cuts on both sides, and always goes on.
        for (ratio, want) in [(0.7999, true), (0.8001, false), (1.1999, false), (1.2001, true)] {
            for advantage in [1.0, -1.0] {
                assert_eq!(at(cispo, ratio, advantage), (want, false), "{ratio} {advantage}");
            }
        }
    }
}
