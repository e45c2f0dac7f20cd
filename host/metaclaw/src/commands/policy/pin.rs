use std::path::PathBuf;

use ::config::Paths;
use anyhow::{Context, bail};
use clap::Args;
use domain::{AgentId, FileGrant, PolicyGrants};
use policy::Module;
use serde_json::json;

use super::check::yaml;
use super::subject::{Subject, Workshop, agent, as_configured, configured, grants_for};
use crate::output;

/// `metaclaw policy pin`
#[derive(Debug, Args)]
#[command(
    after_help = "The file's comments and order stay. A module that the agent could not use is refused; grants are for you to give, with
`--grant` or by hand. A running host takes the change up by itself.

Examples:
  metaclaw policy pin policies/researcher.wasm --agent researcher
  metaclaw policy pin policies/researcher.wasm --agent researcher --grant
  metaclaw policy pin policies/researcher.wasm      prints the lines, and changes nothing"
)]
pub(super) struct PinArgs {
    /// The module
    module: PathBuf,
    /// Whose it becomes; without one, the lines for the configuration are printed
    #[arg(long, value_name = "AGENT", value_parser = agent)]
    agent: Option<AgentId>,
    /// Give the module the grants that it needs
    #[arg(long, requires = "agent")]
    grant: bool,
}

/// Writes a module's path and digest into an agent's section.
pub(super) fn run(args: &PinArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let subject = Subject::read(&args.module)?;
    let path = as_configured(paths, &subject.path)?;
    let digest = subject.digest.to_string();
    let workshop = Workshop::like_the_host()?;
    let module = workshop.engine.module(&subject.bytes).with_context(|| subject.path.display().to_string())?;
    let grants = grants_for(module.asks());
    let Some(id) = &args.agent else {
        let lines = yaml("AGENT", &path, &subject.digest, &grants);
        match json {
            true => output::json(&json!({"module": path, "sha256": digest, "grants": grants, "yaml": lines})),
            false => output::line(lines),
        }
        return Ok(());
    };
    let config = configured(paths, id)?;
    let own = config.policy.hooks.iter().any(|(_, module)| module.is_some());
    // Settings that were the built-in's, or another module's, may not be this one's; they are tried all the same.
    let settings = if own { config.policy.config_json.as_str() } else { "{}" };
    let problems = workshop.engine.config_problems(&module, settings)?;
    if !problems.is_empty() {
        let messages: Vec<_> = problems.into_iter().map(|problem| problem.message).collect();
        bail!(
            "{} refuses the settings of agent `{id}` ({}): change agents.{id}.policy.config first",
            subject.path.display(),
            messages.join("; ")
        );
    }
    let changes = changes(args, id, &path, &digest, &module, &config.policy.grants)?;
    let changes: Vec<(&str, &str)> = changes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let warnings = ::config::set(paths, &changes, crate::commands::lenient())?;
    warnings.iter().for_each(output::note);
    match json {
        true => output::json(&json!({
            "agent": id.as_str(), "module": path, "sha256": digest, "grants": grants,
            "file": paths.config_file.display().to_string(),
        })),
        false => output::line(format_args!(
            "agent `{id}` has {path} ({}) in {}; a running host takes it up within seconds (`metaclaw status`)",
            subject.digest.short(),
            paths.config_file.display()
        )),
    }
    Ok(())
}

/// Keys and values to set. Fails when the module would lack a grant.
fn changes(
    args: &PinArgs,
    id: &AgentId,
    path: &str,
    digest: &str,
    module: &Module,
    given: &PolicyGrants,
) -> anyhow::Result<Vec<(String, String)>> {
    let key = |key: &str| format!("agents.{id}.policy.{key}");
    let mut changes = vec![(key("module"), path.to_owned()), (key("sha256"), digest.to_owned())];
    let missing = module.asks().missing(given);
    if args.grant {
        for grant in missing {
            let (name, value) = grant.split_once(": ").unwrap_or((grant, "read"));
            changes.push((key(&format!("grants.{name}")), value.to_owned()));
        }
    } else if !missing.is_empty() {
        let write = missing.contains(&"skills: write") && given.skills == Some(FileGrant::Read);
        let more = if write { " (it has `skills: read`)" } else { "" };
        bail!(
            "{path} needs grants that agent `{id}` has not{more}: `grants: {{ {} }}`; give them with `--grant`",
            missing.join(", ")
        );
    }
    Ok(changes)
}
