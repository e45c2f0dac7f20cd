//! Durable state: sessions, turns and samples in one SQLite database.
//!
//! Whoever hands a finished turn over goes on at once, and waits only while the queue is full: load slows the learning
//! path down and loses nothing. One task writes: whatever waits is committed together, and synced. A sample is
//! acknowledged after that and not before. When a write fails nothing more is accepted or acknowledged; what was handed
//! over and is not written is counted as lost, and answers go on.
//!
//! ```text
//! record_turn ──room?─►┐                    load: sessions not remembered
//!                      ├─ queue ─► writer ─ plan: cut bodies, number pieces (no I/O, own thread)
//! capture ──────room?─►┘   ▲                commit: sessions, contents, turns, samples (one transaction)
//!    ▲                     └ bounded            │
//!    └──────────────── acknowledged ◄───────────┘          queries ─► readers
//! ```
//!
//! A commit waits for company, up to `flush_every`, unless somebody waits for it: for a sample, or for room. A turn's
//! room is free again when its body is taken apart, but for what is new in it, which keeps its room until the commit.
//!
//! Clients send the whole conversation with each turn. A body is cut into pieces, each kept once for its session (see
//! `pieces`), so a history costs what is new in it; nothing is shared between sessions, let alone agents.
//!
//! A session is one row for each agent and name. When it ends and comes back the row opens again: its turns are counted
//! on, and `generation` says how often that happened.

mod archive;
mod codes;
mod database;
mod dir;
mod error;
mod learning;
mod load;
mod pieces;
mod plan;
mod queue;
mod read;
mod rows;
mod sessions;
mod training;
mod uses;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use domain::{AgentId, ByteSize, EndReason, Sample, SampleState, Score, SessionId, TurnId, TurnRecord, Verdict};
use sqlx::migrate::Migration;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use uuid::Uuid;

pub use archive::Archive;
pub use error::StoreError;
pub use learning::{Lesson, LessonCount, LessonId, LessonState, SkillVersion, VersionChange, VersionState};
pub use training::{AdapterState, Batch, Claim, Lane, NewAdapter, Rewarded, Staleness, StoredAdapter, ToScore};
pub use uses::{Credit, Feedback, Noted, Outcome, SkillUse};

use dir::StateDir;
use queue::{EndJob, Job, Queue, Shared, ValuesJob, Working};
use read::Reader;
use sessions::Sessions;
use writer::Writer;

/// The longest reason of a dropped sample, in bytes; what is longer is cut.
const MAX_REASON: usize = 1024;
/// The largest weight of a sample.
const MAX_WEIGHT: f32 = 10.0;

/// The open state directory of this host. Share it in an [`Arc`]; end it with [`Store::close`]: what is dropped
/// unclosed loses the turns that still wait, never a sample that was acknowledged.
pub struct Store {
    queue: Queue,
    shared: Arc<Shared>,
    reader: Reader,
    writer: Mutex<JoinSet<()>>,
}

/// How much the store may hold, and how long it may wait.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// How long a turn may wait for others to be committed with it. A sample never waits for company.
    pub flush_every: Duration,
    /// The most jobs in the queue.
    pub queue_entries: usize,
    /// The most that turns and samples may hold between being handed over and being written.
    pub queue_bytes: ByteSize,
    /// How much is remembered of the sessions that speak now. A session that was forgotten costs two queries and the
    /// hashing of one body when it speaks again.
    pub session_memory: ByteSize,
    /// The largest database file. Reaching it is like a full disk.
    pub database_limit: Option<ByteSize>,
}

/// What became of a captured sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// What the durable row says.
    pub state: SampleState,
    /// Whether the turn already had a sample, or its session an identical one, which stays as it was.
    pub existed: bool,
}

/// Whether the store does what it promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Turns are kept and samples acknowledged.
    Ok,
    /// A write failed: nothing is kept until the host is restarted.
    Poisoned {
        /// The first failure.
        reason: String,
    },
}

/// A session as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// Whose.
    pub agent: AgentId,
    /// Its name with the client.
    pub session: SessionId,
    /// When its first turn arrived.
    pub started: SystemTime,
    /// When its last turn ended.
    pub last_active: SystemTime,
    /// When and why it ended; nothing while it is open.
    pub ended: Option<(SystemTime, EndReason)>,
    /// How many turns it had, over all generations.
    pub turns: u64,
    /// How often it came back after an end.
    pub generation: u64,
    /// Where it happens, in the client's words.
    pub client_key: Option<String>,
}

/// A turn as it is kept.
#[derive(Clone, Debug)]
pub struct StoredTurn {
    /// Which turn of its session, from 0.
    pub position: u64,
    /// The record, its request byte for byte as it came.
    pub record: TurnRecord,
}

/// A sample as it is kept.
#[derive(Clone, Debug)]
pub struct StoredSample {
    /// The sample; a dropped one has no tokens and the weight 0.
    pub sample: Sample,
    /// Where it stands.
    pub state: SampleState,
    /// Why it stands there, or why the last attempt to score it failed. That of a dropped one is text of the agent's module:
    /// all are to be escaped before they are shown.
    pub reason: Option<String>,
    /// When it was captured.
    pub captured: SystemTime,
    /// How good it was found; none before it is scored.
    pub score: Option<Score>,
    /// Names its prompt by the token ids: turns of an agent with the same one are attempts at the same answer. None without
    /// tokens.
    pub prompt_key: Option<[u8; 16]>,
    /// The batch that has it, or had it at last.
    pub batch: Option<Uuid>,
}

/// How many samples of an agent are in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleCount {
    /// Whose.
    pub agent: AgentId,
    /// Which state.
    pub state: SampleState,
    /// How many.
    pub count: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            flush_every: Duration::from_millis(50),
            queue_entries: 4096,
            queue_bytes: ByteSize(8 << 20),
            session_memory: ByteSize(16 << 20),
            database_limit: None,
        }
    }
}

impl Store {
    /// Opens the state directory `dir` for this process alone, or makes it: 0700, its files 0600.
    ///
    /// Refuses with a typed error what another process holds ([`StoreError::Locked`]), what is not ours, newer, or
    /// damaged; nothing of it is changed then.
    pub async fn open(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        Self::open_with(dir, options, database::migrations()).await
    }

    async fn open_with(dir: &Path, options: StoreOptions, schema: Vec<Migration>) -> Result<Self, StoreError> {
        let path = dir.to_owned();
        let opened = tokio::task::spawn_blocking(move || StateDir::open(&path)).await;
        let dir = opened.map_err(|e| StoreError::io("open", dir)(e.into()))??;
        let database = database::open(&dir, schema, options.database_limit).await?;

        let shared = Arc::new(Shared::new(bounded(options.queue_bytes)));
        let (queue, jobs) = Queue::new(options.queue_entries, Arc::clone(&shared));
        let reader = Reader { pool: database.readers.clone(), path: database.path.clone().into() };
        let sessions = Sessions::new(bounded(options.session_memory));
        let writer = Writer {
            jobs,
            shared: Arc::clone(&shared),
            working: Working(Arc::clone(&shared)),
            database,
            sessions,
            dir,
            flush_every: options.flush_every,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(writer.run());
        Ok(Store { queue, shared, reader, writer: Mutex::new(tasks) })
    }

    /// Hands a finished turn over: at once when the queue has room, else as soon as the writer has made some, which it
    /// then does without delay. It is durable after `flush_every`, or after [`Store::flush`]. The order of calls that
    /// wait is kept. A caller that gives up waiting has handed nothing over.
    ///
    /// Fails only when the store is poisoned or closed, also while waiting; the record is not kept then.
    ///
    /// The first turn of a session begins it; a turn after its end opens it again. A second record with the id of an
    /// earlier one is ignored.
    pub async fn record_turn(&self, record: TurnRecord) -> Result<(), StoreError> {
        self.queue.hand_over(Job::Turn(Box::new(record))).await
    }

    /// Keeps values of an agent's policy by their names, or forgets those without content. As durable as a recorded turn, and after
    /// the turns that were recorded before.
    ///
    /// Fails only when the store is poisoned or closed.
    pub async fn keep_values(
        &self,
        agent: &AgentId,
        changes: Vec<(String, Option<Vec<u8>>)>,
    ) -> Result<(), StoreError> {
        self.queue.hand_over(Job::Values(ValuesJob { agent: agent.clone(), changes })).await
    }

    /// The values of an agent's policy that are committed, by name.
    pub async fn values(&self, agent: &AgentId) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.reader.values(agent).await
    }

    /// Keeps a sample of a recorded turn, and returns when it is durable. At most one row comes of a turn, whatever is
    /// repeated, and one of turns of a session that have the same prompt and completion: a later call changes nothing and is
    /// told what exists.
    ///
    /// The verdict decides: kept with its weight (that of `sample` is not read), or kept without tokens as dropped.
    pub async fn capture(&self, sample: Sample, verdict: Verdict) -> Result<Captured, StoreError> {
        self.capture_with(sample, verdict, None).await
    }

    /// Ends a session; `false` if it was not open.
    pub async fn end_session(
        &self,
        agent: &AgentId,
        session: &SessionId,
        reason: EndReason,
    ) -> Result<bool, StoreError> {
        let key = (agent.clone(), session.clone());
        self.queue.ask(|reply| Job::End(EndJob { key, silent_since: None, reason, reply })).await
    }

    /// Ends a session in which nothing was said since `since`; `false` if something was, or it was not open.
    pub async fn end_silent_session(
        &self,
        agent: &AgentId,
        session: &SessionId,
        since: SystemTime,
    ) -> Result<bool, StoreError> {
        let (key, silent_since, reason) = ((agent.clone(), session.clone()), Some(since), EndReason::Idle);
        self.queue.ask(|reply| Job::End(EndJob { key, silent_since, reason, reply })).await
    }

    /// Ends every open session, of all agents, and says how many.
    pub async fn end_all_open(&self, reason: EndReason) -> Result<u64, StoreError> {
        self.queue.ask(|reply| Job::EndAll { reason, reply }).await
    }

    /// Removes everything of an agent, from the database and its log, and says how many sessions that were. The file
    /// is rebuilt, which takes a second for each few hundred megabytes.
    pub async fn purge(&self, agent: &AgentId) -> Result<u64, StoreError> {
        self.queue.ask(|reply| Job::Purge { agent: agent.clone(), reply }).await
    }

    /// Checks the whole database's structure; takes a second for each few hundred megabytes.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.queue.ask(Job::Check).await
    }

    /// Returns when everything handed over before is durable, or says why it is not.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.queue.ask(Job::Flush).await
    }

    /// Commits what waits, closes the database, and gives the directory up. Calling it again does nothing.
    pub async fn close(&self) {
        let mut writer = self.writer.lock().await;
        // An error says that it is closed already.
        let _ = self.queue.send(Job::Close).await;
        while writer.join_next().await.is_some() {}
    }

    /// Whether turns are kept and samples acknowledged.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// How many turns were handed over and then lost to a failed write, since the store was opened. Those that
    /// [`Store::record_turn`] refused are not among them.
    pub fn lost_turns(&self) -> u64 {
        self.shared.lost()
    }

    /// The agent's sessions, the most recently active first.
    pub async fn sessions(&self, agent: &AgentId, limit: usize) -> Result<Vec<StoredSession>, StoreError> {
        self.reader.sessions(agent, limit).await
    }

    /// One session.
    pub async fn session(&self, agent: &AgentId, name: &SessionId) -> Result<Option<StoredSession>, StoreError> {
        self.reader.session(agent, name).await
    }

    /// Open sessions of all agents whose last turn ended before `before`, the longest silent first.
    pub async fn idle_sessions(&self, before: SystemTime, limit: usize) -> Result<Vec<StoredSession>, StoreError> {
        self.reader.idle(before, limit).await
    }

    /// One turn.
    pub async fn turn(&self, id: TurnId) -> Result<Option<StoredTurn>, StoreError> {
        self.reader.turn(id).await
    }

    /// The last `last` turns of a session, in order.
    pub async fn turns(
        &self,
        agent: &AgentId,
        session: &SessionId,
        last: usize,
    ) -> Result<Vec<StoredTurn>, StoreError> {
        self.reader.turns(agent, session, last).await
    }

    /// The agent's samples, the newest first.
    pub async fn samples(&self, agent: &AgentId, limit: usize) -> Result<Vec<StoredSample>, StoreError> {
        self.reader.samples(agent, limit).await
    }

    /// A turn's sample.
    pub async fn sample_of(&self, turn: TurnId) -> Result<Option<StoredSample>, StoreError> {
        self.reader.sample(turn).await
    }

    /// How many samples there are, by agent and state.
    pub async fn sample_counts(&self) -> Result<Vec<SampleCount>, StoreError> {
        self.reader.counts().await
    }
}

/// A size as this machine counts.
fn bounded(size: ByteSize) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}
