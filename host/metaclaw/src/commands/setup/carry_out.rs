//! Doing what the plan says, in an order in which a stop half-way leaves a configuration that works: first what the new file
//! refers to, then the file, then what needs it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ::config::Paths;
use anyhow::Context;
use domain::Secret;
use serde_json::json;

use super::choice::Choice;
use super::find::Found;
use super::plan::{self, Plan};
use crate::bank;
use crate::commands::lenient;
use crate::commands::openclaw::{self, Connected};
use crate::commands::trial::Answered;
use crate::output;
use crate::running::Running;

/// What was done.
#[derive(Debug)]
pub(super) struct Done {
    /// The copy of the file that was there before.
    backup: Option<PathBuf>,
    /// Starter skills that were written.
    skills: Vec<String>,
    openclaw: Option<Connected>,
    /// What did not work; everything else is done.
    failed: Vec<String>,
}

/// Does everything.
pub(super) fn everything(choice: &Choice, plan: &Plan, paths: &Paths, stamp: &str) -> anyhow::Result<Done> {
    private_folder(&paths.home)?;
    if let Some((file, key)) = &plan.key_file {
        write_key(file, key, stamp).with_context(|| format!("the key was not written into {}", file.display()))?;
    }
    let text = plan.final_text(choice, paths)?;
    let backup = match plan.writes() {
        true => ::config::replace(paths, &text, stamp, lenient())?,
        false => None,
    };
    if plan::open_to_others(&paths.config_file) {
        let closed = fs::set_permissions(&paths.config_file, fs::Permissions::from_mode(0o600));
        closed.with_context(|| format!("`chmod 600 {}` failed", paths.config_file.display()))?;
    }
    let mut failed = Vec::new();
    let skills = bank::write(&plan::skills_dir(paths, &text), &choice.with_skills()).unwrap_or_else(|error| {
        failed.push(format!("{error:#}"));
        Vec::new()
    });
    let openclaw = choice.connect_openclaw.then(|| openclaw::connect_unasked(paths)).and_then(|connected| {
        connected
            .map_err(|error| {
                failed.push(format!("OpenClaw was not connected: {error:#}; `metaclaw openclaw connect` tries again"))
            })
            .ok()
    });
    Ok(Done { backup, skills, openclaw, failed })
}

/// 0700, if it has to be made.
pub(super) fn private_folder(folder: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("the folder {} cannot be made", folder.display()))
}

/// Whole or not at all, 0600. A key that was there stays in a file beside it.
fn write_key(file: &Path, key: &Secret, stamp: &str) -> anyhow::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    private_folder(folder)?;
    match fs::read(file) {
        Ok(before) if before.trim_ascii() == key.expose().as_bytes() => return Ok(()),
        Ok(_) => {
            let mut kept = file.as_os_str().to_owned();
            kept.push(format!(".bak-{stamp}"));
            fs::rename(file, kept)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let mut beside = tempfile::Builder::new().prefix(".key-").tempfile_in(folder)?;
    writeln!(beside, "{}", key.expose())?;
    beside.as_file().sync_all()?;
    beside.persist(file)?;
    Ok(File::open(folder)?.sync_all()?)
}

/// Says what was done, and what comes next.
pub(super) fn report(
    done: &Done,
    choice: &Choice,
    plan: &Plan,
    tried: Option<&Answered>,
    found: &Found,
    paths: &Paths,
    json: bool,
) {
    let loaded = ::config::load(paths, lenient()).ok();
    let config = loaded.as_ref().map(|loaded| &loaded.config);
    let port = config.map_or(0, |config| config.server.port);
    let url = format!("http://127.0.0.1:{port}/v1");
    let running = Running::find(&paths.home, None).ok();
    if json {
        let overview = config.map(|config| config.agent_overview(&domain::AgentId::Default));
        output::json(&json!({
            "config": paths.config_file,
            "backup": done.backup,
            "written": plan.writes(),
            "steps": plan.steps,
            "answered": tried.map(|a| json!({"words": a.words, "seconds": a.took.as_secs_f32()})),
            "upstream": overview.and_then(|agent| agent.targets.into_iter().next()),
            "agents": choice.agents.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>(),
            "skills": done.skills,
            "openclaw": done.openclaw.as_ref().map(|connected| json!({"config": connected.config, "backup": connected.backup})),
            "failed": done.failed,
            "notes": plan.notes,
            "url": url,
        }));
        return;
    }
    if let Some(answered) = tried {
        output::line(format_args!("it answers: {:?} ({:.1} s)", answered.words, answered.took.as_secs_f32()));
    }
    if let Some(backup) = &done.backup {
        output::line(format_args!("the file as it was: {}", backup.display()));
    }
    if let Some(connected) = &done.openclaw {
        output::line(format_args!("OpenClaw is connected: {}", connected.config.display()));
        connected.notes.iter().for_each(|note| output::note(format_args!("note: {note}")));
    }
    plan.notes.iter().for_each(|note| output::note(format_args!("note: {note}")));
    if found.flat_skills > 0 {
        output::note(format_args!(
            "note: your {} skills in MetaClaw's own layout serve agents that have no folder of their own",
            found.flat_skills
        ));
    }
    done.failed.iter().for_each(|problem| output::note(format_args!("problem: {problem}")));
    let agent = choice.agents.first().map(|(name, _)| format!(" -H 'X-Agent-Id: {name}'")).unwrap_or_default();
    let home = match Paths::resolve(None, None) {
        Ok(usual) if usual.home == paths.home => String::new(),
        _ => format!(" --home {}", paths.home.display()),
    };
    output::line("\nset up. Next:");
    match running {
        Some(running) => {
            output::line(format_args!("  the host at {} takes the changes over by itself", running.url("")))
        }
        None => output::line(format_args!("  metaclaw{home} start")),
    }
    output::line(format_args!(
        "  curl -s {url}/chat/completions{agent} -d '{}'",
        r#"{"messages":[{"role":"user","content":"Hello!"}]}"#
    ));
    output::line(format_args!("  metaclaw{home} doctor          what is wrong, when something is"));
}
