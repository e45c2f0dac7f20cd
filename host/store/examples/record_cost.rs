//! What a recorded turn costs: processor time of the whole process (caller, writer and SQLite's thread together),
//! bytes on disk, in bursts of about 10,000 turns a second; how many turns a second it takes when there is no end of
//! them; and how fast samples are acknowledged.
//!
//! `cargo run --release -p store --example record_cost -- [DIRECTORY]`. Linux only: it reads `/proc/self/stat`.
#![expect(clippy::print_stdout, reason = "an example prints what it measures")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use domain::{
    AgentId, ByteSize, DecisionSource, Digest, Sample, SessionId, TurnId, TurnKind, TurnOutcome, TurnRecord, Verdict,
};
use store::{Store, StoreError, StoreOptions};
use uuid::Uuid;

/// Turns in one run.
const TURNS: usize = 40_000;
/// Sessions that take turns.
const SESSIONS: usize = 50;
/// Turns handed over at once, every 10 ms.
const BURST: usize = 100;

/// One kind of load.
struct Load {
    name: &'static str,
    /// The length of the history that is sent with every turn, in bytes.
    history: usize,
    /// Whether each turn adds to its history.
    grows: bool,
    /// Whether sessions are remembered between turns.
    remembered: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let loads = [
        Load { name: "1 KB, the same again", history: 1 << 10, grows: false, remembered: true },
        Load { name: "64 KB, the same again", history: 64 << 10, grows: false, remembered: true },
        Load { name: "64 KB, each turn adds 150 bytes", history: 64 << 10, grows: true, remembered: true },
        Load { name: "64 KB, the same again, session forgotten", history: 64 << 10, grows: false, remembered: false },
    ];
    for load in loads {
        let dir = tempfile::tempdir_in(&parent)?;
        measure(&load, dir.path()).await?;
    }
    for (history, grows) in [(1 << 10, false), (64 << 10, false), (64 << 10, true)] {
        for (callers, room) in [(1, 128), (1, 16), (64, 16)] {
            let dir = tempfile::tempdir_in(&parent)?;
            let load = Load { name: "without end", history, grows, remembered: true };
            saturate(&load, callers, ByteSize(room << 20), dir.path()).await?;
        }
    }
    for writers in [1, 4, 64] {
        let dir = tempfile::tempdir_in(&parent)?;
        acknowledge(writers, dir.path()).await?;
    }
    Ok(())
}

/// How fast samples are acknowledged when `writers` wait at once.
async fn acknowledge(writers: usize, dir: &Path) -> Result<(), Box<dyn Error>> {
    let store = Arc::new(Store::open(dir, StoreOptions::default()).await?);
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let (store, session) = (store.clone(), format!("session-{writer}").parse::<SessionId>()?);
        tasks.spawn(async move {
            for _ in 0..200 {
                let turn = record(session.clone(), Bytes::from_static(b"{}"));
                let (id, agent, session) = (turn.id, turn.agent.clone(), turn.session.clone());
                let sample = Sample {
                    turn: id,
                    agent,
                    session,
                    policy: turn.policy.0,
                    skill_generation: 0,
                    adapter: 0,
                    weight: 1.0,
                    reward: None,
                    tokens: None,
                };
                store.record_turn(turn).await?;
                store.capture(sample, Verdict::Keep { weight: 1.0 }).await?;
            }
            Ok::<_, StoreError>(())
        });
    }
    for done in tasks.join_all().await {
        done?;
    }
    let took = started.elapsed();
    store.close().await;
    println!(
        "{writers} writers: {:.0} samples/s acknowledged, {:.2} ms each",
        (writers * 200) as f64 / took.as_secs_f64(),
        took.as_secs_f64() * 1e3 / 200.0,
    );
    Ok(())
}

/// How many turns a second are taken from `callers` that never pause, with `room` in the queue.
async fn saturate(load: &Load, callers: usize, room: ByteSize, dir: &Path) -> Result<(), Box<dyn Error>> {
    let store = Arc::new(Store::open(dir, StoreOptions { queue_bytes: room, ..StoreOptions::default() }).await?);
    let bodies = Arc::new(load.bodies());
    let (started, before) = (Instant::now(), processor_time()?);
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let (store, bodies) = (store.clone(), bodies.clone());
        let turns = (caller..load.turns()).step_by(callers);
        let sessions = sessions()?;
        tasks.spawn(async move {
            for i in turns {
                let body = bodies[i % bodies.len()].clone();
                store.record_turn(record(sessions[i % SESSIONS].clone(), body)).await?;
            }
            Ok::<_, StoreError>(())
        });
    }
    for done in tasks.join_all().await {
        done?;
    }
    store.flush().await?;
    let (took, used) = (started.elapsed(), processor_time()? - before);
    store.close().await;
    println!(
        "{} KB{}, {callers} callers without pause, a queue of {} MB: {:.0} turns/s, {:.1} µs of processor for each",
        load.history >> 10,
        if load.grows { " that grow" } else { "" },
        room.0 >> 20,
        load.turns() as f64 / took.as_secs_f64(),
        used.as_secs_f64() * 1e6 / load.turns() as f64,
    );
    Ok(())
}

async fn measure(load: &Load, dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut options = StoreOptions::default();
    if !load.remembered {
        options.session_memory = ByteSize(0);
    }
    let store = Store::open(dir, options).await?;
    let (sessions, bodies, turns) = (sessions()?, load.bodies(), load.turns());
    let (started, before) = (Instant::now(), processor_time()?);
    let mut offered = Duration::ZERO;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    for i in 0..turns {
        if i % BURST == 0 {
            tick.tick().await;
        }
        let record = record(sessions[i % SESSIONS].clone(), bodies[i % bodies.len()].clone());
        let clock = Instant::now();
        store.record_turn(record).await?;
        offered += clock.elapsed();
    }
    store.flush().await?;
    let (took, used) = (started.elapsed(), processor_time()? - before);
    store.close().await;
    let size: u64 = std::fs::read_dir(dir)?.filter_map(|e| e.ok()?.metadata().ok()).map(|meta| meta.len()).sum();
    let each = |total: Duration| total.as_secs_f64() * 1e6 / turns as f64;
    println!(
        "{}: {:.1} µs of processor for each turn ({:.2} µs in record_turn), {} bytes on disk; {:.0} turns/s",
        load.name,
        each(used),
        each(offered),
        size / turns as u64,
        turns as f64 / took.as_secs_f64(),
    );
    Ok(())
}

impl Load {
    fn turns(&self) -> usize {
        if self.grows { TURNS / 10 } else { TURNS }
    }

    /// Every body is memory of its own, as it is when it comes from a socket; made before the clock runs.
    fn bodies(&self) -> Vec<Bytes> {
        let mut histories: Vec<_> = (0..SESSIONS).map(|i| messages(self.history, i)).collect();
        let copies = if self.grows { self.turns() } else { 80 * SESSIONS };
        let mut body = |i: usize| {
            let history = &mut histories[i % SESSIONS];
            if self.grows {
                history.push_str(&format!(r#",{{"role":"user","content":"{i} {}"}}"#, "new words ".repeat(12)));
            }
            Bytes::from(format!(r#"{{"model":"a-model","messages":[{history}],"stream":true}}"#))
        };
        (0..copies).map(&mut body).collect()
    }
}

fn sessions() -> Result<Vec<SessionId>, Box<dyn Error>> {
    Ok((0..SESSIONS).map(|i| format!("session-{i}").parse()).collect::<Result<_, _>>()?)
}

fn record(session: SessionId, request: Bytes) -> TurnRecord {
    TurnRecord {
        id: TurnId(Uuid::now_v7()),
        agent: AgentId::Default,
        session,
        session_key: None,
        kind: TurnKind::Main,
        started: SystemTime::now(),
        duration: Duration::from_millis(900),
        first_byte: Some(Duration::from_millis(100)),
        upstream: "somewhere".to_owned(),
        model: "a-model".to_owned(),
        request,
        answer: Bytes::from_static(br#"{"choices":[{"message":{"role":"assistant","content":"A short answer."}}]}"#),
        skills: vec!["plan".to_owned()],
        policy: (Digest::from([7; 32]), DecisionSource::Policy),
        adapter: 0,
        usage: None,
        outcome: TurnOutcome::Complete,
    }
}

/// Messages of about 1.6 KB that come to `length` bytes.
fn messages(length: usize, seed: usize) -> String {
    let words = "some words, and a line break\\n".repeat(if length > 2048 { 53 } else { 10 });
    let mut all = Vec::new();
    let mut sum = 0;
    while sum < length {
        all.push(format!(r#"{{"role":"user","content":"{seed} {} {words}"}}"#, all.len()));
        sum += all[all.len() - 1].len() + 1;
    }
    all.join(",")
}

/// Processor time of all threads so far; the system counts it in hundredths of a second.
fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().ok_or("no process name")?;
    // User and system time are the fields 14 and 15; the first after the name is the third.
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}
