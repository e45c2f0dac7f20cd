//! How many samples a second are made durable, when several agents append them at once: each sample with its turn, a prompt of
//! 600 tokens and a completion of 100, acknowledged only after the disk has it. Beside it, in the same run and on the same disk, the
//! plain way: SQLite with the same settings, one transaction for each sample.
//!
//! `cargo run --release -p store --example append_rate -- [DIRECTORY]`
#![expect(clippy::print_stdout, reason = "an example prints what it measures")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use domain::{
    AgentId, DecisionSource, Digest, Sample, SessionId, TokenTrace, TurnId, TurnKind, TurnOutcome, TurnRecord, Verdict,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use store::{Store, StoreError, StoreOptions};
use uuid::Uuid;

/// How long each way is measured.
const SPAN: Duration = Duration::from_secs(4);
/// Tokens of a prompt, and of an answer.
const TOKENS: (u32, u32) = (600, 100);
/// Agents that append.
const AGENTS: usize = 4;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    println!("{AGENTS} agents, {} prompt and {} answer tokens in each sample", TOKENS.0, TOKENS.1);
    for appenders in [1, 16, 64, 256] {
        let dir = tempfile::tempdir_in(&parent)?;
        let (rate, slowest) = store(appenders, dir.path()).await?;
        println!("store, {appenders:>3} at once:               {rate:>7.0} samples/s, the slowest took {slowest:.1?}");
        let dir = tempfile::tempdir_in(&parent)?;
        let rate = plain(dir.path()).await?;
        println!("plain SQLite, one transaction each: {rate:>7.0} samples/s");
    }
    Ok(())
}

/// Samples a second through the store, and how long the slowest acknowledgement took.
async fn store(appenders: usize, dir: &Path) -> Result<(f64, Duration), Box<dyn Error>> {
    let store = Arc::new(Store::open(dir, StoreOptions::default()).await?);
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for appender in 0..appenders {
        let store = store.clone();
        let agent = AgentId::from_trusted(&format!("agent-{}", appender % AGENTS))?;
        let first = u32::try_from(appender)? * 1_000_000;
        tasks.spawn(async move {
            let (mut number, mut slowest) = (0, Duration::ZERO);
            while started.elapsed() < SPAN {
                // Conversations of ten turns.
                let session: SessionId =
                    format!("s-{appender}-{}", number / 10).parse().unwrap_or(SessionId::generated(Uuid::now_v7()));
                let (record, sample) = turn(&agent, session, first + number);
                store.record_turn(record).await?;
                let asked = Instant::now();
                store.capture(sample, Verdict::Keep { weight: 1.0 }).await?;
                slowest = slowest.max(asked.elapsed());
                number += 1;
            }
            Ok::<_, StoreError>((number, slowest))
        });
    }
    let (mut samples, mut slowest) = (0, Duration::ZERO);
    for done in tasks.join_all().await {
        let (number, longest) = done?;
        (samples, slowest) = (samples + number, slowest.max(longest));
    }
    let took = started.elapsed();
    let kept: u64 = store.sample_counts().await?.iter().map(|count| count.count).sum();
    assert_eq!(kept, u64::from(samples), "all are there");
    store.close().await;
    Ok((f64::from(samples) / took.as_secs_f64(), slowest))
}

/// Samples a second in the plain way.
async fn plain(dir: &Path) -> Result<f64, Box<dyn Error>> {
    let options = SqliteConnectOptions::new()
        .filename(dir.join("plain.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    connection
        .execute(
            "CREATE TABLE samples (turn BLOB PRIMARY KEY, agent TEXT, session TEXT, request BLOB, answer BLOB, prompt BLOB, \
             completion BLOB, logprobs BLOB)",
        )
        .await?;
    let agent = AgentId::Default;
    let (started, mut samples) = (Instant::now(), 0);
    while started.elapsed() < SPAN {
        let (record, sample) = turn(&agent, "s".parse()?, samples);
        let tokens = sample.tokens.unwrap_or_default();
        let bytes = |tokens: &[u32]| tokens.iter().flat_map(|token| token.to_le_bytes()).collect::<Vec<u8>>();
        let logprobs: Vec<u8> = tokens.logprobs.iter().flat_map(|logprob| logprob.to_le_bytes()).collect();
        sqlx::query("INSERT INTO samples VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(record.id.0.as_bytes().to_vec())
            .bind(record.agent.as_str().to_owned())
            .bind(record.session.as_str().to_owned())
            .bind(record.request.to_vec())
            .bind(record.answer.to_vec())
            .bind(bytes(&tokens.prompt))
            .bind(bytes(&tokens.completion))
            .bind(logprobs)
            .execute(&mut connection)
            .await?;
        samples += 1;
    }
    let took = started.elapsed();
    connection.close().await?;
    Ok(f64::from(samples) / took.as_secs_f64())
}

/// A turn as an agent has it, and its sample.
fn turn(agent: &AgentId, session: SessionId, seed: u32) -> (TurnRecord, Sample) {
    let words = "some words of a question, and more of them ".repeat(50);
    let request =
        format!(r#"{{"model":"a-model","messages":[{{"role":"user","content":"{seed} {words}"}}],"stream":true}}"#);
    let answer = format!(
        r#"{{"choices":[{{"index":0,"message":{{"role":"assistant","content":"{}"}},"finish_reason":"stop"}}]}}"#,
        "words of an answer ".repeat(20)
    );
    let record = TurnRecord {
        id: TurnId(Uuid::now_v7()),
        agent: agent.clone(),
        session: session.clone(),
        session_key: None,
        kind: TurnKind::Main,
        started: SystemTime::now(),
        duration: Duration::from_millis(900),
        first_byte: Some(Duration::from_millis(100)),
        upstream: "somewhere".to_owned(),
        model: "a-model".to_owned(),
        request: Bytes::from(request),
        answer: Bytes::from(answer),
        skills: vec!["plan".to_owned()],
        policy: (Digest::from([7; 32]), DecisionSource::Policy),
        adapter: 3,
        usage: None,
        outcome: TurnOutcome::Complete,
    };
    let token = |at: u32| seed.wrapping_mul(2_654_435_761).wrapping_add(at * 40_503) % 49_152;
    let sample = Sample {
        turn: record.id,
        agent: agent.clone(),
        session,
        policy: record.policy.0,
        skill_generation: 1,
        adapter: 3,
        weight: 1.0,
        reward: None,
        tokens: Some(TokenTrace {
            prompt: (0..TOKENS.0).map(token).collect(),
            completion: (TOKENS.0..TOKENS.0 + TOKENS.1).map(token).collect(),
            logprobs: (0..TOKENS.1).map(|at| -0.5 - at as f32 / 1000.0).collect(),
            ..TokenTrace::default()
        }),
    };
    (record, sample)
}
