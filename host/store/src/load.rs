//! What a batch must know of the database before it is planned: its sessions, its turns, and the samples that are there already.

use std::collections::HashSet;

use domain::{EndReason, SampleState, TurnId};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};
use uuid::Uuid;

use crate::codes::Code as _;
use crate::plan::{Known, Recorded};
use crate::queue::Job;
use crate::rows::{Hash, RowId};
use crate::sessions::{Key, Session};
use crate::writer::{Writer, array, piece_number, strange};

/// How many keys one statement looks up. Few sizes, so that every statement stays prepared.
const KEYS: [usize; 3] = [1, 8, 64];

impl Writer {
    /// Reads what the plan needs: the batch's sessions that are not remembered, the turns that samples name, and the samples
    /// that are identical to those.
    pub(crate) async fn load(&mut self, batch: &[Job]) -> Result<Known, sqlx::Error> {
        let (mut turns, mut identities) = (HashSet::new(), HashSet::new());
        for job in batch {
            let key = match job {
                Job::Turn(record) => (record.agent.clone(), record.session.clone()),
                Job::Sample(job) => (job.sample.agent.clone(), job.sample.session.clone()),
                Job::End(job) => job.key.clone(),
                _ => continue,
            };
            if !self.sessions.contains(&key) {
                self.load_session(key).await?;
            }
            if let Job::Sample(job) = job {
                turns.insert(*job.sample.turn.0.as_bytes());
                identities.extend(job.keys.map(|keys| keys.identity));
            }
        }
        let mut known = Known::default();
        let writer = &mut self.database.writer;
        let sql = "SELECT turns.id, turns.session, samples.state FROM turns LEFT JOIN samples ON samples.turn = turns.id \
            WHERE turns.id IN";
        for row in look_up(sql, turns, &mut *writer).await? {
            let state: Option<&str> = row.try_get(2)?;
            let recorded = Recorded { session: array(row.try_get(1)?)?, sample: state.map(sample_state).transpose()? };
            known.turns.insert(TurnId(Uuid::from_bytes(array(row.try_get(0)?)?)), recorded);
        }
        for row in look_up("SELECT identity, state FROM samples WHERE identity IN", identities, writer).await? {
            known.samples.insert(array(row.try_get(0)?)?, sample_state(row.try_get(1)?)?);
        }
        Ok(known)
    }

    async fn load_session(&mut self, key: Key) -> Result<(), sqlx::Error> {
        const SESSION: &str = "SELECT id, started, last_active, ended, end_reason, turns, generation, client_key FROM sessions \
            WHERE agent = $1 AND name = $2";
        let writer = &mut self.database.writer;
        let query = sqlx::query(SESSION).bind(key.0.as_str().to_owned()).bind(key.1.as_str().to_owned());
        let Some(row) = query.fetch_optional(&mut *writer).await? else { return Ok(()) };
        let id: RowId = array(row.try_get(0)?)?;
        let mut session = Session::new(id, row.try_get(1)?);
        session.last_active = row.try_get(2)?;
        let reason: Option<String> = row.try_get(4)?;
        let reason = reason.as_deref().and_then(EndReason::read);
        session.ended = row.try_get::<Option<i64>, _>(3)?.zip(reason);
        session.turns = u64::try_from(row.try_get::<i64, _>(5)?).unwrap_or(0);
        session.generation = u64::try_from(row.try_get::<i64, _>(6)?).unwrap_or(0);
        session.client_key = row.try_get(7)?;
        let contents = sqlx::query("SELECT number, hash FROM contents WHERE session = $1").bind(id.to_vec());
        for row in contents.fetch_all(&mut *writer).await? {
            let hash: Hash = array(row.try_get(1)?)?;
            session.learn(piece_number(row.try_get(0)?)?, hash);
        }
        self.sessions.insert(key, session);
        Ok(())
    }
}

/// The rows of the keys that are there, by statements of a few sizes: what is left over of one is filled with its first key.
async fn look_up(
    sql: &'static str,
    keys: HashSet<[u8; 16]>,
    from: &mut SqliteConnection,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let keys: Vec<_> = keys.into_iter().collect();
    let mut rows = Vec::new();
    for keys in keys.chunks(KEYS[KEYS.len() - 1]) {
        let size = KEYS.into_iter().find(|size| keys.len() <= *size).unwrap_or(keys.len());
        let sql = format!("{sql} ({})", vec!["?"; size].join(","));
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for key in keys.iter().chain(std::iter::repeat_n(&keys[0], size - keys.len())) {
            query = query.bind(key.to_vec());
        }
        rows.extend(query.fetch_all(&mut *from).await?);
    }
    Ok(rows)
}

fn sample_state(word: &str) -> Result<SampleState, sqlx::Error> {
    SampleState::read(word).ok_or_else(|| strange("a sample's state"))
}
