mod bundles;
mod explain;
mod learned;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ::config::Paths;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use domain::{AgentId, InvalidAgentName, SkillScope};
use serde_json::{Value, json};
use skills::{MAX_FILE_BYTES, Shelf, Skill, SkillName, SkillTree, TreeOptions, add_skill, render_block};

use self::bundles::{ExportArgs, ImportArgs};
use crate::bank::{self, Role};
use crate::output;

pub(crate) use learned::show_learning;

/// The most of a description that the list shows, in characters.
const SHOWN_DESCRIPTION: usize = 60;

/// `metaclaw skills`
#[derive(Debug, Args)]
pub(crate) struct SkillsArgs {
    #[command(subcommand)]
    command: SkillsCommand,
}

#[derive(Debug, Subcommand)]
enum SkillsCommand {
    /// List the skills that an agent may be given
    #[command(after_help = "Examples:
  metaclaw skills list
  metaclaw skills list --agent researcher
  metaclaw skills list --agent researcher --json")]
    List(OfAgent),
    /// Show a skill as the model gets it
    #[command(after_help = "Examples:
  metaclaw skills show cite-sources --agent researcher")]
    Show {
        /// The skill's name
        name: String,
        #[command(flatten)]
        of: OfAgent,
    },
    /// Say which skills a question would be given, and why each one or why not
    #[command(after_help = "Examples:
  metaclaw skills explain --agent researcher \"what do I owe the plumber?\"
  metaclaw skills explain \"sort my inbox\" --json
  metaclaw skills explain --agent researcher --session s1 \"and in French?\"    what the session's prompt would have then")]
    Explain(explain::ExplainArgs),
    /// Check a SKILL.md and put it where an agent, or every agent, sees it; a running host takes it up within a second
    #[command(after_help = "Examples:
  metaclaw skills add ./cite-sources/SKILL.md --agent researcher
  metaclaw skills add notes.md --shared --name meeting-notes
  cat SKILL.md | metaclaw skills add - --agent researcher --replace
  metaclaw skills add --bank research-assistant --agent ada    the skills that metaclaw has for a role")]
    Add(AddArgs),
    /// Take over skills from a folder or an archive (zip, tar, tar.gz): all that are good, or none
    #[command(
        after_help = "Only each skill's SKILL.md is taken over; links, devices and paths that lead elsewhere are refused.

Examples:
  metaclaw skills import ./team-skills --agent researcher --dry-run
  metaclaw skills import skills.zip --shared --replace"
    )]
    Import(ImportArgs),
    /// Write an agent's skills into a zip archive, which `import` reads
    #[command(after_help = "Examples:
  metaclaw skills export --agent researcher --out researcher.zip
  metaclaw skills export cite-sources --agent researcher --out one.zip")]
    Export(ExportArgs),
    /// Report everything that is not served, and what to do; fails if there is anything
    #[command(after_help = "Examples:
  metaclaw skills check
  metaclaw skills check ./cite-sources/SKILL.md
  metaclaw skills check ./another/skills")]
    Check {
        /// A SKILL.md, a skill's folder, or a skills folder [default: the configured skills folder]
        path: Option<PathBuf>,
    },
    /// Show what an agent has learned from its sessions, what waits for your word, and what failed
    #[command(after_help = "Examples:
  metaclaw skills log --agent researcher
  metaclaw skills log --agent researcher --json | jq '.versions[] | select(.state == \"candidate\")'")]
    Log(learned::LogArgs),
    /// Show what a version of a learned skill changes
    #[command(after_help = "Examples:
  metaclaw skills diff cite-sources --agent researcher
  metaclaw skills diff cite-sources --agent researcher --version 3fa9c1")]
    Diff(learned::VersionArgs),
    /// Put a candidate to use
    #[command(after_help = "Examples:
  metaclaw skills approve cite-sources --agent researcher
  metaclaw skills approve cite-sources --agent researcher --replace")]
    Approve(learned::ApproveArgs),
    /// Say that a candidate is not wanted, now and later
    #[command(after_help = "Examples:
  metaclaw skills reject cite-sources --agent researcher")]
    Reject(learned::VersionArgs),
    /// Go back to the version of a learned skill before the one in use
    #[command(after_help = "Examples:
  metaclaw skills rollback cite-sources --agent researcher
  metaclaw skills rollback cite-sources --agent researcher --version 3fa9c1")]
    Rollback(learned::VersionArgs),
    /// Take a learned skill out of use
    #[command(after_help = "Examples:
  metaclaw skills retire cite-sources --agent researcher")]
    Retire(learned::OneArgs),
    /// Try a lesson that was given up, or waits, again at once
    #[command(after_help = "Examples:
  metaclaw skills retry 0193e4c1-8f3c-7c1e-9d2a-5b6c7d8e9f00 --agent researcher")]
    Retry(learned::OneArgs),
}

#[derive(Debug, Args)]
struct OfAgent {
    /// The agent [default: the one of requests that name none]
    #[arg(long, value_name = "AGENT", value_parser = agent)]
    agent: Option<AgentId>,
}

#[derive(Debug, Args)]
struct AddArgs {
    /// The file, a folder with a SKILL.md in it, or `-` for standard input
    #[arg(required_unless_present = "bank")]
    path: Option<PathBuf>,
    /// Instead, those that metaclaw has for this role, and for every agent; what is there already stays [default agent: the role's name]
    #[arg(long, value_name = "ROLE", conflicts_with_all = ["path", "shared", "name", "replace"])]
    bank: Option<Role>,
    #[command(flatten)]
    of: OfAgent,
    /// For every agent
    #[arg(long, conflicts_with = "agent")]
    shared: bool,
    /// Another name than the file's own
    #[arg(long)]
    name: Option<SkillName>,
    /// Take the place of a skill with that name
    #[arg(long)]
    replace: bool,
}

/// `metaclaw skills …`
pub(crate) fn run(args: SkillsArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let dir = || anyhow::Ok(super::load(paths, super::lenient())?.config.skills_dir);
    match args.command {
        SkillsCommand::List(of) => list(&dir()?, &of.id(), json),
        SkillsCommand::Show { name, of } => show(&dir()?, &name, &of.id(), json),
        SkillsCommand::Explain(args) => explain::run(&args, paths, json),
        SkillsCommand::Add(args) => add(&dir()?, &args, json),
        SkillsCommand::Import(args) => bundles::import(&dir()?, &args, json),
        SkillsCommand::Export(args) => bundles::export(&dir()?, &args, json),
        SkillsCommand::Check { path } => check(&dir().map(|dir| path.unwrap_or(dir))?, json),
        SkillsCommand::Log(args) => learned::log(&args, paths, json),
        SkillsCommand::Diff(args) => learned::diff(&args, paths, json),
        SkillsCommand::Approve(args) => learned::approve(&args, paths, json),
        SkillsCommand::Reject(args) => learned::reject(&args, paths, json),
        SkillsCommand::Rollback(args) => learned::rollback(&args, paths, json),
        SkillsCommand::Retire(args) => learned::retire(&args, paths, json),
        SkillsCommand::Retry(args) => learned::retry(&args, paths, json),
    }
}

impl OfAgent {
    fn id(&self) -> AgentId {
        self.agent.clone().unwrap_or(AgentId::Default)
    }
}

fn agent(text: &str) -> Result<AgentId, InvalidAgentName> {
    AgentId::from_trusted(text)
}

fn list(skills_dir: &Path, agent: &AgentId, json: bool) -> anyhow::Result<()> {
    let tree = open(skills_dir)?;
    let library = tree.library(agent);
    if json {
        let skills: Vec<Value> = library.list().iter().map(|skill| summary(skill)).collect();
        output::json(&json!({"agent": agent.as_str(), "generation": library.generation(), "skills": skills}));
        return Ok(());
    }
    if library.is_empty() {
        output::line(format_args!(
            "{agent} has no skills in {}: see `metaclaw skills add --help`",
            skills_dir.display()
        ));
    }
    let width = library.list().iter().map(|skill| skill.name.as_str().len()).max().unwrap_or(0);
    for skill in library.list() {
        let description = shortened(&skill.description);
        let (name, scope, tokens) = (skill.name.as_str(), scope_word(skill.scope), skill.tokens);
        output::line(format_args!("{name:width$}  {scope:6}  {tokens:>5} tokens  {description}"));
    }
    if !library.problems().is_empty() {
        let count = library.problems().len();
        output::note(format_args!("{count} more not served: see `metaclaw skills check`"));
    }
    Ok(())
}

fn show(skills_dir: &Path, name: &str, agent: &AgentId, json: bool) -> anyhow::Result<()> {
    let library = open(skills_dir)?.library(agent);
    let skill = library
        .get(name)
        .with_context(|| format!("{agent} has no skill {name:?}: see `metaclaw skills list --agent {agent}`"))?;
    if json {
        let mut value = summary(skill);
        value["body"] = json!(skill.body);
        value["metadata"] = json!(skill.metadata);
        output::json(&value);
    } else {
        output::line(render_block(std::slice::from_ref(skill)));
    }
    Ok(())
}

fn add(skills_dir: &Path, args: &AddArgs, json: bool) -> anyhow::Result<()> {
    let Some(path) = &args.path else { return add_bank(skills_dir, args, json) };
    let bytes = read(path)?;
    let shelf = if args.shared { Shelf::Shared } else { Shelf::Agent(args.of.id()) };
    let added = add_skill(skills_dir, &shelf, &bytes, args.name.as_ref(), args.replace)
        .with_context(|| format!("the skill in {} was not added", path.display()))?;
    if json {
        let mut value = summary(&added.skill);
        value["replaced"] = json!(added.replaced);
        output::json(&value);
    } else {
        let done = if added.replaced { "replaced" } else { "added" };
        output::line(format_args!("{done} {} in {}", added.skill.name, skills_dir.join(&added.skill.path).display()));
    }
    Ok(())
}

fn add_bank(skills_dir: &Path, args: &AddArgs, json: bool) -> anyhow::Result<()> {
    let role = args.bank.context("name a SKILL.md, or a role with --bank")?;
    let agent = args.of.agent.clone().map_or_else(|| AgentId::from_trusted(role.folder()), Ok)?;
    let written = bank::write(skills_dir, &[(agent.clone(), role)])?;
    if json {
        output::json(&json!({ "agent": agent.as_str(), "added": written }));
        return Ok(());
    }
    written.iter().for_each(|skill| output::line(format_args!("added {skill}")));
    if written.is_empty() {
        output::note(format_args!("{agent} has them all already"));
    }
    Ok(())
}

fn check(path: &Path, json: bool) -> anyhow::Result<()> {
    let (served, problems) = if is_one_skill(path) { check_file(path)? } else { check_tree(path)? };
    if json {
        let problems: Vec<Value> =
            problems.iter().map(|(path, reason)| json!({"path": path, "problem": reason})).collect();
        output::json(&json!({"served": served, "problems": problems}));
    } else {
        problems.iter().for_each(|(path, reason)| output::line(format_args!("{path}: {reason}")));
        output::line(format_args!("{served} good, {} not served", problems.len()));
    }
    if !problems.is_empty() {
        bail!("not every skill in {} can be served", path.display());
    }
    Ok(())
}

/// How many skills are good, and what is wrong with the others: path and reason.
type Findings = (usize, Vec<(String, String)>);

fn check_tree(root: &Path) -> anyhow::Result<Findings> {
    if !root.try_exists().with_context(|| format!("{} cannot be looked at", root.display()))? {
        bail!("there is no folder {}: create it, or name another", root.display());
    }
    let tree = open(root)?;
    let own = |agent: &AgentId| tree.library(agent).list().iter().filter(|s| s.scope == SkillScope::Own).count();
    let served = tree.shared().len() + tree.agents().iter().map(own).sum::<usize>();
    let full = |path: &str| root.join(path).display().to_string();
    let problems = tree.problems().into_iter().map(|p| (full(&p.path), p.reason.to_string())).collect();
    Ok((served, problems))
}

fn check_file(path: &Path) -> anyhow::Result<Findings> {
    let bytes = read(path)?;
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    let name = folder.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(match Skill::parse(&bytes, &name, SkillScope::Own) {
        Ok(_) => (1, Vec::new()),
        Err(reason) => (0, vec![(path.display().to_string(), reason.to_string())]),
    })
}

fn is_one_skill(path: &Path) -> bool {
    path == Path::new("-") || path.is_file() || path.join("SKILL.md").is_file()
}

fn open(skills_dir: &Path) -> anyhow::Result<std::sync::Arc<SkillTree>> {
    Ok(SkillTree::open(skills_dir, TreeOptions { follow: false, ..TreeOptions::default() })?)
}

/// The bytes of a file, of the SKILL.md in a folder, or of standard input. One byte over the limit is kept, so that a
/// larger file is refused for its size.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let outcome = if path == Path::new("-") {
        io::stdin().lock().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)
    } else {
        let file = if path.is_dir() { path.join("SKILL.md") } else { path.to_owned() };
        File::open(file).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
    };
    outcome.with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(bytes)
}

fn summary(skill: &Skill) -> Value {
    json!({
        "name": skill.name.as_str(),
        "description": skill.description,
        "category": skill.category,
        "scope": scope_word(skill.scope),
        "tokens": skill.tokens,
        "path": skill.path,
        "sha256": skill.digest.to_string(),
    })
}

fn scope_word(scope: SkillScope) -> &'static str {
    match scope {
        SkillScope::Shared => "shared",
        SkillScope::Own => "own",
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_DESCRIPTION) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}
