use ::config::Paths;
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::admin::Admin;
use crate::cli::HostArgs;
use crate::output;
use crate::running::Running;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  metaclaw calls list
  metaclaw calls allow 3
  metaclaw calls deny 3
  metaclaw calls list --json | jq -r '.calls[].tool'

A call that nobody answers is denied after `policy.limits.hold` of its agent.")]
pub(crate) struct CallsArgs {
    #[command(subcommand)]
    command: CallsCommand,
    #[command(flatten)]
    host: HostArgs,
}

#[derive(Debug, Subcommand)]
enum CallsCommand {
    /// The tool calls that agents' policies have left to you, the oldest first
    List,
    /// Let the client have a call
    Allow {
        /// Its number, from the list
        id: u64,
    },
    /// Keep a call from the client
    Deny {
        /// Its number, from the list
        id: u64,
    },
}

/// `metaclaw calls …`
pub(crate) fn run(args: &CallsArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let running = Running::find(&paths.home, args.host.port)?;
    let admin = Admin::must(&running, args.host.admin_key.as_deref())?;
    let runtime = super::runtime()?;
    let (id, word) = match args.command {
        CallsCommand::List => return list(&runtime.block_on(admin.look(&["calls"]))?, json),
        CallsCommand::Allow { id } => (id, "allow"),
        CallsCommand::Deny { id } => (id, "deny"),
    };
    let answered = runtime.block_on(admin.order(&["calls", &id.to_string(), word]));
    let answered = answered.with_context(|| format!("the call {id} waits no more (`metaclaw calls list`)"))?;
    if json {
        output::json(&answered);
    } else {
        output::line(format_args!("{} the call {id}", if word == "allow" { "allowed" } else { "denied" }));
    }
    Ok(())
}

fn list(state: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        output::json(state);
        return Ok(());
    }
    let calls = state["calls"].as_array().context("the host's answer holds no calls")?;
    if calls.is_empty() {
        output::line("no tool call waits for a word");
    }
    for call in calls {
        // A model and a policy have chosen these words.
        let text = |name: &str| output::harmless(call[name].as_str().unwrap_or_default());
        output::line(format_args!("{:>4}  agent `{}`, session {}", call["id"], text("agent"), text("session")));
        output::line(format_args!("      {} {}", text("tool"), text("arguments")));
        output::line(format_args!("      {}", text("reason")));
    }
    Ok(())
}
