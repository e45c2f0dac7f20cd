//! Further answers to prompts that a batch has one answer to: a group to measure them by. They are drawn from the adapter that the step
//! begins with, while nobody else is being answered, and graded by the judge. No client sees them, and they are gone with the step: one
//! that is made again draws the same.
//!
//! The answer that a client got is not of the group: its reward knows what came of it, and theirs do not.

use std::collections::HashMap;
use std::time::Duration;

use domain::TokenTrace;
use judge::{Ask, Bench, Exam};

use crate::advantage::all_equal;
use crate::backend::{BackendError, Player, Version};
use crate::gate::{Stored, answer};
use crate::scoring::VOTES_AT_ONCE;

/// How often it is seen whether nobody is being answered, and how often in vain before what was drawn is enough.
const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: u32 = 1200;
/// After so many answers in a row that the judge had no grade for, it is not asked again in this step.
const FAILURES: u32 = 3;

/// An answer that nobody was given.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) trace: TokenTrace,
    pub(crate) reward: f64,
}

/// What came of drawing.
#[derive(Debug, Default)]
pub(crate) struct Drawn {
    /// Those of groups of two at least, not all equally good.
    pub(crate) candidates: Vec<Candidate>,
    /// How many answers were drawn in all.
    pub(crate) answers: usize,
}

/// How candidates are drawn.
pub(crate) struct Draw<'a> {
    pub(crate) player: &'a dyn Player,
    /// The adapter, loaded; none: the model alone.
    pub(crate) version: Option<&'a Version>,
    pub(crate) judge: &'a dyn Ask,
    pub(crate) votes: u32,
    /// How many for a prompt.
    pub(crate) each: usize,
    /// Prompt and answer together.
    pub(crate) max_tokens: usize,
    pub(crate) seed: u64,
}

impl Draw<'_> {
    /// Draws for each prompt that only one of these has.
    pub(crate) async fn run(&self, batch: &[Stored]) -> Result<Drawn, BackendError> {
        let mut times = HashMap::new();
        for stored in batch {
            *times.entry(&stored.tokens[..stored.prompt]).or_insert(0u32) += 1;
        }
        let mut drawn = Drawn::default();
        let (mut failures, mut going_on) = (0, true);
        for (place, stored) in batch.iter().enumerate().filter(|(_, s)| times[&s.tokens[..s.prompt]] == 1) {
            if !going_on {
                break;
            }
            let mut group = Vec::with_capacity(self.each);
            for number in 0..self.each {
                going_on = failures < FAILURES && self.idle().await;
                if !going_on {
                    break;
                }
                let seed = self.seed.wrapping_add((place * self.each + number) as u64);
                let played = answer(self.player, self.version, stored, self.max_tokens, seed).await?;
                drawn.answers += 1;
                // What was cut off is no answer.
                if !played.ended {
                    continue;
                }
                let (instruction, response) = (stored.instruction.clone(), played.text);
                let exam = Exam { instruction, response, next_state: None };
                let bench = Bench { votes: self.votes, at_once: VOTES_AT_ONCE };
                match bench.judge(&exam, self.judge).await {
                    Ok(verdict) => {
                        failures = 0;
                        group.push(Candidate { trace: played.trace, reward: verdict.mean.into() });
                    }
                    // No grade is not a bad one.
                    Err(error) => {
                        failures += 1;
                        tracing::debug!(%error, "a candidate has no grade and is left out");
                    }
                }
            }
            if !all_equal(group.iter().map(|one| one.reward)) {
                drawn.candidates.append(&mut group);
            }
        }
        Ok(drawn)
    }

    /// Waits until nobody is being answered; false when that takes too long.
    async fn idle(&self) -> bool {
        for _ in 0..PATIENCE {
            if self.player.is_idle() {
                return true;
            }
            tokio::time::sleep(PAUSE).await;
        }
        false
    }
}
