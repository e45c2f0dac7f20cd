//! Rows on their way into tables, and how they are written many at a time.

use domain::{AgentId, SampleState, SampledWith, TurnId, TurnRecord};
use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, SqliteConnection};

use crate::codes::{Code as _, micros, signed, span};
use crate::sessions::{Key, Session};
use crate::training::SampleKeys;

/// A UUIDv7 as a key column holds it.
pub(crate) type RowId = [u8; 16];
/// The first 16 bytes of a BLAKE3 hash.
pub(crate) type Hash = [u8; 16];

/// How many rows one statement writes: as many of the largest as fit, then smaller ones. Few sizes, so that every
/// statement stays prepared; and no larger, because a statement's text and its bound values are held in memory.
const ROWS: [usize; 3] = [64, 8, 1];

/// A row of one table.
pub(crate) trait Row: Sized {
    /// The statement up to `VALUES`.
    const INSERT: &'static str;
    /// How many columns it names.
    const COLUMNS: usize;
    /// What happens when the key exists.
    const CONFLICT: &'static str;

    fn bind(self, to: &mut Values) -> Result<(), BoxDynError>;
}

/// The values of one statement.
pub(crate) struct Values(SqliteArguments);

/// A session as the commit leaves it.
pub(crate) struct SessionRow {
    key: Key,
    id: RowId,
    started: i64,
    last_active: i64,
    ended: Option<(i64, &'static str)>,
    turns: u64,
    generation: u64,
    client_key: Option<String>,
}

/// A piece that the session did not have.
pub(crate) struct ContentRow {
    pub(crate) session: RowId,
    pub(crate) number: u32,
    pub(crate) hash: Hash,
    /// A copy: a slice would hold on to the whole body that it was found in.
    pub(crate) body: Vec<u8>,
}

/// A turn, its body already taken out and apart.
pub(crate) struct TurnRow {
    pub(crate) session: RowId,
    pub(crate) position: u64,
    pub(crate) request: Vec<u8>,
    pub(crate) record: TurnRecord,
}

/// A value of an agent's policy.
pub(crate) struct ValueRow {
    pub(crate) agent: AgentId,
    pub(crate) name: String,
    pub(crate) value: Vec<u8>,
}

/// How often a skill was offered and injected in one commit.
pub(crate) struct CountRow {
    pub(crate) agent: AgentId,
    pub(crate) skill: String,
    pub(crate) offered: u64,
    pub(crate) injected: u64,
    pub(crate) now: i64,
}

/// A sample, its prompt already taken apart.
pub(crate) struct SampleRow {
    pub(crate) turn: TurnId,
    pub(crate) agent: AgentId,
    pub(crate) state: SampleState,
    pub(crate) reason: Option<String>,
    pub(crate) weight: f32,
    pub(crate) reward: Option<f32>,
    pub(crate) policy: [u8; 32],
    pub(crate) skill_generation: u64,
    pub(crate) captured: i64,
    pub(crate) adapter: u64,
    pub(crate) tokens: Option<TokenColumns>,
}

/// A sample's tokens as its columns hold them.
pub(crate) struct TokenColumns {
    /// The recipe.
    pub(crate) prompt: Vec<u8>,
    pub(crate) completion: Vec<u8>,
    pub(crate) logprobs: Vec<u8>,
    pub(crate) sampled_with: SampledWith,
    pub(crate) keys: SampleKeys,
}

/// Writes `rows`. An error leaves the transaction as it is: its owner rolls it back.
pub(crate) async fn insert<R: Row>(rows: Vec<R>, into: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut rows = rows.into_iter();
    while rows.len() > 0 {
        let count = ROWS.into_iter().find(|count| *count <= rows.len()).unwrap_or(1);
        let mut values = Values(SqliteArguments::default());
        values.0.reserve(count * R::COLUMNS, 0);
        for row in rows.by_ref().take(count) {
            row.bind(&mut values).map_err(sqlx::Error::Encode)?;
        }
        sqlx::query_with(AssertSqlSafe(statement::<R>(count)), values.0).execute(&mut *into).await?;
    }
    Ok(())
}

/// The text of a statement for `count` rows. PostgreSQL will want `$1, $2, …` here.
fn statement<R: Row>(count: usize) -> String {
    let row = format!("({})", vec!["?"; R::COLUMNS].join(","));
    format!("{} VALUES {} {}", R::INSERT, vec![row.as_str(); count].join(","), R::CONFLICT)
}

impl Values {
    fn bytes(&mut self, value: impl Into<Vec<u8>>) -> Result<(), BoxDynError> {
        self.0.add(value.into())
    }

    fn maybe_bytes(&mut self, value: Option<Vec<u8>>) -> Result<(), BoxDynError> {
        self.0.add(value)
    }

    fn text(&mut self, value: impl Into<String>) -> Result<(), BoxDynError> {
        self.0.add(value.into())
    }

    fn word(&mut self, value: &'static str) -> Result<(), BoxDynError> {
        self.0.add(value)
    }

    fn number(&mut self, value: i64) -> Result<(), BoxDynError> {
        self.0.add(value)
    }

    fn maybe_number(&mut self, value: Option<i64>) -> Result<(), BoxDynError> {
        self.0.add(value)
    }
}

impl SessionRow {
    /// The row of `session` as it is now.
    pub(crate) fn of(key: Key, session: &Session) -> Self {
        SessionRow {
            key,
            id: session.id,
            started: session.started,
            last_active: session.last_active,
            ended: session.ended.map(|(at, reason)| (at, reason.code())),
            turns: session.turns,
            generation: session.generation,
            client_key: session.client_key.clone(),
        }
    }
}

impl Row for SessionRow {
    const INSERT: &'static str = "INSERT INTO sessions (id, agent, name, started, last_active, ended, end_reason, turns, generation, client_key)";
    const COLUMNS: usize = 10;
    const CONFLICT: &'static str = "ON CONFLICT (id) DO UPDATE SET last_active = excluded.last_active, \
        ended = excluded.ended, end_reason = excluded.end_reason, turns = excluded.turns, \
        generation = excluded.generation, client_key = excluded.client_key";

    fn bind(self, to: &mut Values) -> Result<(), BoxDynError> {
        to.bytes(self.id)?;
        to.text(self.key.0.as_str())?;
        to.text(self.key.1.as_str())?;
        to.number(self.started)?;
        to.number(self.last_active)?;
        to.maybe_number(self.ended.map(|(at, _)| at))?;
        to.0.add(self.ended.map(|(_, reason)| reason))?;
        to.number(signed(self.turns))?;
        to.number(signed(self.generation))?;
        to.0.add(self.client_key)
    }
}

impl Row for ContentRow {
    const INSERT: &'static str = "INSERT INTO contents (session, number, hash, body)";
    const COLUMNS: usize = 4;
    const CONFLICT: &'static str = "";

    fn bind(self, to: &mut Values) -> Result<(), BoxDynError> {
        to.bytes(self.session)?;
        to.number(i64::from(self.number))?;
        to.bytes(self.hash)?;
        to.bytes(self.body)
    }
}

impl Row for TurnRow {
    const INSERT: &'static str = "INSERT INTO turns (id, session, position, kind, started, duration, first_byte, \
        upstream, model, request, answer, skills, policy, decided_by, prompt_tokens, completion_tokens, outcome, adapter)";
    const COLUMNS: usize = 18;
    // The first record of a turn stays.
    const CONFLICT: &'static str = "ON CONFLICT (id) DO NOTHING";

    fn bind(self, to: &mut Values) -> Result<(), BoxDynError> {
        let record = self.record;
        let skills = if record.skills.is_empty() { "[]".to_owned() } else { serde_json::to_string(&record.skills)? };
        to.bytes(*record.id.0.as_bytes())?;
        to.bytes(self.session)?;
        to.number(signed(self.position))?;
        to.word(record.kind.code())?;
        to.number(micros(record.started))?;
        to.number(span(record.duration))?;
        to.maybe_number(record.first_byte.map(span))?;
        to.text(record.upstream)?;
        to.text(record.model)?;
        to.bytes(self.request)?;
        to.bytes(record.answer)?;
        to.text(skills)?;
        to.bytes(*record.policy.0.as_bytes())?;
        to.word(record.policy.1.code())?;
        to.maybe_number(record.usage.map(|usage| signed(usage.prompt)))?;
        to.maybe_number(record.usage.map(|usage| signed(usage.completion)))?;
        to.word(record.outcome.code())?;
        to.number(signed(record.adapter))
    }
}

impl Row for ValueRow {
    const INSERT: &'static str = "INSERT INTO policy_values (agent, name, value)";
    const COLUMNS: usize = 3;
    const CONFLICT: &'static str = "ON CONFLICT (agent, name) DO UPDATE SET value = excluded.value";

    fn bind(self, to: &mut Values) -> Result<(), BoxDynError> {
        to.text(self.agent.as_str())?;
        to.text(self.name)?;
        to.bytes(self.value)
    }
}

impl Row for CountRow {
    const INSERT: &'static str = "INSERT INTO skill_uses (agent, skill, offered, injected, succeeded, failed, changed)";
    const COLUMNS: usize = 7;
    const CONFLICT: &'static str = "ON CONFLICT (agent, skill) DO UPDATE SET \
        offered = skill_uses.offered + excluded.offered, injected = skill_uses.injected + excluded.injected";

    fn bind(self, to: &mut Values) -> Result<(), BoxDynError> {
        to.text(self.agent.as_str())?;
        to.text(self.skill)?;
        to.number(signed(self.offered))?;
        to.number(signed(self.injected))?;
        to.0.add(0.0)?;
        to.0.add(0.0)?;
        to.number(self.now)
    }
}

impl Row for SampleRow {
    const INSERT: &'static str = "INSERT INTO samples (turn, agent, state, reason, weight, policy, skill_generation, \
        captured, reward, adapter, prompt, completion, logprobs, temperature, top_p, top_k, penalized, base, prompt_key, \
        identity)";
    const COLUMNS: usize = 20;
    // The writer has looked: a sample that exists is not written again.
    const CONFLICT: &'static str = "";

    fn bind(self, to: &mut Values) -> Result<(), BoxDynError> {
        to.bytes(*self.turn.0.as_bytes())?;
        to.text(self.agent.as_str())?;
        to.word(self.state.code())?;
        to.0.add(self.reason)?;
        to.0.add(f64::from(self.weight))?;
        to.bytes(self.policy)?;
        to.number(signed(self.skill_generation))?;
        to.number(self.captured)?;
        to.0.add(self.reward.map(f64::from))?;
        to.number(signed(self.adapter))?;
        let Some(TokenColumns { prompt, completion, logprobs, sampled_with, keys }) = self.tokens else {
            return (0..10).try_for_each(|_| to.maybe_bytes(None));
        };
        to.bytes(prompt)?;
        to.bytes(completion)?;
        to.bytes(logprobs)?;
        to.0.add(f64::from(sampled_with.temperature))?;
        to.0.add(f64::from(sampled_with.top_p))?;
        to.number(i64::from(sampled_with.top_k))?;
        to.number(i64::from(sampled_with.penalized))?;
        to.maybe_bytes(sampled_with.base.map(|base| base.as_bytes().to_vec()))?;
        to.bytes(keys.prompt)?;
        to.bytes(keys.identity)
    }
}
