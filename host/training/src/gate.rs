//! Whether an adapter may serve. What was seen is kept with it, whatever comes of it.

mod trial;

use serde::{Deserialize, Serialize};

use crate::backend::Stepped;
use crate::settings::Gate;
use crate::statistics::sign_test;

pub(crate) use trial::{Stored, Trial, answer};

/// Below this chance a difference is none of chance.
const SURE: f64 = 0.05;
/// The longest step, as a share of what the parameters are after it.
const MAX_GROWTH: f64 = 0.5;
/// How many times as long, or as short, answers may become.
const LENGTH_BAND: f64 = 4.0;

/// What was seen of an adapter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Evidence {
    /// How the parameters went.
    pub(crate) update_norm: f64,
    pub(crate) parameter_norm: f64,
    pub(crate) gradient_norm: f64,
    /// Nats a token away from the parent, and on how many tokens that was measured.
    pub(crate) drift: Option<f64>,
    pub(crate) drift_tokens: usize,
    /// How both answer.
    pub(crate) answers: Answers,
    /// Which answers the judge preferred: the new ones, the parent's, neither; and how often it failed.
    pub(crate) judged: Pairs,
    /// On answers to prompts that were kept out of training: for how many the new one is on the right side of the parent.
    pub(crate) held_out: Pairs,
}

/// How the new adapter and its parent answer the same prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Answers {
    pub(crate) asked: usize,
    pub(crate) empty: usize,
    pub(crate) parent_empty: usize,
    /// Which do not come to an end.
    pub(crate) endless: usize,
    pub(crate) parent_endless: usize,
    /// In tokens, all together.
    pub(crate) length: usize,
    pub(crate) parent_length: usize,
}

/// Comparisons in pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Pairs {
    pub(crate) better: u64,
    pub(crate) worse: u64,
    pub(crate) equal: u64,
    pub(crate) failed: u64,
}

impl Pairs {
    /// How likely so many are worse by chance.
    fn chance(&self) -> f64 {
        sign_test(self.better, self.worse)
    }
}

/// Whether a step's numbers are numbers, and its size that of a step. What is not so is not even tried.
pub(crate) fn sound(stepped: &Stepped) -> Result<(), String> {
    let Stepped { gradient_norm, update_norm, parameter_norm } = *stepped;
    if ![gradient_norm, update_norm, parameter_norm].iter().all(|norm| norm.is_finite()) {
        return Err(format!("its numbers are not finite (gradient {gradient_norm}, parameters {parameter_norm})"));
    }
    if update_norm > MAX_GROWTH * parameter_norm {
        return Err(format!("one step of {update_norm:.3} is too much for parameters of {parameter_norm:.3}"));
    }
    Ok(())
}

impl Evidence {
    /// Whether the adapter may serve; the error says why not.
    pub(crate) fn verdict(&self, limits: &Gate) -> Result<(), String> {
        if let Some(drift) = self.drift.filter(|drift| drift.is_nan() || *drift > limits.max_drift) {
            return Err(format!("it drifts {drift:.3} nats a token from its parent, more than {}", limits.max_drift));
        }
        self.answers.verdict()?;
        let better = "worse than its parent";
        for (what, pairs) in [("by the judge", &self.judged), ("on prompts kept out of training", &self.held_out)] {
            let chance = pairs.chance();
            if chance < SURE {
                return Err(format!(
                    "{better} {what}: {} times worse, {} times better (chance {chance:.3})",
                    pairs.worse, pairs.better
                ));
            }
        }
        Ok(())
    }
}

impl Answers {
    fn verdict(&self) -> Result<(), String> {
        // Most of them: a few are chance, for what is sampled differs.
        let more = |new: usize, old: usize| new > old && (new - old) * 2 > self.asked;
        let Answers { asked, empty, parent_empty, endless, parent_endless, length, parent_length } = *self;
        if more(empty, parent_empty) {
            return Err(format!("{empty} of {asked} answers are empty, {parent_empty} of its parent's"));
        }
        if more(endless, parent_endless) {
            return Err(format!("{endless} of {asked} answers do not end, {parent_endless} of its parent's"));
        }
        // A few tokens more or less are no change of habit.
        let ratio = (length + 4 * asked) as f64 / (parent_length + 4 * asked) as f64;
        if asked > 0 && !(1.0 / LENGTH_BAND..=LENGTH_BAND).contains(&ratio) {
            return Err(format!("its answers have {length} tokens where its parent's have {parent_length}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Evidence);

    fn evidence() -> Evidence {
        let answers = Answers { asked: 4, length: 80, parent_length: 80, ..Answers::default() };
        let judged = Pairs { better: 3, worse: 3, equal: 2, failed: 0 };
        Evidence { drift: Some(0.05), drift_tokens: 100, answers, judged, held_out: judged, ..Evidence::default() }
    }

    fn verdict(change: impl Fn(&mut Evidence)) -> Result<(), String> {
        let mut evidence = evidence();
        change(&mut evidence);
        evidence.verdict(&Gate::default())
    }

    #[test]
    fn what_is_no_worse_passes() {
        assert_eq!(verdict(|_| {}), Ok(()));
        assert_eq!(Evidence::default().verdict(&Gate::default()), Ok(()), "where there is nothing to compare with");
        assert_eq!(verdict(|e| e.judged = Pairs { better: 9, ..Pairs::default() }), Ok(()));
        assert_eq!(
            verdict(|e| e.judged = Pairs { worse: 4, ..Pairs::default() }),
            Ok(()),
            "four of four may be chance"
        );
        assert_eq!(verdict(|e| e.answers.empty = 2), Ok(()), "half may be chance");
        assert_eq!(verdict(|e| (e.answers.empty, e.answers.parent_empty) = (4, 3)), Ok(()));
        assert_eq!(verdict(|e| (e.answers.length, e.answers.parent_length) = (14, 3)), Ok(()), "few tokens");
    }

    #[test]
    fn what_is_worse_is_refused_and_the_reason_said() {
        let cases: [(&str, Change); 8] = [
            ("drifts 0.501 nats", |e| e.drift = Some(0.5009)),
            ("drifts NaN", |e| e.drift = Some(f64::NAN)),
            ("3 of 4 answers are empty", |e| e.answers.empty = 3),
            ("4 of 4 answers do not end", |e| (e.answers.endless, e.answers.parent_endless) = (4, 1)),
            ("have 400 tokens where", |e| e.answers.length = 400),
            ("have 2 tokens where", |e| e.answers.length = 2),
            ("by the judge: 5 times worse", |e| e.judged = Pairs { worse: 5, ..Pairs::default() }),
            ("kept out of training: 9 times worse", |e| (e.held_out.worse, e.held_out.better) = (9, 2)),
        ];
        for (says, change) in cases {
            let reason = verdict(change).unwrap_err();
            assert!(reason.contains(says), "{reason}");
        }
    }

    #[test]
    fn a_step_without_measure_is_not_tried() {
        let fine = Stepped { gradient_norm: 3.0, update_norm: 0.1, parameter_norm: 20.0 };
        assert_eq!(sound(&fine), Ok(()));
        assert!(sound(&Stepped { update_norm: 11.0, ..fine }).unwrap_err().contains("one step of 11.000"));
        for broken in [f64::NAN, f64::INFINITY] {
            assert!(sound(&Stepped { gradient_norm: broken, ..fine }).is_err());
            assert!(sound(&Stepped { parameter_norm: broken, ..fine }).is_err());
        }
    }
}
