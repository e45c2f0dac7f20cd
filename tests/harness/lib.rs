//! What black-box tests stand on: the real binary with a home of its own on a free port, and a scripted upstream that writes
//! down what reaches it.

mod demo;
mod embedder;
mod home;
mod host;
mod process;
mod raw;
mod registry;
mod turn;
mod upstream;

pub use home::Home;
pub use host::Host;
pub use raw::{Act, RawUpstream};
pub use registry::{Asked, RealRegistry, Registry};
pub use turn::{Answer, Turn};
pub use upstream::{Reply, Seen, Upstream};

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// The project's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Cargo's output folder, wherever it is.
pub fn target() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    this.ancestors()
        .find(|p| p.file_name().is_some_and(|n| n == "release" || n == "debug"))
        .unwrap()
        .parent()
        .unwrap()
        .to_owned()
}

/// The `metaclaw` command, built if need be: a test never meets an old one.
pub fn metaclaw() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let status = at_root(env!("CARGO")).args(["build", "--release", "-p", "metaclaw"]).status();
        assert!(status.unwrap().success(), "metaclaw does not build");
        target().join("release/metaclaw")
    };
    BUILT.get_or_init(build).clone()
}

/// A guest crate as a component, built once a run.
pub fn guest(crate_dir: &str) -> PathBuf {
    // Built once: another test may be reading it already.
    static BUILT: Mutex<Vec<(String, PathBuf)>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap_or_else(|e| e.into_inner());
    if let Some((_, out)) = built.iter().find(|(known, _)| known == crate_dir) {
        return out.clone();
    }
    let dir = root().join(crate_dir);
    let out = target().join("guests").join(format!("{}.wasm", crate_dir.replace('/', "-")));
    std::fs::create_dir_all(out.parent().unwrap()).unwrap();
    let build = ["run", "--release", "--quiet", "-p", "policy-build", "--"];
    let status = at_root(env!("CARGO")).args(build).args([&dir, &out]).status();
    assert!(status.unwrap().success(), "{crate_dir} does not build");
    built.push((crate_dir.to_owned(), out.clone()));
    out
}

/// A policy in any language as a component, built by `metaclaw policy build`, which installs what it needs into `target/policy-tools`. Give
/// a name only once: what is built is called so.
pub fn policy(folder: &Path, name: &str) -> PathBuf {
    let out = target().join("guests").join(format!("{name}.wasm"));
    let mut build = Command::new(metaclaw());
    build.args(["policy", "build", "--install", "--out"]).arg(&out).arg(folder);
    let said = build.env("METACLAW_POLICY_TOOLS", target().join("policy-tools")).output().unwrap();
    assert!(said.status.success(), "{} does not build: {}", folder.display(), String::from_utf8_lossy(&said.stderr));
    out
}

/// The component of `tests/guests/wasi`, which Rust builds for WASI.
pub fn wasi_guest() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let (dir, out) = (root().join("tests/guests/wasi"), target().join("guests-wasi"));
        let mut cargo = at_root(env!("CARGO"));
        cargo.args(["build", "--release", "--locked", "--quiet", "--target", "wasm32-wasip2"]);
        cargo.arg("--manifest-path").arg(dir.join("Cargo.toml")).arg("--target-dir").arg(&out);
        assert!(cargo.status().unwrap().success(), "tests/guests/wasi does not build");
        out.join("wasm32-wasip2/release/wasi_policy.wasm")
    };
    BUILT.get_or_init(build).clone()
}

/// A command that builds: run in the root, without what Cargo has told this test of its own package. Build scripts that look
/// at that (ring's does) would run again in every such build and in the next one by hand, and much be compiled anew.
pub(crate) fn at_root(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command
}

/// Waits until `ready` gives something, at most ten seconds.
pub async fn until<T>(what: &str, ready: impl AsyncFnMut() -> Option<T>) -> T {
    within(Duration::from_secs(10), what, ready).await
}

/// The same, for what takes longer.
pub async fn within<T>(limit: Duration, what: &str, mut ready: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = ready().await {
            return value;
        }
        assert!(began.elapsed() < limit, "still not so after {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
