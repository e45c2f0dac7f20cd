//! `metaclaw train`: how each agent's training stands, and an operator's word on it.

mod follow;
mod show;

use std::time::Duration;

use ::config::Paths;
use anyhow::bail;
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
  metaclaw train status --json | jq '.agents[] | {agent, generation, samples}'

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
    if agents(&state).next().is_none() {
        output::line("no agent trains: see `mode: rl`, and docs/training.md");
    }
    agents(&state).for_each(show::agent);
    Ok(())
}

/// The state of this agent's training alone.
fn only(mut state: Value, agent: Option<&AgentId>) -> anyhow::Result<Value> {
    if let (Some(agent), Some(all)) = (agent, state["agents"].as_array_mut()) {
        all.retain(|one| one["agent"] == agent.as_str());
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
    match wait {
        Some(timeout) => runtime.block_on(waited(&admin, agent, timeout, json)),
        None => runtime.block_on(begun(&admin, agent, json)),
    }
}

/// Tells the host to take steps, and no more.
async fn begun(admin: &Admin, agent: Option<&AgentId>, json: bool) -> anyhow::Result<()> {
    let names = match agent {
        Some(agent) => vec![agent.to_string()],
        None => {
            let state = admin.look(&["training"]).await?;
            agents(&state).filter(|one| is_to_train(one)).map(|one| text(&one["agent"])).collect()
        }
    };
    if names.is_empty() {
        bail!("no agent has samples to train on: `metaclaw train status` says what each one waits for");
    }
    let mut steps = Vec::new();
    for name in &names {
        steps.push(admin.order(&["agents", name, "training", "step"]).await?);
    }
    match json {
        true => output::json(&json!({ "steps": steps })),
        false => steps.iter().for_each(|step| {
            let (agent, samples) = (text(&step["agent"]), &step["samples"]);
            output::line(format_args!(
                "agent `{agent}` trains on {samples} samples: `metaclaw train status --follow` shows it"
            ));
        }),
    }
    Ok(())
}

/// Has the host take steps, and shows how they go.
async fn waited(admin: &Admin, agent: Option<&AgentId>, timeout: Duration, json: bool) -> anyhow::Result<()> {
    let seconds = timeout.as_secs().to_string();
    let name = agent.map(AgentId::to_string).unwrap_or_default();
    let mut query = vec![("timeout", seconds.as_str())];
    if agent.is_some() {
        query.push(("agent", &name));
    }
    let patience = timeout + Duration::from_secs(10);
    let done = admin.order_long(&["train_step"], &query, patience);
    let done = follow::meanwhile(admin, agent, !json, done).await?;
    let steps = || done["steps"].as_array().into_iter().flatten();
    match json {
        true => output::json(&done),
        false => {
            steps().for_each(|step| output::line(format_args!("{}: {}", text(&step["agent"]), show::outcome(step))))
        }
    }
    match steps().find(|step| step["state"] == "rejected") {
        Some(step) => bail!("the new adapter of agent `{}` does not serve", text(&step["agent"])),
        None => Ok(()),
    }
}

/// Whether a step without a name means this agent as well.
fn is_to_train(one: &Value) -> bool {
    one["refused"].is_null() && one["paused"] != true && one["samples"]["eligible"].as_u64() > Some(0)
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

fn agents(state: &Value) -> impl Iterator<Item = &Value> {
    state["agents"].as_array().into_iter().flatten()
}

/// Judges and clients choose some of these words.
fn text(value: &Value) -> String {
    output::harmless(value.as_str().unwrap_or_default()).replace('\n', " ")
}
