//! Builds a Rust guest crate into a WebAssembly component that imports nothing but `metaclaw:policy`.
//!
//! The guest is compiled for `wasm32-unknown-unknown`, a target that has no system interface at all, and the core module
//! is then wrapped as a component from the interface description that `wit-bindgen` left in it. The same sources, lock
//! file and toolchain give the same bytes, wherever the checkout and the target directory are.

mod lend;
mod wrap;

pub use lend::{given, lend};
pub use wrap::wrap;

use std::env::{VarError, vars_os};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The one target guests are built for.
const TARGET: &str = "wasm32-unknown-unknown";
/// The guest's own stack. It is part of every instance's first pages, so small is fast; a policy that recurses deeply
/// traps instead of growing.
const STACK_BYTES: u32 = 128 << 10;
/// What an outer cargo says about its own build, which must not change how a guest is built.
const OUTER_BUILD: &[&str] = &["CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_ENCODED_RUSTFLAGS"];

/// Why a guest could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No cargo, or it could not be run.
    #[error("cannot run {program:?} to build the policy in {guest}")]
    Spawn {
        /// What was to run.
        program: OsString,
        /// The crate's directory.
        guest: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The compiler said no; its own words are on stderr.
    #[error("the policy in {0} does not compile (is the target there? `rustup target add wasm32-unknown-unknown`)")]
    Compile(PathBuf),
    /// The crate compiled, but into something else.
    #[error("the policy in {0} gives no wasm file: its Cargo.toml needs `[lib] crate-type = [\"cdylib\"]`")]
    NoModule(PathBuf),
    /// A file or directory cannot be used.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A component is none, or uses what is not known here.
    #[error("the handles of the component cannot be made lent ones: {0}")]
    Lend(String),
    /// The core module cannot become a component.
    #[error("the wasm file of {guest} cannot be wrapped as a component: {reason}")]
    Wrap {
        /// The crate's directory, or that of the world.
        guest: PathBuf,
        /// What the encoder said.
        reason: String,
    },
}

/// Builds the guest crate in `guest`, with its own lock file, and returns the component's bytes.
///
/// `target_dir` is a directory that no other running cargo holds. Several guests may share it one after another, so
/// that their dependencies are built once.
pub fn build(guest: &Path, target_dir: &Path) -> Result<Vec<u8>, BuildError> {
    let file = |path: &Path, source| BuildError::File { path: path.to_owned(), source };
    let guest = guest.canonicalize().map_err(|e| file(guest, e))?;
    std::fs::create_dir_all(target_dir).map_err(|e| file(target_dir, e))?;
    let target_dir = target_dir.canonicalize().map_err(|e| file(target_dir, e))?;
    let module = compile(&guest, &target_dir)?;
    let core = std::fs::read(&module).map_err(|e| file(&module, e))?;
    let wrap = |reason: String| BuildError::Wrap { guest: guest.clone(), reason };
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&core)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|e| wrap(format!("{e:#}")))
}

/// Runs cargo and returns the path of the core module it made.
fn compile(guest: &Path, target_dir: &Path) -> Result<PathBuf, BuildError> {
    let program = variable("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(&program);
    for (name, _) in vars_os() {
        if name.to_str().is_some_and(|name| OUTER_BUILD.iter().any(|prefix| name.starts_with(prefix))) {
            cargo.env_remove(&name);
        }
    }
    let output = cargo
        // Under `cargo clippy` this variable would have clippy compile the guest.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", guest_flags().join("\x1f"))
        .args(["build", "--release", "--locked", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(guest.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(guest)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| BuildError::Spawn { program, guest: guest.to_owned(), source })?;
    if !output.status.success() {
        return Err(BuildError::Compile(guest.to_owned()));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    messages.lines().rev().find_map(built_module).ok_or_else(|| BuildError::NoModule(guest.to_owned()))
}

/// The wasm file that one of cargo's JSON messages announces.
fn built_module(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let files = message.get("filenames")?.as_array()?;
    files.iter().filter_map(|f| f.as_str()).find(|f| f.ends_with(".wasm")).map(PathBuf::from)
}

/// Compiler flags of every guest. Panic messages hold the paths of dependencies' sources: they are replaced, so that the
/// bytes do not depend on whose machine built them. The guest's own paths are relative already.
fn guest_flags() -> Vec<String> {
    let mut flags = vec![format!("-Clink-arg=-zstack-size={STACK_BYTES}")];
    let cargo_home =
        variable("CARGO_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cargo")));
    if let Some(home) = cargo_home {
        flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
    }
    flags
}

/// Reads a variable that cargo itself would read: this crate is a build tool, not a part of the host.
#[expect(clippy::disallowed_methods, reason = "a build tool finds cargo where cargo says it is")]
fn variable(name: &str) -> Option<OsString> {
    match std::env::var(name) {
        Ok(text) => Some(text.into()),
        Err(VarError::NotUnicode(text)) => Some(text),
        Err(VarError::NotPresent) => None,
    }
}
