//! Many skills at once, in and out.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use domain::SkillScope;
use serde_json::{Value, json};
use skills::{Bundle, Bundled, Shelf, Skill, SkillDocument, add_skill};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{OfAgent, open, summary};
use crate::output;

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The folder or the archive
    path: PathBuf,
    #[command(flatten)]
    of: OfAgent,
    /// For every agent
    #[arg(long, conflicts_with = "agent")]
    shared: bool,
    /// Take the places of skills with those names
    #[arg(long)]
    replace: bool,
    /// Only say what would be taken over
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Only these [default: all of the agent's own]
    names: Vec<String>,
    #[command(flatten)]
    of: OfAgent,
    /// The archive to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Takes the skills of a folder or an archive over.
pub(super) fn import(skills_dir: &Path, args: &ImportArgs, json: bool) -> anyhow::Result<()> {
    let bundle = Bundle::read(&args.path)?;
    let shelf = if args.shared { Shelf::Shared } else { Shelf::Agent(args.of.id()) };
    if !args.replace {
        refuse_present(skills_dir, args, &bundle)?;
    }
    let mut taken: Vec<Value> = Vec::new();
    for Bundled { name, path, bytes } in &bundle.skills {
        if args.dry_run {
            taken.push(json!({ "name": name.as_str(), "from": path }));
            continue;
        }
        let added = add_skill(skills_dir, &shelf, bytes, Some(name), args.replace).with_context(|| {
            format!(
                "{path} was not taken over, nor what comes after it; {} were: run it again with --replace",
                taken.len()
            )
        })?;
        let mut value = summary(&added.skill);
        value["replaced"] = json!(added.replaced);
        value["from"] = json!(path);
        taken.push(value);
    }
    if json {
        output::json(&json!({ "skills": taken, "left_out": bundle.left_out, "dry_run": args.dry_run }));
        return Ok(());
    }
    let done = if args.dry_run { "would take over" } else { "took over" };
    for Bundled { name, path, .. } in &bundle.skills {
        output::line(format_args!("{done} {name} from {path}"));
    }
    if bundle.left_out > 0 {
        output::note(format_args!("{} files beside them were left out: only SKILL.md is used", bundle.left_out));
    }
    Ok(())
}

/// All or none: what is there already is said before anything is written.
fn refuse_present(skills_dir: &Path, args: &ImportArgs, bundle: &Bundle) -> anyhow::Result<()> {
    let tree = open(skills_dir)?;
    let (library, scope) = match args.shared {
        true => (tree.shared(), SkillScope::Shared),
        false => (tree.library(&args.of.id()), SkillScope::Own),
    };
    let is_there = |name: &str| library.get(name).is_some_and(|skill| skill.scope == scope);
    let there: Vec<&str> =
        bundle.skills.iter().map(|skill| skill.name.as_str()).filter(|name| is_there(name)).collect();
    ensure!(
        there.is_empty(),
        "there already: {}. Nothing was taken over; --replace puts the new ones in their place",
        there.join(", ")
    );
    Ok(())
}

/// Writes an agent's own skills into an archive.
pub(super) fn export(skills_dir: &Path, args: &ExportArgs, json: bool) -> anyhow::Result<()> {
    let agent = args.of.id();
    let library = open(skills_dir)?.library(&agent);
    let wanted = |skill: &&Skill| match args.names.is_empty() {
        true => skill.scope == SkillScope::Own,
        false => args.names.iter().any(|name| *name == skill.name.as_str()),
    };
    let skills: Vec<&Skill> = library.list().iter().map(AsRef::as_ref).filter(wanted).collect();
    if let Some(missing) = args.names.iter().find(|name| library.get(name).is_none()) {
        bail!("{agent} has no skill {missing:?}: see `metaclaw skills list --agent {agent}`");
    }
    ensure!(!skills.is_empty(), "{agent} has no skills of its own: see `metaclaw skills list --agent {agent}`");
    let bytes = archive(&skills)?;
    std::fs::write(&args.out, &bytes).with_context(|| format!("{} was not written", args.out.display()))?;
    if json {
        let names: Vec<&str> = skills.iter().map(|skill| skill.name.as_str()).collect();
        output::json(&json!({ "file": args.out, "size": bytes.len(), "skills": names }));
    } else {
        output::line(format_args!("wrote {} skills into {}", skills.len(), args.out.display()));
    }
    Ok(())
}

fn archive(skills: &[&Skill]) -> anyhow::Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for skill in skills {
        let document = SkillDocument {
            name: skill.name.clone(),
            description: skill.description.clone(),
            category: skill.category.clone(),
            metadata: skill.metadata.clone(),
            body: skill.body.clone(),
        };
        zip.start_file(format!("{}/SKILL.md", skill.name), SimpleFileOptions::default())?;
        zip.write_all(document.to_text()?.as_bytes())?;
    }
    Ok(zip.finish()?.into_inner())
}
