//! The queue between the answer path and the writer: bounded by entries and by bytes.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use domain::{AgentId, EndReason, Sample, TokenTrace, TurnRecord, Verdict};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use crate::error::StoreError;
use crate::sessions::Key;
use crate::{Captured, Health};

/// What a record or sample costs in memory besides its content, roughly, in bytes.
const RECORD_COST: usize = 512;
/// How many waiting jobs make a commit due before its time.
pub(crate) const BATCH: usize = 1024;

/// Who is told how a job went.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked to do, in order.
pub(crate) enum Job {
    /// Keep a turn. Nobody waits.
    Turn(Box<TurnRecord>),
    /// Keep a sample, and say so when it is durable.
    Sample(Box<SampleJob>),
    /// End one session; answers whether it was open.
    End(EndJob),
    /// End all open sessions; answers how many.
    EndAll { reason: EndReason, reply: Answer<u64> },
    /// Remove everything of an agent; answers how many sessions.
    Purge { agent: AgentId, reply: Answer<u64> },
    /// Check the whole database.
    Check(Answer<()>),
    /// Answer when all earlier jobs are durable.
    Flush(Answer<()>),
    /// Stop when the queue is empty.
    Close,
}

/// A sample, its verdict, and who waits.
pub(crate) struct SampleJob {
    pub(crate) sample: Sample,
    pub(crate) verdict: Verdict,
    pub(crate) reply: Answer<Captured>,
}

/// A session to end, and who waits.
pub(crate) struct EndJob {
    pub(crate) key: Key,
    pub(crate) reason: EndReason,
    pub(crate) reply: Answer<bool>,
}

/// What the writer and its clients both see.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Something waits for the next commit.
    pub(crate) wake: Notify,
    /// How many queued jobs somebody waits for.
    urgent: AtomicUsize,
    /// Room for content, in bytes.
    room: Semaphore,
    max_bytes: u32,
    dropped: AtomicU64,
    /// Whether the last record was dropped: one burst is logged once.
    shedding: AtomicBool,
    poisoned: OnceLock<String>,
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
        !matches!(self, Job::Turn(_))
    }

    /// What it holds in memory, roughly, in bytes.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Job::Turn(record) => RECORD_COST + record.request.len() + record.answer.len(),
            Job::Sample(job) => {
                let words = |trace: &TokenTrace| trace.prompt.len() + trace.completion.len() + trace.logprobs.len();
                RECORD_COST + job.sample.tokens.as_ref().map_or(0, words) * size_of::<u32>()
            }
            _ => 0,
        }
    }

    /// Whether it is done by itself, after everything before it is committed.
    pub(crate) fn is_barrier(&self) -> bool {
        matches!(self, Job::EndAll { .. } | Job::Purge { .. } | Job::Check(_) | Job::Close)
    }
}

impl Shared {
    /// An empty queue of at most `max_bytes`, 4 GiB at the most.
    pub(crate) fn new(max_bytes: usize) -> Self {
        let max_bytes = u32::try_from(max_bytes).unwrap_or(u32::MAX);
        Shared {
            wake: Notify::new(),
            urgent: AtomicUsize::new(0),
            room: Semaphore::new(max_bytes as usize),
            max_bytes,
            dropped: AtomicU64::new(0),
            shedding: AtomicBool::new(false),
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

    /// How much room a job took.
    pub(crate) fn room_of(&self, job: &Job) -> usize {
        job.cost().min(self.max_bytes as usize)
    }

    /// Gives back the room of a batch that is written or dropped.
    pub(crate) fn release(&self, bytes: usize) {
        self.room.add_permits(bytes);
    }

    /// Counts lost records.
    pub(crate) fn lose(&self, records: u64) {
        self.dropped.fetch_add(records, Ordering::Relaxed);
    }

    /// How many records were lost since the store was opened.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
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

    /// Hands a turn to the writer, or drops and counts it. Never waits.
    pub(crate) fn offer(&self, record: TurnRecord) -> bool {
        let shared = &self.shared;
        let accepted = shared.poisoned().is_none() && self.try_send(Job::Turn(Box::new(record)));
        if accepted {
            shared.shedding.store(false, Ordering::Relaxed);
            if self.jobs.max_capacity() - self.jobs.capacity() >= BATCH {
                shared.wake.notify_one();
            }
        } else {
            shared.lose(1);
            if !shared.shedding.swap(true, Ordering::Relaxed) {
                tracing::warn!(dropped = shared.dropped(), "turn records are dropped: the store does not keep up");
            }
        }
        accepted
    }

    fn try_send(&self, job: Job) -> bool {
        let Ok(cost) = u32::try_from(job.cost()) else { return false };
        let Ok(room) = self.shared.room.try_acquire_many(cost) else { return false };
        let sent = self.jobs.try_send(job).is_ok();
        if sent {
            room.forget();
        }
        sent
    }

    /// Queues a job and waits for its answer.
    pub(crate) async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(job(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    /// Queues a job that somebody waits for; waits for room.
    pub(crate) async fn send(&self, job: Job) -> Result<(), StoreError> {
        // What is larger than the queue passes when the queue is empty.
        let cost = u32::try_from(self.shared.room_of(&job)).unwrap_or(self.shared.max_bytes);
        let room = self.shared.room.acquire_many(cost).await.map_err(|_| self.stopped())?;
        let place = self.jobs.reserve().await.map_err(|_| self.stopped())?;
        room.forget();
        self.shared.urgent.fetch_add(1, Ordering::AcqRel);
        place.send(job);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Why a job has no answer.
    fn stopped(&self) -> StoreError {
        let poisoned = |reason: &str| StoreError::Poisoned { reason: reason.to_owned() };
        self.shared.poisoned().map_or(StoreError::Closed, poisoned)
    }
}
