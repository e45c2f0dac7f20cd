use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use domain::SampledWith;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::ModelError;
use crate::math::{exp, log_sum_exp, narrow};

/// The most stop texts a request may have, and the longest one in bytes.
const MAX_STOPS: usize = 16;
const MAX_STOP_LEN: usize = 1024;
/// How many candidates are sorted at first when only the likeliest are wanted.
const FIRST_SORTED: usize = 64;

/// How an answer is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 always takes the likeliest token; 1 is the model's own distribution; at most 5.
    pub temperature: f32,
    /// Only the likeliest tokens that together have this share (0 to 1, 0 excluded) are drawn from.
    pub top_p: f32,
    /// Only so many of the likeliest tokens are drawn from; 0 means all.
    pub top_k: usize,
    /// The same seed, prompt and settings give the same answer. Without one, each answer differs.
    pub seed: Option<u64>,
    /// The most tokens to answer with; what the context holds if none is given or it is more.
    pub max_tokens: Option<usize>,
    /// Texts at which the answer ends. They are not part of it.
    pub stop: Vec<String>,
    /// Taken from the logit of each token that the answer already has, -2 to 2.
    pub presence_penalty: f32,
    /// As above, once for each time the answer has it, -2 to 2.
    pub frequency_penalty: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            seed: None,
            max_tokens: None,
            stop: Vec::new(),
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
        }
    }
}

impl Sampling {
    /// As a sample's record says it.
    pub(crate) fn sampled_with(&self) -> SampledWith {
        SampledWith {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: u32::try_from(self.top_k).unwrap_or(u32::MAX),
            penalized: self.presence_penalty != 0.0 || self.frequency_penalty != 0.0,
            base: None,
        }
    }

    /// The likeliest token, always.
    pub fn greedy() -> Self {
        Sampling { temperature: 0.0, ..Sampling::default() }
    }

    /// Refuses settings that are out of range.
    pub(crate) fn check(&self) -> Result<(), ModelError> {
        let check = |name, value: f64, fits: bool, range| match fits {
            true => Ok(()),
            false => Err(ModelError::Sampling { name, value, range }),
        };
        let within = |value: f32, limit: f32| (-limit..=limit).contains(&value);
        let (temperature, top_p) = (self.temperature, self.top_p);
        check("temperature", temperature.into(), (0.0..=5.0).contains(&temperature), "from 0 to 5")?;
        check("top_p", top_p.into(), top_p > 0.0 && top_p <= 1.0, "above 0 and at most 1")?;
        check("presence_penalty", self.presence_penalty.into(), within(self.presence_penalty, 2.0), "from -2 to 2")?;
        check("frequency_penalty", self.frequency_penalty.into(), within(self.frequency_penalty, 2.0), "from -2 to 2")?;
        check("max_tokens", 0.0, self.max_tokens != Some(0), "at least 1")?;
        check("stop", self.stop.len() as f64, self.stop.len() <= MAX_STOPS, "at most 16 texts")?;
        let length = self.stop.iter().map(String::len).find(|len| *len == 0 || *len > MAX_STOP_LEN);
        check("a stop text's length", length.unwrap_or(1) as f64, length.is_none(), "from 1 to 1024 bytes")
    }
}

/// Draws the tokens of one answer.
pub(crate) struct Sampler {
    settings: Sampling,
    random: ChaCha8Rng,
    /// How often the answer has each token; kept only for the penalties.
    counts: HashMap<u32, u16>,
}

impl Sampler {
    pub(crate) fn new(settings: Sampling) -> Self {
        // A fresh hasher's keys are random: as good a seed as any for an answer that need not be repeated.
        let seed = settings.seed.unwrap_or_else(|| RandomState::new().hash_one(()));
        Sampler { settings, random: ChaCha8Rng::seed_from_u64(seed), counts: HashMap::new() }
    }

    /// A token, and its log-probability under the untouched distribution: temperature 1, nothing cut off, no penalties.
    pub(crate) fn next(&mut self, logits: &mut [f32]) -> (u32, f32) {
        let sum = log_sum_exp(logits);
        let penalised = self.penalise(logits);
        let token = if self.settings.temperature == 0.0 { likeliest(logits) } else { self.draw(logits) };
        let before = penalised.iter().find(|(penalised, _)| *penalised == token);
        let logit = before.map_or_else(|| logits[token as usize], |(_, logit)| *logit);
        if self.settings.presence_penalty != 0.0 || self.settings.frequency_penalty != 0.0 {
            let count = self.counts.entry(token).or_default();
            *count = count.saturating_add(1);
        }
        (token, narrow(f64::from(logit) - sum))
    }

    /// Applies the penalties; returns the tokens they touched with their logits before.
    fn penalise(&self, logits: &mut [f32]) -> Vec<(u32, f32)> {
        let penalise = |(token, count): (&u32, &u16)| {
            let logit = &mut logits[*token as usize];
            let before = *logit;
            *logit -= self.settings.presence_penalty + self.settings.frequency_penalty * f32::from(*count);
            (*token, before)
        };
        self.counts.iter().map(penalise).collect()
    }

    fn draw(&mut self, logits: &[f32]) -> u32 {
        let Sampling { temperature, top_p, top_k, .. } = self.settings;
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut candidates: Vec<(f32, u32)> =
            logits.iter().zip(0u32..).map(|(logit, token)| (exp((logit - max) / temperature), token)).collect();
        if top_k > 0 && top_k < candidates.len() {
            likeliest_first(&mut candidates, top_k);
            candidates.truncate(top_k);
        }
        if top_p < 1.0 {
            let kept = nucleus(&mut candidates, top_p);
            candidates.truncate(kept);
        }
        let total: f64 = candidates.iter().map(|(weight, _)| f64::from(*weight)).sum();
        let mut left = self.uniform() * total;
        for (weight, token) in &candidates {
            left -= f64::from(*weight);
            if left < 0.0 {
                return *token;
            }
        }
        candidates.last().map_or(0, |(_, token)| *token)
    }

    /// From 0 up to, but not, 1.
    fn uniform(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn likeliest(logits: &[f32]) -> u32 {
    let mut best = (f32::NEG_INFINITY, 0);
    for (logit, token) in logits.iter().zip(0u32..) {
        if *logit > best.0 {
            best = (*logit, token);
        }
    }
    best.1
}

/// Brings the `count` likeliest candidates to the front, in order; equals by token, so that the result is always the
/// same.
fn likeliest_first(candidates: &mut [(f32, u32)], count: usize) {
    let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, order);
    }
    let count = count.min(candidates.len());
    candidates[..count].sort_unstable_by(order);
}

/// Brings the likeliest candidates that together have `share` of the whole to the front, and counts them.
fn nucleus(candidates: &mut [(f32, u32)], share: f32) -> usize {
    let total: f64 = candidates.iter().map(|(weight, _)| f64::from(*weight)).sum();
    let mut sorted = FIRST_SORTED;
    loop {
        likeliest_first(candidates, sorted);
        let mut sum = 0.0;
        for (i, (weight, _)) in candidates.iter().take(sorted).enumerate() {
            sum += f64::from(*weight);
            if sum >= f64::from(share) * total {
                return i + 1;
            }
        }
        if sorted >= candidates.len() {
            return candidates.len();
        }
        sorted *= 4;
    }
}

#[cfg(test)]
#[path = "sample_tests.rs"]
mod tests;
