//! From configuration to parts: the only place that knows every concrete type. What blocks (compiling modules, loading a
//! model) happens here, before the runtime serves anybody.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use agents::{AgentParts, Backend, Embedded};
use config::{AgentConfig, Config, ModuleRef, UpstreamConfig, UpstreamKind};
use domain::AgentId;
use policy::{AgentPolicy, AgentPolicyParts, Engine, EngineOptions, HookModules};
use skills::{SkillTree, TreeOptions};
use upstream::{HttpUpstream, Settings};

use crate::modules;

/// Everything that can be made without the runtime.
pub(crate) struct Parts {
    pub(crate) engine: Arc<Engine>,
    pub(crate) skills: Arc<SkillTree>,
    pub(crate) upstreams: HashMap<String, Backend>,
    pub(crate) default: AgentParts,
    pub(crate) named: Vec<AgentParts>,
    /// Agents that cannot be served, and why.
    pub(crate) problems: Vec<String>,
}

/// Makes the parts.
pub(crate) fn parts(config: &Config) -> anyhow::Result<Parts> {
    let options = EngineOptions { compiler: Some(modules::compiler(&config.home)?), ..EngineOptions::default() };
    let engine = Arc::new(Engine::new(options)?);
    let skills = SkillTree::open(&config.skills_dir, TreeOptions::default())?;
    let upstreams = upstreams(config)?;
    let mut problems = Vec::new();
    let mut agent = |id: &AgentId, config: &Arc<AgentConfig>| {
        let policy = agent_policy(&engine, config, None).map_err(|error| {
            problems.push(format!("agent `{id}` is not served: {error:#}"));
            format!("{error:#}").into()
        });
        AgentParts { id: id.clone(), config: config.clone(), policy }
    };
    let default = agent(&AgentId::Default, &config.agent(&AgentId::Default));
    let named = config.agents().filter(|(id, _)| **id != AgentId::Default).map(|(id, c)| agent(id, c)).collect();
    Ok(Parts { engine, skills, upstreams, default, named, problems })
}

/// Loads an agent's modules. One that cannot be loaded takes its own agent out of service, never another one. `serving` is the
/// agent's policy until now: it stays when nothing has changed.
pub(crate) fn agent_policy(
    engine: &Engine,
    config: &AgentConfig,
    serving: Option<&Arc<AgentPolicy>>,
) -> anyhow::Result<Arc<AgentPolicy>> {
    let settings = &config.policy;
    let load = |module: &Option<ModuleRef>| module.as_ref().map(|m| modules::load(engine, m, settings)).transpose();
    engine.check_builtin_config(&settings.builtin_json)?;
    let parts = AgentPolicyParts {
        modules: HookModules {
            route: load(&settings.hooks.route)?,
            select: load(&settings.hooks.select)?,
            filter: load(&settings.hooks.filter)?,
            config: settings.config_json.as_str().into(),
        },
        previous: None,
        builtin_config: settings.builtin_json.as_str().into(),
        on_failure: settings.on_failure,
        breaker: settings.breaker,
        limits: settings.limits,
        grants: settings.grants,
        instances: settings.instances,
    };
    Ok(match serving {
        Some(serving) => {
            let renewed = serving.renewed(engine, parts);
            if renewed.is(serving) { serving.clone() } else { Arc::new(renewed) }
        }
        None => Arc::new(AgentPolicy::new(engine, parts)),
    })
}

fn upstreams(config: &Config) -> anyhow::Result<HashMap<String, Backend>> {
    config.upstreams.iter().map(|(name, upstream)| Ok((name.clone(), backend(upstream, &config.home)?))).collect()
}

fn backend(upstream: &UpstreamConfig, home: &Path) -> anyhow::Result<Backend> {
    match &upstream.kind {
        UpstreamKind::Http { base, api_key, .. } => {
            let settings = Settings { name: &upstream.name, base: base.as_str(), api_key: api_key.as_ref() };
            Ok(Backend::Http(HttpUpstream::new(&settings)?))
        }
        UpstreamKind::Embedded { model } => {
            let path = crate::commands::models::locate(home, model.as_deref())?;
            let model = local_model::Model::load(&path)?;
            let engine = local_model::Engine::start(Arc::new(model), &local_model::EngineOptions::default())?;
            Ok(Backend::Embedded(Embedded::new(engine)))
        }
    }
}
