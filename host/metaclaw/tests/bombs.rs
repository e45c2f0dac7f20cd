//! Modules made to keep a compiler busy: refused before, or killed meanwhile, and the host is as it was.
#![cfg(test)]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::ByteSize;
use policy::{ChildCompiler, CompileLimits, Engine, EngineOptions, LoadError};

mod hostile;

const PROGRAM: &str = env!("CARGO_BIN_EXE_metaclaw");

/// As a host has it, with these limits.
fn real(limits: CompileLimits) -> Engine {
    let compiler = Arc::new(ChildCompiler::new(PROGRAM, &["compile-policy"], limits));
    Engine::new(EngineOptions { compiler: Some(compiler), ..EngineOptions::default() }).unwrap()
}

fn refusal(engine: &Engine, module: &[u8]) -> LoadError {
    engine.load(module, None, "{}").unwrap_err()
}

#[test]
fn compile_bombs_are_refused_or_killed_and_the_host_is_as_before() {
    let before = resident();
    reset_peak();
    let limited = |cpu: u64, memory: u64| CompileLimits {
        cpu: Duration::from_secs(cpu),
        memory: ByteSize(memory << 20),
        ..CompileLimits::default()
    };
    for (what, bomb, limits, expected) in [
        ("a function of 1 MB", hostile::live_locals(100_000), limited(60, 4096), "too complex"),
        ("300,000 functions", hostile::tiny_functions(300_000), limited(60, 4096), "too complex"),
        ("13 kB of nested loops", hostile::nested_loops(400), limited(2, 4096), "2s of processor time"),
        ("a few more of them", hostile::nested_loops(20_000), limited(60, 512), "512MiB of memory"),
        ("a third of those functions", hostile::tiny_functions(99_000), limited(1, 4096), "1s of processor time"),
    ] {
        let engine = real(limits);
        let began = Instant::now();
        let got = refusal(&engine, &bomb).to_string();
        assert!(got.contains(expected), "{what}: {got}");
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: it took {:?}", began.elapsed());
        assert!(
            matches!(refusal(&engine, &wat::parse_str("(component)").unwrap()), LoadError::NoLifecycle),
            "{what}: the next module compiles"
        );
    }
    // The bombs themselves are 3 MB, an engine some more.
    let (after, peak) = (resident(), peak());
    assert!(after < before + (48 << 10) && peak < before + (96 << 10), "{before} KiB, then {after}, at most {peak}");
}

/// A child that works long enough to be looked at.
#[test]
fn the_child_has_limited_itself() {
    let engine = real(CompileLimits { cpu: Duration::from_secs(5), ..CompileLimits::default() });
    let bomb = hostile::nested_loops(400);
    std::thread::scope(|scope| {
        scope.spawn(|| refusal(&engine, &bomb));
        let end = Instant::now() + Duration::from_secs(20);
        let (pid, limits) = loop {
            // The limits on processor time and on processes are the first and the last that it sets.
            let limited = children().into_iter().find_map(|pid| {
                let text = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
                let soft =
                    |name| text.lines().find_map(|line: &str| line.strip_prefix(name)?.split_whitespace().next());
                (soft("Max cpu time") == Some("5") && soft("Max processes") == Some("0")).then(|| (pid, text.clone()))
            });
            if let Some(found) = limited {
                break found;
            }
            assert!(Instant::now() < end, "no limited child was seen");
            std::thread::park_timeout(Duration::from_millis(5));
        };
        for (name, soft) in [
            ("Max address space", "4294967296"),
            ("Max file size", "268435548"),
            ("Max open files", "16"),
            ("Max core file size", "0"),
        ] {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            assert_eq!(line[name.len()..].split_whitespace().next(), Some(soft), "{line}");
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let nice = stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap();
        assert_eq!(nice, "19");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1") && status.contains("Threads:\t1\n"), "{status}");
        assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap(), "1000\n");
        engine.shutdown();
    });
}

/// The numbers of our child processes that run the compiler.
fn children() -> Vec<String> {
    let ours = std::process::id().to_string();
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    processes
        .filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            parent == Some(&*ours) && command.contains("compile-policy")
        })
        .collect()
}

fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// In KiB.
fn resident() -> u64 {
    status("VmRSS:")
}

fn peak() -> u64 {
    status("VmHWM:")
}

fn reset_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}
