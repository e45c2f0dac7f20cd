//! The transactions of training, on the writer's connection.

use std::time::SystemTime;

use domain::{AgentId, SampleState, Score, TurnId};
use sqlx::{Connection as _, Row as _, SqliteConnection};
use uuid::Uuid;

use super::{AdapterState, Claim, NewAdapter, Staleness};
use crate::codes::{Code as _, micros, signed};
use crate::queue::Answer;
use crate::writer::strange;

/// The longest reason that is kept, in bytes; what is longer is cut.
const MAX_REASON: usize = 1024;
/// What removes an agent's batches and adapters.
pub(crate) const PURGE: [&str; 3] = [
    "DELETE FROM batches WHERE agent = $1",
    "DELETE FROM adapters WHERE agent = $1",
    "DELETE FROM lanes WHERE agent = $1",
];
/// Greater than the number of every adapter that is or was, and of the one that is being made.
pub(crate) const NEXT_GENERATION: &str = "SELECT 1 + max(coalesce((SELECT max(generation) FROM adapters WHERE agent = $1), 0), \
    coalesce((SELECT generation FROM batches WHERE agent = $1 AND state = 'open'), 0))";

/// One transaction, and who waits for it. The answer is 0 when nothing was changed.
pub(crate) struct TrainJob {
    pub(crate) step: Step,
    pub(crate) reply: Answer<u64>,
}

pub(crate) enum Step {
    Score { turn: TurnId, score: Score },
    Postpone { turn: TurnId, error: String, until: Option<SystemTime> },
    Move { turn: TurnId, to: SampleState, reason: Option<String> },
    Expire { agent: AgentId, staleness: Staleness },
    Claim { agent: AgentId, claim: Claim },
    Release { batch: Uuid, reject: Option<String> },
    Commit { batch: Uuid, adapter: NewAdapter },
    Add { agent: AgentId, parent: u64, adapter: NewAdapter },
    Promote { agent: AgentId, generation: u64, reason: String },
    Rollback { agent: AgentId, to: Option<u64>, reason: String },
    Remove { agent: AgentId, generation: u64, reason: String },
    Pause { agent: AgentId, paused: bool },
    Fail { agent: AgentId, error: String, until: SystemTime },
}

/// Does one step, whole or not at all.
pub(crate) async fn step(step: Step, writer: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let changed = take(step, &mut transaction).await?;
    transaction.commit().await?;
    Ok(changed)
}

async fn take(step: Step, to: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let now = micros(SystemTime::now());
    match step {
        Step::Score { turn, score } => {
            let sql = "UPDATE samples SET state = 'scored', score = $1, votes = $2, spread = $3, scored_by = $4, \
                reason = NULL WHERE turn = $5 AND state = 'captured' AND completion IS NOT NULL";
            let query = sqlx::query(sql).bind(f64::from(score.reward)).bind(i64::from(score.votes));
            let query = query.bind(f64::from(score.spread)).bind(score.source.code()).bind(turn_key(turn));
            Ok(query.execute(to).await?.rows_affected())
        }
        Step::Postpone { turn, error, until } => {
            let sql = "UPDATE samples SET attempts = attempts + 1, reason = $1, not_before = $2, \
                state = CASE WHEN $3 THEN 'rejected' ELSE state END WHERE turn = $4 AND state = 'captured'";
            let query = sqlx::query(sql).bind(shorten(error)).bind(until.map_or(now, micros));
            Ok(query.bind(until.is_none()).bind(turn_key(turn)).execute(to).await?.rows_affected())
        }
        Step::Move { turn, to: state, reason } => {
            let sql = match state {
                SampleState::Eligible | SampleState::HeldOut => {
                    "UPDATE samples SET state = $1, reason = $2 WHERE turn = $3 AND state = 'scored'"
                }
                _ => {
                    "UPDATE samples SET state = $1, reason = $2 WHERE turn = $3 \
                     AND state IN ('captured', 'scored', 'eligible')"
                }
            };
            let query = sqlx::query(sql).bind(state.code()).bind(reason.map(shorten)).bind(turn_key(turn));
            Ok(query.execute(to).await?.rows_affected())
        }
        Step::Expire { agent, staleness } => expire(&agent, staleness, to).await,
        Step::Claim { agent, claim } => claim_samples(&agent, claim, now, to).await,
        Step::Release { batch, reject } => release(batch, reject, now, to).await,
        Step::Commit { batch, adapter } => commit(batch, adapter, now, to).await,
        Step::Add { agent, parent, adapter } => {
            let next: i64 = sqlx::query_scalar(NEXT_GENERATION).bind(text(&agent)).fetch_one(&mut *to).await?;
            if signed(adapter.generation) < next {
                return Ok(0);
            }
            insert(text(&agent), signed(parent), None, adapter, now, to).await
        }
        Step::Promote { agent, generation, reason } => promote(&agent, generation, &reason, now, to).await,
        Step::Rollback { agent, to: target, reason } => roll_back(&agent, target, &reason, now, to).await,
        Step::Remove { agent, generation, reason } => {
            let sql = "UPDATE adapters SET state = 'removed', reason = $1, changed = $2 WHERE agent = $3 AND generation = $4 \
                AND state NOT IN ('live', 'removed') \
                AND NOT EXISTS (SELECT 1 FROM batches WHERE agent = $3 AND state = 'open' AND parent = $4)";
            let query = sqlx::query(sql).bind(shorten(reason)).bind(now).bind(text(&agent)).bind(signed(generation));
            Ok(query.execute(to).await?.rows_affected())
        }
        Step::Pause { agent, paused } => {
            let sql = "INSERT INTO lanes (agent, paused, changed) VALUES ($1, $2, $3) \
                ON CONFLICT (agent) DO UPDATE SET paused = excluded.paused, changed = excluded.changed";
            let query = sqlx::query(sql).bind(text(&agent)).bind(i64::from(paused)).bind(now);
            Ok(query.execute(to).await?.rows_affected())
        }
        Step::Fail { agent, error, until } => {
            let sql = "INSERT INTO lanes (agent, failures, error, not_before, changed) VALUES ($1, 1, $2, $3, $4) \
                ON CONFLICT (agent) DO UPDATE SET failures = lanes.failures + 1, error = excluded.error, \
                not_before = excluded.not_before, changed = excluded.changed RETURNING failures";
            let query = sqlx::query_scalar(sql).bind(text(&agent)).bind(shorten(error)).bind(micros(until)).bind(now);
            let failures: i64 = query.fetch_one(to).await?;
            u64::try_from(failures).map_err(|_| strange("a count of failures"))
        }
    }
}

async fn expire(agent: &AgentId, staleness: Staleness, to: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let Staleness { oldest, least_adapter, skill_generation } = staleness;
    // Those without tokens are on no way, and so do not expire.
    let sql = "UPDATE samples SET state = 'expired', reason = CASE WHEN captured < $1 THEN 'too old' \
        WHEN adapter < $2 THEN 'answered with an adapter from too long ago' ELSE 'answered with other skills' END \
        WHERE agent = $3 AND completion IS NOT NULL AND state IN ('captured', 'scored', 'eligible') \
        AND (captured < $1 OR adapter < $2 OR skill_generation <> $4)";
    let query = sqlx::query(sql).bind(micros(oldest)).bind(signed(least_adapter)).bind(text(agent));
    Ok(query.bind(skill_generation.map(signed)).execute(to).await?.rows_affected())
}

async fn claim_samples(agent: &AgentId, claim: Claim, now: i64, to: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let sql = "SELECT count(*) FROM batches WHERE id = $1 OR (agent = $2 AND state = 'open')";
    let query = sqlx::query_scalar(sql).bind(batch_key(claim.batch)).bind(text(agent));
    let under_way: i64 = query.fetch_one(&mut *to).await?;
    if under_way > 0 || live(agent.as_str(), to).await? != signed(claim.parent) {
        return Ok(0);
    }
    let mut eligible = Vec::with_capacity(claim.turns.len());
    for turn in claim.turns {
        let sql = "SELECT turn FROM samples WHERE turn = $1 AND agent = $2 AND state = 'eligible'";
        let query = sqlx::query_scalar(sql).bind(turn_key(turn)).bind(text(agent));
        let found: Option<Vec<u8>> = query.fetch_optional(&mut *to).await?;
        eligible.extend(found);
    }
    eligible.sort();
    eligible.dedup();
    if eligible.is_empty() || eligible.len() < claim.least {
        return Ok(0);
    }
    let sql = "INSERT INTO batches (id, agent, parent, generation, state, begun, changed) \
        VALUES ($1, $2, $3, $4, 'open', $5, $5)";
    let next: i64 = sqlx::query_scalar(NEXT_GENERATION).bind(text(agent)).fetch_one(&mut *to).await?;
    let query = sqlx::query(sql).bind(batch_key(claim.batch)).bind(text(agent)).bind(signed(claim.parent));
    query.bind(next).bind(now).execute(&mut *to).await?;
    for turn in &eligible {
        let sql = "UPDATE samples SET state = 'claimed', batch = $1 WHERE turn = $2";
        sqlx::query(sql).bind(batch_key(claim.batch)).bind(turn.clone()).execute(&mut *to).await?;
        // From now on the score stays: a batch that is trained on again is the same.
        let sql = "UPDATE samples SET score = feedback.reward, votes = 1, spread = 0, scored_by = 'feedback' FROM feedback \
            WHERE samples.turn = $1 AND feedback.turn = $1 AND feedback.reward IS NOT NULL";
        sqlx::query(sql).bind(turn.clone()).execute(&mut *to).await?;
    }
    Ok(eligible.len() as u64)
}

async fn release(batch: Uuid, reject: Option<String>, now: i64, to: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let sql = "UPDATE batches SET state = 'released', changed = $1 WHERE id = $2 AND state = 'open'";
    let ended = sqlx::query(sql).bind(now).bind(batch_key(batch)).execute(&mut *to).await?.rows_affected();
    if ended == 0 {
        return Ok(0);
    }
    let state = if reject.is_some() { SampleState::Rejected } else { SampleState::Eligible };
    let sql = "UPDATE samples SET state = $1, reason = $2 WHERE batch = $3 AND state = 'claimed'";
    let query = sqlx::query(sql).bind(state.code()).bind(reject.map(shorten)).bind(batch_key(batch));
    query.execute(&mut *to).await?;
    if state == SampleState::Rejected {
        // The next batch has failed never yet.
        let sql = "UPDATE lanes SET failures = 0, changed = $1 WHERE agent = (SELECT agent FROM batches WHERE id = $2)";
        sqlx::query(sql).bind(now).bind(batch_key(batch)).execute(to).await?;
    }
    Ok(ended)
}

async fn commit(batch: Uuid, adapter: NewAdapter, now: i64, to: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let sql = "SELECT agent, parent, state FROM batches WHERE id = $1";
    let found = sqlx::query(sql).bind(batch_key(batch)).fetch_optional(&mut *to).await?;
    let Some(row) = found else { return Ok(0) };
    let (agent, parent, state): (String, i64, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let used: i64 = sqlx::query_scalar("SELECT coalesce(max(generation), 0) FROM adapters WHERE agent = $1")
        .bind(agent.clone())
        .fetch_one(&mut *to)
        .await?;
    match state.as_str() {
        "committed" => return Ok(1),
        "open" if live(&agent, to).await? == parent && signed(adapter.generation) > used => {}
        _ => return Ok(0),
    }
    let sql = "UPDATE batches SET state = 'committed', generation = $1, changed = $2 WHERE id = $3";
    let query = sqlx::query(sql).bind(signed(adapter.generation)).bind(now).bind(batch_key(batch));
    query.execute(&mut *to).await?;
    let sql = "UPDATE samples SET state = 'consumed' WHERE batch = $1 AND state = 'claimed'";
    sqlx::query(sql).bind(batch_key(batch)).execute(&mut *to).await?;
    let sql = "INSERT INTO lanes (agent, baseline, steps, changed) VALUES ($1, $2, 1, $3) ON CONFLICT (agent) DO UPDATE SET \
        baseline = coalesce(excluded.baseline, lanes.baseline), steps = lanes.steps + 1, failures = 0, error = NULL, \
        not_before = 0, changed = excluded.changed";
    sqlx::query(sql).bind(agent.clone()).bind(adapter.baseline).bind(now).execute(&mut *to).await?;
    insert(agent, parent, Some(batch), adapter, now, to).await
}

/// Adds an adapter's row; one that is live takes the place of the one that was.
async fn insert(
    agent: String,
    parent: i64,
    batch: Option<Uuid>,
    adapter: NewAdapter,
    now: i64,
    to: &mut SqliteConnection,
) -> Result<u64, sqlx::Error> {
    if adapter.state == AdapterState::Live {
        retire(&agent, AdapterState::Retired, None, now, to).await?;
    }
    let sql = "INSERT INTO adapters (agent, generation, parent, batch, state, folder, digest, base, metrics, created, \
        changed, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11)";
    let query = sqlx::query(sql).bind(agent).bind(signed(adapter.generation)).bind(parent).bind(batch.map(batch_key));
    let query = query.bind(adapter.state.code()).bind(adapter.folder).bind(adapter.digest.as_bytes().to_vec());
    let query = query.bind(adapter.base).bind(adapter.metrics).bind(now).bind(adapter.reason.map(shorten));
    Ok(query.execute(to).await?.rows_affected())
}

async fn promote(
    agent: &AgentId,
    generation: u64,
    reason: &str,
    now: i64,
    to: &mut SqliteConnection,
) -> Result<u64, sqlx::Error> {
    let generation = signed(generation);
    if generation > 0 && !stands(agent, generation, "state NOT IN ('live', 'removed')", to).await? {
        return Ok(0);
    }
    let retired = retire(agent.as_str(), AdapterState::Retired, Some(reason), now, to).await?;
    let raised = raise(agent, generation, reason, now, to).await?;
    Ok(if generation == 0 { retired } else { raised })
}

/// The answer is the generation that was live.
async fn roll_back(
    agent: &AgentId,
    target: Option<u64>,
    reason: &str,
    now: i64,
    to: &mut SqliteConnection,
) -> Result<u64, sqlx::Error> {
    let before = live(agent.as_str(), to).await?;
    let target = match target {
        Some(target) if target > 0 => Some(signed(target)).filter(|target| *target != before),
        Some(_) => Some(0),
        None => Some(ancestor(agent, before, to).await?),
    };
    let Some(target) = target.filter(|_| before > 0) else { return Ok(0) };
    if target > 0 && !stands(agent, target, "state <> 'removed'", to).await? {
        return Ok(0);
    }
    retire(agent.as_str(), AdapterState::RolledBack, Some(reason), now, to).await?;
    raise(agent, target, reason, now, to).await?;
    u64::try_from(before).map_err(|_| strange("an adapter's generation"))
}

/// The nearest ancestor that nothing speaks against; 0 if there is none.
async fn ancestor(agent: &AgentId, of: i64, from: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let mut at = of;
    while at > 0 {
        let sql = "SELECT parent FROM adapters WHERE agent = $1 AND generation = $2";
        let query = sqlx::query_scalar(sql).bind(text(agent)).bind(at);
        let parent: Option<i64> = query.fetch_optional(&mut *from).await?;
        // A parent is an earlier one, so this ends.
        at = parent.filter(|parent| *parent < at).unwrap_or(0);
        if stands(agent, at, "state IN ('retired', 'shadow')", from).await? {
            break;
        }
    }
    Ok(at)
}

async fn stands(
    agent: &AgentId,
    generation: i64,
    condition: &'static str,
    from: &mut SqliteConnection,
) -> Result<bool, sqlx::Error> {
    let sql = format!("SELECT count(*) FROM adapters WHERE agent = $1 AND generation = $2 AND {condition}");
    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(text(agent)).bind(generation);
    let there: i64 = query.fetch_one(from).await?;
    Ok(there > 0)
}

/// The generation that is live; 0 when none is.
async fn live(agent: &str, from: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let query = sqlx::query_scalar("SELECT generation FROM adapters WHERE agent = $1 AND state = 'live'");
    let found: Option<i64> = query.bind(agent.to_owned()).fetch_optional(from).await?;
    Ok(found.unwrap_or(0))
}

/// Takes the place from the live one.
async fn retire(
    agent: &str,
    state: AdapterState,
    reason: Option<&str>,
    now: i64,
    to: &mut SqliteConnection,
) -> Result<u64, sqlx::Error> {
    let sql = "UPDATE adapters SET state = $1, reason = $2, changed = $3 WHERE agent = $4 AND state = 'live'";
    let query = sqlx::query(sql).bind(state.code()).bind(reason.map(|reason| shorten(reason.to_owned()))).bind(now);
    Ok(query.bind(agent.to_owned()).execute(to).await?.rows_affected())
}

/// Gives the place to one.
async fn raise(
    agent: &AgentId,
    generation: i64,
    reason: &str,
    now: i64,
    to: &mut SqliteConnection,
) -> Result<u64, sqlx::Error> {
    let sql = "UPDATE adapters SET state = 'live', reason = $1, changed = $2 WHERE agent = $3 AND generation = $4";
    let query = sqlx::query(sql).bind(shorten(reason.to_owned())).bind(now).bind(text(agent)).bind(generation);
    Ok(query.execute(to).await?.rows_affected())
}

fn shorten(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
    reason
}

fn text(agent: &AgentId) -> String {
    agent.as_str().to_owned()
}

fn turn_key(turn: TurnId) -> Vec<u8> {
    turn.0.as_bytes().to_vec()
}

fn batch_key(batch: Uuid) -> Vec<u8> {
    batch.as_bytes().to_vec()
}
