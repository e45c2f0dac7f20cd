//! The queue before the writer: bounded by entries and by bytes. Whoever finds it full waits, and the writer hurries
//! meanwhile: nothing is ever lost to load.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use domain::{AgentId, EndReason, Sample, TokenTrace, TurnRecord, Verdict};
use tokio::sync::mpsc::{self, Permit};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, oneshot};

use crate::error::StoreError;
use crate::learning::LearnJob;
use crate::sessions::Key;
use crate::training::{SampleKeys, TrainJob};
use crate::uses::Outcome;
use crate::{Captured, Health, Noted};

/// What a record or sample costs in memory besides its content, roughly, in bytes.
pub(crate) const RECORD_COST: usize = 512;
/// How many waiting jobs make a commit due before its time.
pub(crate) const BATCH: usize = 1024;

/// Who is told how a job went.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked to do, in order.
pub(crate) enum Job {
    /// Keep a turn. Nobody waits for its commit.
    Turn(Box<TurnRecord>),
    /// Keep, or forget, values of an agent's policy. Nobody waits for their commit.
    Values(ValuesJob),
    /// Count that an agent's skills were found for a turn. Nobody waits for its commit.
    Offered(OfferedJob),
    /// Count what came of a turn, and say what that changed when it is durable.
    Outcome(Box<OutcomeJob>),
    /// Keep a sample, and say so when it is durable.
    Sample(Box<SampleJob>),
    /// End one session; answers whether it was open.
    End(EndJob),
    /// End all open sessions; answers how many.
    EndAll { reason: EndReason, reply: Answer<u64> },
    /// Remove everything of an agent; answers how many sessions.
    Purge { agent: AgentId, reply: Answer<u64> },
    /// One step of learning from sessions.
    Learn(Box<LearnJob>),
    /// One step of a sample, a batch or an adapter.
    Train(Box<TrainJob>),
    /// Check the whole database.
    Check(Answer<()>),
    /// Answer when all earlier jobs are durable.
    Flush(Answer<()>),
    /// Stop when the queue is empty.
    Close,
}

/// Values of one agent's policy; those without content are forgotten.
pub(crate) struct ValuesJob {
    pub(crate) agent: AgentId,
    pub(crate) changes: Vec<(String, Option<Vec<u8>>)>,
}

/// The skills that were found for one turn of an agent.
pub(crate) struct OfferedJob {
    pub(crate) agent: AgentId,
    pub(crate) skills: Vec<String>,
}

/// What came of a turn, and who waits.
pub(crate) struct OutcomeJob {
    pub(crate) outcome: Outcome,
    pub(crate) reply: Answer<Noted>,
}

/// A sample, its verdict, what it says of the turn's skills, and who waits.
pub(crate) struct SampleJob {
    pub(crate) sample: Sample,
    pub(crate) verdict: Verdict,
    pub(crate) keys: Option<SampleKeys>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) reply: Answer<Captured>,
}

/// A session to end, and who waits.
pub(crate) struct EndJob {
    pub(crate) key: Key,
    /// Only if nothing was said since then.
    pub(crate) silent_since: Option<SystemTime>,
    pub(crate) reason: EndReason,
    pub(crate) reply: Answer<bool>,
}

/// What the writer and its clients both see.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Something waits for the next commit.
    pub(crate) wake: Notify,
    /// Turns, or ends of sessions, were committed.
    pub(crate) news: Notify,
    /// The same, and samples, for who trains.
    pub(crate) sample_news: Notify,
    /// How many callers wait: for the answer to a queued job, or for room to queue one.
    urgent: AtomicUsize,
    /// Room for content, in bytes.
    room: Semaphore,
    max_bytes: u32,
    /// How many accepted turns a failed write has lost.
    lost: AtomicU64,
    poisoned: OnceLock<String>,
}

/// Somebody who waits for room: while this exists, a commit is due.
struct Waiting<'a>(&'a Shared);

/// The room of a batch that the writer took out; what is left of it is given back at the end.
pub(crate) struct Room {
    shared: Arc<Shared>,
    bytes: usize,
}

/// Held by the writer: when it goes, whoever waits for room is told.
pub(crate) struct Working(pub(crate) Arc<Shared>);

/// The sending end.
pub(crate) struct Queue {
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

impl Job {
    /// Whether somebody waits for it, so that the commit must not.
    pub(crate) fn is_urgent(&self) -> bool {
        !matches!(self, Job::Turn(_) | Job::Values(_) | Job::Offered(_))
    }

    /// What it holds in memory, roughly, in bytes.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Job::Turn(record) => RECORD_COST + record.request.len() + record.answer.len(),
            Job::Sample(job) => {
                let words = |trace: &TokenTrace| trace.prompt.len() + trace.completion.len() + trace.logprobs.len();
                RECORD_COST + job.sample.tokens.as_ref().map_or(0, words) * size_of::<u32>()
            }
            Job::Values(job) => {
                let size = |(name, value): &(String, Option<Vec<u8>>)| name.len() + value.as_ref().map_or(0, Vec::len);
                RECORD_COST + job.changes.iter().map(size).sum::<usize>()
            }
            Job::Offered(job) => RECORD_COST + job.skills.iter().map(String::len).sum::<usize>(),
            Job::Outcome(job) => RECORD_COST + job.outcome.cost(),
            _ => 0,
        }
    }

    /// Whether it is done by itself, after everything before it is committed.
    pub(crate) fn is_barrier(&self) -> bool {
        matches!(
            self,
            Job::EndAll { .. } | Job::Purge { .. } | Job::Learn(_) | Job::Train(_) | Job::Check(_) | Job::Close
        )
    }
}

impl Shared {
    /// An empty queue of at most `max_bytes`, 4 GiB at the most.
    pub(crate) fn new(max_bytes: usize) -> Self {
        let max_bytes = u32::try_from(max_bytes).unwrap_or(u32::MAX);
        Shared {
            wake: Notify::new(),
            news: Notify::new(),
            sample_news: Notify::new(),
            urgent: AtomicUsize::new(0),
            room: Semaphore::new(max_bytes as usize),
            max_bytes,
            lost: AtomicU64::new(0),
            poisoned: OnceLock::new(),
        }
    }

    /// Whether a commit should begin now.
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent.load(Ordering::Acquire) > 0
    }

    /// The writer took `job` out.
    pub(crate) fn taken(&self, job: &Job) {
        if job.is_urgent() {
            self.urgent.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// How much room a job takes: what is larger than the whole queue takes all of it, and so passes when it is empty.
    fn room_of(&self, job: &Job) -> u32 {
        u32::try_from(job.cost()).map_or(self.max_bytes, |cost| cost.min(self.max_bytes))
    }

    /// How much room nobody has.
    #[cfg(test)]
    pub(crate) fn room_left(&self) -> usize {
        self.room.available_permits()
    }

    /// Counts turns that were accepted and cannot be kept.
    pub(crate) fn lose(&self, turns: u64) {
        if turns > 0 {
            let lost = self.lost.fetch_add(turns, Ordering::Relaxed) + turns;
            tracing::error!(lost, "turn records that were handed over are lost to the failed write");
        }
    }

    /// How many accepted turns were lost since the store was opened.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Nothing is acknowledged from now on.
    pub(crate) fn poison(&self, reason: &str) {
        if self.poisoned.set(reason.to_owned()).is_ok() {
            tracing::error!(reason, "a write failed: the store keeps nothing more until the host is restarted");
        }
    }

    /// Why nothing is kept any more, if so.
    pub(crate) fn poisoned(&self) -> Option<&str> {
        self.poisoned.get().map(String::as_str)
    }

    /// Whether the store does what it promises.
    pub(crate) fn health(&self) -> Health {
        self.poisoned().map_or(Health::Ok, |reason| Health::Poisoned { reason: reason.to_owned() })
    }
}

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.urgent.fetch_add(1, Ordering::AcqRel);
        shared.wake.notify_one();
        Waiting(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.urgent.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Room {
    /// The room that `batch` took when it was queued.
    pub(crate) fn of(batch: &[Job], shared: &Arc<Shared>) -> Self {
        let bytes = batch.iter().map(|job| shared.room_of(job) as usize).sum();
        Room { shared: Arc::clone(shared), bytes }
    }

    /// Gives back what is no longer needed, all but `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let kept = self.bytes.min(bytes);
        self.shared.room.add_permits(self.bytes - kept);
        self.bytes = kept;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison("the writer stopped at an error of its own");
        }
        self.0.room.close();
    }
}

impl Queue {
    /// A queue of at most `entries` jobs, and its receiving end.
    pub(crate) fn new(entries: usize, shared: Arc<Shared>) -> (Self, mpsc::Receiver<Job>) {
        let (jobs, receiver) = mpsc::channel(entries.max(1));
        (Queue { jobs, shared }, receiver)
    }

    /// Hands a turn, or values, to the writer, who need not hurry with it. Waits for room.
    pub(crate) async fn hand_over(&self, job: Job) -> Result<(), StoreError> {
        let (room, place) = self.room_for(&job).await?;
        // Whoever waited for room may have got that of a batch that failed.
        if self.shared.poisoned().is_some() {
            return Err(self.stopped());
        }
        room.forget();
        place.send(job);
        if self.jobs.max_capacity() - self.jobs.capacity() >= BATCH {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    /// Queues a job and waits for its answer.
    pub(crate) async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(job(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    /// Queues a job whose commit somebody waits for. Waits for room.
    pub(crate) async fn send(&self, job: Job) -> Result<(), StoreError> {
        let (room, place) = self.room_for(&job).await?;
        room.forget();
        self.shared.urgent.fetch_add(1, Ordering::AcqRel);
        place.send(job);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Room for `job` and a place in the queue, in the order in which callers came.
    async fn room_for(&self, job: &Job) -> Result<(SemaphorePermit<'_>, Permit<'_, Job>), StoreError> {
        let cost = self.shared.room_of(job);
        if let Ok(room) = self.shared.room.try_acquire_many(cost)
            && let Ok(place) = self.jobs.try_reserve()
        {
            return Ok((room, place));
        }
        let _waiting = Waiting::new(&self.shared);
        let room = self.shared.room.acquire_many(cost).await.map_err(|_| self.stopped())?;
        let place = self.jobs.reserve().await.map_err(|_| self.stopped())?;
        Ok((room, place))
    }

    /// Why a job has no answer.
    fn stopped(&self) -> StoreError {
        let poisoned = |reason: &str| StoreError::Poisoned { reason: reason.to_owned() };
        self.shared.poisoned().map_or(StoreError::Closed, poisoned)
    }
}
