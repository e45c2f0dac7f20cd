//! What 64 agents whose policies never end cost another agent: its latencies alone, and beside them, in one run.
//!
//! `cargo run --release -p tests --example spinning [SECONDS]`
#![expect(clippy::print_stdout, reason = "a benchmark")]

use std::time::{Duration, Instant};

use tests::{Home, Host, Upstream, guest};
use tokio::task::JoinSet;

const SPINNERS: usize = 64;

#[tokio::main]
async fn main() {
    let seconds = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(10);
    let upstream = Upstream::echo().await;
    let module = guest("tests/guests/misbehaving");
    // No breaker: it would leave them alone after five failures each.
    let policy = format!("{{ module: \"{}\", config: {{ do: loop }}, breaker: {{ failures: 0 }} }}", module.display());
    let agents: String = (0..SPINNERS).map(|n| format!("  s{n}: {{ policy: {policy} }}\n")).collect();
    let home = Home::with(&upstream, &format!("agents:\n{agents}"));
    home.skill("_shared", "file-tickets", "Use when filing tickets", "TICKETS");
    let host = &*Box::leak(Box::new(home.start_with(&["--dev"]).await));
    latencies(host, Duration::from_secs(2)).await;
    let alone = latencies(host, Duration::from_secs(seconds)).await;
    let mut spinning = JoinSet::new();
    for n in 0..SPINNERS {
        spinning.spawn(async move {
            loop {
                host.say("filing tickets").agent(&format!("s{n}")).send().await;
            }
        });
    }
    latencies(host, Duration::from_secs(2)).await;
    let beside = latencies(host, Duration::from_secs(seconds)).await;
    spinning.shutdown().await;
    let bound = alone.p99.mul_f64(1.5) + Duration::from_millis(20);
    println!("alone:                {alone}");
    println!("beside {SPINNERS} that spin:   {beside}");
    println!(
        "p99: {:.1} × alone; at most 1.5 × alone + 20 ms = {bound:.1?} was wanted: {}",
        beside.p99.as_secs_f64() / alone.p99.as_secs_f64(),
        if beside.p99 <= bound { "met" } else { "MISSED" }
    );
}

struct Latencies {
    turns: usize,
    p50: Duration,
    p99: Duration,
    worst: Duration,
}

/// Of an agent with the built-in policy, one turn after the other.
async fn latencies(host: &Host, time: Duration) -> Latencies {
    let (began, mut all) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        let asked = Instant::now();
        let answer = host.say("filing tickets").agent("good").send().await;
        all.push(asked.elapsed());
        assert_eq!((answer.status, answer.header("x-metaclaw-policy")), (200, "builtin; source=builtin"));
    }
    all.sort_unstable();
    let at = |part: f64| all[((all.len() - 1) as f64 * part) as usize];
    Latencies { turns: all.len(), p50: at(0.5), p99: at(0.99), worst: at(1.0) }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} turns, p50 {:.2?}, p99 {:.2?}, worst {:.2?}", self.turns, self.p50, self.p99, self.worst)
    }
}
