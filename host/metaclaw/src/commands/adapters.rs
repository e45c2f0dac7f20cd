//! `metaclaw adapters`: what each agent has trained, and which of it serves.

mod files;

use std::path::PathBuf;

use ::config::Paths;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use domain::{AgentId, InvalidAgentName};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::cli::HostArgs;
use crate::output;
use crate::running::Running;

/// `metaclaw adapters`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  metaclaw adapters list --agent researcher
  metaclaw adapters show 3 --agent researcher
  metaclaw adapters diff 2 3 --agent researcher
  metaclaw adapters rollback --agent researcher
  metaclaw adapters export --agent researcher --out ./researcher-lora

An adapter is a folder in the format of PEFT, never changed once it is there: `AGENT@GENERATION`. Generation 0 is the
model as it is. `list`, `show` and `export` do without a running host.")]
pub(crate) struct AdaptersArgs {
    #[command(subcommand)]
    command: AdaptersCommand,
}

#[derive(Debug, Subcommand)]
enum AdaptersCommand {
    /// Every adapter of an agent, the newest first: where it stands, what it came of, what was measured
    List(Of),
    /// What is known of one adapter
    Show {
        /// Its generation [default: the one that serves]
        generation: Option<u64>,
        #[command(flatten)]
        of: Of,
    },
    /// What one adapter changes against another: how far each layer moved, and what was measured of both
    Diff {
        /// The one
        from: u64,
        /// The other
        to: u64,
        #[command(flatten)]
        of: Of,
    },
    /// Let this adapter answer, from the next turn on; turns under way keep theirs
    Promote {
        /// Its generation
        generation: u64,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        of: Of,
    },
    /// Go back to the adapter before the one that serves, or to the model as it is
    Rollback {
        /// To this one; 0: to the model as it is [default: the one that it came of]
        #[arg(long, value_name = "GENERATION")]
        to: Option<u64>,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        of: Of,
    },
    /// Copy an adapter's files for other programs (PEFT, vLLM, llama.cpp's converter)
    Export {
        /// Its generation [default: the one that serves]
        generation: Option<u64>,
        /// The folder to make
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        of: Of,
    },
    /// Remove the files of adapters that do not serve, but for the newest `rl.keep`; what is known of them stays
    Gc(Of),
}

#[derive(Debug, Args)]
struct Of {
    /// Whose; `_default` is the agent of requests that name none
    #[arg(long, value_name = "AGENT", default_value = "_default", value_parser = agent)]
    agent: AgentId,
    #[command(flatten)]
    host: HostArgs,
}

fn agent(text: &str) -> Result<AgentId, InvalidAgentName> {
    AgentId::from_trusted(text)
}

/// `metaclaw adapters …`
pub(crate) fn run(args: &AdaptersArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    match &args.command {
        AdaptersCommand::List(of) => list(of, paths, json),
        AdaptersCommand::Show { generation, of } => show(*generation, of, paths, json),
        AdaptersCommand::Diff { from, to, of } => diff(*from, *to, of, paths, json),
        AdaptersCommand::Promote { generation, reason, of } => {
            let generation = generation.to_string();
            let done = of.order(paths, &["adapters", &generation, "promote"], &query(&[("reason", reason)]))?;
            told(&done, "serves", of, json);
            Ok(())
        }
        AdaptersCommand::Rollback { to, reason, of } => {
            let to = to.map(|to| to.to_string()).unwrap_or_default();
            let done = of.order(paths, &["adapters", "rollback"], &query(&[("to", &to), ("reason", reason)]))?;
            told(&done, "serves again", of, json);
            Ok(())
        }
        AdaptersCommand::Export { generation, out, of } => files::export(*generation, out, of, paths, json),
        AdaptersCommand::Gc(of) => {
            let done = of.order(paths, &["adapters", "gc"], &[])?;
            match json {
                true => output::json(&done),
                false => {
                    let count = done["removed"].as_array().map_or(0, Vec::len);
                    output::line(format_args!("removed the files of {count} adapters of agent `{}`", of.agent));
                }
            }
            Ok(())
        }
    }
}

fn list(of: &Of, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let known = of.known(paths)?;
    if json {
        output::json(&known);
        return Ok(());
    }
    let all = known["adapters"].as_array().context("the host's answer holds no adapters")?;
    if all.is_empty() {
        output::line(format_args!("agent `{}` has no adapter yet: see `metaclaw train status`", of.agent));
        return Ok(());
    }
    output::line(format_args!(
        "{:<6} {:<11} {:<7} {:<21} {:>7} {:>8} {:>8}  reason",
        "number", "state", "came of", "made", "samples", "reward", "drift"
    ));
    for one in all {
        let metrics = &one["metrics"];
        let number = |value: &Value| value.as_f64().map_or_else(|| "-".to_owned(), |number| format!("{number:.3}"));
        output::line(format_args!(
            "{:<6} {:<11} {:<7} {:<21} {:>7} {:>8} {:>8}  {}",
            one["generation"],
            text(&one["state"]),
            one["parent"],
            text(&one["created"]),
            metrics["samples"].as_u64().map_or_else(|| "-".to_owned(), |count| count.to_string()),
            number(&metrics["mean_reward"]),
            number(&metrics["gate"]["drift"]),
            text(&one["reason"]),
        ));
    }
    Ok(())
}

fn show(generation: Option<u64>, of: &Of, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let mut one = of.find(generation, paths)?;
    // A running host knows more: how its answers were rewarded.
    if let (Ok(_), Some(generation)) = (Running::find(&paths.home, of.host.port), one["generation"].as_u64()) {
        let path = ["agents", of.agent.as_str(), "adapters", &generation.to_string()];
        one = super::runtime()?.block_on(of.reach(paths)?.look(&path))?;
    }
    match json {
        true => output::json(&one),
        false => {
            for (name, value) in one.as_object().into_iter().flatten() {
                rows(name, value);
            }
        }
    }
    Ok(())
}

fn diff(from: u64, to: u64, of: &Of, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let path = ["agents", of.agent.as_str(), "adapters", &from.to_string(), "diff", &to.to_string()];
    let diff = super::runtime()?.block_on(of.reach(paths)?.look(&path))?;
    match json {
        true => output::json(&diff),
        false => {
            for side in ["from", "to"] {
                let (one, metrics) = (&diff[side], &diff[side]["metrics"]);
                rows(
                    side,
                    &json!({"adapter": one["generation"], "state": one["state"], "mean_reward": metrics["mean_reward"]}),
                );
            }
            rows("parameters", &diff["parameters"]);
        }
    }
    Ok(())
}

/// A line for each value, however deep.
fn rows(name: &str, value: &Value) {
    match value {
        Value::Object(inner) => inner.iter().for_each(|(below, value)| rows(&format!("{name}.{below}"), value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, item)| rows(&format!("{name}.{n}"), item)),
        Value::Null => {}
        Value::String(_) => output::line(format_args!("{name:<24} {}", text(value))),
        other => output::line(format_args!("{name:<24} {other}")),
    }
}

impl Of {
    fn reach(&self, paths: &Paths) -> anyhow::Result<Admin> {
        Admin::must(&Running::find(&paths.home, self.host.port)?, self.host.admin_key.as_deref())
    }

    fn order(&self, paths: &Paths, rest: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let path = [&["agents", self.agent.as_str()], rest].concat();
        super::runtime()?.block_on(self.reach(paths)?.order_with(&path, query))
    }

    /// The agent's adapters, as the running host knows them; without one, as their folders tell.
    fn known(&self, paths: &Paths) -> anyhow::Result<Value> {
        if Running::find(&paths.home, self.host.port).is_err() {
            return files::known(&self.agent, paths);
        }
        super::runtime()?.block_on(self.reach(paths)?.look(&["agents", self.agent.as_str(), "adapters"]))
    }

    /// One of them; without a number, the one that serves.
    fn find(&self, generation: Option<u64>, paths: &Paths) -> anyhow::Result<Value> {
        let known = self.known(paths)?;
        let wanted = generation.or(known["live"].as_u64()).unwrap_or_default();
        if wanted == 0 {
            bail!(
                "the model as it is answers for agent `{}`: `metaclaw adapters list` shows what there is",
                self.agent
            );
        }
        let all = known["adapters"].as_array();
        let one = all.into_iter().flatten().find(|one| one["generation"] == wanted);
        one.cloned().with_context(|| {
            format!(
                "agent `{}` has no adapter {wanted}: see `metaclaw adapters list --agent {}`",
                self.agent, self.agent
            )
        })
    }
}

fn query<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    pairs.iter().copied().filter(|(_, value)| !value.is_empty()).collect()
}

fn told(done: &Value, how: &str, of: &Of, json: bool) {
    if json {
        return output::json(done);
    }
    match done["live"].as_u64() {
        Some(generation) if generation > 0 => output::line(format_args!("{}@{generation} {how}", of.agent)),
        _ => output::line(format_args!("the model as it is answers for agent `{}`", of.agent)),
    }
}

fn text(value: &Value) -> String {
    output::harmless(value.as_str().unwrap_or_default()).replace('\n', " ")
}
