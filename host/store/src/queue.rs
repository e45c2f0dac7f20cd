//! The queue between the answer path and the writer: bounded by entries and by bytes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use domain::{AgentId, EndReason, Sample, TurnRecord, Verdict};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::error::StoreError;
use crate::sessions::Key;
use crate::{Captured, Health};

/// What a turn record costs in memory besides its body and answer, roughly, in bytes.
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
    queued_bytes: AtomicUsize,
    max_bytes: usize,
    dropped: AtomicU64,
    /// Whether the last record was dropped: one burst is logged once.
    shedding: AtomicBool,
    poisoned: OnceLock<String>,
}

/// The sending end.
pub(crate) struct Queue {
    jobs: mpsc::Sender<Job>,
    shared: std::sync::Arc<Shared>,
}

impl Job {
    /// Whether somebody waits for it, so that the commit must not.
    pub(crate) fn is_urgent(&self) -> bool {
        !matches!(self, Job::Turn(_))
    }

    /// Whether it is done by itself, after everything before it is committed.
    pub(crate) fn is_barrier(&self) -> bool {
        matches!(self, Job::EndAll { .. } | Job::Purge { .. } | Job::Check(_) | Job::Close)
    }
}

impl Shared {
    /// An empty queue of at most `max_bytes`.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Shared {
            wake: Notify::new(),
            urgent: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
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

    /// Gives back the room of records that are written or dropped.
    pub(crate) fn release(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    fn reserve(&self, bytes: usize) -> bool {
        let fits = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.max_bytes);
        self.queued_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
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

impl Queue {
    /// A queue of at most `entries` jobs, and its receiving end.
    pub(crate) fn new(entries: usize, shared: std::sync::Arc<Shared>) -> (Self, mpsc::Receiver<Job>) {
        let (jobs, receiver) = mpsc::channel(entries.max(1));
        (Queue { jobs, shared }, receiver)
    }

    /// Hands a turn to the writer, or drops and counts it. Never waits.
    pub(crate) fn offer(&self, record: TurnRecord) -> bool {
        let shared = &self.shared;
        let cost = cost(&record);
        let accepted = shared.poisoned().is_none()
            && shared.reserve(cost)
            && (self.jobs.try_send(Job::Turn(Box::new(record))).is_ok() || {
                shared.release(cost);
                false
            });
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

    /// Queues a job and waits for its answer.
    pub(crate) async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(job(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    /// Queues a job that somebody waits for; waits for room.
    pub(crate) async fn send(&self, job: Job) -> Result<(), StoreError> {
        let room = self.jobs.reserve().await.map_err(|_| self.stopped())?;
        self.shared.urgent.fetch_add(1, Ordering::AcqRel);
        room.send(job);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Why a job has no answer.
    fn stopped(&self) -> StoreError {
        let poisoned = |reason: &str| StoreError::Poisoned { reason: reason.to_owned() };
        self.shared.poisoned().map_or(StoreError::Closed, poisoned)
    }
}

/// What a record holds in memory, roughly, in bytes.
pub(crate) fn cost(record: &TurnRecord) -> usize {
    RECORD_COST + record.request.len() + record.answer.len()
}
