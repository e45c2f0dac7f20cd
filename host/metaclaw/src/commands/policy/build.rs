use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::config::Paths;
use anyhow::{Context, bail};
use clap::Args;
use domain::Digest;
use serde_json::json;

use super::cases::MODULE;
use super::languages::Language;
use super::new::{CONTRACT, contract};
use super::tools::{Said, ToolArgs, run as run_tool};
use crate::output;

/// What compilers, editors and former builds leave in a policy's folder.
const LEFTOVERS: [&str; 6] = ["__pycache__", "target", "node_modules", ".git", ".zig", ".go"];
/// More than any policy has.
const MAX_FILES: usize = 10_000;

/// `metaclaw policy build`
#[derive(Debug, Args)]
#[command(after_help = "The language is known by policy.py, policy.js, policy.c, policy.go or Cargo.toml. Rust needs
`rustup target add wasm32-unknown-unknown`; for the others a compiler is fetched with --install.

Examples:
  metaclaw policy build my-policy --install
  metaclaw policy build . --out /srv/metaclaw/policies/researcher.wasm --json")]
pub(super) struct BuildArgs {
    /// The policy's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where the component goes [default: policy.wasm in the folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    tools: ToolArgs,
}

/// Builds a policy.
pub(super) fn run(args: &BuildArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let out = args.out.clone().unwrap_or_else(|| args.dir.join(MODULE));
    let (language, bytes) = build(&args.dir, &args.tools, paths)?;
    put(&out, &bytes)?;
    let digest = Digest::of(&bytes);
    match json {
        true => output::json(&json!({
            "module": out, "lang": language.word(), "size": bytes.len(), "sha256": digest.to_string(),
        })),
        false => {
            output::line(format_args!("built {} ({language}, {} bytes)\nsha256 {digest}", out.display(), bytes.len()))
        }
    }
    Ok(())
}

/// Builds the policy of a folder into its place there.
pub(super) fn in_place(dir: &Path, tools: &ToolArgs, paths: &Paths) -> anyhow::Result<()> {
    let (_, bytes) = build(dir, tools, paths)?;
    put(&dir.join(MODULE), &bytes)
}

/// The files that a build reads, results of builds left out.
pub(super) fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if files.len() >= MAX_FILES || LEFTOVERS.contains(&name) || is_built(&path) {
            continue;
        }
        if path.is_dir() { sources(&path, files) } else { files.push(path) }
    }
}

fn is_built(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "wasm")
}

fn build(dir: &Path, tools: &ToolArgs, paths: &Paths) -> anyhow::Result<(Language, Vec<u8>)> {
    let Some(language) = Language::of(dir) else {
        let marks: Vec<&str> = Language::ALL.into_iter().map(Language::mark).collect();
        bail!(
            "{} has none of {}: name a policy's folder, or make one with `metaclaw policy new`",
            dir.display(),
            marks.join(", ")
        );
    };
    let Some(tool) = tools.provide(language, paths)? else { return Ok((language, rust(dir)?)) };
    // What is compiled is a copy: compilers leave files behind.
    let work = tempfile::tempdir().context("there is no room for temporary files: make some, or set TMPDIR")?;
    copy(dir, work.path())?;
    let vendored = work.path().join(CONTRACT);
    if !vendored.exists() {
        fs::create_dir_all(vendored.parent().unwrap_or(work.path())).and_then(|()| fs::write(&vendored, contract()))?;
    }
    let built = work.path().join("built.wasm");
    match language {
        Language::Python => {
            let mut python = Command::new("python3");
            let script = "import sys, componentize_py; sys.exit(componentize_py.script())";
            python.args(["-c", script, "--quiet", "--wit-path", "wit", "--world", "policy", "componentize"]);
            python.args(["metaclaw.component", "--stub-wasi", "--output", "built.wasm"]);
            python.env("PYTHONPATH", &tool).env("RUST_BACKTRACE", "0").current_dir(work.path());
            run_tool("python3", &mut python, Said::BeforeTheCause)?;
        }
        Language::Js => {
            // This compiler drops lent handles too late: it is given them, and the component made to fit afterwards.
            let lent = fs::read_to_string(&vendored).with_context(|| format!("{CONTRACT} cannot be read"))?;
            fs::write(&vendored, policy_build::given(&lent)).context("the contract was not written")?;
            let mut node = Command::new("node");
            node.arg(tool.join("node_modules/componentize-qjs/bin/componentize-qjs"));
            node.args(["--wit", "wit", "--world", "policy", "--js", "policy.js", "--sync", "--stub-wasi", "--output"]);
            run_tool("node", node.arg("given.wasm").current_dir(work.path()), Said::Wrong)?;
            let given = fs::read(work.path().join("given.wasm")).context("the compiler has left no component")?;
            fs::write(&built, policy_build::lend(&given)?).context("the component was not written")?;
        }
        Language::C => {
            let program = tool.join("ziglang/zig");
            let mut zig = Command::new(&program);
            zig.args([
                "cc",
                "-target",
                "wasm32-freestanding",
                "-std=c23",
                "-Wall",
                "-Wextra",
                "-O2",
                "-s",
                "-nostdlib",
            ]);
            zig.args(["-Wl,--no-entry", "policy.c", "-o", "core.wasm"]).current_dir(work.path());
            zig.env("ZIG_GLOBAL_CACHE_DIR", tool.join("cache")).env("ZIG_LOCAL_CACHE_DIR", work.path().join(".zig"));
            run_tool("zig", &mut zig, Said::Wrong)?;
            wrap(work.path(), &built)?;
        }
        Language::Go => {
            let root = tool.join("go");
            let mut go = Command::new(root.join("bin/go"));
            go.args(["build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w -buildid=", "-o", "core.wasm", "."]);
            go.env("GOROOT", &root).env("GOPATH", work.path().join(".go")).env("GOCACHE", tool.join("cache"));
            go.env("GOPROXY", "off").env("GOTOOLCHAIN", "local").env("GOFLAGS", "");
            go.env("GOOS", "wasip1").env("GOARCH", "wasm").current_dir(work.path());
            run_tool("go", &mut go, Said::Wrong)?;
            wrap(work.path(), &built)?;
        }
        Language::Rust => {}
    }
    let bytes = fs::read(&built).with_context(|| format!("the {language} compiler has left no component"))?;
    Ok((language, bytes))
}

fn rust(dir: &Path) -> anyhow::Result<Vec<u8>> {
    if !dir.join("Cargo.lock").exists() {
        let mut cargo = Command::new("cargo");
        run_tool("cargo", cargo.args(["generate-lockfile", "--quiet"]).current_dir(dir), Said::Wrong)?;
    }
    Ok(policy_build::build(dir, &dir.join("target"))?)
}

/// Makes a component of the core module that a compiler has left.
fn wrap(work: &Path, built: &Path) -> anyhow::Result<()> {
    let core = fs::read(work.join("core.wasm")).context("the compiler has left no module")?;
    let component = policy_build::wrap(&core, &work.join("wit"))?;
    fs::write(built, component).with_context(|| format!("{} was not written", built.display()))
}

/// Copies a policy's folder, without what former builds have left.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut files = Vec::new();
    sources(from, &mut files);
    if files.len() >= MAX_FILES {
        bail!("{} has more than {MAX_FILES} files: is it a policy's folder?", from.display());
    }
    for file in files {
        let target = to.join(file.strip_prefix(from)?);
        let copied = target.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::copy(&file, &target));
        copied.with_context(|| format!("{} cannot be copied", file.display()))?;
    }
    Ok(())
}

/// Writes beside the file and renames: a host that watches it sees the old module or the new one.
fn put(out: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let what = || format!("{} was not written", out.display());
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(what)?;
    let mut beside = tempfile::Builder::new().prefix(".policy-").tempfile_in(folder).with_context(what)?;
    std::io::Write::write_all(&mut beside, bytes).with_context(what)?;
    let usual = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    beside.as_file().set_permissions(usual).with_context(what)?;
    beside.persist(out).map_err(|error| error.error).with_context(what)?;
    Ok(())
}
