use std::path::PathBuf;
use std::time::{Duration, Instant};

use ::config::{ModuleRef, Paths};
use anyhow::bail;
use clap::Args;
use domain::{Digest, PolicyLimits};
use policy::{Anatomy, MAX_FUNCTION, MAX_FUNCTIONS, MAX_MODULE, Module};
use serde::Serialize;

use super::keys::Signed;
use super::subject::{Setting, Settings, Subject, Workshop, as_configured, grants_for};
use crate::{modules, output};

/// `metaclaw policy check`
#[derive(Debug, Args)]
#[command(after_help = "Ends with 1 when a host would not load it.

Examples:
  metaclaw policy check policy.wasm
  metaclaw policy check policy.wasm --settings '{\"long\": 2000}'
  metaclaw policy check policies/researcher.wasm --agent researcher --json")]
pub(super) struct CheckArgs {
    /// The module
    module: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

/// What is found.
#[derive(Serialize)]
struct Report {
    module: String,
    loads: bool,
    /// Why not, and what to do.
    problems: Vec<String>,
    sha256: String,
    size: usize,
    /// The version of the contract.
    contract: Option<String>,
    name: Option<String>,
    version: Option<String>,
    summary: Option<String>,
    hooks: Vec<&'static str>,
    imports: Vec<String>,
    modules: usize,
    functions: u64,
    largest_function: usize,
    /// Memory with which an instance begins, in bytes.
    memory: u64,
    signature: Option<Signed>,
    /// Who of those whom the agent trusts has signed it.
    signed_by: Option<String>,
    /// As `policy.grants` spells them.
    grants: Vec<&'static str>,
    limits: Limits,
    /// What the configuration needs.
    yaml: String,
    took_ms: u128,
}

#[derive(Serialize)]
struct Limits {
    cpu_ms: u128,
    wall_ms: u128,
    filter_cpu_ms: u128,
    filter_wall_ms: u128,
    memory: u64,
}

/// Looks, says, and fails when the module would not be loaded.
pub(super) fn run(args: &CheckArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let subject = Subject::read(&args.module)?;
    let setting = args.settings.resolve(paths)?;
    let report = examine(&subject, &setting, paths)?;
    match json {
        true => output::json(&report),
        false => report.print(),
    }
    match report.loads {
        true => Ok(()),
        false => bail!("{} would not be loaded", subject.path.display()),
    }
}

fn examine(subject: &Subject, setting: &Setting, paths: &Paths) -> anyhow::Result<Report> {
    let mut problems = Vec::new();
    let anatomy = Anatomy::of(&subject.bytes).unwrap_or_default();
    let workshop = Workshop::like_the_host()?;
    let began = Instant::now();
    let module = workshop.engine.module(&subject.bytes);
    let took = began.elapsed();
    let module = module.map_err(|error| problems.push(said(&error))).ok();
    if let Some(module) = &module {
        match workshop.engine.config_problems(module, &setting.json) {
            Ok(found) => problems.extend(found.into_iter().map(|p| format!("it refuses its settings: {}", p.message))),
            Err(error) => problems.push(said(&error)),
        }
    }
    let mut signed_by = None;
    if let Some((id, config)) = &setting.agent {
        if let Some(Err(error)) = module.as_ref().map(|module| module.check_grants(&config.policy.grants)) {
            problems.push(said(&error));
        }
        // Of several hooks' modules, the one that this file is.
        let modules = || config.policy.hooks.iter().filter_map(|(_, wanted)| wanted.as_ref());
        let wanted = modules().find(|wanted| same_file(wanted, subject));
        match wanted.map(|wanted| approval(wanted, subject)) {
            Some(Ok(by)) => signed_by = by,
            Some(Err(problem)) => problems.push(problem),
            None => output::note(format_args!(
                "note: agent `{id}` has another module; its settings and grants are used (`metaclaw policy pin {} --agent {id}`)",
                subject.path.display()
            )),
        }
    }
    let signature = modules::read_signature(&subject.path)?.map(|text| Signed::read(&text)).transpose();
    let signature = signature.unwrap_or_else(|error| {
        problems.push(format!("{error:#}"));
        None
    });
    let agent = setting.agent.as_ref().map_or("AGENT", |(id, _)| id.as_str());
    let grants = module.as_ref().map(|module| grants_for(module.asks())).unwrap_or_default();
    let limits = setting.agent.as_ref().map_or_else(PolicyLimits::default, |(_, config)| config.policy.limits);
    let described = module.as_ref().map(|module| module.description().clone());
    Ok(Report {
        module: subject.path.display().to_string(),
        loads: problems.is_empty(),
        problems,
        sha256: subject.digest.to_string(),
        size: subject.bytes.len(),
        contract: anatomy.contract().map(str::to_owned),
        name: described.as_ref().map(|d| d.name.clone()),
        version: described.as_ref().map(|d| d.version.clone()),
        summary: described.map(|d| d.summary),
        hooks: module.as_deref().map(hooks).unwrap_or_default(),
        imports: anatomy.imports,
        modules: anatomy.modules,
        functions: anatomy.functions,
        largest_function: anatomy.largest_function,
        memory: anatomy.memory,
        signature,
        signed_by,
        yaml: yaml(agent, &as_configured(paths, &subject.path)?, &subject.digest, &grants),
        grants,
        limits: Limits::of(&limits),
        took_ms: took.as_millis(),
    })
}

fn same_file(wanted: &ModuleRef, subject: &Subject) -> bool {
    let real = |path: &std::path::Path| path.canonicalize().ok();
    wanted.file().and_then(real).is_some_and(|path| real(&subject.path) == Some(path))
}

/// Whether these are the bytes that the configuration wants: who has signed them, if it wants that.
fn approval(wanted: &ModuleRef, subject: &Subject) -> Result<Option<String>, String> {
    let actual = subject.digest;
    if let Some(pinned) = wanted.sha256.filter(|pinned| *pinned != actual) {
        return Err(said(&policy::LoadError::WrongDigest { pinned, actual }));
    }
    let signer = modules::check_signature(wanted, &subject.bytes).map_err(|error| format!("{error:#}"))?;
    Ok(signer.map(|root| root.name.clone()))
}

/// An error with its causes.
fn said(error: &policy::LoadError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

pub(super) fn hooks(module: &Module) -> Vec<&'static str> {
    module.hooks().iter().filter(|(_, has)| **has).map(|(hook, _)| hook.as_str()).collect()
}

/// The lines that give an agent this module.
pub(super) fn yaml(agent: &str, path: &str, digest: &Digest, grants: &[&str]) -> String {
    let path = serde_json::Value::from(path);
    let mut lines = vec![
        "agents:".to_owned(),
        format!("  {agent}:"),
        "    policy:".to_owned(),
        format!("      module: {path}"),
        format!("      sha256: \"{digest}\""),
    ];
    if !grants.is_empty() {
        lines.push(format!("      grants: {{ {} }}", grants.join(", ")));
    }
    lines.join("\n")
}

impl Limits {
    fn of(limits: &PolicyLimits) -> Self {
        Limits {
            cpu_ms: limits.cpu.as_millis(),
            wall_ms: limits.wall.as_millis(),
            filter_cpu_ms: limits.filter_cpu.as_millis(),
            filter_wall_ms: limits.filter_wall.as_millis(),
            memory: limits.memory.0,
        }
    }
}

impl Report {
    fn print(&self) {
        let line = |what: &str, words: String| output::line(format_args!("  {what:<10} {words}"));
        output::line(&self.module);
        if let (Some(name), Some(version), Some(summary)) = (&self.name, &self.version, &self.summary) {
            line("is", format!("{name} {version}: {summary}"));
        }
        line("sha256", self.sha256.clone());
        line("size", format!("{} bytes, at most {MAX_MODULE}", self.size));
        line("contract", self.contract.clone().map_or("none".to_owned(), |v| format!("metaclaw:policy@{v}")));
        line("hooks", listed(&self.hooks));
        line("imports", listed(&self.imports));
        line(
            "code",
            format!(
                "{} functions in {} modules, at most {MAX_FUNCTIONS}; the largest has {} bytes, at most {MAX_FUNCTION}",
                self.functions, self.modules, self.largest_function
            ),
        );
        let Limits { cpu_ms, wall_ms, filter_cpu_ms, filter_wall_ms, memory } = &self.limits;
        line("memory", format!("begins with {} bytes, at most {memory}", self.memory));
        line(
            "time",
            format!(
                "{cpu_ms} ms of CPU and {wall_ms} ms in all for a hook of a turn, {filter_cpu_ms} and {filter_wall_ms} for one of a finished turn"
            ),
        );
        match (&self.signature, &self.signed_by) {
            (Some(signature), Some(name)) => line("signature", format!("{signature}: that is {name}")),
            (Some(signature), None) => line("signature", signature.to_string()),
            (None, _) => line("signature", "none".to_owned()),
        }
        line("grants", if self.grants.is_empty() { "needs none".to_owned() } else { self.grants.join(", ") });
        match self.loads {
            true => {
                let took = humantime::format_duration(Duration::from_millis(u64::try_from(self.took_ms).unwrap_or(0)));
                line("loads", format!("yes; compiled in {took}"));
                output::line("\nFor the configuration:\n");
                output::line(&self.yaml);
            }
            false => {
                line("loads", "no".to_owned());
                self.problems.iter().for_each(|problem| output::line(format_args!("  ✗ {problem}")));
            }
        }
    }
}

fn listed<T: AsRef<str>>(words: &[T]) -> String {
    if words.is_empty() {
        return "none".to_owned();
    }
    words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}
