//! The module that a command is about, for whom it is meant, and what it is tried on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::config::{AgentConfig, Paths};
use anyhow::{Context, bail};
use clap::Args;
use domain::{AgentId, Digest, InvalidAgentName, PolicyGrants};
use policy::{Asks, Engine, EngineOptions};
use tempfile::TempDir;

use crate::modules;

/// What is given to a module that asks to say something.
const USUAL_LOG: &str = "log: 8KiB";

/// A module's file, as it was when the command began.
pub(super) struct Subject {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
}

impl Subject {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = modules::read(path)?;
        Ok(Subject { path: path.to_owned(), digest: Digest::of(&bytes), bytes })
    }
}

/// With which settings a module is tried.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// Settings for the module, a JSON object, as `policy.config` has them [default: {}]
    #[arg(long, value_name = "JSON", conflicts_with = "agent")]
    settings: Option<String>,
    /// As this agent would have it: with its settings, limits and grants
    #[arg(long, value_name = "AGENT", value_parser = agent)]
    agent: Option<AgentId>,
}

/// For whom a module is tried.
pub(super) struct Setting {
    /// The agent and what is configured for it, if one was named.
    pub(super) agent: Option<(AgentId, Arc<AgentConfig>)>,
    /// The module's settings, a JSON object.
    pub(super) json: String,
}

impl Settings {
    pub(super) fn resolve(&self, paths: &Paths) -> anyhow::Result<Setting> {
        if let Some(id) = &self.agent {
            let config = configured(paths, id)?;
            return Ok(Setting { json: config.policy.config_json.clone(), agent: Some((id.clone(), config)) });
        }
        let json = self.settings.clone().unwrap_or_else(|| "{}".to_owned());
        match serde_json::from_str::<serde_json::Value>(&json) {
            Ok(serde_json::Value::Object(_)) => Ok(Setting { json, agent: None }),
            Ok(_) => bail!("--settings is not a JSON object: write it as '{{\"name\": \"value\"}}'"),
            Err(error) => bail!("--settings is not JSON ({error}): write it as '{{\"name\": \"value\"}}'"),
        }
    }
}

/// For clap.
pub(super) fn agent(text: &str) -> Result<AgentId, InvalidAgentName> {
    AgentId::from_trusted(text)
}

/// An agent's settings; one that is not configured has those of `_default`, which the caller may not expect.
pub(super) fn configured(paths: &Paths, id: &AgentId) -> anyhow::Result<Arc<AgentConfig>> {
    let config = crate::commands::load(paths, crate::commands::lenient())?.config;
    if *id != AgentId::Default && !config.is_listed(id) {
        bail!("no agent `{id}` is configured: `metaclaw agents list` names them, `metaclaw agents add {id}` adds it");
    }
    Ok(config.agent(id))
}

/// An engine for one command. What is compiled for it is kept nowhere.
pub(super) struct Workshop {
    pub(super) engine: Arc<Engine>,
    _cache: Option<TempDir>,
}

impl Workshop {
    /// As the host has it: a child compiles, within the host's limits.
    pub(super) fn like_the_host() -> anyhow::Result<Self> {
        let cache = tempfile::tempdir().context("there is no room for temporary files: make some, or set TMPDIR")?;
        let options = EngineOptions { compiler: Some(modules::compiler(cache.path())?), ..Workshop::small() };
        Ok(Workshop { engine: Arc::new(Engine::new(options)?), _cache: Some(cache) })
    }

    /// One that counts instructions.
    pub(super) fn metered() -> anyhow::Result<Self> {
        let options = EngineOptions { metered: true, ..Workshop::small() };
        Ok(Workshop { engine: Arc::new(Engine::new(options)?), _cache: None })
    }

    /// There is one caller, so a few places do.
    fn small() -> EngineOptions {
        EngineOptions { concurrency: 8, warm: 0, ..EngineOptions::default() }
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        self.engine.shutdown();
    }
}

/// The grants that a module needs, as the configuration spells them, and words for the operator if it has some.
pub(super) fn grants_for(asks: &Asks) -> Vec<&'static str> {
    asks.missing(&PolicyGrants::default()).into_iter().chain(asks.log.then_some(USUAL_LOG)).collect()
}

/// A path as the configuration should have it: relative to its folder when it is within.
pub(super) fn as_configured(paths: &Paths, module: &Path) -> anyhow::Result<String> {
    let module = module.canonicalize().with_context(|| format!("the policy module {}", module.display()))?;
    let folder = paths.config_file.parent().unwrap_or(Path::new("/"));
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let shown = module.strip_prefix(&folder).unwrap_or(&module);
    match shown.to_str() {
        Some(text) if !text.starts_with('~') && !text.contains(':') => Ok(text.to_owned()),
        _ => bail!("the configuration cannot name {}: move the module to a path of plain characters", shown.display()),
    }
}
