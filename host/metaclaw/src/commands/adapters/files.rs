//! What can be said and done of adapters without a running host: the database and the folders are read, and nothing is changed.

use std::path::{Path, PathBuf};

use ::config::Paths;
use adapters::Shelf;
use anyhow::Context;
use domain::{AgentId, Digest};
use serde_json::{Value, json};
use store::{Archive, StoredAdapter};

use super::{Of, text};
use crate::output;

/// The agent's adapters, as [`Of::known`](super::Of) gets them from a running host.
pub(super) fn known(agent: &AgentId, paths: &Paths) -> anyhow::Result<Value> {
    let stored = super::super::runtime()?.block_on(async {
        let archive = Archive::open(&paths.home.join("state")).await?;
        let stored = archive.adapters(agent).await;
        archive.close().await;
        anyhow::Ok(stored?)
    })?;
    let live = stored.iter().find(|one| one.state == store::AdapterState::Live).map_or(0, |one| one.generation);
    let all: Vec<Value> = stored.iter().map(shown).collect();
    Ok(json!({"agent": agent.as_str(), "live": live, "adapters": all}))
}

fn shown(one: &StoredAdapter) -> Value {
    let metrics: Value = serde_json::from_str(&one.metrics).unwrap_or_default();
    let time = |time| humantime::format_rfc3339_seconds(time).to_string();
    json!({
        "name": format!("{}@{}", one.agent, one.generation), "generation": one.generation, "parent": one.parent,
        "batch": one.batch.map(|batch| batch.to_string()), "state": one.state.as_str(), "folder": one.folder,
        "digest": one.digest.to_string(), "base": one.base, "created": time(one.created), "changed": time(one.changed),
        "reason": one.reason, "metrics": metrics,
    })
}

/// `metaclaw adapters export`: the files that other programs read, as they were when the adapter was made.
pub(super) fn export(generation: Option<u64>, out: &Path, of: &Of, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let one = of.find(generation, paths)?;
    let (folder, name) = (text(&one["folder"]), text(&one["name"]));
    let digest: Digest = text(&one["digest"]).parse().context("the adapter's digest is none")?;
    let shelf = Shelf::new(shelf_of(&of.agent, paths)?);
    let out = std::path::absolute(out).context("the folder to make has no absolute path")?;
    shelf.export(&folder, &digest, &out)?;
    match json {
        true => output::json(&json!({"adapter": name, "path": out, "base": one["base"]})),
        false => output::line(format_args!("wrote {name} to {} (PEFT)", out.display())),
    }
    Ok(())
}

/// The folder of the agent's adapters.
fn shelf_of(agent: &AgentId, paths: &Paths) -> anyhow::Result<PathBuf> {
    let config = super::super::load(paths, super::super::lenient())?.config;
    Ok(if config.is_listed(agent) {
        config.agent(agent).rl.lora_output.clone()
    } else {
        // Whoever is not configured has the usual one, whatever the rule for such agents is now.
        config.lora_dir().join(agent.as_str())
    })
}
