//! What a thousand agents with a thousand modules cost: to compile, to load again from the cache, and in memory.
//!
//! `cargo bench -p policy --bench thousand_modules [MODULES]`. It compiles with itself as the child.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use policy::{
    AgentPolicy, Cache, CacheLimits, ChildCompiler, Compile, CompileLimits, Engine, EngineOptions, run_compiler,
};

const COMPILE: &str = "compile-policy";
const HOST: &str = "host";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [COMPILE] => return run_compiler(),
        [HOST, home, count] => host(Path::new(home), count.parse().unwrap()),
        [] => measure("1000"),
        [count] => measure(count),
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// Two hosts on the same home, one after the other, in processes of their own.
fn measure(count: &str) {
    let home = tempfile::tempdir().unwrap();
    // Real code of some size; the example's policy is what an operator's own looks like.
    std::fs::write(home.path().join("module"), support::assistant()).unwrap();
    for start in ["first start", "second start, from the cache"] {
        println!("{start}:");
        let status =
            Command::new(std::env::current_exe().unwrap()).args([HOST, home.path().to_str().unwrap(), count]).status();
        assert!(status.unwrap().success());
    }
}

/// Loads so many modules and calls each once.
fn host(home: &Path, count: u32) {
    let module = std::fs::read(home.join("module")).unwrap();
    println!("  {count} modules of {} bytes; resident before: {} MB", module.len(), resident());
    let child = ChildCompiler::new("/proc/self/exe", &[COMPILE], CompileLimits::default());
    let cache: Arc<dyn Compile> = Arc::new(Cache::open(&home.join("cache"), Arc::new(child), CacheLimits::default()));
    let began = Instant::now();
    let options = EngineOptions { compiler: Some(cache), ..EngineOptions::default() };
    let engine = Engine::new(options).unwrap();
    println!("  the engine with its built-in policy: {:.0?}, {} MB", began.elapsed(), resident());
    let began = Instant::now();
    let mut times = Vec::new();
    let modules: Vec<_> = (0..count)
        .map(|number| {
            // A custom section of its own makes it another module.
            let distinct = [&module[..], &[0, 9, 4, b'n', b'u', b'm', b'b'], &number.to_le_bytes()].concat();
            let began = Instant::now();
            let module = engine.load(&distinct, None, "{}").unwrap();
            times.push(began.elapsed());
            module
        })
        .collect();
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("  loading: {:.2?} in all; {median:.2?} the median, {worst:.2?} the longest", began.elapsed());
    println!("  resident when loaded: {} MB, {} open files", resident(), open_files());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let began = Instant::now();
    let agents: Vec<_> = modules
        .iter()
        .map(|module| AgentPolicy::new(&engine, support::parts(module, "{}", support::patient())))
        .collect();
    runtime.block_on(async {
        for agent in &agents {
            let mut call = agent.turn(support::turn("model-b", "words"));
            assert!(call.route().await.failure.is_none());
            let chosen = call.select(support::catalog(&[("alpha", 1.0, 100), ("beta", 0.5, 100)])).await;
            assert!(chosen.failure.is_none(), "{:?}", chosen.failure);
        }
    });
    println!("  one turn each: {:.2?}; resident after: {} MB", began.elapsed(), resident());
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// In MB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
