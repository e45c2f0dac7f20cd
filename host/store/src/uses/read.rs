//! The queries.

use domain::{AgentId, Digest, TurnId};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Feedback, SkillUse};
use crate::codes;
use crate::error::StoreError;
use crate::read::{Filter, Reader, count};
use crate::writer::{array, strange};

pub(crate) const USES: &str = "SELECT skill, offered, injected, succeeded, failed, digest, model, helped, changed \
    FROM skill_uses";
const FEEDBACK: &str = "SELECT reward, skills, given FROM feedback";

impl Reader {
    pub(crate) async fn skill_uses(&self, agent: &AgentId) -> Result<Vec<SkillUse>, StoreError> {
        let tail = "WHERE agent = $1 ORDER BY skill";
        self.list("read what came of skills", [USES, tail], &[Filter::Text(agent.as_str())], skill_use).await
    }

    pub(crate) async fn skill_uses_of(&self, agent: &AgentId, skills: &[String]) -> Result<Vec<SkillUse>, StoreError> {
        let mut uses = Vec::with_capacity(skills.len());
        for skill in skills {
            let values = [Filter::Text(agent.as_str()), Filter::Text(skill)];
            let tail = "WHERE agent = $1 AND skill = $2";
            uses.extend(self.list("read what came of a skill", [USES, tail], &values, skill_use).await?);
        }
        Ok(uses)
    }

    pub(crate) async fn feedback(&self, turn: TurnId) -> Result<Option<Feedback>, StoreError> {
        let values = [Filter::Bytes(turn.0.as_bytes())];
        let found = self.list("read feedback", [FEEDBACK, "WHERE turn = $1"], &values, feedback).await?;
        Ok(found.into_iter().next())
    }
}

pub(crate) fn skill_use(row: &SqliteRow) -> Result<SkillUse, sqlx::Error> {
    let helped: Option<Vec<u8>> = row.try_get(7)?;
    let helped = helped.map(|bytes| codes::logprobs(&bytes).ok_or_else(|| strange("a sum of vectors"))).transpose()?;
    Ok(SkillUse {
        skill: row.try_get(0)?,
        offered: count(row, 1)?,
        injected: count(row, 2)?,
        succeeded: row.try_get(3)?,
        failed: row.try_get(4)?,
        digest: maybe_digest(row, 5)?,
        model: maybe_digest(row, 6)?,
        helped: helped.unwrap_or_default(),
        changed: codes::time(row.try_get(8)?),
    })
}

pub(super) fn maybe_digest(row: &SqliteRow, column: usize) -> Result<Option<Digest>, sqlx::Error> {
    let bytes: Option<Vec<u8>> = row.try_get(column)?;
    bytes.map(|bytes| Ok(array::<32>(bytes)?.into())).transpose()
}

#[expect(clippy::cast_possible_truncation, reason = "it was an f32")]
pub(super) fn feedback(row: &SqliteRow) -> Result<Feedback, sqlx::Error> {
    let skills: String = row.try_get(1)?;
    Ok(Feedback {
        reward: row.try_get::<Option<f64>, _>(0)?.map(|reward| reward as f32),
        skills: serde_json::from_str(&skills).map_err(|_| strange("a list of skills"))?,
        given: codes::time(row.try_get(2)?),
    })
}
