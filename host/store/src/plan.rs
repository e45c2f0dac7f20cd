//! From a batch of jobs to the rows of one transaction. Pure computation, run beside the asynchronous runtime:
//! comparing and hashing megabytes must not hold up an answer.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use domain::{AgentId, Sample, SampleState, TurnId, TurnRecord, Verdict};
use uuid::Uuid;

use crate::codes;
use crate::error::StoreError;
use crate::queue::{Answer, EndJob, Job, RECORD_COST, SampleJob};
use crate::rows::{ContentRow, Hash, RowId, SampleRow, SessionRow, TokenColumns, TurnRow};
use crate::sessions::{Key, Session, Sessions};
use crate::uses::Outcome;
use crate::{Captured, MAX_REASON, MAX_WEIGHT, Noted};

/// A turn that the database already holds.
pub(crate) struct Recorded {
    pub(crate) session: RowId,
    pub(crate) sample: Option<SampleState>,
}

/// What the database already holds of a batch.
#[derive(Default)]
pub(crate) struct Known {
    /// The turns that its samples name.
    pub(crate) turns: HashMap<TurnId, Recorded>,
    /// The samples that are identical to one of its own.
    pub(crate) samples: HashMap<Hash, SampleState>,
}

/// The rows of one transaction, in the order in which they are written, and who waits for it.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) sessions: Vec<SessionRow>,
    pub(crate) contents: Vec<ContentRow>,
    pub(crate) turns: Vec<TurnRow>,
    pub(crate) samples: Vec<SampleRow>,
    /// The last word on each value of the batch.
    pub(crate) values: HashMap<(AgentId, String), Option<Vec<u8>>>,
    /// How often skills were offered and injected.
    pub(crate) counts: HashMap<(AgentId, String), (u64, u64)>,
    pub(crate) outcomes: Vec<(Outcome, Option<Answer<Noted>>)>,
    pub(crate) replies: Vec<Reply>,
    pub(crate) touched: HashSet<Key>,
}

/// Tells a waiting caller that its job is durable. If it is not, this is dropped.
pub(crate) type Reply = Box<dyn FnOnce() + Send>;

/// Answers `to` with `value` once it is durable. A caller that no longer waits needs no answer.
fn reply<T: Send + 'static>(to: Answer<T>, value: T) -> Reply {
    Box::new(move || drop(to.send(Ok(value))))
}

/// Plans `batch`. `sessions` holds every session of the batch that the database holds.
pub(crate) fn plan(batch: Vec<Job>, sessions: &mut Sessions, mut known: Known) -> Plan {
    let mut plan = Plan::default();
    for job in batch {
        match job {
            Job::Turn(record) => plan.turn(*record, sessions, &mut known),
            Job::Sample(job) => plan.sample(*job, sessions, &mut known),
            Job::End(job) => plan.end(job, sessions),
            Job::Values(job) => {
                plan.values.extend(job.changes.into_iter().map(|(name, v)| ((job.agent.clone(), name), v)))
            }
            Job::Offered(job) => plan.offered(&job.agent, job.skills),
            Job::Outcome(job) => plan.outcomes.push((job.outcome, Some(job.reply))),
            Job::Flush(to) => plan.replies.push(reply(to, ())),
            // The writer takes these out of the batch.
            Job::EndAll { .. } | Job::Purge { .. } | Job::Learn(_) | Job::Train(_) | Job::Check(_) | Job::Close => {}
        }
    }
    for key in &plan.touched {
        if let Some(session) = sessions.get_mut(key) {
            plan.sessions.push(SessionRow::of(key.clone(), session));
        }
    }
    plan
}

impl Plan {
    /// What the rows hold in memory, roughly, in bytes: less than the batch did by all that is known already.
    pub(crate) fn cost(&self) -> usize {
        let contents: usize = self.contents.iter().map(|row| row.body.len()).sum();
        let turns: usize = self.turns.iter().map(|row| RECORD_COST + row.record.answer.len()).sum();
        let words =
            |row: &SampleRow| row.tokens.as_ref().map_or(0, |tokens| tokens.completion.len() + tokens.logprobs.len());
        let samples: usize = self.samples.iter().map(|row| RECORD_COST + words(row)).sum();
        let values: usize = self.values.values().flatten().map(|value| RECORD_COST + value.len()).sum();
        let outcomes: usize = self.outcomes.iter().map(|(outcome, _)| RECORD_COST + outcome.cost()).sum();
        contents + turns + samples + values + outcomes
    }

    fn offered(&mut self, agent: &AgentId, skills: Vec<String>) {
        for skill in skills {
            self.counts.entry((agent.clone(), skill)).or_default().0 += 1;
        }
    }

    fn turn(&mut self, mut record: TurnRecord, sessions: &mut Sessions, known: &mut Known) {
        let key = (record.agent.clone(), record.session.clone());
        let started = codes::micros(record.started);
        let budget = sessions.budget();
        if !sessions.contains(&key) {
            sessions.insert(key.clone(), Session::new(*Uuid::now_v7().as_bytes(), started));
        }
        let Some(session) = sessions.get_mut(&key) else { return };
        if session.ended.take().is_some() {
            session.generation += 1;
        }
        session.last_active = session.last_active.max(started.saturating_add(codes::span(record.duration)));
        let position = session.turns;
        session.turns += 1;
        session.client_key = record.session_key.take().or(session.client_key.take());
        // Taken out of the record: a row must not hold a body whose pieces are known.
        let body = std::mem::take(&mut record.request);
        let request = session.keep_body(&body, record.kind, budget, &mut self.contents);
        known.turns.entry(record.id).or_insert(Recorded { session: session.id, sample: None });
        for skill in &record.skills {
            self.counts.entry((record.agent.clone(), skill.clone())).or_default().1 += 1;
        }
        self.turns.push(TurnRow { session: session.id, position, request, record });
        self.touched.insert(key);
    }

    fn sample(&mut self, job: SampleJob, sessions: &mut Sessions, known: &mut Known) {
        let SampleJob { sample, verdict, keys, outcome, reply: to } = job;
        let Sample { turn, agent, session: name, policy, skill_generation, adapter, reward, tokens, .. } = sample;
        let key = (agent, name);
        let session = sessions.get_mut(&key);
        let (Some(session), Some(turn_row)) = (session, known.turns.get_mut(&turn)) else {
            let _ = to.send(Err(StoreError::UnknownTurn(turn)));
            return;
        };
        if turn_row.session != session.id {
            let _ = to.send(Err(StoreError::UnknownTurn(turn)));
            return;
        }
        let same = keys
            .as_ref()
            .filter(|_| matches!(verdict, Verdict::Keep { .. }))
            .and_then(|keys| known.samples.get(&keys.identity));
        if let Some(state) = turn_row.sample.or(same.copied()) {
            // A turn whose sample another turn has is another turn all the same.
            self.outcomes.extend(outcome.filter(|_| turn_row.sample.is_none()).map(|outcome| (outcome, None)));
            // It may be in this very batch, so the answer waits for the commit like the first one's.
            self.replies.push(reply(to, Captured { state, existed: true }));
            return;
        }
        let (state, weight, reason) = match verdict {
            Verdict::Keep { weight } if (0.0..=MAX_WEIGHT).contains(&weight) => (SampleState::Captured, weight, None),
            Verdict::Keep { weight } => {
                let _ = to.send(Err(StoreError::Weight(weight)));
                return;
            }
            Verdict::Drop { reason } => (SampleState::Dropped, 0.0, Some(shorten(reason))),
        };
        let tokens = tokens.zip(keys).filter(|_| state == SampleState::Captured).map(|(trace, keys)| {
            known.samples.insert(keys.identity, state);
            TokenColumns {
                prompt: session.keep_tokens(&trace.prompt, &mut self.contents),
                completion: codes::token_bytes(&trace.completion),
                logprobs: codes::logprob_bytes(&trace.logprobs),
                sampled_with: trace.sampled_with,
                keys,
            }
        });
        turn_row.sample = Some(state);
        let captured = codes::micros(SystemTime::now());
        let policy = *policy.as_bytes();
        let agent = key.0.clone();
        self.samples.push(SampleRow {
            turn,
            agent,
            state,
            reason,
            weight,
            reward,
            policy,
            skill_generation,
            adapter,
            captured,
            tokens,
        });
        self.outcomes.extend(outcome.map(|outcome| (outcome, None)));
        self.replies.push(reply(to, Captured { state, existed: false }));
        self.touched.insert(key);
    }

    fn end(&mut self, job: EndJob, sessions: &mut Sessions) {
        let EndJob { key, silent_since, reason, reply: to } = job;
        let silent = |session: &Session| silent_since.is_none_or(|since| session.last_active <= codes::micros(since));
        let open = sessions.get_mut(&key).filter(|session| session.ended.is_none() && silent(session));
        let ended = open.is_some();
        if let Some(session) = open {
            session.ended = Some((codes::micros(SystemTime::now()), reason));
            self.touched.insert(key);
        }
        self.replies.push(reply(to, ended));
    }
}

/// Bounds a reason, which an agent's module wrote.
fn shorten(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
    reason
}
