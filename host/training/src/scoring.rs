//! How good each sample was, and whether it can be trained on. A client's word counts before the policy's, the policy's before the
//! judge's. Who cannot be asked now is asked later: a failure is no score.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use domain::{AgentId, RewardSource, SampleState, Score};
use futures_util::future::join_all;
use judge::{Ask, Bench, Exam, JudgeError};
use store::{StoreError, StoredSample, ToScore};
use tokio_util::sync::CancellationToken;

use crate::backend::Facts;
use crate::checks::{Bounds, check, is_held_out};
use crate::exchange::exchange;
use crate::{Settings, Training};

/// How many samples of an agent are looked at in one go.
const AT_ONCE: usize = 64;
/// How many are judged before another agent has its turn.
const JUDGED: usize = 8;
/// How often a sample is judged in vain before it is given up.
const ATTEMPTS: u32 = 8;
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// How many votes on one sample are asked for at the same time.
pub(crate) const VOTES_AT_ONCE: u32 = 2;

/// What was decided about one scored sample.
enum Fate {
    Eligible,
    HeldOut,
    Rejected(String),
}

impl Training {
    /// Scores what needs no judge, and says how many samples that were.
    pub(crate) async fn take_rewards(&self, agent: &AgentId) -> Result<u64, StoreError> {
        let due = self.store.samples_to_score(agent, false, AT_ONCE).await?;
        let scored = join_all(due.iter().map(async |due| match said(due) {
            Some(score) => self.store.score(due.sample.sample.turn, score).await,
            None => Ok(false),
        }));
        let count = done(scored.await)?;
        self.metrics.samples(agent, "scored", count);
        Ok(count)
    }

    /// Decides about scored samples, and says about how many.
    pub(crate) async fn sort(&self, agent: &AgentId, settings: &Settings, facts: &Facts) -> Result<u64, StoreError> {
        let scored = self.store.samples_in(agent, SampleState::Scored, AT_ONCE).await?;
        let moved = join_all(scored.iter().map(async |sample| {
            let turn = sample.sample.turn;
            let (moved, word) = match fate(sample, settings, facts) {
                Fate::Eligible => (self.store.admit(turn).await?, "eligible"),
                Fate::HeldOut => (self.store.hold_out(turn).await?, "held-out"),
                Fate::Rejected(reason) => {
                    tracing::info!(%agent, %turn, reason, "a sample is not trained on");
                    (self.store.reject(turn, &reason).await?, "rejected")
                }
            };
            self.metrics.samples(agent, word, moved.into());
            Ok(moved)
        }));
        done(moved.await)
    }

    /// Has some of the agent's samples judged, and says how many now have a score.
    pub(crate) async fn judge(
        &self,
        agent: &AgentId,
        settings: &Settings,
        judge: &Arc<dyn Ask>,
        stop: &CancellationToken,
    ) -> Result<u64, StoreError> {
        let mut count = 0;
        for due in self.store.samples_to_score(agent, true, JUDGED).await? {
            let turn = due.sample.sample.turn;
            // One that has a reward meanwhile is not for the judge.
            let judged = match said(&due) {
                Some(score) => Ok(score),
                None => match stop.run_until_cancelled(self.verdict(&due, settings, &**judge)).await {
                    Some(judged) => judged?,
                    None => break,
                },
            };
            match judged {
                Ok(score) => {
                    count += u64::from(self.store.score(turn, score).await?);
                    if score.source == RewardSource::Judge {
                        self.host.note_outcome(agent, turn, score.reward).await;
                    }
                }
                Err(error) => self.postpone(agent, &due, settings, &error).await?,
            }
        }
        self.metrics.samples(agent, "judged", count);
        Ok(count)
    }

    async fn verdict(
        &self,
        due: &ToScore,
        settings: &Settings,
        judge: &dyn Ask,
    ) -> Result<Result<Score, JudgeError>, StoreError> {
        let Some(turn) = self.store.turn(due.sample.sample.turn).await? else {
            return Ok(Err(JudgeError::Nothing("record of the turn")));
        };
        let next = match due.next {
            Some(next) => self.store.turn(next).await?,
            None => None,
        };
        let exchange = exchange(&turn.record, next.as_ref().map(|next| &next.record));
        let exam = Exam { instruction: exchange.instruction, response: exchange.response, next_state: exchange.next };
        let bench = Bench { votes: settings.votes, at_once: VOTES_AT_ONCE };
        let score = |verdict: judge::Verdict| Score {
            reward: verdict.mean,
            votes: verdict.votes,
            spread: verdict.spread,
            source: RewardSource::Judge,
        };
        Ok(bench.judge(&exam, judge).await.map(score))
    }

    async fn postpone(
        &self,
        agent: &AgentId,
        due: &ToScore,
        settings: &Settings,
        error: &JudgeError,
    ) -> Result<(), StoreError> {
        let (turn, attempts) = (due.sample.sample.turn, due.attempts);
        let hopeless = matches!(error, JudgeError::Nothing(_)) || attempts + 1 >= ATTEMPTS;
        let wait = settings.retry_wait.saturating_mul(1 << attempts.min(16)).min(LONGEST_WAIT);
        let until = (!hopeless).then(|| SystemTime::now() + wait);
        self.store.postpone_score(turn, &error.to_string(), until).await?;
        self.metrics.samples(agent, if hopeless { "unscored" } else { "postponed" }, 1);
        if hopeless {
            tracing::warn!(%agent, %turn, %error, "a sample is given up: it has no score");
        } else {
            tracing::warn!(%agent, %turn, %error, again_in = ?wait, "the judge gave no score; it is asked again");
        }
        Ok(())
    }
}

/// What was said of a sample without a judge.
fn said(due: &ToScore) -> Option<Score> {
    let feedback = due.feedback.map(|reward| Score::said(reward, RewardSource::Feedback));
    feedback.or_else(|| due.sample.sample.reward.map(|reward| Score::said(reward, RewardSource::Policy)))
}

fn fate(sample: &StoredSample, settings: &Settings, facts: &Facts) -> Fate {
    let tokens = sample.sample.tokens.as_ref();
    if let Err(reason) = check(tokens, &Bounds { facts, max_tokens: settings.max_tokens }) {
        return Fate::Rejected(reason);
    }
    match tokens.is_some_and(|trace| is_held_out(&trace.prompt, settings.gate.held_out)) {
        true => Fate::HeldOut,
        false => Fate::Eligible,
    }
}

/// How many were changed; the first failure counts for all.
fn done(changed: Vec<Result<bool, StoreError>>) -> Result<u64, StoreError> {
    changed.into_iter().try_fold(0, |count, changed| Ok(count + u64::from(changed?)))
}
