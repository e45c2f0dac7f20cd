//! What agents have learned, and what people decide about it. Decisions are carried out by the running host: the state directory is its
//! own. Without one, what was learned can still be read.

use ::config::{LoadOptions, Paths};
use anyhow::{Context, bail};
use clap::Args;
use domain::AgentId;
use serde_json::{Value, json};
use skills::{SkillTree, TreeOptions};
use store::Archive;

use super::OfAgent;
use crate::admin::Admin;
use crate::cli::HostArgs;
use crate::exit::Exit;
use crate::output;
use crate::running::Running;

/// How much of a digest is shown.
const SHOWN_DIGEST: usize = 12;

/// `metaclaw skills log`
#[derive(Debug, Args)]
pub(super) struct LogArgs {
    #[command(flatten)]
    of: OfAgent,
    /// How many lessons, the newest ones
    #[arg(long, default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    host: HostArgs,
}

/// One version of a learned skill.
#[derive(Debug, Args)]
pub(super) struct VersionArgs {
    /// The skill's name
    name: String,
    #[command(flatten)]
    of: OfAgent,
    /// Which version, by the beginning of its digest
    #[arg(long, value_name = "DIGEST")]
    version: Option<String>,
    #[command(flatten)]
    host: HostArgs,
}

/// `metaclaw skills approve`
#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    #[command(flatten)]
    which: VersionArgs,
    /// Take the place of a skill that a person wrote, too
    #[arg(long)]
    replace: bool,
}

/// A skill, or a lesson.
#[derive(Debug, Args)]
pub(super) struct OneArgs {
    /// The skill's name; of `retry`, the lesson's
    name: String,
    #[command(flatten)]
    of: OfAgent,
    #[command(flatten)]
    host: HostArgs,
}

/// `metaclaw skills log`: the lessons and the versions.
pub(super) fn log(args: &LogArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let agent = args.of.id();
    let mut history = look(&agent, &args.host, paths)?;
    if let Some(lessons) = history["lessons"].as_array_mut() {
        lessons.truncate(args.limit);
    }
    if json {
        output::json(&history);
        return Ok(());
    }
    let list = |name: &str| history[name].as_array().cloned().unwrap_or_default();
    let (lessons, versions) = (list("lessons"), list("versions"));
    if lessons.is_empty() && versions.is_empty() {
        output::line(format_args!("agent `{agent}` has learned nothing yet: see `skills.auto_evolve`"));
    }
    for lesson in &lessons {
        let turns = &lesson["turns"];
        let (session, state) = (text(&lesson["session"]), text(&lesson["state"]));
        output::line(format_args!(
            "{}  {state:<8}  session {session}, turns {} to {}  ({})",
            text(&lesson["began"]),
            turns[0],
            turns[1].as_u64().unwrap_or(1).saturating_sub(1),
            text(&lesson["lesson"])
        ));
        if let Some(error) = lesson["error"].as_str() {
            output::line(format_args!("    attempt {}: {}", lesson["attempts"], output::harmless(error)));
        }
        for proposal in lesson["proposals"].as_array().into_iter().flatten() {
            let (action, name, fate) = (text(&proposal["action"]), text(&proposal["name"]), text(&proposal["fate"]));
            let done = match fate.as_str() {
                "apply" => "done",
                "hold" => "held",
                _ => "refused",
            };
            let reason =
                proposal["reason"].as_str().map(|why| format!(": {}", output::harmless(why))).unwrap_or_default();
            output::line(format_args!("    {action} {name}: {done}{reason}"));
        }
    }
    for version in &versions {
        let served = if version["state"] == "active" && version["served"] == false {
            " (its file was changed or removed)"
        } else {
            ""
        };
        output::line(format_args!(
            "{}  {:<9}  {} {}{served}",
            text(&version["changed"]),
            text(&version["state"]),
            text(&version["name"]),
            short(version)
        ));
        if let Some(reason) = version["reason"].as_str() {
            output::line(format_args!("    {}", output::harmless(reason)));
        }
    }
    for harm in history["hurts"].as_array().into_iter().flatten() {
        let whose = if harm["stays"] == true { "; it is for people to decide on, and stays" } else { "" };
        output::line(format_args!("{} seems to hurt: {}{whose}", text(&harm["skill"]), text(&harm["why"])));
    }
    Ok(())
}

/// `metaclaw skills diff`: a version against the one whose place it took or would take.
pub(super) fn diff(args: &VersionArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let agent = args.of.id();
    let history = look(&agent, &args.host, paths)?;
    let all: Vec<&Value> =
        history["versions"].as_array().into_iter().flatten().filter(|v| v["name"] == *args.name).collect();
    let begins = |version: &&&Value| {
        let digest = version["digest"].as_str().unwrap_or_default();
        args.version.as_deref().is_none_or(|start| digest.starts_with(start))
    };
    let rank =
        |version: &Value| ["candidate", "active"].iter().position(|state| version["state"] == **state).unwrap_or(2);
    let version = all.iter().filter(begins).min_by_key(|version| rank(version));
    let version = version.with_context(|| {
        format!("agent `{agent}` has no such version of `{}`: see `metaclaw skills log`", args.name)
    })?;
    let parent = all.iter().find(|other| other["digest"] == version["parent"]);
    let (before, after) = (
        parent.map_or("", |parent| parent["text"].as_str().unwrap_or_default()),
        version["text"].as_str().unwrap_or_default(),
    );
    if json {
        output::json(&json!({"version": version, "before": before, "after": after}));
        return Ok(());
    }
    output::line(format_args!("--- {}", parent.map_or_else(|| "nothing".to_owned(), |parent| short(parent))));
    output::line(format_args!("+++ {} ({})", short(version), text(&version["state"])));
    for (mark, line) in lines(before, after) {
        output::line(format_args!("{mark}{}", output::harmless(line)));
    }
    output::line(format_args!("why: {}", text(&version["provenance"]["why"])));
    Ok(())
}

pub(super) fn approve(args: &ApproveArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let mut query = query(&args.which);
    if args.replace {
        query.push(("replace", "true"));
    }
    decide(&args.which, "approve", &query, "approved", paths, json)
}

pub(super) fn reject(args: &VersionArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    decide(args, "reject", &query(args), "rejected", paths, json)
}

pub(super) fn rollback(args: &VersionArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    decide(args, "rollback", &query(args), "went back to", paths, json)
}

pub(super) fn retire(args: &OneArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let done = order(&args.of, &["skills", &args.name, "retire"], &[], &args.host, paths)?;
    told(&done, "retired", json);
    Ok(())
}

pub(super) fn retry(args: &OneArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let lesson = order(&args.of, &["lessons", &args.name, "retry"], &[], &args.host, paths)?;
    match json {
        true => output::json(&lesson),
        false => output::line(format_args!("the lesson {} is tried again", text(&lesson["lesson"]))),
    }
    Ok(())
}

/// What `metaclaw status` says of learning.
pub(crate) fn show_learning(learning: &Value) {
    if let Some(last) = learning["last"].as_object() {
        output::line(format_args!(
            "learning: {} lessons, the last one of agent `{}` at {}; {} wait",
            learning["done"],
            text(&last["agent"]),
            text(&last["time"]),
            learning["waiting"]
        ));
    } else if learning["waiting"].as_u64().is_some_and(|waiting| waiting > 0) {
        output::line(format_args!("learning: no lesson yet; {} wait", learning["waiting"]));
    }
    for late in learning["late"].as_array().into_iter().flatten() {
        output::line(format_args!(
            "learning: a lesson of agent `{}` failed {} times and is tried again at {}: {}",
            text(&late["agent"]),
            late["attempts"],
            text(&late["not_before"]),
            text(&late["error"])
        ));
    }
    for failed in learning["failed"].as_array().into_iter().flatten() {
        let agent = text(&failed["agent"]);
        output::line(format_args!(
            "learning: {} lessons of agent `{agent}` were given up: see `metaclaw skills log --agent {agent}`",
            failed["count"]
        ));
    }
}

fn query(args: &VersionArgs) -> Vec<(&'static str, &str)> {
    args.version.iter().map(|version| ("version", version.as_str())).collect()
}

fn decide(
    args: &VersionArgs,
    word: &str,
    query: &[(&str, &str)],
    done: &str,
    paths: &Paths,
    json: bool,
) -> anyhow::Result<()> {
    if args.version.as_deref().is_some_and(|text| text.len() < 6 || !text.bytes().all(|b| b.is_ascii_hexdigit())) {
        bail!("a version is named by at least six digits of its digest: see `metaclaw skills log`");
    }
    let version = order(&args.of, &["skills", &args.name, word], query, &args.host, paths)?;
    told(&version, done, json);
    Ok(())
}

fn told(version: &Value, done: &str, json: bool) {
    match json {
        true => output::json(version),
        false => output::line(format_args!("{done} {} {}", text(&version["name"]), short(version))),
    }
}

fn order(of: &OfAgent, rest: &[&str], query: &[(&str, &str)], host: &HostArgs, paths: &Paths) -> anyhow::Result<Value> {
    let agent = of.id();
    let path = [&["agents", agent.as_str()], rest].concat();
    super::super::runtime()?.block_on(reach(host, paths)?.order_with(&path, query))
}

/// Of the running host, or of what one has left.
fn look(agent: &AgentId, host: &HostArgs, paths: &Paths) -> anyhow::Result<Value> {
    let runtime = super::super::runtime()?;
    match Running::find(&paths.home, host.port) {
        Ok(running) => {
            let admin = Admin::must(&running, host.admin_key.as_deref())?;
            runtime.block_on(admin.look(&["agents", agent.as_str(), "lessons"]))
        }
        // Who names a port means a host that runs.
        Err(error) if host.port.is_some() || !is_unavailable(&error) => Err(error),
        Err(_) => runtime.block_on(look_back(agent, paths)),
    }
}

fn is_unavailable(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<Exit>(), Some(Exit::Unavailable(_)))
}

/// Reads the state directory of a host that does not run. Nothing is written there.
async fn look_back(agent: &AgentId, paths: &Paths) -> anyhow::Result<Value> {
    let skills_dir = super::super::load(paths, LoadOptions::default())?.config.skills_dir;
    let tree = SkillTree::open(&skills_dir, TreeOptions { follow: false, ..TreeOptions::default() })?;
    let library = tree.library(agent);
    let state = paths.home.join("state");
    let archive = Archive::open(&state)
        .await
        .with_context(|| format!("nothing of what a host has learned can be read in {}", state.display()))?;
    let history = learning::archived(&archive, agent, &library).await;
    archive.close().await;
    tree.close();
    Ok(history?)
}

pub(super) fn reach(host: &HostArgs, paths: &Paths) -> anyhow::Result<Admin> {
    Admin::must(&Running::find(&paths.home, host.port)?, host.admin_key.as_deref())
}

/// Clients and models choose these words.
fn text(value: &Value) -> String {
    output::harmless(value.as_str().unwrap_or_default()).replace('\n', " ")
}

fn short(version: &Value) -> String {
    text(&version["digest"]).chars().take(SHOWN_DIGEST).collect()
}

/// The lines that stay, go (`-`) and come (`+`). Skills are short, so the plain table of common lines will do.
fn lines<'a>(before: &'a str, after: &'a str) -> Vec<(char, &'a str)> {
    let (a, b): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let mut common = vec![vec![0_u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            out.push((' ', a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
            out.push(('-', a[i]));
            i += 1;
        } else {
            out.push(('+', b[j]));
            j += 1;
        }
    }
    out
}
