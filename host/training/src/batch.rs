//! From stored samples to what a trainer is given.

use std::sync::Arc;

use domain::TokenTrace;
use local_model::Datum;
use store::StoredSample;

use crate::advantage::{Rewarded, Shaped, per_token, shape};
use crate::backend::Normalisation;
use crate::candidates::Candidate;

/// A sample that has both tokens and a score.
pub(crate) type Known<'a> = (&'a StoredSample, &'a TokenTrace, Rewarded<'a>);

/// Samples with their rewards; those that lack tokens or a score are left out.
pub(crate) fn rewarded(samples: &[StoredSample]) -> Vec<Known<'_>> {
    samples.iter().filter_map(known).collect()
}

fn known(stored: &StoredSample) -> Option<Known<'_>> {
    let (tokens, score) = (stored.sample.tokens.as_ref()?, stored.score.as_ref()?);
    let (reward, weight) = (f64::from(score.reward), f64::from(stored.sample.weight));
    Some((stored, tokens, Rewarded { prompt: &tokens.prompt, reward, weight }))
}

/// What a batch is to teach.
pub(crate) struct Lecture {
    /// Of the samples in their order, then of what was drawn beside them.
    pub(crate) data: Arc<[Datum]>,
    pub(crate) shaped: Shaped,
    /// Of prompts and answers.
    pub(crate) tokens: u64,
    pub(crate) mean_reward: f64,
    /// Which share of the rewards is above zero.
    pub(crate) success_rate: f64,
}

/// Makes it of a batch's samples, and of what was drawn beside them; `size` is how many samples a batch is to have, whatever this one
/// has.
pub(crate) fn lecture(
    samples: &[StoredSample],
    drawn: &[Candidate],
    baseline: Option<f64>,
    size: usize,
    normalisation: Normalisation,
) -> Lecture {
    let known = rewarded(samples);
    let rewards: Vec<Rewarded<'_>> = known.iter().map(|(_, _, rewarded)| *rewarded).collect();
    let mut shaped = shape(&rewards, baseline);
    // Groups of their own, though a sample may have their prompt; and nothing that the agent usually gets.
    let beside = drawn.iter().map(|one| Rewarded { prompt: &one.trace.prompt, reward: one.reward, weight: 1.0 });
    let beside = shape(&beside.collect::<Vec<_>>(), None);
    shaped.groups += beside.groups;
    let traces = known.iter().map(|(_, trace, _)| *trace).chain(drawn.iter().map(|one| &one.trace));
    let advantages = shaped.advantages.iter().chain(&beside.advantages);
    let count = known.len() + drawn.len();
    let datum = |(trace, advantage): (&TokenTrace, &f64)| {
        let length = trace.completion.len();
        let undone = match normalisation {
            Normalisation::Sum => 1.0,
            // It will divide by both.
            Normalisation::MeanOfMeans => (length * count) as f64,
        };
        let each = per_token(*advantage, size + drawn.len()) * undone;
        Datum {
            tokens: trace.prompt.iter().chain(&trace.completion).copied().collect(),
            prompt: trace.prompt.len(),
            logprobs: trace.logprobs.clone(),
            #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
            advantages: vec![each as f32; length],
        }
    };
    let data: Arc<[Datum]> = traces.zip(advantages).map(datum).collect();
    let tokens = data.iter().map(|datum| datum.tokens.len() as u64).sum();
    let mean_reward = rewards.iter().map(|one| one.reward).sum::<f64>() / known.len().max(1) as f64;
    let good = rewards.iter().filter(|one| one.reward > 0.0).count();
    Lecture { data, shaped, tokens, mean_reward, success_rate: good as f64 / known.len().max(1) as f64 }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use domain::{AgentId, Digest, RewardSource, Sample, SampleState, Score, TurnId};
    use uuid::Uuid;

    use super::*;

    fn stored(prompt: u32, length: u32, reward: f32, weight: f32) -> StoredSample {
        let tokens = TokenTrace {
            prompt: vec![7, prompt].into(),
            completion: (0..length).collect(),
            logprobs: vec![-1.0; length as usize],
            ..TokenTrace::default()
        };
        StoredSample {
            sample: Sample {
                turn: TurnId(Uuid::now_v7()),
                agent: AgentId::Default,
                session: "s".parse().unwrap(),
                policy: Digest::of(b""),
                skill_generation: 0,
                adapter: 0,
                weight,
                reward: None,
                tokens: Some(tokens),
            },
            state: SampleState::Claimed,
            reason: None,
            captured: SystemTime::now(),
            score: Some(Score::said(reward, RewardSource::Policy)),
            prompt_key: None,
            batch: None,
        }
    }

    #[test]
    fn each_token_of_an_answer_gets_the_same_whatever_its_length() {
        let samples = [stored(1, 3, 1.0, 1.0), stored(1, 30, -1.0, 1.0), stored(2, 4, 0.5, 2.0)];
        let lecture = lecture(&samples, &[], Some(0.0), 4, Normalisation::Sum);
        let each: Vec<f32> = lecture.data.iter().map(|datum| datum.advantages[0]).collect();
        assert_eq!(each, [1.0 / 128.0, -0.5 / 128.0, 1.0 / 128.0]);
        for (datum, length) in lecture.data.iter().zip([3, 30, 4]) {
            assert_eq!((datum.prompt, datum.tokens.len(), datum.logprobs.len()), (2, 2 + length, length));
            assert!(datum.advantages.iter().all(|a| *a == datum.advantages[0]) && datum.advantages.len() == length);
        }
        assert_eq!((lecture.tokens, lecture.shaped.groups), (43, 1));
        assert!((lecture.mean_reward - 0.5 / 3.0).abs() < 1e-9 && (lecture.success_rate - 2.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_backend_that_takes_means_gets_what_makes_the_same_sum() {
        let samples = [stored(1, 3, 1.0, 1.0), stored(2, 30, -1.0, 1.0)];
        let sums = lecture(&samples, &[], Some(0.0), 2, Normalisation::Sum);
        let means = lecture(&samples, &[], Some(0.0), 2, Normalisation::MeanOfMeans);
        // Any numbers in the place of the tokens' gradients.
        let gradient = |at: usize| (at as f64 * 0.7).sin();
        let of = |datum: &Datum| {
            datum.advantages.iter().enumerate().map(|(at, a)| f64::from(*a) * gradient(at)).sum::<f64>()
        };
        let sum: f64 = sums.data.iter().map(of).sum();
        let mean = means.data.iter().map(|datum| of(datum) / datum.advantages.len() as f64).sum::<f64>() / 2.0;
        assert!((sum - mean).abs() < 1e-6, "{mean} instead of {sum}");
    }

    #[test]
    fn what_has_no_tokens_or_no_score_is_left_out() {
        let mut samples = [stored(1, 3, 1.0, 1.0), stored(2, 3, 1.0, 1.0), stored(3, 3, 1.0, 1.0)];
        samples[0].score = None;
        samples[1].sample.tokens = None;
        assert_eq!(lecture(&samples, &[], None, 2, Normalisation::Sum).data.len(), 1);
    }
}
