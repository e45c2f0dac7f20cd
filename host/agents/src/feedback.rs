//! What is said of a turn after it: by whoever it was answered for, and by whoever judges it.

use std::time::{Duration, SystemTime};

use domain::{AgentId, RewardSource, TurnId};
use protocol::RequestError;
use serde::Serialize;
use store::{Feedback, StoreError, StoredTurn};

use crate::error::TurnError;
use crate::host::{Host, scan};
use crate::identity::{HeaderClaims, Identity};
use crate::uses::{Judged, Said};

/// How much feedback is noted at once; it may be a while until a question's meaning is known.
pub(crate) const MAX_FEEDBACK: usize = 64;
/// A turn that began less than this ago may be over and on its way into the store.
const YOUNG: Duration = Duration::from_secs(60 * 60);

/// Feedback as its sender gave it, within its bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Rated {
    /// Which turn.
    pub turn: TurnId,
    /// How good it was, from -1 to 1; none when only skills are named.
    pub reward: Option<f32>,
    /// Which skills helped.
    pub skills: Vec<String>,
}

/// What feedback has come to.
#[derive(Clone, Debug, Serialize)]
pub struct FeedbackStatus {
    /// The turn.
    pub turn: String,
    /// Whose.
    pub agent: String,
    /// What the turn counts as from now on, from -1 to 1.
    pub reward: f32,
    /// The skills that were named.
    pub skills: Vec<String>,
    /// Whether this was new; false when the same was said before.
    pub changed: bool,
}

/// Why what was said of a turn is not noted.
#[derive(Debug, thiserror::Error)]
pub enum FeedbackError {
    /// Who says it.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// This agent has no such turn; whether another has is not said.
    #[error("no turn has this id, or it is not over yet")]
    NoTurn,
    /// It names a skill that is not there.
    #[error("agent `{agent}` has no skill `{skill}`: `metaclaw skills list --agent {agent}` lists those it has")]
    NoSkill {
        /// Whose.
        agent: AgentId,
        /// What was named.
        skill: String,
    },
    /// Too much of it at once.
    #[error("{MAX_FEEDBACK} pieces of feedback are being noted, which is the most at once: try again shortly")]
    Busy,
    /// The turn's request cannot be read again.
    #[error("the turn's request cannot be read again: {0}")]
    Request(#[source] RequestError),
    /// The store.
    #[error("the feedback could not be kept: {0}")]
    Store(#[from] StoreError),
}

impl Host {
    /// Notes feedback on a turn of the agent that the claims name. What is said again changes nothing; what is said otherwise takes
    /// the place of what was said before.
    pub async fn give_feedback(
        &self,
        owners: Option<&[AgentId]>,
        claims: &HeaderClaims,
        rated: Rated,
    ) -> Result<FeedbackStatus, FeedbackError> {
        let identity = Identity::settle(owners, claims, &Default::default()).map_err(TurnError::from)?;
        let agent = self.agent_for(owners, &identity)?.id.clone();
        let _place = self.feedback.try_acquire().map_err(|_| FeedbackError::Busy)?;
        let found = self.turn_that_is_over(rated.turn).await?.filter(|turn| turn.record.agent == agent);
        let turn = found.ok_or(FeedbackError::NoTurn)?;
        let library = self.skills.library(&agent);
        if let Some(skill) = rated.skills.iter().find(|skill| library.get(skill).is_none()) {
            return Err(FeedbackError::NoSkill { agent, skill: skill.clone() });
        }
        // Who names skills that helped, and says no more, was helped.
        let reward = rated.reward.unwrap_or(if rated.skills.is_empty() { 0.0 } else { 1.0 });
        let feedback = Feedback { reward: rated.reward, skills: rated.skills.clone(), given: SystemTime::now() };
        let said =
            Said { source: RewardSource::Feedback, reward, named: rated.skills.clone(), feedback: Some(feedback) };
        let changed = self.note(&agent, turn, said).await?;
        let (turn, agent) = (rated.turn.to_string(), agent.to_string());
        Ok(FeedbackStatus { turn, agent, reward, skills: rated.skills, changed })
    }

    /// Notes how good a recorded turn of an agent was, from -1 to 1, for the skills that were in its prompt. False when that was
    /// known, or somebody has spoken who knows better: so it may be said again after a crash.
    pub async fn note_outcome(
        &self,
        agent: &AgentId,
        turn: TurnId,
        reward: f32,
        source: RewardSource,
    ) -> Result<bool, FeedbackError> {
        let found = self.store.turn(turn).await?.filter(|turn| turn.record.agent == *agent);
        let turn = found.ok_or(FeedbackError::NoTurn)?;
        self.note(agent, turn, Said { source, reward, named: Vec::new(), feedback: None }).await
    }

    async fn note(&self, agent: &AgentId, turn: StoredTurn, said: Said) -> Result<bool, FeedbackError> {
        let record = turn.record;
        let request = scan(record.request).await.map_err(|error| match error {
            TurnError::Request(error) => FeedbackError::Request(error),
            other => FeedbackError::Turn(other),
        })?;
        let judged = Judged { agent, turn: record.id, request: &request, injected: &record.skills };
        Ok(self.uses.note(&judged, said).await?)
    }

    /// A turn as it is kept, also when it was over only a moment ago: its client knows its end before the store does.
    async fn turn_that_is_over(&self, turn: TurnId) -> Result<Option<StoredTurn>, FeedbackError> {
        if let Some(found) = self.store.turn(turn).await? {
            return Ok(Some(found));
        }
        let born = turn.0.get_timestamp().map(|time| {
            let (seconds, nanos) = time.to_unix();
            SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
        });
        if born.is_none_or(|born| born.elapsed().unwrap_or_default() > YOUNG) {
            return Ok(None);
        }
        self.recorder.caught_up().await.ok_or(TurnError::Closing)?;
        self.store.flush().await?;
        Ok(self.store.turn(turn).await?)
    }
}
