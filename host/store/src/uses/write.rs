//! Counting outcomes, within the writer's transaction.

use std::collections::BTreeMap;
use std::time::SystemTime;

use domain::{AgentId, Digest, RewardSource, TurnId};
use sqlx::{Row as _, SqliteConnection};

use super::read::{USES, maybe_digest, skill_use};
use super::{Credit, MOST_USES, Noted, Outcome, SkillUse, faded};
use crate::codes::{Code as _, logprob_bytes, micros, signed, time};
use crate::error::StoreError;
use crate::plan::Reply;
use crate::queue::Answer;
use crate::writer::{array, strange};

/// What is shorter than this came of adding and taking away, and is nothing.
const NOTHING: f32 = 1e-3;

/// What was counted of a turn for one skill.
struct Counted {
    source: RewardSource,
    reward: f64,
    digest: Digest,
    moves: f64,
    model: Option<Digest>,
    given: SystemTime,
}

/// Counts each outcome in turn, and gives back the answers to whoever waits for that.
pub(crate) async fn count(
    outcomes: Vec<(Outcome, Option<Answer<Noted>>)>,
    to: &mut SqliteConnection,
) -> Result<Vec<Reply>, sqlx::Error> {
    let mut replies = Vec::new();
    for (outcome, waits) in outcomes {
        let turn = outcome.turn;
        let noted = note(outcome, to).await?.ok_or(StoreError::UnknownTurn(turn));
        if let Some(waits) = waits {
            replies.push(Box::new(move || drop(waits.send(noted))) as Reply);
        }
    }
    Ok(replies)
}

/// None when the agent has no such turn.
async fn note(outcome: Outcome, to: &mut SqliteConnection) -> Result<Option<Noted>, sqlx::Error> {
    let turn = outcome.turn.0.as_bytes().to_vec();
    let owner = outcome.agent.as_str().to_owned();
    let sql =
        "SELECT 1 FROM turns JOIN sessions ON sessions.id = turns.session WHERE turns.id = $1 AND sessions.agent = $2";
    let found: Option<i64> =
        sqlx::query_scalar(sql).bind(turn.clone()).bind(owner.clone()).fetch_optional(&mut *to).await?;
    if found.is_none() {
        return Ok(None);
    }
    if let Some(said) = &outcome.feedback {
        let skills = serde_json::to_string(&said.skills).map_err(|error| sqlx::Error::Encode(error.into()))?;
        // The same words again do not make it younger.
        let sql = "INSERT INTO feedback (turn, agent, reward, skills, given) VALUES ($1, $2, $3, $4, $5) \
            ON CONFLICT (turn) DO UPDATE SET reward = excluded.reward, skills = excluded.skills, given = excluded.given \
            WHERE feedback.reward IS DISTINCT FROM excluded.reward OR feedback.skills <> excluded.skills";
        let query = sqlx::query(sql).bind(turn.clone()).bind(owner).bind(said.reward.map(f64::from));
        query.bind(skills).bind(micros(said.given)).execute(&mut *to).await?;
    }
    let before = counted(outcome.turn, to).await?;
    let own = before.get("");
    if own.is_some_and(|own| own.source > outcome.source) {
        return Ok(Some(Noted { counted: false, uses: Vec::new() }));
    }
    let after = parts(&outcome, &before);
    if own.is_some_and(|own| own.source == outcome.source) && same(&before, &after) {
        return Ok(Some(Noted { counted: false, uses: Vec::new() }));
    }
    let mut uses = Vec::new();
    let gone = before.keys().filter(|skill| !after.contains_key(*skill));
    for skill in after.keys().chain(gone) {
        let mut sums = load(&outcome.agent, skill, outcome.given, to).await?;
        replace(&mut sums, before.get(skill), after.get(skill), outcome.question.as_ref());
        keep(&outcome.agent, &sums, to).await?;
        uses.push(sums);
    }
    sqlx::query("DELETE FROM outcomes WHERE turn = $1").bind(turn).execute(&mut *to).await?;
    for (skill, part) in after {
        add(&outcome, skill, &part, to).await?;
    }
    Ok(Some(Noted { counted: true, uses }))
}

/// What an outcome comes to for each skill, and, without a name, for the agent.
fn parts(outcome: &Outcome, before: &BTreeMap<String, Counted>) -> BTreeMap<String, Counted> {
    let all = Credit { skill: String::new(), digest: Digest::of(b""), reward: outcome.reward, moves: 0.0 };
    let part = |credit: &Credit| {
        // Without the question nothing can be moved, there or back.
        let unmoved = before.get(&credit.skill).filter(|_| outcome.question.is_none());
        let model = outcome.question.as_ref().map(|(model, _)| *model).filter(|_| credit.moves > 0.0);
        Counted {
            source: outcome.source,
            reward: sound(credit.reward).clamp(-1.0, 1.0),
            digest: credit.digest,
            moves: unmoved.map_or(if model.is_some() { sound(credit.moves).clamp(0.0, 1.0) } else { 0.0 }, |b| b.moves),
            model: unmoved.map_or(model, |before| before.model),
            given: unmoved.map_or(outcome.given, |before| before.given),
        }
    };
    let mut parts: BTreeMap<_, _> =
        outcome.credits.iter().chain([&all]).map(|credit| (credit.skill.clone(), part(credit))).collect();
    if outcome.question.is_none() {
        let stays = |b: &Counted| Counted { source: outcome.source, reward: 0.0, ..*b };
        for (skill, before) in before.iter().filter(|(_, before)| before.moves > 0.0) {
            parts.entry(skill.clone()).or_insert_with(|| stays(before));
        }
    }
    parts
}

fn sound(number: f32) -> f64 {
    if number.is_finite() { f64::from(number) } else { 0.0 }
}

fn same(before: &BTreeMap<String, Counted>, after: &BTreeMap<String, Counted>) -> bool {
    let part = |a: &Counted, b: &Counted| {
        let numbers = a.reward.total_cmp(&b.reward).is_eq() && a.moves.total_cmp(&b.moves).is_eq();
        numbers && a.digest == b.digest && a.model == b.model
    };
    before.len() == after.len() && after.iter().all(|(skill, b)| before.get(skill).is_some_and(|a| part(a, b)))
}

/// Takes one part out of a skill's sums and puts another in.
fn replace(sums: &mut SkillUse, before: Option<&Counted>, after: Option<&Counted>, asked: Option<&(Digest, Vec<f32>)>) {
    let left = |part: &Counted| faded(sums.changed.duration_since(part.given).unwrap_or_default());
    // What was counted of another text of the skill has been forgotten with it.
    if let Some(part) = before.filter(|part| sums.digest == Some(part.digest)) {
        let left = left(part);
        sums.succeeded = (sums.succeeded - part.reward.max(0.0) * left).max(0.0);
        sums.failed = (sums.failed - (-part.reward).max(0.0) * left).max(0.0);
    }
    let taken = before.zip(asked).filter(|(part, (model, _))| part.model == Some(*model) && sums.model == part.model);
    let taken = taken.map_or(0.0, |(part, _)| part.moves * left(part));
    if let Some(part) = after {
        if sums.digest != Some(part.digest) {
            (sums.succeeded, sums.failed, sums.digest) = (0.0, 0.0, Some(part.digest));
        }
        sums.succeeded += part.reward.max(0.0) * left(part);
        sums.failed += (-part.reward).max(0.0) * left(part);
    }
    let Some((model, vector)) = asked else { return };
    let put = after.map_or(0.0, |part| part.moves * left(part));
    #[expect(clippy::cast_possible_truncation, reason = "a sum of shares of one")]
    let change = (put - taken) as f32;
    if put > 0.0 && (sums.model != Some(*model) || sums.helped.len() != vector.len()) {
        // Vectors of different models say nothing of each other.
        (sums.model, sums.helped) = (Some(*model), vec![0.0; vector.len()]);
    }
    if change != 0.0 && sums.model == Some(*model) && sums.helped.len() == vector.len() {
        sums.helped.iter_mut().zip(vector).for_each(|(sum, x)| *sum += change * x);
    }
    if sums.helped.iter().map(|x| x * x).sum::<f32>().sqrt() < NOTHING {
        (sums.model, sums.helped) = (None, Vec::new());
    }
}

async fn counted(turn: TurnId, from: &mut SqliteConnection) -> Result<BTreeMap<String, Counted>, sqlx::Error> {
    let sql = "SELECT skill, source, reward, digest, moves, model, given FROM outcomes WHERE turn = $1";
    let rows = sqlx::query(sql).bind(turn.0.as_bytes().to_vec()).fetch_all(from).await?;
    let part = |row: &sqlx::sqlite::SqliteRow| {
        let source: String = row.try_get(1)?;
        let part = Counted {
            source: RewardSource::read(&source).ok_or_else(|| strange("who said how good a turn was"))?,
            reward: row.try_get(2)?,
            digest: array::<32>(row.try_get(3)?)?.into(),
            moves: row.try_get(4)?,
            model: maybe_digest(row, 5)?,
            given: time(row.try_get(6)?),
        };
        Ok((row.try_get(0)?, part))
    };
    rows.iter().map(part).collect()
}

/// The sums as they are at `now`.
async fn load(
    agent: &AgentId,
    skill: &str,
    now: SystemTime,
    from: &mut SqliteConnection,
) -> Result<SkillUse, sqlx::Error> {
    let sql = format!("{USES} WHERE agent = $1 AND skill = $2");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(agent.as_str().to_owned()).bind(skill.to_owned());
    let Some(row) = query.fetch_optional(from).await? else {
        return Ok(SkillUse {
            skill: skill.to_owned(),
            offered: 0,
            injected: 0,
            succeeded: 0.0,
            failed: 0.0,
            digest: None,
            model: None,
            helped: Vec::new(),
            changed: now,
        });
    };
    let mut sums = skill_use(&row)?;
    let left = sums.left(now);
    sums.succeeded *= left;
    sums.failed *= left;
    #[expect(clippy::cast_possible_truncation, reason = "a share of one")]
    sums.helped.iter_mut().for_each(|x| *x *= left as f32);
    sums.changed = sums.changed.max(now);
    Ok(sums)
}

async fn keep(agent: &AgentId, sums: &SkillUse, to: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO skill_uses (agent, skill, offered, injected, succeeded, failed, changed, digest, model, helped) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (agent, skill) DO UPDATE SET \
        succeeded = excluded.succeeded, failed = excluded.failed, changed = excluded.changed, digest = excluded.digest, \
        model = excluded.model, helped = excluded.helped";
    let bytes = |digest: Digest| digest.as_bytes().to_vec();
    let query = sqlx::query(sql).bind(agent.as_str().to_owned()).bind(sums.skill.clone());
    let query = query.bind(signed(sums.offered)).bind(signed(sums.injected)).bind(sums.succeeded).bind(sums.failed);
    let query = query.bind(micros(sums.changed)).bind(sums.digest.map(bytes)).bind(sums.model.map(bytes));
    let helped = (!sums.helped.is_empty()).then(|| logprob_bytes(&sums.helped));
    query.bind(helped).execute(to).await.map(drop)
}

async fn add(outcome: &Outcome, skill: String, part: &Counted, to: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO outcomes (turn, skill, agent, source, reward, digest, moves, model, given) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let query = sqlx::query(sql).bind(outcome.turn.0.as_bytes().to_vec()).bind(skill);
    let query = query.bind(outcome.agent.as_str().to_owned()).bind(part.source.code()).bind(part.reward);
    let query = query.bind(part.digest.as_bytes().to_vec()).bind(part.moves);
    let query = query.bind(part.model.map(|model| model.as_bytes().to_vec())).bind(micros(part.given));
    query.execute(to).await.map(drop)
}

/// Forgets what came of the longest unused skills of agents that have too many.
pub(crate) async fn tidy(writer: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let sql = "SELECT agent FROM skill_uses GROUP BY agent HAVING count(*) > $1";
    let agents: Vec<String> = sqlx::query_scalar(sql).bind(MOST_USES).fetch_all(&mut *writer).await?;
    for agent in agents {
        let sql = "DELETE FROM skill_uses WHERE agent = $1 AND skill <> '' AND skill NOT IN \
            (SELECT skill FROM skill_uses WHERE agent = $1 AND skill <> '' ORDER BY changed DESC, skill LIMIT $2)";
        sqlx::query(sql).bind(agent).bind(MOST_USES - 1).execute(&mut *writer).await?;
    }
    Ok(())
}
