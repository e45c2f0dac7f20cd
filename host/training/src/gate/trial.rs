use std::collections::HashSet;
use std::sync::Arc;

use judge::{Ask, Bench, Pair, Preference};

use crate::backend::{BackendError, Played, Player, Prompt, Version};
use crate::gate::{Answers, Evidence, Pairs};

/// On how many kept answers it is measured how far an adapter went, and on which side of its parent it is.
const MEASURED: usize = 16;
/// An answer's room is so many times what the kept one took, and at least so many tokens.
const ROOM: usize = 4;
const LEAST_ROOM: usize = 32;
/// Which pairs are wanted at least where the judge decides: of fewer, nothing follows.
const LEAST_PAIRS: usize = 8;
/// A change of less than this, in nats a token, is none.
const STILL: f64 = 1e-4;
/// How often a busy model is asked again, and after which pause.
const PATIENCE: u32 = 600;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// A sample that adapters are compared on.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// Prompt and answer.
    pub(crate) tokens: Arc<[u32]>,
    /// Where the answer begins.
    pub(crate) prompt: usize,
    /// What it got.
    pub(crate) reward: f64,
    /// What was asked, in words.
    pub(crate) instruction: String,
}

/// An adapter beside its parent.
pub(crate) struct Trial<'a> {
    pub(crate) player: &'a dyn Player,
    pub(crate) parent: Option<&'a Version>,
    pub(crate) candidate: &'a Version,
    /// Which were kept out of training, the newest first.
    pub(crate) held_out: &'a [Stored],
    /// Which it was trained on.
    pub(crate) trained: &'a [Stored],
    /// How many prompts are answered.
    pub(crate) prompts: usize,
    /// Who compares the answers.
    pub(crate) judge: Option<&'a dyn Ask>,
    pub(crate) seed: u64,
    /// Prompt and answer together.
    pub(crate) max_tokens: usize,
}

impl Trial<'_> {
    /// Measures what `evidence` is to say.
    pub(crate) async fn run(&self, evidence: &mut Evidence) -> Result<(), BackendError> {
        self.measure(evidence).await?;
        self.compare(evidence).await
    }

    /// How far the adapter went, and whether it makes good answers likelier and bad ones less so.
    async fn measure(&self, evidence: &mut Evidence) -> Result<(), BackendError> {
        let held_out = &self.held_out[..self.held_out.len().min(MEASURED)];
        let mean = held_out.iter().map(|stored| stored.reward).sum::<f64>() / held_out.len().max(1) as f64;
        let (mut drift, mut tokens) = (0.0, 0);
        let trained = self.trained.iter().take(MEASURED / 2);
        for (at, stored) in held_out.iter().chain(trained).enumerate() {
            let old = self.player.score(self.parent, stored.tokens.clone(), stored.prompt).await?;
            let new = self.player.score(Some(self.candidate), stored.tokens.clone(), stored.prompt).await?;
            drift += divergence(&old, &new);
            tokens += old.len();
            let gain =
                new.iter().zip(&old).map(|(new, old)| f64::from(new - old)).sum::<f64>() / old.len().max(1) as f64;
            if at < held_out.len() {
                evidence.held_out.count((stored.reward - mean) * gain.signum(), gain.abs() > STILL);
            }
        }
        evidence.drift = (tokens > 0).then(|| drift / tokens as f64);
        evidence.drift_tokens = tokens;
        Ok(())
    }

    /// How both answer prompts, with the same random numbers.
    async fn compare(&self, evidence: &mut Evidence) -> Result<(), BackendError> {
        let wanted = match (self.prompts, self.judge) {
            (0, _) => 0,
            (prompts, None) => prompts,
            (prompts, Some(_)) => prompts.max(LEAST_PAIRS),
        };
        // Where there are few prompts, each is answered several times.
        let mut asked = HashSet::new();
        let both = self.held_out.iter().chain(self.trained);
        let once: Vec<_> = both.filter(|stored| asked.insert(&stored.tokens[..stored.prompt])).collect();
        for (at, stored) in once.iter().cycle().take(wanted).enumerate() {
            let seed = self.seed.wrapping_add(at as u64);
            let old = answer(self.player, self.parent, stored, self.max_tokens, seed).await?;
            let new = answer(self.player, Some(self.candidate), stored, self.max_tokens, seed).await?;
            evidence.answers.count(&new, &old);
            let Some(judge) = self.judge else { continue };
            let pair = Pair { instruction: stored.instruction.clone(), a: new.text, b: old.text };
            match Bench::default().better(&pair, judge).await {
                Ok(Preference::A) => evidence.judged.better += 1,
                Ok(Preference::B) => evidence.judged.worse += 1,
                Ok(Preference::Tie) => evidence.judged.equal += 1,
                // Who does not know says nothing, for either.
                Err(_) => evidence.judged.failed += 1,
            }
        }
        Ok(())
    }
}

/// Answers a prompt again, in no more than `max_tokens` for both.
pub(crate) async fn answer(
    player: &dyn Player,
    version: Option<&Version>,
    stored: &Stored,
    max_tokens: usize,
    seed: u64,
) -> Result<Played, BackendError> {
    let length = stored.tokens.len() - stored.prompt;
    let room = max_tokens.saturating_sub(stored.prompt).max(1);
    let max_tokens = (length * ROOM).max(LEAST_ROOM).min(room);
    let prompt = Prompt { tokens: stored.tokens[..stored.prompt].into(), max_tokens, seed };
    let mut tries = 0;
    loop {
        match player.sample(version, prompt.clone()).await {
            // Clients go first.
            Err(BackendError::Busy) if tries < PATIENCE => tokio::time::sleep(PAUSE).await,
            answered => return answered,
        }
        tries += 1;
    }
}

impl Answers {
    fn count(&mut self, new: &Played, old: &Played) {
        let is_empty = |played: &Played| usize::from(played.text.trim().is_empty());
        self.asked += 1;
        self.empty += is_empty(new);
        self.parent_empty += is_empty(old);
        self.endless += usize::from(!new.ended);
        self.parent_endless += usize::from(!old.ended);
        self.length += new.trace.completion.len();
        self.parent_length += old.trace.completion.len();
    }
}

impl Pairs {
    fn count(&mut self, side: f64, moved: bool) {
        match side {
            side if !moved || side == 0.0 => self.equal += 1,
            side if side > 0.0 => self.better += 1,
            _ => self.worse += 1,
        }
    }
}

/// How far the new distribution is from the old one, summed over tokens that the old one drew: an estimate that is never negative and, on
/// the whole, neither too large nor too small.
pub(crate) fn divergence(old: &[f32], new: &[f32]) -> f64 {
    let token = |(old, new): (&f32, &f32)| {
        let ratio = f64::from(*new) - f64::from(*old);
        ratio.exp() - 1.0 - ratio
    };
    old.iter().zip(new).map(token).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_is_nothing_for_the_same_and_the_true_one_on_the_whole() {
        assert_eq!(divergence(&[-1.0, -0.2], &[-1.0, -0.2]), 0.0);
        // Two coins: every toss, as often as the old one falls so.
        let (old, new) = ([0.5f32, 0.5], [0.8f32, 0.2]);
        let wide = |p: f32| f64::from(p);
        let truth: f64 = old.iter().zip(&new).map(|(p, q)| wide(*p) * (wide(*p) / wide(*q)).ln()).sum();
        let estimate: f64 = old.iter().zip(&new).map(|(p, q)| wide(*p) * divergence(&[p.ln()], &[q.ln()])).sum();
        assert!((truth - estimate).abs() < 1e-6, "{estimate} instead of {truth}");
    }
}
