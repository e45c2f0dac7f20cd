//! Queries. They see what is committed, on connections of their own.

use std::collections::HashMap;
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use domain::{
    AgentId, Digest, RewardSource, Sample, SampleState, SampledWith, Score, SessionId, TokenTrace, TurnId, TurnRecord,
    Usage,
};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use crate::codes::{self, Code};
use crate::error::StoreError;
use crate::pieces;
use crate::rows::{Hash, RowId};
use crate::sessions;
use crate::writer::{array, piece_number, strange};
use crate::{SampleCount, StoredSample, StoredSession, StoredTurn};

/// The most pieces that are read for one turn; more is damage.
const MOST_PIECES: usize = 1 << 20;

const SESSIONS: &str = "SELECT agent, name, started, last_active, ended, end_reason, turns, generation, \
    client_key FROM sessions";
const TURNS: &str = "SELECT turns.id, sessions.agent, sessions.name, turns.kind, turns.started, turns.duration, \
    turns.first_byte, turns.upstream, turns.model, turns.request, turns.answer, turns.skills, turns.policy, \
    turns.decided_by, turns.prompt_tokens, turns.completion_tokens, turns.outcome, turns.position, turns.session, \
    sessions.client_key, turns.adapter FROM turns JOIN sessions ON sessions.id = turns.session";
const SAMPLES: &str = "SELECT samples.turn, sessions.agent, sessions.name, samples.state, samples.reason, \
    samples.weight, samples.policy, samples.skill_generation, samples.captured, samples.prompt, samples.completion, \
    samples.logprobs, turns.session, samples.reward, samples.adapter, samples.temperature, samples.top_p, samples.top_k, \
    samples.penalized, samples.base, samples.prompt_key, samples.score, samples.votes, samples.spread, samples.scored_by, \
    samples.batch, (SELECT reward FROM feedback WHERE feedback.turn = samples.turn) \
    FROM samples JOIN turns ON turns.id = samples.turn JOIN sessions ON sessions.id = turns.session";

/// Reads from one database.
pub(crate) struct Reader {
    pub(crate) pool: SqlitePool,
    pub(crate) path: Box<Path>,
}

/// One way to narrow a query: the text after the columns, and its values in order.
pub(crate) enum Filter<'a> {
    Bytes(&'a [u8]),
    Text(&'a str),
    Number(i64),
}

impl Reader {
    pub(crate) async fn sessions(&self, agent: &AgentId, limit: usize) -> Result<Vec<StoredSession>, StoreError> {
        let tail = "WHERE agent = $1 ORDER BY last_active DESC LIMIT $2";
        let values = [Filter::Text(agent.as_str()), Filter::Number(codes::signed(limit as u64))];
        self.list("read sessions", [SESSIONS, tail], &values, session).await
    }

    pub(crate) async fn session(&self, agent: &AgentId, name: &SessionId) -> Result<Option<StoredSession>, StoreError> {
        let values = [Filter::Text(agent.as_str()), Filter::Text(name.as_str())];
        let found = self.list("read a session", [SESSIONS, "WHERE agent = $1 AND name = $2"], &values, session).await?;
        Ok(found.into_iter().next())
    }

    pub(crate) async fn idle(&self, before: SystemTime, limit: usize) -> Result<Vec<StoredSession>, StoreError> {
        let tail = "WHERE ended IS NULL AND last_active < $1 ORDER BY last_active LIMIT $2";
        let values = [Filter::Number(codes::micros(before)), Filter::Number(codes::signed(limit as u64))];
        self.list("read idle sessions", [SESSIONS, tail], &values, session).await
    }

    pub(crate) async fn turn(&self, id: TurnId) -> Result<Option<StoredTurn>, StoreError> {
        let rows = self.turns_where("WHERE turns.id = $1", &[Filter::Bytes(id.0.as_bytes())]).await?;
        Ok(rows.into_iter().next())
    }

    pub(crate) async fn turns(
        &self,
        agent: &AgentId,
        session: &SessionId,
        last: usize,
    ) -> Result<Vec<StoredTurn>, StoreError> {
        let tail = "WHERE sessions.agent = $1 AND sessions.name = $2 ORDER BY turns.position DESC LIMIT $3";
        let last = Filter::Number(codes::signed(last as u64));
        let mut turns =
            self.turns_where(tail, &[Filter::Text(agent.as_str()), Filter::Text(session.as_str()), last]).await?;
        turns.reverse();
        Ok(turns)
    }

    /// The last turns of an agent, the oldest first.
    pub(crate) async fn turns_since(
        &self,
        agent: &AgentId,
        since: SystemTime,
        limit: usize,
    ) -> Result<Vec<TurnId>, StoreError> {
        let sql = [
            "SELECT turns.id FROM turns JOIN sessions ON sessions.id = turns.session",
            "WHERE sessions.agent = $1 AND turns.started >= $2 ORDER BY turns.started DESC, turns.id DESC LIMIT $3",
        ];
        let (since, limit) = (codes::micros(since), codes::signed(limit as u64));
        let values = [Filter::Text(agent.as_str()), Filter::Number(since), Filter::Number(limit)];
        let mut turns = self.list("list turns", sql, &values, |row| turn_id(row, 0)).await?;
        turns.reverse();
        Ok(turns)
    }

    /// The version of the schema.
    pub(crate) async fn version(&self) -> Result<i64, StoreError> {
        let sql = ["SELECT coalesce(max(version), 0) FROM _sqlx_migrations", ""];
        let found = self.list("read the schema's version", sql, &[], |row| row.try_get(0)).await?;
        Ok(found.first().copied().unwrap_or(0))
    }

    pub(crate) async fn sample(&self, turn: TurnId) -> Result<Option<StoredSample>, StoreError> {
        let rows = self.samples_where("WHERE samples.turn = $1", &[Filter::Bytes(turn.0.as_bytes())]).await?;
        Ok(rows.into_iter().next())
    }

    pub(crate) async fn samples(&self, agent: &AgentId, limit: usize) -> Result<Vec<StoredSample>, StoreError> {
        let tail = "WHERE samples.agent = $1 ORDER BY samples.turn DESC LIMIT $2";
        self.samples_where(tail, &[Filter::Text(agent.as_str()), Filter::Number(codes::signed(limit as u64))]).await
    }

    pub(crate) async fn values(&self, agent: &AgentId) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let sql = ["SELECT name, value FROM policy_values", "WHERE agent = $1 ORDER BY name"];
        let read = |row: &SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?));
        self.list("read a policy's values", sql, &[Filter::Text(agent.as_str())], read).await
    }

    pub(crate) async fn counts(&self) -> Result<Vec<SampleCount>, StoreError> {
        let sql = ["SELECT agent, state, count(*) FROM samples", "GROUP BY agent, state ORDER BY agent, state"];
        self.list("count samples", sql, &[], |row| {
            let count = u64::try_from(row.try_get::<i64, _>(2)?).unwrap_or(0);
            Ok(SampleCount { agent: agent(row, 0)?, state: word(row, 1, "a sample's state")?, count })
        })
        .await
    }

    /// Runs a query and reads each row.
    pub(crate) async fn list<T>(
        &self,
        action: &'static str,
        sql: [&'static str; 2],
        values: &[Filter<'_>],
        read: impl Fn(&SqliteRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, StoreError> {
        let mut reader = self.pool.acquire().await.map_err(StoreError::sql(action, &self.path))?;
        let rows = fetch(&mut reader, sql, values).await;
        let values = rows.and_then(|rows| rows.iter().map(read).collect());
        values.map_err(StoreError::sql(action, &self.path))
    }

    async fn turns_where(&self, tail: &'static str, values: &[Filter<'_>]) -> Result<Vec<StoredTurn>, StoreError> {
        let action = "read turns";
        let found = self.list(action, [TURNS, tail], values, turn).await?;
        let mut turns = Vec::with_capacity(found.len());
        let mut pieces = Pieces::default();
        for (mut turn, session, recipe) in found {
            let body = self.assemble(session, &recipe, &mut pieces).await;
            turn.record.request = body.map_err(StoreError::sql(action, &self.path))?.into();
            turns.push(turn);
        }
        Ok(turns)
    }

    pub(crate) async fn samples_where(
        &self,
        tail: &'static str,
        values: &[Filter<'_>],
    ) -> Result<Vec<StoredSample>, StoreError> {
        let action = "read samples";
        let found = self.list(action, [SAMPLES, tail], values, sample).await?;
        let mut samples = Vec::with_capacity(found.len());
        let mut pieces = Pieces::default();
        for (mut sample, session, recipe) in found {
            if let (Some(tokens), Some(recipe)) = (&mut sample.sample.tokens, recipe) {
                let prompt = self.assemble(session, &recipe, &mut pieces).await;
                let prompt = prompt.and_then(|bytes| codes::tokens(&bytes).ok_or_else(|| strange("a prompt")));
                tokens.prompt = prompt.map_err(StoreError::sql(action, &self.path))?.into();
            }
            samples.push(sample);
        }
        Ok(samples)
    }

    /// Puts a body together from its pieces, each checked against its hash.
    async fn assemble(&self, session: RowId, recipe: &[u8], known: &mut Pieces) -> Result<Vec<u8>, sqlx::Error> {
        let numbers = pieces::decode(recipe).filter(|numbers| numbers.len() <= MOST_PIECES);
        let numbers = numbers.ok_or_else(|| strange("a request's list of pieces"))?;
        known.of(session);
        let missing = || numbers.iter().filter(|number| !known.bodies.contains_key(*number));
        if let (Some(first), Some(last)) = (missing().min(), missing().max()) {
            let sql = ["SELECT number, hash, body FROM contents", "WHERE session = $1 AND number BETWEEN $2 AND $3"];
            let range = [Filter::Number(i64::from(*first)), Filter::Number(i64::from(*last))];
            let [first, last] = range;
            let mut reader = self.pool.acquire().await?;
            for row in fetch(&mut reader, sql, &[Filter::Bytes(&session), first, last]).await? {
                let (hash, body): (Hash, Vec<u8>) = (array(row.try_get(1)?)?, row.try_get(2)?);
                if sessions::hash(&body) != hash {
                    return Err(strange("the content of a message"));
                }
                known.bodies.insert(piece_number(row.try_get(0)?)?, body.into());
            }
        }
        let mut whole = Vec::new();
        for number in numbers {
            whole.extend_from_slice(known.bodies.get(&number).ok_or_else(|| strange("a missing message"))?);
        }
        Ok(whole)
    }
}

/// Pieces of one session that were read already: the next turn shares most of them.
#[derive(Default)]
struct Pieces {
    session: RowId,
    bodies: HashMap<u32, Bytes>,
}

impl Pieces {
    fn of(&mut self, session: RowId) {
        if self.session != session {
            *self = Pieces { session, bodies: HashMap::new() };
        }
    }
}

async fn fetch(
    reader: &mut SqliteConnection,
    sql: [&'static str; 2],
    values: &[Filter<'_>],
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql.join(" ")));
    for value in values {
        query = match value {
            Filter::Bytes(bytes) => query.bind(bytes.to_vec()),
            Filter::Text(text) => query.bind((*text).to_owned()),
            Filter::Number(number) => query.bind(*number),
        };
    }
    query.fetch_all(reader).await
}

fn session(row: &SqliteRow) -> Result<StoredSession, sqlx::Error> {
    let reason: Option<String> = row.try_get(5)?;
    let reason = match reason {
        Some(text) => Some(Code::read(&text).ok_or_else(|| strange("an end reason"))?),
        None => None,
    };
    Ok(StoredSession {
        agent: agent(row, 0)?,
        session: name(row, 1)?,
        started: codes::time(row.try_get(2)?),
        last_active: codes::time(row.try_get(3)?),
        ended: row.try_get::<Option<i64>, _>(4)?.map(codes::time).zip(reason),
        turns: count(row, 6)?,
        generation: count(row, 7)?,
        client_key: row.try_get(8)?,
    })
}

/// A turn without its body, the session's key, and the body's recipe.
fn turn(row: &SqliteRow) -> Result<(StoredTurn, RowId, Vec<u8>), sqlx::Error> {
    let skills: String = row.try_get(11)?;
    let usage = row.try_get::<Option<i64>, _>(14)?.zip(row.try_get::<Option<i64>, _>(15)?);
    let tokens = |count: i64| u64::try_from(count).unwrap_or(0);
    let record = TurnRecord {
        id: turn_id(row, 0)?,
        agent: agent(row, 1)?,
        session: name(row, 2)?,
        session_key: row.try_get(19)?,
        kind: word(row, 3, "a turn's kind")?,
        started: codes::time(row.try_get(4)?),
        duration: codes::duration(row.try_get(5)?),
        first_byte: row.try_get::<Option<i64>, _>(6)?.map(codes::duration),
        upstream: row.try_get(7)?,
        model: row.try_get(8)?,
        request: Bytes::new(),
        answer: row.try_get::<Vec<u8>, _>(10)?.into(),
        skills: serde_json::from_str(&skills).map_err(|_| strange("a list of skills"))?,
        policy: (digest(row, 12)?, word(row, 13, "who decided")?),
        adapter: count(row, 20)?,
        usage: usage.map(|(prompt, completion)| Usage { prompt: tokens(prompt), completion: tokens(completion) }),
        outcome: word(row, 16, "a turn's outcome")?,
    };
    Ok((StoredTurn { position: count(row, 17)?, record }, array(row.try_get(18)?)?, row.try_get(9)?))
}

/// A sample without its prompt, the session's key, and the prompt's recipe.
fn sample(row: &SqliteRow) -> Result<(StoredSample, RowId, Option<Vec<u8>>), sqlx::Error> {
    let recipe: Option<Vec<u8>> = row.try_get(9)?;
    let answer = row.try_get::<Option<Vec<u8>>, _>(10)?.zip(row.try_get::<Option<Vec<u8>>, _>(11)?);
    let tokens = match answer {
        Some((completion, logprobs)) => Some(TokenTrace {
            prompt: Vec::new().into(),
            completion: codes::tokens(&completion).ok_or_else(|| strange("a completion"))?,
            logprobs: codes::logprobs(&logprobs).ok_or_else(|| strange("log probabilities"))?,
            sampled_with: sampled_with(row)?,
        }),
        None => None,
    };
    let sample = Sample {
        turn: turn_id(row, 0)?,
        agent: agent(row, 1)?,
        session: name(row, 2)?,
        policy: digest(row, 6)?,
        skill_generation: count(row, 7)?,
        adapter: count(row, 14)?,
        weight: narrow(row.try_get(5)?),
        reward: row.try_get::<Option<f64>, _>(13)?.map(narrow),
        tokens,
    };
    let state = word(row, 3, "a sample's state")?;
    let stored = StoredSample {
        sample,
        state,
        reason: row.try_get(4)?,
        captured: codes::time(row.try_get(8)?),
        score: score(row, state)?,
        prompt_key: row.try_get::<Option<Vec<u8>>, _>(20)?.map(array).transpose()?,
        batch: row.try_get::<Option<Vec<u8>>, _>(25)?.map(array).transpose()?.map(Uuid::from_bytes),
    };
    Ok((stored, array(row.try_get(12)?)?, recipe))
}

/// How a sample's tokens were drawn.
fn sampled_with(row: &SqliteRow) -> Result<SampledWith, sqlx::Error> {
    // Those from before this was kept are not trained on.
    let Some(temperature) = row.try_get::<Option<f64>, _>(15)? else { return Ok(SampledWith::default()) };
    Ok(SampledWith {
        temperature: narrow(temperature),
        top_p: narrow(row.try_get(16)?),
        top_k: u32::try_from(count(row, 17)?).unwrap_or(u32::MAX),
        penalized: count(row, 18)? != 0,
        base: row.try_get::<Option<Vec<u8>>, _>(19)?.map(|base| array::<32>(base).map(Into::into)).transpose()?,
    })
}

/// A sample's score. What a client says counts until a batch has the sample, whatever else it was scored by.
fn score(row: &SqliteRow, state: SampleState) -> Result<Option<Score>, sqlx::Error> {
    let Some(reward) = row.try_get::<Option<f64>, _>(21)?.map(narrow) else { return Ok(None) };
    if matches!(state, SampleState::Scored | SampleState::Eligible)
        && let Some(said) = row.try_get::<Option<f64>, _>(26)?.map(narrow)
    {
        return Ok(Some(Score::said(said, RewardSource::Feedback)));
    }
    let votes = u32::try_from(count(row, 22)?).unwrap_or(u32::MAX);
    Ok(Some(Score { reward, votes, spread: narrow(row.try_get(23)?), source: word(row, 24, "who scored a sample")? }))
}

/// A number as it was before its column widened it.
#[expect(clippy::cast_possible_truncation, reason = "every number in these columns was an f32")]
pub(crate) fn narrow(column: f64) -> f32 {
    column as f32
}

pub(crate) fn agent(row: &SqliteRow, column: usize) -> Result<AgentId, sqlx::Error> {
    AgentId::from_trusted(row.try_get(column)?).map_err(|_| strange("an agent's name"))
}

pub(crate) fn name(row: &SqliteRow, column: usize) -> Result<SessionId, sqlx::Error> {
    row.try_get::<&str, _>(column)?.parse().map_err(|_| strange("a session's name"))
}

pub(crate) fn turn_id(row: &SqliteRow, column: usize) -> Result<TurnId, sqlx::Error> {
    Ok(TurnId(Uuid::from_bytes(array(row.try_get(column)?)?)))
}

pub(crate) fn digest(row: &SqliteRow, column: usize) -> Result<Digest, sqlx::Error> {
    Ok(array::<32>(row.try_get(column)?)?.into())
}

pub(crate) fn word<T: Code>(row: &SqliteRow, column: usize, what: &str) -> Result<T, sqlx::Error> {
    T::read(row.try_get(column)?).ok_or_else(|| strange(what))
}

pub(crate) fn count(row: &SqliteRow, column: usize) -> Result<u64, sqlx::Error> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| strange("a negative count"))
}
