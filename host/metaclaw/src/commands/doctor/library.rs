//! Skills and policies, each as the host would load it.

use std::sync::Arc;

use ::config::{AgentConfig, Config};
use ::skills::{SkillTree, TreeOptions};
use domain::{AgentId, RetrievalMode};
use policy::{Engine, EngineOptions};
use registry::{Modules, RegistryError};

use super::Patient;
use super::finding::Finding;
use crate::embedder::{self, Found};
use crate::modules::{self, Sources};
use crate::wiring;

const SKILLS: &str = "skills";
const POLICY: &str = "policy";
/// So many are named, the rest counted.
const NAMED: usize = 5;

pub(super) fn skills(patient: &Patient<'_>) -> Vec<Finding> {
    let Some(config) = patient.config else { return Vec::new() };
    let root = &config.skills_dir;
    if !root.exists() {
        return vec![Finding::fine(SKILLS, format!("none yet: {} is not there", root.display()))];
    }
    let tree = match SkillTree::open(root, TreeOptions { follow: false, ..TreeOptions::default() }) {
        Ok(tree) => tree,
        Err(error) => {
            let what = format!("{} cannot be read: {error}", root.display());
            return vec![Finding::failure(SKILLS, what, "name a folder of yours in skills.dir")];
        }
    };
    let problems = tree.problems();
    let mut findings: Vec<Finding> = problems
        .iter()
        .take(NAMED)
        .map(|problem| {
            let path = if problem.path.is_empty() { root.clone() } else { root.join(&problem.path) };
            let what = format!("{} is not served: {}", path.display(), problem.reason);
            Finding::warning(SKILLS, what, "mend it, or take it away; a running host sees it within a second")
        })
        .collect();
    if problems.len() > NAMED {
        let what = format!("{} more are not served", problems.len() - NAMED);
        findings.push(Finding::warning(SKILLS, what, "`metaclaw skills check` lists them all"));
    }
    if problems.is_empty() {
        let own = tree.agents().len();
        let what = format!("{} for every agent, and {own} agents with folders of their own", tree.shared().len());
        findings.push(Finding::fine(SKILLS, what));
    }
    findings.push(retrieval(config));
    findings
}

/// How they are found.
fn retrieval(config: &Config) -> Finding {
    let modes = || config.agents().map(|(_, agent)| agent.skills.retrieval);
    if modes().any(|mode| mode == RetrievalMode::Template) {
        return Finding::fine(SKILLS, embedder::TEMPLATE_HINT);
    }
    let finds = |how: &str| Finding::fine(SKILLS, format!("found {how}"));
    match embedder::find(config) {
        _ if !modes().any(RetrievalMode::embeds) => finds("by their words, as skills.retrieval_mode says"),
        Found::Embedder(_, kind) => finds(&format!("by what they mean ({})", kind.as_str())),
        Found::Nothing => {
            finds("by their words alone; `metaclaw models fetch minilm` finds them by what they mean, too")
        }
        Found::Unusable(why) => {
            let remedy =
                "`metaclaw models list` shows what is installed, `metaclaw models fetch minilm --force` gets it anew";
            Finding::warning(SKILLS, format!("found by their words alone: {why}"), remedy)
        }
    }
}

/// Modules are compiled into a folder that goes away: the home's cache is not touched.
pub(super) fn policies(patient: &Patient<'_>) -> Vec<Finding> {
    let Some(config) = patient.config else { return Vec::new() };
    let has_modules = |agent: &AgentConfig| agent.policy.hooks.iter().any(|(_, module)| module.is_some());
    let ids: Vec<AgentId> = config.agents().filter(|(_, agent)| has_modules(agent)).map(|(id, _)| id.clone()).collect();
    if ids.is_empty() {
        return vec![Finding::fine(POLICY, "every agent has the built-in one")];
    }
    let cannot = |error: &dyn std::fmt::Display| {
        let remedy = "make room for temporary files (TMPDIR), and try again";
        vec![Finding::failure(POLICY, format!("policies cannot be tried: {error}"), remedy)]
    };
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => return cannot(&error),
    };
    let engine = modules::compiler(folder.path())
        .and_then(|compiler| Ok(Engine::new(EngineOptions { compiler: Some(compiler), ..EngineOptions::default() })?));
    let engine = match engine {
        Ok(engine) => Arc::new(engine),
        Err(error) => return cannot(&format!("{error:#}")),
    };
    // Nothing is fetched: whether a registry can be reached is for the host to find out.
    let registries = Modules::of(&config.home);
    let sources = Sources { registries: &registries, auth_file: None };
    let is_elsewhere =
        |error: &anyhow::Error| matches!(error.downcast_ref::<RegistryError>(), Some(RegistryError::NotCached));
    let tried = |id: &AgentId| match wiring::agent_policy(&engine, &config.agent(id), None, sources) {
        Err(error) if is_elsewhere(&error) => Finding::warning(
            POLICY,
            format!("agent `{id}`: {error:#}"),
            "start the host, or fetch it with `metaclaw policy pull`",
        ),
        Ok(_) => Finding::fine(POLICY, format!("the module of `{id}` loads")),
        Err(error) => Finding::failure(
            POLICY,
            format!("agent `{id}` is not served: {error:#}"),
            format!("mend agents.{id}.policy (`metaclaw agents show {id}`), or the module"),
        ),
    };
    let findings = ids.iter().map(tried).collect();
    engine.shutdown();
    findings
}
