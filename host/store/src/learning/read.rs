//! The queries of learning.

use std::time::SystemTime;

use domain::{AgentId, SessionId, TurnId};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::{Lesson, LessonCount, LessonId, SkillVersion};
use crate::codes;
use crate::error::StoreError;
use crate::read::{Filter, Reader, agent, count, digest, name, turn_id, word};
use crate::writer::array;

pub(crate) const LESSONS: &str = "SELECT lessons.id, lessons.agent, sessions.name, lessons.from_turn, lessons.to_turn, \
    lessons.state, lessons.attempts, lessons.not_before, lessons.began, lessons.changed, lessons.error, lessons.model, \
    lessons.proposals FROM lessons JOIN sessions ON sessions.id = lessons.session";
const VERSIONS: &str = "SELECT agent, name, digest, text, state, lesson, provenance, created, changed, parent, \
    reason FROM skill_versions";

/// The most lessons that are looked at together.
const MOST_OPEN: i64 = 1000;

impl Reader {
    pub(crate) async fn agents_to_learn(&self) -> Result<Vec<AgentId>, StoreError> {
        let sql = ["SELECT DISTINCT agent FROM sessions", "WHERE turns > learned ORDER BY agent"];
        self.list("read the agents to learn", sql, &[], |row| agent(row, 0)).await
    }

    pub(crate) async fn due_sessions(
        &self,
        agent: &AgentId,
        every: u64,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError> {
        let sql = [
            "SELECT name FROM sessions",
            "WHERE agent = $1 AND turns > learned \
             AND (ended IS NOT NULL OR ($2 > 0 AND turns - learned >= $2 AND $2 <= (SELECT count(*) FROM turns \
                  WHERE turns.session = sessions.id AND turns.position >= sessions.learned AND turns.kind = 'main'))) \
             AND NOT EXISTS (SELECT 1 FROM lessons WHERE lessons.session = sessions.id AND lessons.from_turn = sessions.learned) \
             ORDER BY last_active LIMIT $3",
        ];
        let (every, limit) = (codes::signed(every), codes::signed(limit as u64));
        let values = [Filter::Text(agent.as_str()), Filter::Number(every), Filter::Number(limit)];
        self.list("read the sessions to learn from", sql, &values, |row| name(row, 0)).await
    }

    pub(crate) async fn open_lessons(&self) -> Result<Vec<Lesson>, StoreError> {
        let tail = "WHERE lessons.state IN ('begun', 'proposed') ORDER BY lessons.not_before LIMIT $1";
        self.list("read the open lessons", [LESSONS, tail], &[Filter::Number(MOST_OPEN)], lesson).await
    }

    pub(crate) async fn lessons(&self, agent: &AgentId, limit: usize) -> Result<Vec<Lesson>, StoreError> {
        let tail = "WHERE lessons.agent = $1 ORDER BY lessons.began DESC, lessons.id DESC LIMIT $2";
        let values = [Filter::Text(agent.as_str()), Filter::Number(codes::signed(limit as u64))];
        self.list("read lessons", [LESSONS, tail], &values, lesson).await
    }

    pub(crate) async fn agents_with_outcomes(&self) -> Result<Vec<(AgentId, SystemTime)>, StoreError> {
        let sql = [
            "SELECT agent, changed FROM skill_uses",
            "WHERE skill = '' AND EXISTS (SELECT 1 FROM skill_versions \
                WHERE skill_versions.agent = skill_uses.agent AND skill_versions.state = 'active') ORDER BY agent",
        ];
        self.list("read the agents with outcomes", sql, &[], |row| Ok((agent(row, 0)?, codes::time(row.try_get(1)?))))
            .await
    }

    pub(crate) async fn lesson_counts(&self) -> Result<Vec<LessonCount>, StoreError> {
        let sql =
            ["SELECT agent, state, count(*), max(changed) FROM lessons", "GROUP BY agent, state ORDER BY agent, state"];
        self.list("count lessons", sql, &[], |row| {
            let (state, last) = (word(row, 1, "a lesson's state")?, codes::time(row.try_get(3)?));
            Ok(LessonCount { agent: agent(row, 0)?, state, count: count(row, 2)?, last })
        })
        .await
    }

    pub(crate) async fn skill_versions(&self, owner: &AgentId) -> Result<Vec<SkillVersion>, StoreError> {
        let tail = "WHERE agent = $1 ORDER BY name, created DESC, changed DESC";
        self.list("read skill versions", [VERSIONS, tail], &[Filter::Text(owner.as_str())], version).await
    }

    pub(crate) async fn questions_on(&self, agent: &AgentId, day: u64) -> Result<u64, StoreError> {
        let sql = ["SELECT asked FROM tryout_questions", "WHERE agent = $1 AND day = $2"];
        let values = [Filter::Text(agent.as_str()), Filter::Number(codes::signed(day))];
        let asked = self.list("count the questions of try-outs", sql, &values, |row| count(row, 0)).await?;
        Ok(asked.first().copied().unwrap_or(0))
    }

    pub(crate) async fn turns_of_lesson(&self, lesson: &Lesson, limit: usize) -> Result<Vec<TurnId>, StoreError> {
        let sql = [
            "SELECT turns.id FROM turns JOIN sessions ON sessions.id = turns.session",
            "WHERE sessions.agent = $1 AND sessions.name = $2 AND turns.position >= $3 AND turns.position < $4 \
             AND turns.kind = 'main' ORDER BY turns.position DESC LIMIT $5",
        ];
        let range = [lesson.from, lesson.to, limit as u64].map(|number| Filter::Number(codes::signed(number)));
        let [from, to, limit] = range;
        let values = [Filter::Text(lesson.agent.as_str()), Filter::Text(lesson.session.as_str()), from, to, limit];
        let mut turns = self.list("read a lesson's turns", sql, &values, |row| turn_id(row, 0)).await?;
        turns.reverse();
        Ok(turns)
    }
}

pub(crate) fn lesson(row: &SqliteRow) -> Result<Lesson, sqlx::Error> {
    Ok(Lesson {
        id: LessonId(Uuid::from_bytes(array(row.try_get(0)?)?)),
        agent: agent(row, 1)?,
        session: name(row, 2)?,
        from: count(row, 3)?,
        to: count(row, 4)?,
        state: word(row, 5, "a lesson's state")?,
        attempts: u32::try_from(count(row, 6)?).unwrap_or(u32::MAX),
        not_before: codes::time(row.try_get(7)?),
        began: codes::time(row.try_get(8)?),
        changed: codes::time(row.try_get(9)?),
        error: row.try_get(10)?,
        model: row.try_get(11)?,
        proposals: row.try_get(12)?,
    })
}

fn version(row: &SqliteRow) -> Result<SkillVersion, sqlx::Error> {
    let lesson: Option<Vec<u8>> = row.try_get(5)?;
    let parent: Option<Vec<u8>> = row.try_get(9)?;
    Ok(SkillVersion {
        agent: agent(row, 0)?,
        name: row.try_get(1)?,
        digest: digest(row, 2)?,
        text: row.try_get(3)?,
        state: word(row, 4, "a version's state")?,
        lesson: lesson.map(|id| array(id).map(|id| LessonId(Uuid::from_bytes(id)))).transpose()?,
        provenance: row.try_get(6)?,
        created: codes::time(row.try_get(7)?),
        changed: codes::time(row.try_get(8)?),
        parent: parent.map(|digest| array::<32>(digest).map(Into::into)).transpose()?,
        reason: row.try_get(10)?,
    })
}
