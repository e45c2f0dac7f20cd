//! `metaclaw train`: how each agent's training stands, and an operator's word on it.

mod follow;
mod show;

use std::time::Duration;

use ::config::Paths;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use domain::AgentId;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::cli::HostArgs;
use crate::output;
use crate::running::Running;

pub(crate) use show::show_training;

/// `metaclaw train`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  metaclaw train status
  metaclaw train status --follow
  metaclaw train step --agent researcher --wait
  metaclaw train pause --agent researcher
  metaclaw train status --json | jq '.lanes[] | {agent, generation, eligible}'

Agents of the mode rl that the embedded model answers train by themselves as soon as there is a batch
(`rl.batch_size`); with `rl.manual_train_trigger`, and in the mode auto, only when `step` says so.")]
pub(crate) struct TrainArgs {
    #[command(subcommand)]
    command: TrainCommand,
}

#[derive(Debug, Subcommand)]
enum TrainCommand {
    /// Say how each agent's training stands: samples, batch, adapter, what is under way, what failed
    #[command(after_help = "Examples:
  metaclaw train status --agent researcher
  metaclaw train status --follow")]
    Status {
        /// Only this agent
        #[arg(long, value_name = "AGENT", value_parser = agent)]
        agent: Option<AgentId>,
        /// Stay, and show what changes, until Ctrl-C
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        host: HostArgs,
    },
    /// Train one step now, with the samples that there are, though the batch may not be full
    #[command(after_help = "Examples:
  metaclaw train step --agent researcher
  metaclaw train step --agent researcher --wait
  metaclaw train step --wait --json           every agent that has samples

With --wait the command ends with 1 when the step fails, or the adapter does not pass the gate.")]
    Step {
        /// Whose [default: every agent that has samples to train on]
        #[arg(long, value_name = "AGENT", value_parser = agent)]
        agent: Option<AgentId>,
        /// Stay until it is done, with a bar
        #[arg(long)]
        wait: bool,
        /// How long to wait at most
        #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "wait")]
        timeout: u64,
        #[command(flatten)]
        host: HostArgs,
    },
    /// Let an agent train no more until `resume`; its answers and its samples go on. It holds through restarts
    #[command(after_help = "Examples:
  metaclaw train pause --agent researcher")]
    Pause(OfAgent),
    /// Let an agent that was paused, or waits after a failure, train again
    #[command(after_help = "Examples:
  metaclaw train resume --agent researcher")]
    Resume(OfAgent),
}

#[derive(Debug, Args)]
struct OfAgent {
    /// Whose
    #[arg(long, value_name = "AGENT", value_parser = agent)]
    agent: AgentId,
    #[command(flatten)]
    host: HostArgs,
}

fn agent(text: &str) -> Result<AgentId, domain::InvalidAgentName> {
    AgentId::from_trusted(text)
}

/// `metaclaw train …`
pub(crate) fn run(args: &TrainArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    match &args.command {
        TrainCommand::Status { agent, follow, host } => status(agent.as_ref(), *follow, host, paths, json),
        TrainCommand::Step { agent, wait, timeout, host } => {
            let wait = wait.then(|| Duration::from_secs(*timeout));
            step(agent.as_ref(), wait, host, paths, json)
        }
        TrainCommand::Pause(of) => order(of, "pause", "paused the training", paths, json),
        TrainCommand::Resume(of) => order(of, "resume", "resumed the training", paths, json),
    }
}

fn status(agent: Option<&AgentId>, stay: bool, host: &HostArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let admin = reach(host, paths)?;
    let runtime = super::runtime()?;
    if stay {
        return runtime.block_on(follow::status(&admin, agent, json));
    }
    let state = only(runtime.block_on(admin.look(&["training"]))?, agent)?;
    if json {
        output::json(&state);
        return Ok(());
    }
    if lanes(&state).next().is_none() {
        output::line("no agent trains: see `mode: rl`, and docs/training.md");
    }
    lanes(&state).for_each(show::lane);
    Ok(())
}

/// The state of this agent's training alone.
fn only(mut state: Value, agent: Option<&AgentId>) -> anyhow::Result<Value> {
    if let (Some(agent), Some(all)) = (agent, state["lanes"].as_array_mut()) {
        all.retain(|lane| lane["agent"] == agent.as_str());
        if all.is_empty() {
            bail!("agent `{agent}` does not train: set `agents.{agent}.mode` to rl, or see `metaclaw train status`");
        }
    }
    Ok(state)
}

fn step(
    agent: Option<&AgentId>,
    wait: Option<Duration>,
    host: &HostArgs,
    paths: &Paths,
    json: bool,
) -> anyhow::Result<()> {
    let admin = reach(host, paths)?;
    let runtime = super::runtime()?;
    let before = runtime.block_on(admin.look(&["training"]))?;
    let agents = match agent {
        Some(agent) => vec![agent.to_string()],
        None => lanes(&before).filter(|lane| is_to_train(lane)).map(|lane| text(&lane["agent"])).collect(),
    };
    if agents.is_empty() {
        bail!("no agent has samples to train on: `metaclaw train status` says what each one waits for");
    }
    let mut begun = Vec::new();
    for agent in &agents {
        begun.push(runtime.block_on(admin.order(&["agents", agent, "training", "step"]))?);
    }
    let Some(timeout) = wait else {
        match json {
            true => output::json(&json!({ "steps": begun })),
            false => agents.iter().for_each(|agent| {
                output::line(format_args!("agent `{agent}` trains a step: `metaclaw train status --follow` shows it"));
            }),
        }
        return Ok(());
    };
    let done = runtime.block_on(follow::steps(&admin, &before, &agents, timeout, !json))?;
    if json {
        output::json(&json!({ "steps": done }));
    }
    let failed = done.iter().find(|step| step["state"] != "live" && step["state"] != "shadow");
    match failed {
        Some(step) => bail!("the step of agent `{}`: {}", text(&step["agent"]), show::outcome(step)),
        None => Ok(()),
    }
}

/// Whether a step without a name means this lane as well.
fn is_to_train(lane: &Value) -> bool {
    lane["refused"].is_null() && lane["paused"] != true && lane["eligible"].as_u64().is_some_and(|count| count > 0)
}

fn order(of: &OfAgent, word: &str, done: &str, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let admin = reach(&of.host, paths)?;
    let state = super::runtime()?.block_on(admin.order(&["agents", of.agent.as_str(), "training", word]))?;
    match json {
        true => output::json(&state),
        false => output::line(format_args!("{done} of agent `{}`", of.agent)),
    }
    Ok(())
}

fn reach(host: &HostArgs, paths: &Paths) -> anyhow::Result<Admin> {
    Admin::must(&Running::find(&paths.home, host.port)?, host.admin_key.as_deref())
}

fn lanes(state: &Value) -> impl Iterator<Item = &Value> {
    state["lanes"].as_array().into_iter().flatten()
}

fn lane<'a>(state: &'a Value, agent: &str) -> anyhow::Result<&'a Value> {
    lanes(state).find(|lane| lane["agent"] == *agent).with_context(|| format!("agent `{agent}` does not train any more"))
}

/// Judges and clients choose some of these words.
fn text(value: &Value) -> String {
    output::harmless(value.as_str().unwrap_or_default()).replace('\n', " ")
}
