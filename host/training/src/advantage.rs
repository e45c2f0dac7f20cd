//! How much better or worse than expected each sample was.
//!
//! Several answers to one prompt are a group: each is measured by the group's mean. An answer that is alone is measured by what the agent
//! usually gets. All arithmetic is in f64 and in the order of the samples, so that a batch that is trained again gives the same numbers.

use std::collections::HashMap;

/// An advantage beyond this says no more than this.
const CLIP: f64 = 3.0;
/// What a negative advantage counts: pushing away has no end, pulling near has one.
const NEGATIVE: f64 = 0.5;
/// How much of the newest reward goes into what the agent usually gets.
const NEWEST: f64 = 0.05;
/// Rewards nearer to one another than this are equal.
const EQUAL: f64 = 1e-6;
/// How many tokens an answer is taken to have when a batch's sum becomes a mean: the same for all, so that neither long nor short answers
/// weigh more for their length.
const TOKENS: f64 = 32.0;

/// What is known of a sample here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rewarded<'a> {
    /// What was asked, to the token.
    pub(crate) prompt: &'a [u32],
    /// From -1 to 1.
    pub(crate) reward: f64,
    /// The policy's weight.
    pub(crate) weight: f64,
}

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shaped {
    /// For each sample, in order.
    pub(crate) advantages: Vec<f64>,
    /// What the agent usually gets, after this batch.
    pub(crate) baseline: Option<f64>,
    /// How many groups there were, of two answers at least.
    pub(crate) groups: usize,
}

/// What to train on now, of what there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Which samples, the oldest first.
    pub(crate) take: Vec<usize>,
    /// Groups in which every answer was as good as the others: nothing can be learned from them.
    pub(crate) equal: Vec<Vec<usize>>,
}

/// Measures each sample of a batch.
pub(crate) fn shape(samples: &[Rewarded<'_>], baseline: Option<f64>) -> Shaped {
    let groups = groups(samples);
    let alone: Vec<usize> = (0..samples.len()).filter(|at| groups[samples[*at].prompt].len() == 1).collect();
    let sum_alone: f64 = alone.iter().map(|at| samples[*at].reward).sum();
    let expected = |at: usize| {
        let group = &groups[samples[at].prompt];
        match (group.len(), baseline) {
            (2.., _) => group.iter().map(|other| samples[*other].reward).sum::<f64>() / group.len() as f64,
            (_, Some(baseline)) => baseline,
            // Nothing is known of the agent yet: what the others of the batch got. One that is quite alone is measured by the middle.
            (_, None) if alone.len() > 1 => (sum_alone - samples[at].reward) / (alone.len() - 1) as f64,
            (_, None) => 0.0,
        }
    };
    let advantages = (0..samples.len()).map(|at| bounded((samples[at].reward - expected(at)) * samples[at].weight));
    Shaped {
        advantages: advantages.collect(),
        baseline: usual(baseline, samples),
        groups: groups.values().filter(|group| group.len() > 1).count(),
    }
}

/// The advantage that each token of an answer gets, in a batch that is to have `size` samples.
pub(crate) fn per_token(advantage: f64, size: usize) -> f64 {
    advantage / (size.max(1) as f64 * TOKENS)
}

/// Chooses samples until there are `enough`, oldest first. A group stays together, unless it has more than twice that many.
pub(crate) fn choose(samples: &[Rewarded<'_>], enough: usize) -> Choice {
    let groups = groups(samples);
    let is_equal = |group: &[usize]| group.len() > 1 && all_equal(group.iter().map(|at| samples[*at].reward));
    let most = enough.max(1) * 2;
    let mut choice = Choice::default();
    for (at, sample) in samples.iter().enumerate() {
        let group = &groups[sample.prompt];
        if group[0] != at {
            continue;
        }
        if is_equal(group) {
            choice.equal.push(group.clone());
        } else if choice.take.len() < enough {
            choice.take.extend(group.iter().take(most - choice.take.len()));
        }
    }
    choice.take.sort_unstable();
    choice
}

/// Whether nothing can be learned from how these differ.
pub(crate) fn all_equal(rewards: impl Iterator<Item = f64> + Clone) -> bool {
    rewards.clone().fold(f64::MIN, f64::max) - rewards.fold(f64::MAX, f64::min) <= EQUAL
}

fn groups<'a>(samples: &[Rewarded<'a>]) -> HashMap<&'a [u32], Vec<usize>> {
    let mut groups: HashMap<&[u32], Vec<usize>> = HashMap::new();
    for (at, sample) in samples.iter().enumerate() {
        groups.entry(sample.prompt).or_default().push(at);
    }
    groups
}

fn bounded(advantage: f64) -> f64 {
    let clipped = advantage.clamp(-CLIP, CLIP);
    if clipped < 0.0 { clipped * NEGATIVE } else { clipped }
}

fn usual(baseline: Option<f64>, samples: &[Rewarded<'_>]) -> Option<f64> {
    if samples.is_empty() {
        return baseline;
    }
    let mean = samples.iter().map(|sample| sample.reward).sum::<f64>() / samples.len() as f64;
    let follow = |usual: f64, sample: &Rewarded<'_>| usual + NEWEST * (sample.reward - usual);
    Some(baseline.map_or(mean, |baseline| samples.iter().fold(baseline, follow)))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn of(samples: &[(u32, f64, f64)]) -> (Vec<[u32; 2]>, Vec<(f64, f64)>) {
        samples.iter().map(|(prompt, reward, weight)| ([7, *prompt], (*reward, *weight))).unzip()
    }

    fn rewarded<'a>(prompts: &'a [[u32; 2]], rest: &[(f64, f64)]) -> Vec<Rewarded<'a>> {
        let pairs = prompts.iter().zip(rest);
        pairs.map(|(prompt, (reward, weight))| Rewarded { prompt, reward: *reward, weight: *weight }).collect()
    }

    /// By the book and slowly: the definition, for each sample by itself.
    fn reference(samples: &[Rewarded<'_>], baseline: Option<f64>, at: usize) -> f64 {
        let mine = &samples[at];
        let same: Vec<f64> = samples.iter().filter(|s| s.prompt == mine.prompt).map(|s| s.reward).collect();
        let single = |s: &&Rewarded<'_>| samples.iter().filter(|o| o.prompt == s.prompt).count() == 1;
        let mut expected = same.iter().sum::<f64>() / same.len() as f64;
        if same.len() == 1 {
            let mut others: Vec<f64> = samples.iter().filter(single).map(|s| s.reward).collect();
            let mine = others.iter().position(|reward| *reward == mine.reward).unwrap();
            others.remove(mine);
            let mean = others.iter().sum::<f64>() / others.len().max(1) as f64;
            expected = baseline.unwrap_or(mean);
        }
        let advantage = (mine.weight * (mine.reward - expected)).clamp(-3.0, 3.0);
        if advantage > 0.0 { advantage } else { advantage / 2.0 }
    }

    fn batch() -> impl Strategy<Value = Vec<(u32, f64, f64)>> {
        vec((0u32..6, -1.0f64..1.0, 0.0f64..10.0), 0..20)
    }

    proptest! {
        #[test]
        fn every_advantage_is_the_definition(samples in batch(), baseline in proptest::option::of(-1.0f64..1.0)) {
            let (prompts, rest) = of(&samples);
            let samples = rewarded(&prompts, &rest);
            let shaped = shape(&samples, baseline);
            prop_assert_eq!(shaped.advantages.len(), samples.len());
            for (at, found) in shaped.advantages.iter().enumerate() {
                let wanted = reference(&samples, baseline, at);
                prop_assert!((found - wanted).abs() < 1e-12, "{} instead of {}", found, wanted);
                prop_assert!((-1.5..=3.0).contains(found));
            }
        }

        #[test]
        fn a_group_with_equal_weights_is_centred_before_negatives_are_halved(rewards in vec(-1.0f64..1.0, 2..9)) {
            let samples: Vec<_> = rewards.iter().map(|reward| (1, *reward, 1.0)).collect();
            let (prompts, rest) = of(&samples);
            let shaped = shape(&rewarded(&prompts, &rest), Some(0.9));
            let sum: f64 = shaped.advantages.iter().map(|a| if *a < 0.0 { a * 2.0 } else { *a }).sum();
            prop_assert!(sum.abs() < 1e-12);
        }

        #[test]
        fn what_an_agent_usually_gets_stays_among_its_rewards(samples in batch(), baseline in -1.0f64..1.0) {
            let (prompts, rest) = of(&samples);
            let shaped = shape(&rewarded(&prompts, &rest), Some(baseline));
            let (low, high) = rest.iter().fold((baseline, baseline), |(low, high), (r, _)| (low.min(*r), high.max(*r)));
            let usual = shaped.baseline.unwrap();
            prop_assert!(low - 1e-12 <= usual && usual <= high + 1e-12);
        }

        #[test]
        fn a_choice_tears_no_group_and_holds_what_is_oldest(samples in batch(), enough in 1usize..8) {
            let (prompts, rest) = of(&samples);
            let samples = rewarded(&prompts, &rest);
            let choice = choose(&samples, enough);
            let equal = choice.equal.concat();
            let usable = samples.len() - equal.len();
            prop_assert!(choice.take.len() >= enough.min(usable), "enough where there is enough");
            prop_assert!(choice.take.len() <= enough * 2);
            prop_assert!(choice.take.is_sorted() && choice.take.iter().all(|at| !equal.contains(at)));
            for at in &equal {
                let same: Vec<f64> = samples.iter().filter(|s| s.prompt == samples[*at].prompt).map(|s| s.reward).collect();
                prop_assert!(same.len() > 1 && same.iter().all(|r| (r - same[0]).abs() <= EQUAL));
            }
            let of_group = |at: &usize| samples.iter().filter(|s| s.prompt == samples[*at].prompt).count();
            for at in &choice.take {
                let taken = choice.take.iter().filter(|o| samples[**o].prompt == samples[*at].prompt).count();
                prop_assert!(taken == of_group(at) || choice.take.len() == enough * 2);
            }
            if let Some(oldest) = (0..samples.len()).find(|at| !equal.contains(at)) {
                prop_assert!(choice.take.contains(&oldest));
            }
        }
    }

    #[test]
    fn equal_answers_are_left_out_before_they_fill_a_batch() {
        let (prompts, rest) = of(&[(1, 1.0, 1.0), (1, 1.0, 1.0), (2, 1.0, 1.0), (3, -1.0, 1.0), (3, 1.0, 1.0)]);
        let choice = choose(&rewarded(&prompts, &rest), 2);
        assert_eq!(choice, Choice { take: vec![2, 3, 4], equal: vec![vec![0, 1]] }, "a group may overfill the batch");
    }

    #[test]
    fn the_first_batch_is_measured_by_itself_and_the_next_by_the_agent() {
        let (prompts, rest) = of(&[(1, 1.0, 1.0), (2, 0.0, 1.0), (3, -1.0, 1.0)]);
        let first = shape(&rewarded(&prompts, &rest), None);
        assert_eq!((first.advantages, first.baseline), (vec![1.5, 0.0, -0.75], Some(0.0)));
        let next = shape(&rewarded(&prompts[..1], &rest[..1]), Some(0.5));
        assert_eq!((next.advantages, next.baseline), (vec![0.5], Some(0.525)));
        let lonely = shape(&rewarded(&prompts[..1], &rest[..1]), None);
        assert_eq!(lonely.advantages, [1.0]);
    }

    #[test]
    fn length_has_no_say() {
        // The same for each token, whatever the answer's length: what a token gets depends on the batch's size alone.
        assert_eq!(per_token(1.0, 4), 1.0 / 128.0);
        assert_eq!(per_token(1.0, 0), 1.0 / 32.0);
    }
}
