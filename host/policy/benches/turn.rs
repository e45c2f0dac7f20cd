//! What one turn costs: `route` and `select` of the built-in policy, over a catalog of 40 skills of which 8 fit.
//!
//! `taskset -c 1 cargo bench -p policy --bench turn` prints the CPU time per turn, the median and the best of many rounds. It is
//! CPU time of this thread, so it means something on a busy machine, too.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use policy::{CatalogSource, Engine, EngineOptions, TurnSource};

const ROUNDS: usize = 12;
/// Many, because the kernel counts a thread's CPU time in steps of milliseconds.
const TURNS: u32 = 20_000;

fn main() {
    let start = Instant::now();
    let engine = Engine::new(EngineOptions::default()).unwrap();
    println!("engine and built-in policy ready in {:.0?} (wall)", start.elapsed());
    drop(engine);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let policy = support::plain();
    let text = "Please look at this function and tell me why the test fails on the second run. ".repeat(10);
    let turn: Arc<dyn TurnSource> = support::turn("model-b", &text);
    let names: Vec<String> = (0..40).map(|n| format!("skill-number-{n}")).collect();
    let skills: Vec<_> =
        names.iter().zip(0_u8..).map(|(n, i)| (n.as_str(), if i < 8 { f32::from(9 - i) } else { 0.0 }, 100)).collect();
    let catalog: Arc<dyn CatalogSource> = support::catalog(&skills);

    measure(&runtime, "route alone", || async { drop(policy.turn(turn.clone()).route().await) });
    measure(&runtime, "select alone", || async { drop(policy.turn(turn.clone()).select(catalog.clone()).await) });
    measure(&runtime, "a turn: route, then select", || async {
        let mut call = policy.turn(turn.clone());
        assert!(call.route().await.failure.is_none());
        assert_eq!(call.select(catalog.clone()).await.value.skills().len(), 6);
    });
    let before = process_cpu_microseconds();
    runtime.block_on(async {
        for _ in 0..TURNS {
            tokio::task::spawn_blocking(|| ()).await.unwrap();
        }
    });
    let hop = (process_cpu_microseconds() - before) * 1000 / u64::from(TURNS);
    println!("an empty hop to another thread and back, which calls on the caller's thread save: {hop} ns of CPU");
    measure(&runtime, "the search itself", || async { drop(catalog.search(&text, 8)) });
}

fn measure<F: Future<Output = ()>>(runtime: &tokio::runtime::Runtime, what: &str, one: impl Fn() -> F) {
    let mut rounds: Vec<u64> = (0..ROUNDS)
        .map(|_| {
            runtime.block_on(async {
                let before = cpu_nanoseconds();
                for _ in 0..TURNS {
                    one().await;
                }
                (cpu_nanoseconds() - before) / u64::from(TURNS)
            })
        })
        .collect();
    rounds.sort_unstable();
    println!("{what}: {} ns of CPU (best {})", rounds[ROUNDS / 2], rounds[0]);
}

/// CPU time that this thread has had.
fn cpu_nanoseconds() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// CPU time of all threads, in the kernel's steps of ten milliseconds.
fn process_cpu_microseconds() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = text.rsplit(')').next().unwrap();
    after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap() * 10_000).sum()
}
