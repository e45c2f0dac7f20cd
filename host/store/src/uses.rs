//! What comes of skills: how often they were offered and injected, how turns with them ended, and what was said of turns.
//!
//! A turn counts once. What has been counted of it is kept beside it, so that a later or better word on it (feedback beats a
//! judge, a judge the policy) changes the sums by the difference, and the same word again changes nothing. The sums fade: what
//! happened a month ago counts half. Since each part of a sum fades alike, a part can be taken out of it again whenever that is.

pub(crate) mod read;
pub(crate) mod write;

use std::time::{Duration, SystemTime};

use domain::{AgentId, Digest, RewardSource, Sample, TurnId, Verdict};

use crate::error::StoreError;
use crate::queue::{Job, OfferedJob, OutcomeJob, SampleJob};
use crate::training::SampleKeys;
use crate::{Archive, Captured, Health, Store};

/// The version of the schema from which on there is any of it.
pub(crate) const SINCE: i64 = 6;
/// After this time what came of a skill counts half.
const HALF_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The most skills of an agent of which anything is kept, those that are gone included; beyond it the longest unused go, when the
/// database is opened. An agent has 10,000 at most at a time.
pub(crate) const MOST_USES: i64 = 20_000;

/// What came of one turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The turn.
    pub turn: TurnId,
    /// Whose.
    pub agent: AgentId,
    /// Who says so.
    pub source: RewardSource,
    /// How good it was, from -1 to 1.
    pub reward: f32,
    /// Which skills had a part in it.
    pub credits: Vec<Credit>,
    /// What was asked: the model that made the vector, and the vector. Without it skills are counted and not moved.
    pub question: Option<(Digest, Vec<f32>)>,
    /// Where it is feedback, what was said; kept as it is.
    pub feedback: Option<Feedback>,
    /// When.
    pub given: SystemTime,
}

/// A skill's part in a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Credit {
    /// Its name.
    pub skill: String,
    /// Its file at that moment.
    pub digest: Digest,
    /// What it is credited with, or blamed for: from -1 to 1.
    pub reward: f32,
    /// How much of the question is added to what it helped with, from 0 to 1.
    pub moves: f32,
}

/// What was said of a turn by whoever it was answered for.
#[derive(Clone, Debug, PartialEq)]
pub struct Feedback {
    /// From -1 to 1; none when only skills were named.
    pub reward: Option<f32>,
    /// Those that helped.
    pub skills: Vec<String>,
    /// When.
    pub given: SystemTime,
}

/// What noting an outcome has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Noted {
    /// Whether it counts: false when it said what was known already, or when a better source has spoken.
    pub counted: bool,
    /// The sums that it changed, as they are now.
    pub uses: Vec<SkillUse>,
}

/// What has come of one skill of an agent, or, without a name, of all its turns.
#[derive(Clone, Debug, PartialEq)]
pub struct SkillUse {
    /// Its name; empty for all turns.
    pub skill: String,
    /// In how many turns the ranking found it.
    pub offered: u64,
    /// In how many turns it was in the prompt.
    pub injected: u64,
    /// The sum of the rewards above 0, as it was at `changed`.
    pub succeeded: f64,
    /// The sum of those below, without their sign.
    pub failed: f64,
    /// The file that these two are about: a person who changes a skill clears its name.
    pub digest: Option<Digest>,
    /// The model that made `helped`.
    pub model: Option<Digest>,
    /// The sum of the questions that it helped with; empty when there are none.
    pub helped: Vec<f32>,
    /// The moment at which the sums were as they are here.
    pub changed: SystemTime,
}

impl SkillUse {
    /// What is left at `now` of 1 that was added at `changed`.
    pub fn left(&self, now: SystemTime) -> f64 {
        faded(now.duration_since(self.changed).unwrap_or_default())
    }
}

/// What is left of 1 after a while.
pub(crate) fn faded(after: Duration) -> f64 {
    0.5f64.powf(after.as_secs_f64() / HALF_LIFE.as_secs_f64())
}

impl Outcome {
    /// What it holds in memory beside itself, in bytes.
    pub(crate) fn cost(&self) -> usize {
        let named = self.feedback.iter().flat_map(|feedback| &feedback.skills).map(String::len).sum::<usize>();
        let credits = self.credits.iter().map(|credit| size_of::<Credit>() + credit.skill.len()).sum::<usize>();
        named + credits + self.question.as_ref().map_or(0, |(_, vector)| size_of_val(vector.as_slice()))
    }
}

impl Store {
    /// Counts that these skills of an agent were found for a turn. As durable as a recorded turn.
    ///
    /// Fails only when the store is poisoned or closed.
    pub async fn note_offered(&self, agent: &AgentId, skills: Vec<String>) -> Result<(), StoreError> {
        self.queue.hand_over(Job::Offered(OfferedJob { agent: agent.clone(), skills })).await
    }

    /// Counts what came of a recorded turn, and returns when it is durable. Each turn counts once: what is said again changes
    /// nothing, and what is said otherwise takes the place of what was said before.
    ///
    /// Fails with [`StoreError::UnknownTurn`] when the agent has no such turn.
    pub async fn note_outcome(&self, outcome: Outcome) -> Result<Noted, StoreError> {
        self.queue.ask(|reply| Job::Outcome(Box::new(OutcomeJob { outcome, reply }))).await
    }

    /// As [`Store::capture`], and counts in the same commit what the policy's reward says of the turn's skills, unless the turn
    /// has a sample already.
    pub async fn capture_with(
        &self,
        sample: Sample,
        verdict: Verdict,
        outcome: Option<Outcome>,
    ) -> Result<Captured, StoreError> {
        if let Health::Poisoned { reason } = self.health() {
            return Err(StoreError::Poisoned { reason });
        }
        let keys = SampleKeys::of(&sample);
        self.queue.ask(|reply| Job::Sample(Box::new(SampleJob { sample, verdict, keys, outcome, reply }))).await
    }

    /// What has come of the agent's skills, and of all its turns.
    pub async fn skill_uses(&self, agent: &AgentId) -> Result<Vec<SkillUse>, StoreError> {
        self.reader.skill_uses(agent).await
    }

    /// What has come of these skills of the agent; the empty name is that of all its turns.
    pub async fn skill_uses_of(&self, agent: &AgentId, skills: &[String]) -> Result<Vec<SkillUse>, StoreError> {
        self.reader.skill_uses_of(agent, skills).await
    }

    /// What was said of a turn.
    pub async fn feedback(&self, turn: TurnId) -> Result<Option<Feedback>, StoreError> {
        self.reader.feedback(turn).await
    }
}

impl Archive {
    /// What has come of the agent's skills, and of all its turns.
    pub async fn skill_uses(&self, agent: &AgentId) -> Result<Vec<SkillUse>, StoreError> {
        self.reader.skill_uses(agent).await
    }
}
