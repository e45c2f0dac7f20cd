//! The one task that writes. What waits is committed together; who waits is answered after the commit.

use std::sync::Arc;
use std::time::SystemTime;

use domain::{AgentId, EndReason};
use sqlx::{Connection as _, Executor as _, Row as _};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};

use crate::codes::{self, Code as _};
use crate::database::{self, Database};
use crate::dir::StateDir;
use crate::error::StoreError;
use crate::learning;
use crate::plan::{Known, Plan, Reply, plan};
use crate::queue::{BATCH, Job, Room, Shared, Working};
use crate::rows::{self, CountRow, ValueRow};
use crate::sessions::Sessions;
use crate::training;
use crate::uses;

/// Owns the writing connection, the directory's lock, and what is remembered.
pub(crate) struct Writer {
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) working: Working,
    pub(crate) database: Database,
    pub(crate) sessions: Sessions,
    pub(crate) dir: StateDir,
    /// How long a turn may wait for others to be committed with it.
    pub(crate) flush_every: Duration,
}

impl Writer {
    /// Works until [`Job::Close`], then empties the queue, closes the database, and gives the directory up.
    pub(crate) async fn run(mut self) {
        while let Some(first) = self.jobs.recv().await {
            let mut batch = self.gather(first).await;
            let barrier = batch.pop_if(|job| job.is_barrier());
            if !batch.is_empty() {
                self.write(batch).await;
            }
            if let Some(job) = barrier {
                self.pass(job).await;
            }
        }
        self.database.readers.close().await;
        // The last connection moves the log into the database.
        if let Err(error) = self.database.writer.close().await {
            tracing::warn!(%error, "the database was not closed cleanly; it is repaired when it is opened again");
        }
        drop(self.dir);
        drop(self.working);
    }

    /// The jobs of the next commit: at most [`BATCH`], a barrier only at the end.
    async fn gather(&mut self, first: Job) -> Vec<Job> {
        self.shared.taken(&first);
        let mut batch = vec![first];
        if !batch[0].is_urgent() {
            let due = Instant::now() + self.flush_every;
            while !self.shared.is_urgent() && self.jobs.len() < BATCH {
                let woken = tokio::time::timeout_at(due, self.shared.wake.notified()).await;
                if woken.is_err() {
                    break;
                }
            }
        }
        while batch.len() < BATCH && !batch.last().is_some_and(Job::is_barrier) {
            let Ok(job) = self.jobs.try_recv() else { break };
            self.shared.taken(&job);
            batch.push(job);
        }
        batch
    }

    /// Commits a batch and answers whoever waits; or poisons the store.
    async fn write(&mut self, mut batch: Vec<Job>) {
        let mut room = Room::of(&batch, &self.shared);
        let turns = batch.iter().filter(|job| matches!(job, Job::Turn(_))).count();
        let mut replies = Vec::new();
        let kept = match self.shared.poisoned() {
            Some(reason) => Err(reason.to_owned()),
            None => self.keep(&mut batch, &mut room, &mut replies).await,
        };
        match kept {
            Ok(()) => replies.into_iter().for_each(|reply| reply()),
            // Whoever waits finds its answer gone, and then the reason: it is set before the answers are dropped.
            Err(reason) => {
                self.shared.poison(&reason);
                self.shared.lose(turns as u64);
            }
        }
    }

    /// Loads, plans, commits. An error is told in words, because all that can be done with it is to tell it.
    async fn keep(&mut self, batch: &mut Vec<Job>, room: &mut Room, replies: &mut Vec<Reply>) -> Result<(), String> {
        let known = self.load(batch).await.map_err(|e| e.to_string())?;
        let mut plan = self.plan(std::mem::take(batch), known).await.map_err(|e| e.to_string())?;
        *replies = std::mem::take(&mut plan.replies);
        let touched = std::mem::take(&mut plan.touched);
        let judged = !plan.outcomes.is_empty();
        // Most of a body is known. Its room is free for others while the disk is busy.
        room.shrink_to(plan.cost());
        replies.extend(self.commit(plan).await.map_err(|e| e.to_string())?);
        if judged || !touched.is_empty() {
            self.shared.news.notify_one();
        }
        self.shared.sample_news.notify_one();
        self.sessions.settle(touched);
        Ok(())
    }

    /// Plans on a thread where computing may take its time.
    async fn plan(&mut self, batch: Vec<Job>, known: Known) -> Result<Plan, tokio::task::JoinError> {
        let mut sessions = std::mem::replace(&mut self.sessions, Sessions::new(0));
        let planned = tokio::task::spawn_blocking(move || {
            let plan = plan(batch, &mut sessions, known);
            (plan, sessions)
        });
        let (plan, sessions) = planned.await?;
        self.sessions = sessions;
        Ok(plan)
    }

    /// Writes everything, and gives back the answers that are known only then.
    async fn commit(&mut self, plan: Plan) -> Result<Vec<Reply>, sqlx::Error> {
        let mut transaction = self.database.writer.begin_with("BEGIN IMMEDIATE").await?;
        // A row comes after those that it refers to.
        rows::insert(plan.sessions, &mut transaction).await?;
        rows::insert(plan.contents, &mut transaction).await?;
        rows::insert(plan.turns, &mut transaction).await?;
        rows::insert(plan.samples, &mut transaction).await?;
        let mut values = Vec::with_capacity(plan.values.len());
        for ((agent, name), value) in plan.values {
            match value {
                Some(value) => values.push(ValueRow { agent, name, value }),
                None => {
                    let query = sqlx::query("DELETE FROM policy_values WHERE agent = $1 AND name = $2");
                    query.bind(agent.as_str().to_owned()).bind(name).execute(&mut *transaction).await?;
                }
            }
        }
        rows::insert(values, &mut transaction).await?;
        let now = codes::micros(SystemTime::now());
        let counted = |((agent, skill), (offered, injected))| CountRow { agent, skill, offered, injected, now };
        rows::insert(plan.counts.into_iter().map(counted).collect(), &mut transaction).await?;
        let replies = uses::write::count(plan.outcomes, &mut transaction).await?;
        transaction.commit().await?;
        Ok(replies)
    }

    /// Does what must stand alone.
    async fn pass(&mut self, job: Job) {
        let refused = |reason: &str| StoreError::Poisoned { reason: reason.to_owned() };
        let poisoned = self.shared.poisoned().map(refused);
        match (job, poisoned) {
            (Job::EndAll { reply, .. } | Job::Purge { reply, .. }, Some(error)) => {
                let _ = reply.send(Err(error));
            }
            (Job::Learn(job), Some(error)) => {
                let _ = job.reply.send(Err(error));
            }
            (Job::Learn(job), None) => {
                let done = learning::write::step(job.step, &mut self.database.writer).await;
                let _ = job.reply.send(done.map_err(|error| self.poisoned_by(&error)));
            }
            (Job::Train(job), Some(error)) => {
                let _ = job.reply.send(Err(error));
            }
            (Job::Train(job), None) => {
                let done = training::write::step(job.step, &mut self.database.writer).await;
                let _ = job.reply.send(done.map_err(|error| self.poisoned_by(&error)));
            }
            (Job::EndAll { reason, reply }, None) => {
                let _ = reply.send(self.end_all(reason).await);
            }
            (Job::Purge { agent, reply }, None) => {
                let _ = reply.send(self.purge(&agent).await);
            }
            (Job::Check(reply), _) => {
                let _ = reply.send(database::check_structure(&mut self.database.writer, &self.database.path).await);
            }
            (Job::Close, _) => self.jobs.close(),
            // The others are no barriers.
            _ => {}
        }
    }

    async fn end_all(&mut self, reason: EndReason) -> Result<u64, StoreError> {
        let now = codes::micros(SystemTime::now());
        let query = sqlx::query("UPDATE sessions SET ended = $1, end_reason = $2 WHERE ended IS NULL");
        match query.bind(now).bind(reason.code()).execute(&mut self.database.writer).await {
            Ok(done) => {
                self.sessions.end_all(now, reason);
                self.shared.news.notify_one();
                self.shared.sample_news.notify_one();
                Ok(done.rows_affected())
            }
            Err(error) => Err(self.poisoned_by(&error)),
        }
    }

    /// Nothing is kept after this error.
    fn poisoned_by(&self, error: &sqlx::Error) -> StoreError {
        let reason = error.to_string();
        self.shared.poison(&reason);
        StoreError::Poisoned { reason }
    }

    /// Deletes an agent's rows, then rebuilds the file and empties the log, so that not a byte is left in the state
    /// directory: `secure_delete` overwrites rows, rebuilding drops whatever a page that was split still holds of them.
    /// Rebuilding takes a second for each few hundred megabytes; meanwhile the queue fills, and then callers
    /// wait.
    async fn purge(&mut self, agent: &AgentId) -> Result<u64, StoreError> {
        let path = self.database.path.clone();
        let sql = |action| StoreError::sql(action, &path);
        let writer = &mut self.database.writer;
        let query = sqlx::query("DELETE FROM sessions WHERE agent = $1").bind(agent.as_str().to_owned());
        let done = query.execute(&mut *writer).await.map_err(sql("delete the agent's sessions"))?;
        let values = sqlx::query("DELETE FROM policy_values WHERE agent = $1").bind(agent.as_str().to_owned());
        values.execute(&mut *writer).await.map_err(sql("delete the policy's values"))?;
        let uses = sqlx::query("DELETE FROM skill_uses WHERE agent = $1").bind(agent.as_str().to_owned());
        uses.execute(&mut *writer).await.map_err(sql("delete what came of the agent's skills"))?;
        // Its lessons, and what was said of its turns, went with their sessions.
        let versions = sqlx::query("DELETE FROM skill_versions WHERE agent = $1").bind(agent.as_str().to_owned());
        versions.execute(&mut *writer).await.map_err(sql("delete the agent's skill versions"))?;
        let tryouts = sqlx::query("DELETE FROM tryout_questions WHERE agent = $1").bind(agent.as_str().to_owned());
        tryouts.execute(&mut *writer).await.map_err(sql("delete the agent's try-outs"))?;
        // Its samples went with its turns.
        for table in training::write::PURGE {
            let query = sqlx::query(table).bind(agent.as_str().to_owned());
            query.execute(&mut *writer).await.map_err(sql("delete the agent's adapters"))?;
        }
        self.sessions.forget(agent);
        writer.execute("VACUUM").await.map_err(sql("rebuild the database"))?;
        let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *writer).await;
        let busy: i64 = checkpoint.and_then(|row| row.try_get(0)).map_err(sql("empty the log"))?;
        if busy != 0 {
            return Err(StoreError::PurgeUnfinished { agent: agent.to_string(), path });
        }
        Ok(done.rows_affected())
    }
}

/// A key or hash column as its fixed length.
pub(crate) fn array<const N: usize>(bytes: Vec<u8>) -> Result<[u8; N], sqlx::Error> {
    bytes.try_into().map_err(|_| strange("a key of another length"))
}

/// A piece's number as its column holds it.
pub(crate) fn piece_number(number: i64) -> Result<u32, sqlx::Error> {
    u32::try_from(number).map_err(|_| strange("the number of a message"))
}

/// A value that this program never writes.
pub(crate) fn strange(what: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("{what} is not one that this version writes").into())
}
