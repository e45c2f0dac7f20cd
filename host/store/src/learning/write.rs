//! The transactions of learning, on the writer's connection.

use std::time::SystemTime;

use domain::{AgentId, Digest, SessionId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection as _, Row as _, SqliteConnection};
use uuid::Uuid;

use super::read::{LESSONS, lesson};
use super::{Lesson, LessonId, SkillVersion, VersionChange, VersionState};
use crate::codes::{Code as _, micros, signed};
use crate::queue::Answer;

/// The longest reason of a failure that is kept, in bytes; what is longer is cut.
const MAX_ERROR: usize = 1024;

/// One transaction, and who waits for it. The answer is the lesson as it is afterwards; none when nothing was changed.
pub(crate) struct LearnJob {
    pub(crate) step: Step,
    pub(crate) reply: Answer<Option<Lesson>>,
}

pub(crate) enum Step {
    Begin { agent: AgentId, session: SessionId },
    Propose { lesson: LessonId, model: String, proposals: String },
    Note { lesson: LessonId, proposals: String, day: u64, questions: u32 },
    Postpone { lesson: LessonId, error: String, until: Option<SystemTime> },
    Retry { agent: AgentId, lesson: LessonId },
    Finish { lesson: LessonId, proposals: String, changes: Vec<VersionChange> },
    Change { agent: AgentId, changes: Vec<VersionChange> },
    Skip { agent: AgentId },
}

/// Does one step, whole or not at all.
pub(crate) async fn step(step: Step, writer: &mut SqliteConnection) -> Result<Option<Lesson>, sqlx::Error> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let lesson = take(step, &mut transaction).await?;
    transaction.commit().await?;
    Ok(lesson)
}

async fn take(step: Step, to: &mut SqliteConnection) -> Result<Option<Lesson>, sqlx::Error> {
    let now = micros(SystemTime::now());
    let (id, changed) = match step {
        Step::Begin { agent, session } => return begin(&agent, &session, now, to).await,
        Step::Propose { lesson, model, proposals } => {
            let sql = "UPDATE lessons SET state = 'proposed', model = $1, proposals = $2, changed = $3, attempts = 0, \
                error = NULL, not_before = $3 WHERE id = $4 AND state = 'begun'";
            let query = sqlx::query(sql).bind(model).bind(proposals).bind(now).bind(key(lesson));
            (lesson, query.execute(&mut *to).await?.rows_affected())
        }
        Step::Note { lesson, proposals, day, questions } => {
            let sql =
                "UPDATE lessons SET proposals = $1, changed = $2 WHERE id = $3 AND state = 'proposed' RETURNING agent";
            let query = sqlx::query_scalar(sql).bind(proposals).bind(now).bind(key(lesson));
            let agent: Option<String> = query.fetch_optional(&mut *to).await?;
            if let Some(agent) = agent.as_ref().filter(|_| questions > 0) {
                count_questions(agent, day, questions, to).await?;
            }
            (lesson, u64::from(agent.is_some()))
        }
        Step::Postpone { lesson, mut error, until } => {
            error.truncate(error.floor_char_boundary(MAX_ERROR));
            let sql = "UPDATE lessons SET attempts = attempts + 1, error = $1, not_before = $2, changed = $3, \
                state = CASE WHEN $4 THEN 'failed' ELSE state END WHERE id = $5 AND state IN ('begun', 'proposed')";
            let query = sqlx::query(sql).bind(error).bind(until.map_or(now, micros)).bind(now);
            let done = query.bind(until.is_none()).bind(key(lesson)).execute(&mut *to).await?.rows_affected();
            if done > 0 && until.is_none() {
                learned(lesson, to).await?;
            }
            (lesson, done)
        }
        Step::Retry { agent, lesson } => {
            // What was proposed before it was given up is still there.
            let sql = "UPDATE lessons SET state = CASE WHEN proposals IS NULL THEN 'begun' ELSE 'proposed' END, attempts = 0, \
                not_before = $1, changed = $1 WHERE id = $2 AND agent = $3 AND state <> 'done'";
            let query = sqlx::query(sql).bind(now).bind(key(lesson)).bind(agent.as_str().to_owned());
            (lesson, query.execute(&mut *to).await?.rows_affected())
        }
        Step::Finish { lesson, proposals, changes } => {
            let sql = "UPDATE lessons SET state = 'done', proposals = $1, changed = $2, error = NULL \
                WHERE id = $3 AND state = 'proposed'";
            let done =
                sqlx::query(sql).bind(proposals).bind(now).bind(key(lesson)).execute(&mut *to).await?.rows_affected();
            if done > 0 {
                let agent: String = sqlx::query_scalar("SELECT agent FROM lessons WHERE id = $1")
                    .bind(key(lesson))
                    .fetch_one(&mut *to)
                    .await?;
                change(&agent, changes, now, to).await?;
                learned(lesson, to).await?;
            }
            (lesson, done)
        }
        Step::Change { agent, changes } => {
            change(agent.as_str(), changes, now, to).await?;
            return Ok(None);
        }
        Step::Skip { agent } => {
            let sql = "UPDATE sessions SET learned = turns WHERE agent = $1 AND turns > learned";
            sqlx::query(sql).bind(agent.as_str().to_owned()).execute(&mut *to).await?;
            return Ok(None);
        }
    };
    if changed == 0 { Ok(None) } else { fetch(id, to).await }
}

async fn begin(
    agent: &AgentId,
    session: &SessionId,
    now: i64,
    to: &mut SqliteConnection,
) -> Result<Option<Lesson>, sqlx::Error> {
    let sql = "SELECT id, learned, turns FROM sessions WHERE agent = $1 AND name = $2 AND turns > learned";
    let found: Option<SqliteRow> = sqlx::query(sql)
        .bind(agent.as_str().to_owned())
        .bind(session.as_str().to_owned())
        .fetch_optional(&mut *to)
        .await?;
    let Some(row) = found else { return Ok(None) };
    let (row_id, from, until): (Vec<u8>, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let sql = "SELECT count(*) FROM turns WHERE session = $1 AND position >= $2 AND position < $3 AND kind = 'main'";
    let main: i64 = sqlx::query_scalar(sql).bind(row_id.clone()).bind(from).bind(until).fetch_one(&mut *to).await?;
    if main == 0 {
        let skip = sqlx::query("UPDATE sessions SET learned = turns WHERE id = $1").bind(row_id);
        skip.execute(&mut *to).await?;
        return Ok(None);
    }
    let id = LessonId(Uuid::now_v7());
    let sql = "INSERT INTO lessons (id, agent, session, from_turn, to_turn, state, attempts, not_before, began, changed) \
        VALUES ($1, $2, $3, $4, $5, 'begun', 0, $6, $6, $6) ON CONFLICT (session, from_turn) DO NOTHING";
    let query = sqlx::query(sql).bind(key(id)).bind(agent.as_str().to_owned()).bind(row_id);
    let made = query.bind(from).bind(until).bind(now).execute(&mut *to).await?.rows_affected();
    if made == 0 { Ok(None) } else { fetch(id, to).await }
}

/// Adds to a day's questions, and forgets earlier days.
async fn count_questions(agent: &str, day: u64, more: u32, to: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let day = signed(day);
    let old = sqlx::query("DELETE FROM tryout_questions WHERE agent = $1 AND day < $2");
    old.bind(agent.to_owned()).bind(day).execute(&mut *to).await?;
    let sql = "INSERT INTO tryout_questions (agent, day, asked) VALUES ($1, $2, $3) \
        ON CONFLICT (agent, day) DO UPDATE SET asked = asked + excluded.asked";
    let query = sqlx::query(sql).bind(agent.to_owned()).bind(day).bind(i64::from(more));
    query.execute(&mut *to).await.map(drop)
}

/// Lets a lesson's turns count as learned from. A lesson that is tried again long after may come behind later ones.
async fn learned(lesson: LessonId, to: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let sql = "UPDATE sessions SET learned = max(learned, (SELECT to_turn FROM lessons WHERE id = $1)) \
        WHERE id = (SELECT session FROM lessons WHERE id = $1)";
    sqlx::query(sql).bind(key(lesson)).execute(&mut *to).await.map(drop)
}

async fn change(
    agent: &str,
    changes: Vec<VersionChange>,
    now: i64,
    to: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    for change in changes {
        let (name, digest, state) = match &change {
            VersionChange::Put(version) => (version.name.clone(), version.digest, version.state),
            VersionChange::Stands { name, digest, state, .. } => (name.clone(), *digest, *state),
        };
        if state == VersionState::Active {
            let sql = "UPDATE skill_versions SET state = 'retired', changed = $1, reason = NULL \
                WHERE agent = $2 AND name = $3 AND state = 'active' AND digest <> $4";
            let query = sqlx::query(sql).bind(now).bind(agent.to_owned()).bind(name.clone());
            query.bind(bytes(digest)).execute(&mut *to).await?;
        }
        match change {
            VersionChange::Put(version) => put(agent, *version, now, to).await?,
            VersionChange::Stands { reason, .. } => {
                let sql = "UPDATE skill_versions SET state = $1, changed = $2, reason = $3 \
                    WHERE agent = $4 AND name = $5 AND digest = $6";
                let query = sqlx::query(sql).bind(state.code()).bind(now).bind(reason).bind(agent.to_owned());
                query.bind(name).bind(bytes(digest)).execute(&mut *to).await?;
            }
        }
    }
    Ok(())
}

async fn put(agent: &str, version: SkillVersion, now: i64, to: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO skill_versions (agent, name, digest, text, state, lesson, provenance, created, changed, parent, reason) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10) \
        ON CONFLICT (agent, name, digest) DO UPDATE SET state = excluded.state, changed = excluded.changed, \
            reason = excluded.reason";
    let query = sqlx::query(sql).bind(agent.to_owned()).bind(version.name).bind(bytes(version.digest));
    let query = query.bind(version.text).bind(version.state.code()).bind(version.lesson.map(key));
    let query = query.bind(version.provenance).bind(now).bind(version.parent.map(bytes));
    let query = query.bind(version.reason);
    query.execute(&mut *to).await.map(drop)
}

async fn fetch(id: LessonId, from: &mut SqliteConnection) -> Result<Option<Lesson>, sqlx::Error> {
    let sql = format!("{LESSONS} WHERE lessons.id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(key(id)).fetch_optional(&mut *from).await?;
    row.as_ref().map(lesson).transpose()
}

fn key(lesson: LessonId) -> Vec<u8> {
    lesson.0.as_bytes().to_vec()
}

fn bytes(digest: Digest) -> Vec<u8> {
    digest.as_bytes().to_vec()
}
