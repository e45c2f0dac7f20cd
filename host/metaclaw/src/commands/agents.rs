use std::collections::BTreeSet;

use ::config::{AgentOverview, Config, Paths};
use anyhow::{Context, bail};
use domain::AgentId;
use serde::Serialize;
use serde_json::json;
use skills::{SkillTree, TreeOptions};

use crate::admin::Admin;
use crate::cli::{AgentsArgs, AgentsCommand, HostArgs, ModeArg};
use crate::output;
use crate::running::Running;

/// A line of `agents list`.
#[derive(Serialize)]
struct Row {
    agent: String,
    mode: &'static str,
    /// Whether config names it; others have a skill folder only.
    configured: bool,
    target: String,
    policy: String,
    skills: usize,
}

/// `metaclaw agents …`
pub(crate) fn run(args: AgentsArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    match args.command {
        AgentsCommand::List => list(paths, json),
        AgentsCommand::Show { id } => show(&id, paths, json),
        AgentsCommand::Add { id, mode } => add(&id, mode, paths, json),
        AgentsCommand::Reset { id, host } => reset(&id, &host, paths, json),
        AgentsCommand::Remove { id } => remove(&id, paths, json),
    }
}

fn parse(id: &str) -> anyhow::Result<AgentId> {
    AgentId::from_trusted(id).with_context(|| format!("{id:?} names no agent"))
}

fn list(paths: &Paths, json: bool) -> anyhow::Result<()> {
    let config = super::load(paths, super::lenient())?.config;
    let tree = SkillTree::open(&config.skills_dir, TreeOptions { follow: false, ..TreeOptions::default() })?;
    let mut ids: BTreeSet<AgentId> = config.agents().map(|(id, _)| id.clone()).collect();
    ids.extend(tree.agents());
    let rows: Vec<Row> = ids.iter().map(|id| row(id, &config, &tree)).collect();
    if json {
        output::json(&rows);
        return Ok(());
    }
    output::line(format_args!("{:<24} {:<12} {:<32} {:<20} skills", "agent", "mode", "model", "policy"));
    for row in rows {
        let note = if row.configured { "" } else { "  (has skills only; settings of _default)" };
        output::line(format_args!(
            "{:<24} {:<12} {:<32} {:<20} {}{note}",
            row.agent, row.mode, row.target, row.policy, row.skills
        ));
    }
    Ok(())
}

fn row(id: &AgentId, config: &Config, tree: &SkillTree) -> Row {
    let overview = config.agent_overview(id);
    let target = overview
        .targets
        .first()
        .map(|t| if t.model.is_empty() { t.upstream.clone() } else { format!("{} ({})", t.model, t.upstream) });
    Row {
        agent: id.to_string(),
        mode: overview.mode,
        configured: config.is_listed(id),
        target: target.unwrap_or_default(),
        policy: overview.select,
        skills: tree.library(id).len(),
    }
}

fn show(id: &str, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let id = parse(id)?;
    let config = super::load(paths, super::lenient())?.config;
    let overview: AgentOverview = config.agent_overview(&id);
    match json {
        true => output::json(&overview),
        false => output::line(overview),
    }
    Ok(())
}

fn add(id: &str, mode: Option<ModeArg>, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let id = parse(id)?;
    if super::load(paths, super::lenient())?.config.is_listed(&id) {
        bail!("agent `{id}` is configured already: `metaclaw agents show {id}`");
    }
    let mode = mode.unwrap_or(ModeArg::SkillsOnly).word();
    ::config::set(paths, &[(&format!("agents.{id}.mode"), mode)], super::lenient())?;
    match json {
        true => output::json(&json!({"added": id.as_str(), "mode": mode})),
        false => {
            output::line(format_args!("added agent `{id}` ({mode}); a running host takes it up when it is restarted"))
        }
    }
    Ok(())
}

fn reset(id: &str, host: &HostArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let id = parse(id)?;
    let running = Running::find(&paths.home, host.port)?;
    let admin = Admin::must(&running, host.admin_key.as_deref())?;
    let state = super::runtime()?.block_on(admin.order(&["agents", id.as_str(), "breaker", "reset"]))?;
    match (json, state["was_open"] == true) {
        (true, _) => output::json(&state),
        (false, true) => output::line(format_args!("the policy of agent `{id}` is asked again")),
        (false, false) => output::line(format_args!("the policy of agent `{id}` was not left alone; nothing changed")),
    }
    Ok(())
}

fn remove(id: &str, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let id = parse(id)?;
    ::config::unset(paths, &format!("agents.{id}"), super::lenient())?;
    match json {
        true => output::json(&json!({"removed": id.as_str()})),
        false => output::line(format_args!(
            "removed agent `{id}` from the configuration; its skills, samples and sessions stay"
        )),
    }
    Ok(())
}
