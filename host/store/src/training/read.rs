//! Queries of training.

use domain::{AgentId, SampleState, TurnId};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::{Batch, Lane, Rewarded, StoredAdapter, ToScore};
use crate::StoredSample;
use crate::codes::{self, micros, signed};
use crate::error::StoreError;
use crate::read::{Filter, Reader, agent, count, digest, narrow, turn_id, word};
use crate::writer::array;

const ADAPTERS: &str = "SELECT agent, generation, parent, batch, state, folder, digest, base, metrics, created, changed, \
    reason FROM adapters";

/// A sample of the list of those to score, without its content.
struct Due {
    turn: TurnId,
    position: u64,
    next: Option<TurnId>,
    ended: bool,
    feedback: Option<f32>,
    attempts: u32,
}

impl Reader {
    pub(crate) async fn samples_to_score(
        &self,
        agent: &AgentId,
        judged: bool,
        limit: usize,
    ) -> Result<Vec<ToScore>, StoreError> {
        // What follows counts unless it asks the same again: with the same body, or with a prompt of the same tokens.
        let sql = [
            "SELECT samples.turn, turns.position, next.id, sessions.ended IS NOT NULL, feedback.reward, samples.attempts \
             FROM samples JOIN turns ON turns.id = samples.turn JOIN sessions ON sessions.id = turns.session \
             LEFT JOIN feedback ON feedback.turn = samples.turn \
             LEFT JOIN turns AS next ON next.id = (SELECT later.id FROM turns AS later WHERE later.session = turns.session \
                 AND later.position > turns.position AND later.kind = 'main' ORDER BY later.position LIMIT 1) \
             AND next.request <> turns.request AND NOT EXISTS (SELECT 1 FROM samples AS other \
                 WHERE other.turn = next.id AND other.prompt_key = samples.prompt_key)",
            "WHERE samples.agent = $1 AND samples.state = 'captured' AND samples.completion IS NOT NULL \
             AND samples.not_before <= $2 AND (samples.reward IS NOT NULL OR feedback.reward IS NOT NULL \
                 OR ($4 <> 0 AND (next.id IS NOT NULL OR sessions.ended IS NOT NULL))) ORDER BY samples.turn LIMIT $3",
        ];
        let now = Filter::Number(micros(std::time::SystemTime::now()));
        let (limit, judged) = (Filter::Number(signed(limit as u64)), Filter::Number(i64::from(judged)));
        let values = [Filter::Text(agent.as_str()), now, limit, judged];
        let due = self.list("read the samples to score", sql, &values, due).await?;
        let mut found = Vec::with_capacity(due.len());
        for Due { turn, position, next, ended, feedback, attempts } in due {
            // Purged in between, it is gone.
            if let Some(sample) = self.sample(turn).await? {
                found.push(ToScore { sample, position, next, ended, feedback, attempts });
            }
        }
        Ok(found)
    }

    pub(crate) async fn samples_in(
        &self,
        agent: &AgentId,
        state: SampleState,
        limit: usize,
    ) -> Result<Vec<StoredSample>, StoreError> {
        let tail = match state {
            // The words as they are in the index of these.
            SampleState::Scored | SampleState::Eligible => {
                "WHERE samples.agent = $1 AND samples.state = $2 AND samples.state IN ('scored', 'eligible') \
                 ORDER BY samples.turn LIMIT $3"
            }
            SampleState::HeldOut => {
                "WHERE samples.agent = $1 AND samples.state = $2 ORDER BY samples.turn DESC LIMIT $3"
            }
            _ => "WHERE samples.agent = $1 AND samples.state = $2 ORDER BY samples.turn LIMIT $3",
        };
        let limit = Filter::Number(signed(limit as u64));
        self.samples_where(tail, &[Filter::Text(agent.as_str()), Filter::Text(state.as_str()), limit]).await
    }

    pub(crate) async fn open_batch(&self, owner: &AgentId) -> Result<Option<Batch>, StoreError> {
        let sql = ["SELECT id, agent, parent, generation, begun FROM batches", "WHERE agent = $1 AND state = 'open'"];
        let read = |row: &SqliteRow| {
            Ok(Batch {
                id: Uuid::from_bytes(array(row.try_get(0)?)?),
                agent: agent(row, 1)?,
                parent: count(row, 2)?,
                generation: count(row, 3)?,
                samples: Vec::new(),
                begun: codes::time(row.try_get(4)?),
            })
        };
        let found = self.list("read the open batch", sql, &[Filter::Text(owner.as_str())], read).await?;
        let Some(mut batch) = found.into_iter().next() else { return Ok(None) };
        let tail = "WHERE samples.batch = $1 AND samples.state = 'claimed' ORDER BY samples.turn";
        batch.samples = self.samples_where(tail, &[Filter::Bytes(batch.id.as_bytes())]).await?;
        Ok(Some(batch))
    }

    pub(crate) async fn next_generation(&self, agent: &AgentId) -> Result<u64, StoreError> {
        let sql = [super::write::NEXT_GENERATION, ""];
        let found = self.list("number an adapter", sql, &[Filter::Text(agent.as_str())], |row| count(row, 0)).await?;
        Ok(found.first().copied().unwrap_or(1))
    }

    pub(crate) async fn adapters(&self, agent: &AgentId) -> Result<Vec<StoredAdapter>, StoreError> {
        self.adapters_where("WHERE agent = $1 ORDER BY generation DESC", &[Filter::Text(agent.as_str())]).await
    }

    pub(crate) async fn adapter(&self, agent: &AgentId, generation: u64) -> Result<Option<StoredAdapter>, StoreError> {
        let values = [Filter::Text(agent.as_str()), Filter::Number(signed(generation))];
        Ok(self.adapters_where("WHERE agent = $1 AND generation = $2", &values).await?.pop())
    }

    pub(crate) async fn adapter_of(&self, batch: Uuid) -> Result<Option<StoredAdapter>, StoreError> {
        Ok(self.adapters_where("WHERE batch = $1", &[Filter::Bytes(batch.as_bytes())]).await?.pop())
    }

    pub(crate) async fn head(&self, agent: &AgentId) -> Result<Option<StoredAdapter>, StoreError> {
        Ok(self.adapters_where("WHERE agent = $1 AND state = 'live'", &[Filter::Text(agent.as_str())]).await?.pop())
    }

    pub(crate) async fn heads(&self) -> Result<Vec<StoredAdapter>, StoreError> {
        self.adapters_where("WHERE state = 'live' ORDER BY agent", &[]).await
    }

    async fn adapters_where(
        &self,
        tail: &'static str,
        values: &[Filter<'_>],
    ) -> Result<Vec<StoredAdapter>, StoreError> {
        self.list("read adapters", [ADAPTERS, tail], values, adapter).await
    }

    pub(crate) async fn rewarded(&self, agent: &AgentId, generation: u64) -> Result<Vec<Rewarded>, StoreError> {
        let sql = [
            "SELECT coalesce(feedback.reward, samples.score), turns.session, samples.prompt_key \
             FROM samples JOIN turns ON turns.id = samples.turn LEFT JOIN feedback ON feedback.turn = samples.turn",
            "WHERE samples.agent = $1 AND samples.adapter = $2 AND samples.score IS NOT NULL \
             ORDER BY samples.turn DESC LIMIT 4096",
        ];
        let values = [Filter::Text(agent.as_str()), Filter::Number(signed(generation))];
        self.list("read rewards", sql, &values, rewarded).await
    }

    pub(crate) async fn lane(&self, agent: &AgentId) -> Result<Lane, StoreError> {
        let sql = ["SELECT paused, baseline, steps, failures, error, not_before FROM lanes", "WHERE agent = $1"];
        let found = self.list("read how training stands", sql, &[Filter::Text(agent.as_str())], lane).await?;
        Ok(found.into_iter().next().unwrap_or_default())
    }
}

fn rewarded(row: &SqliteRow) -> Result<Rewarded, sqlx::Error> {
    let prompt_key: Option<Vec<u8>> = row.try_get(2)?;
    Ok(Rewarded {
        reward: row.try_get(0)?,
        session: array(row.try_get(1)?).map(Uuid::from_bytes)?,
        prompt_key: prompt_key.map(array).transpose()?,
    })
}

fn due(row: &SqliteRow) -> Result<Due, sqlx::Error> {
    let next: Option<Vec<u8>> = row.try_get(2)?;
    Ok(Due {
        turn: turn_id(row, 0)?,
        position: count(row, 1)?,
        next: next.map(|id| array(id).map(|id| TurnId(Uuid::from_bytes(id)))).transpose()?,
        ended: row.try_get(3)?,
        feedback: row.try_get::<Option<f64>, _>(4)?.map(narrow),
        attempts: u32::try_from(count(row, 5)?).unwrap_or(u32::MAX),
    })
}

fn adapter(row: &SqliteRow) -> Result<StoredAdapter, sqlx::Error> {
    let batch: Option<Vec<u8>> = row.try_get(3)?;
    Ok(StoredAdapter {
        agent: agent(row, 0)?,
        generation: count(row, 1)?,
        parent: count(row, 2)?,
        batch: batch.map(|id| array(id).map(Uuid::from_bytes)).transpose()?,
        state: word(row, 4, "an adapter's state")?,
        folder: row.try_get(5)?,
        digest: digest(row, 6)?,
        base: row.try_get(7)?,
        metrics: row.try_get(8)?,
        created: codes::time(row.try_get(9)?),
        changed: codes::time(row.try_get(10)?),
        reason: row.try_get(11)?,
    })
}

fn lane(row: &SqliteRow) -> Result<Lane, sqlx::Error> {
    let not_before: i64 = row.try_get(5)?;
    Ok(Lane {
        paused: count(row, 0)? != 0,
        baseline: row.try_get(1)?,
        steps: count(row, 2)?,
        failures: u32::try_from(count(row, 3)?).unwrap_or(u32::MAX),
        error: row.try_get(4)?,
        not_before: (not_before > 0).then(|| codes::time(not_before)),
    })
}
