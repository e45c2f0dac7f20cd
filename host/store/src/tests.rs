//! The store's specification, on real databases in temporary directories.

mod archive;
mod crash;
mod damage;
mod learning;
mod queue;
mod samples;
mod sessions;
mod training;
mod turns;
mod uses;
mod values;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use domain::{
    AgentId, DecisionSource, Digest, Sample, SessionId, TokenTrace, TurnId, TurnKind, TurnOutcome, TurnRecord, Usage,
    Verdict,
};
use uuid::Uuid;

use crate::{Store, StoreOptions};

const KEEP: Verdict = Verdict::Keep { weight: 1.0 };

async fn open(dir: &Path) -> Store {
    Store::open(dir, StoreOptions::default()).await.unwrap()
}

fn agent(name: &str) -> AgentId {
    AgentId::from_trusted(name).unwrap()
}

fn session(name: &str) -> SessionId {
    name.parse().unwrap()
}

/// A time that a column holds exactly.
fn now() -> SystemTime {
    crate::codes::time(crate::codes::micros(SystemTime::now()))
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn turn(owner: &str, name: &str, request: impl Into<Bytes>) -> TurnRecord {
    TurnRecord {
        id: TurnId(Uuid::now_v7()),
        agent: agent(owner),
        session: session(name),
        session_key: None,
        kind: TurnKind::Main,
        started: now(),
        duration: Duration::from_micros(1_234_567),
        first_byte: Some(Duration::from_micros(4321)),
        upstream: "somewhere".to_owned(),
        model: "a-model".to_owned(),
        request: request.into(),
        answer: Bytes::from_static(br#"{"choices":[{"message":{"role":"assistant","content":"Yes."}}]}"#),
        skills: vec!["plan".to_owned(), "überprüfen".to_owned()],
        policy: (Digest::of(b"module"), DecisionSource::Policy),
        adapter: 3,
        usage: Some(Usage { prompt: 12, completion: 3 }),
        outcome: TurnOutcome::Complete,
    }
}

fn sample_of(turn: &TurnRecord, tokens: Option<TokenTrace>) -> Sample {
    Sample {
        turn: turn.id,
        agent: turn.agent.clone(),
        session: turn.session.clone(),
        policy: turn.policy.0,
        skill_generation: 7,
        adapter: 3,
        weight: 1.0,
        reward: None,
        tokens,
    }
}

/// A request with these messages, as an SDK writes it.
fn chat(messages: &[String]) -> String {
    let messages: Vec<_> = messages
        .iter()
        .enumerate()
        .map(|(i, text)| serde_json::json!({"role": if i % 2 == 0 { "user" } else { "assistant" }, "content": text}))
        .collect();
    let tools = serde_json::json!([{"type": "function", "function": {"name": "ls", "description": "x".repeat(500)}}]);
    serde_json::json!({"model": "a-model", "messages": messages, "tools": tools, "stream": true}).to_string()
}

/// How many bytes the directory's files have together.
fn size_of_files(dir: &Path) -> u64 {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// How many of these are there before anything is kept.
async fn size_when_empty() -> u64 {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.close().await;
    size_of_files(dir.path())
}

async fn rows(store: &Store, table: &'static str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&store.reader.pool).await.unwrap()
}
