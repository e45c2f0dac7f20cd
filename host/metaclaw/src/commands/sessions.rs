use ::config::Paths;
use anyhow::Context;
use clap::{Args, Subcommand};
use domain::AgentId;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::cli::HostArgs;
use crate::output;
use crate::running::Running;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  metaclaw sessions list
  metaclaw sessions list --agent researcher --all
  metaclaw sessions end --agent researcher morning-review
  metaclaw sessions list --json | jq -r '.sessions[].session'

A session that has ended is not gone: what was said in it stays, and its name begins anew with the next turn.")]
pub(crate) struct SessionsArgs {
    #[command(subcommand)]
    command: SessionsCommand,
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
    /// The agent's sessions that are open, the last active ones first (at most 1,000)
    List {
        /// Whose; `_default` is the agent of requests that name none
        #[arg(long, default_value = "_default")]
        agent: String,
        /// Also those that have ended
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        host: HostArgs,
    },
    /// End a session, as if its client had said that it is over
    End {
        /// Whose; `_default` is the agent of requests that name none
        #[arg(long, default_value = "_default")]
        agent: String,
        /// The session's name, from the list
        session: String,
        #[command(flatten)]
        host: HostArgs,
    },
}

/// `metaclaw sessions …`
pub(crate) fn run(args: &SessionsArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    match &args.command {
        SessionsCommand::List { agent, all, host } => list(agent, *all, host, paths, json),
        SessionsCommand::End { agent, session, host } => end(agent, session, host, paths, json),
    }
}

fn list(agent: &str, all: bool, host: &HostArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let (agent, admin) = reach(agent, host, paths)?;
    let state = super::runtime()?.block_on(admin.look(&["agents", agent.as_str(), "sessions"]))?;
    let sessions = state["sessions"].as_array().context("the host's answer holds no sessions")?;
    let shown: Vec<&Value> = sessions.iter().filter(|session| all || session["open"] == true).collect();
    if json {
        output::json(&json!({"agent": agent.as_str(), "sessions": shown}));
        return Ok(());
    }
    if shown.is_empty() {
        let which = if all { "has had no session" } else { "has no open session (`--all` shows those that ended)" };
        output::line(format_args!("agent `{agent}` {which}"));
        return Ok(());
    }
    output::line(format_args!("{:<40} {:<6} {:>6} {:<21} last active", "session", "state", "turns", "started"));
    for session in shown {
        // Clients choose these names.
        let text = |name: &str| output::harmless(session[name].as_str().unwrap_or_default());
        let state = if session["open"] == true { "open" } else { "ended" };
        output::line(format_args!(
            "{:<40} {state:<6} {:>6} {:<21} {}",
            text("session"),
            session["turns"],
            text("started"),
            text("last_active")
        ));
    }
    Ok(())
}

fn end(agent: &str, session: &str, host: &HostArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let (agent, admin) = reach(agent, host, paths)?;
    let path = ["agents", agent.as_str(), "sessions", session, "end"];
    let state = super::runtime()?.block_on(admin.order(&path))?;
    match (json, state["ended"] == true) {
        (true, _) => output::json(&state),
        (false, true) => output::line(format_args!("ended {session:?} of agent `{agent}`")),
        (false, false) => {
            output::line(format_args!("agent `{agent}` has no open session {session:?}; nothing changed"))
        }
    }
    Ok(())
}

fn reach(agent: &str, host: &HostArgs, paths: &Paths) -> anyhow::Result<(AgentId, Admin)> {
    let agent = AgentId::from_trusted(agent).with_context(|| format!("{agent:?} names no agent"))?;
    let running = Running::find(&paths.home, host.port)?;
    let admin = Admin::must(&running, host.admin_key.as_deref())?;
    Ok((agent, admin))
}
