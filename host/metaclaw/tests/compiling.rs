//! Modules compiled by this program's own child: whatever the module or the child does, the host goes on.
#![cfg(test)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::Digest;
use policy::{ChildCompiler, CompileLimits, Engine, EngineOptions, LoadError};

const PROGRAM: &str = env!("CARGO_BIN_EXE_metaclaw");

fn engine(program: &str, arguments: &[&str], limits: CompileLimits) -> Engine {
    let compiler = Arc::new(ChildCompiler::new(program, arguments, limits));
    Engine::new(EngineOptions { compiler: Some(compiler), ..EngineOptions::default() }).unwrap()
}

/// As a host has it.
fn real(limits: CompileLimits) -> Engine {
    engine(PROGRAM, &["compile-policy"], limits)
}

/// An engine whose compiler is this shell script.
fn script(text: &str, limits: CompileLimits) -> Engine {
    engine("/bin/sh", &["-c", text], limits)
}

/// Compiles, but is no policy: an engine that could compile it says `NoLifecycle`.
fn no_policy() -> Vec<u8> {
    wat::parse_str("(component (core module (func (export \"f\") (result i32) i32.const 7)))").unwrap()
}

fn refusal(engine: &Engine, module: &[u8]) -> LoadError {
    engine.load(module, None, "{}").unwrap_err()
}

/// Whether a process with this number does anything: a zombie does not.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

/// Waits for what must come true soon.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_module_compiled_by_the_child_is_the_same_as_one_compiled_here() {
    let module = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signed/policy.wasm")).unwrap();
    let here = Engine::new(EngineOptions::default()).unwrap().load(&module, None, "{}").unwrap();
    let there = real(CompileLimits::default()).load(&module, Some(Digest::of(&module)), "{}").unwrap();
    assert_eq!((here.digest(), here.hooks()), (there.digest(), there.hooks()));
    assert_eq!(here.description(), there.description());
    assert!(matches!(refusal(&real(CompileLimits::default()), &no_policy()), LoadError::NoLifecycle));
}

#[test]
fn what_the_compiler_finds_wrong_with_a_module_is_said() {
    let wrong = wat::parse_str("(component (core module (func (result i32) i64.const 7)))");
    // The text is not checked for types, so this is a component that only the compiler refuses.
    let error = refusal(&real(CompileLimits::default()), &wrong.unwrap());
    let LoadError::Invalid(why) = &error else { panic!("{error:?}") };
    assert!(why.contains("type mismatch"), "{why}");
}

#[test]
fn a_child_that_does_not_do_its_work_is_an_error_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let earlier = folder.path().join("earlier");
    let limits = CompileLimits { wall: Duration::from_secs(10), ..CompileLimits::default() };
    // What an honest child wrote when it was asked before, under another key.
    let tee = format!("'{PROGRAM}' compile-policy | tee '{}'", earlier.display());
    assert!(matches!(refusal(&script(&tee, limits), &no_policy()), LoadError::NoLifecycle));

    let header = "printf 'mc-code\\n\\001\\000\\000\\000'; head -c 40 /dev/zero;";
    for (what, text, expected) in [
        ("it says nothing", "exit 0".to_owned(), "is no use: it is not sealed machine code"),
        ("it writes words", "echo rubbish".to_owned(), "is no use: it is not sealed machine code"),
        ("it reads nothing", "exec <&-; exit 0".to_owned(), "is no use"),
        ("it repeats the module", "cat".to_owned(), "is no use: it is not sealed machine code"),
        ("it announces too much", format!("{header} printf '\\377\\377\\377\\377\\377\\377\\377\\177'"), "announces"),
        (
            "it announces what does not come",
            format!("{header} printf '\\001\\000\\000\\001\\000\\000\\000\\000'"),
            "no use",
        ),
        ("it announces nothing", header.to_owned(), "is no use"),
        ("it alters the code", format!("'{PROGRAM}' compile-policy | tr H I"), "is no use: "),
        ("it leaves the end out", format!("'{PROGRAM}' compile-policy | head -c 3000"), "its checksum is wrong"),
        ("it repeats itself", format!("cat '{}'", earlier.display()), "its checksum is wrong"),
        ("it floods its output", "cat /dev/zero".to_owned(), "the compiler broke down"),
        ("it floods its errors", "cat /dev/zero >&2; exit 9".to_owned(), "exit status: 9"),
        ("it fails with words", "echo 'no such\x1b[2J thing' >&2; exit 3".to_owned(), "no such\\u{1b}[2J thing"),
        ("it fails without", "exit 3".to_owned(), "the compiler broke down (exit status: 3)"),
        ("it crashes", "kill -SEGV $$".to_owned(), "SIGSEGV"),
        ("it is killed", "kill -KILL $$".to_owned(), "was killed, most likely because the system has no memory left"),
        ("its time is up", "kill -XCPU $$".to_owned(), "takes more than 10s of processor time"),
        ("it writes too much", "kill -XFSZ $$".to_owned(), "takes more than 256MiB of machine code"),
        (
            "it has no memory",
            "echo 'memory allocation of 9 bytes failed' >&2; kill -ABRT $$".to_owned(),
            "4GiB of memory",
        ),
        ("it is not there", "exec /nowhere/to/be/found".to_owned(), "broke down (exit status: 127)"),
    ] {
        let began = Instant::now();
        let got = refusal(&script(&text, limits), &no_policy()).to_string();
        assert!(got.contains(expected), "{what}: {got}");
        assert!(began.elapsed() < Duration::from_secs(9), "{what}: it took {:?}", began.elapsed());
    }
    let missing = refusal(&engine("/nowhere/to/be/found", &[], limits), &no_policy());
    assert!(matches!(missing, LoadError::CompilerStart(_)), "{missing:?}");
}

#[test]
fn a_child_is_told_nothing_of_the_hosts_environment() {
    assert!(std::env::vars().any(|(name, _)| name == "CARGO_MANIFEST_DIR"));
    let got = refusal(&script("env >&2; pwd >&2; exit 3", CompileLimits::default()), &no_policy()).to_string();
    assert!(!got.contains("CARGO") && !got.contains("HOME") && got.contains("PWD=/"), "{got}");
}

#[test]
fn a_child_that_takes_too_long_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let text = format!("echo $$ >'{0}'; sleep 1000 & echo $! >>'{0}'; sleep 1000", pids.display());
    let limits = CompileLimits { wall: Duration::from_secs(1), ..CompileLimits::default() };
    let began = Instant::now();
    let error = refusal(&script(&text, limits), &no_policy());
    assert!(matches!(&error, LoadError::CompileLimit { limit } if limit.contains("1s altogether")), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let pids = fs::read_to_string(pids).unwrap();
    assert_eq!(pids.lines().count(), 2);
    pids.lines().for_each(|pid| eventually(&format!("process {pid} lives on"), || !lives(pid)));
}

/// What has left the process group cannot be found, but nobody waits for it.
#[test]
fn what_a_child_leaves_behind_is_not_waited_for() {
    let began = Instant::now();
    let limits = CompileLimits { wall: Duration::from_secs(9), ..CompileLimits::default() };
    refusal(&script("setsid sleep 12 & exit 0", limits), &no_policy());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn shutting_down_ends_the_compilation_under_way_and_all_later_ones() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let engine = script(&format!("echo $$ >'{}'; sleep 1000", pid.display()), CompileLimits::default());
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| refusal(&engine, &no_policy()));
        let waiting = scope.spawn(|| refusal(&engine, &wat::parse_str("(component)").unwrap()));
        eventually("no child was started", || fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n')));
        engine.shutdown();
        assert!(matches!(loading.join().unwrap(), LoadError::Stopped));
        assert!(matches!(waiting.join().unwrap(), LoadError::Stopped));
    });
    assert!(!lives(fs::read_to_string(&pid).unwrap().trim()));
    assert!(matches!(refusal(&engine, &no_policy()), LoadError::Stopped));
}

#[test]
fn there_is_one_compilation_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    let text = format!("mkdir '{0}' || exit 9; sleep 0.05; rmdir '{0}'; exit 3", place.display());
    let engine = script(&text, CompileLimits::default());
    std::thread::scope(|scope| {
        for number in 0..6 {
            let engine = &engine;
            scope.spawn(move || {
                let module = wat::parse_str(format!("(component (core module (memory {number})))")).unwrap();
                let got = refusal(engine, &module).to_string();
                assert!(got.contains("exit status: 3"), "two at once: {got}");
            });
        }
    });
}

#[test]
fn the_command_that_a_host_starts_says_so_to_who_types_it() {
    let run = |words: &[&str]| {
        let out = std::process::Command::new(PROGRAM).args(words).stdin(std::process::Stdio::null()).output().unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap(), String::from_utf8(out.stdout).unwrap())
    };
    let (code, words, _) = run(&["compile-policy"]);
    assert_eq!(code, Some(70), "{words}");
    let (code, words, _) = run(&["--json", "compile-policy"]);
    assert!(code == Some(1) && words.contains("only a running host starts this"), "{words}");
    let (_, _, help) = run(&["--help"]);
    assert!(help.contains("chat") && !help.contains("compile-policy"), "{help}");
}
