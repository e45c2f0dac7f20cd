//! From configuration to parts: the only place that knows every concrete type. What blocks (compiling modules, loading a
//! model) happens here, before the runtime serves anybody.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use agents::{AgentParts, Backend, Embedded};
use config::{AgentConfig, Auth, Config, ModuleRef, PolicyConfig, UpstreamConfig, UpstreamKind};
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
    let modules = HookModules {
        route: load(&settings.hooks.route)?,
        select: load(&settings.hooks.select)?,
        filter: load(&settings.hooks.filter)?,
        config: settings.config_json.as_str().into(),
    };
    let parts = policy_parts(settings, modules, settings.builtin_json.as_str().into());
    Ok(match serving {
        Some(serving) => renewed(engine, serving, parts),
        None => Arc::new(AgentPolicy::new(engine, parts)),
    })
}

/// The modules that serve an agent until now, when those of its new configuration cannot be had. They serve on within the limits
/// and grants that it has now, and not at all when it wants signers who have not signed them: what is withdrawn is withdrawn.
pub(crate) fn serving_on(
    engine: &Engine,
    config: &AgentConfig,
    serving: &Arc<AgentPolicy>,
) -> anyhow::Result<Arc<AgentPolicy>> {
    let (wanted, present) = (&config.policy.hooks, serving.modules());
    for (wanted, present) in
        [(&wanted.route, &present.route), (&wanted.select, &present.select), (&wanted.filter, &present.filter)]
    {
        if let (Some(ModuleRef { signed_by, .. }), Some(module)) = (wanted, present) {
            let digest = module.digest().short();
            anyhow::ensure!(
                signed_by.is_empty() || module.is_signed_by(signed_by),
                "the present module {digest} is not signed by those whom the configuration wants now"
            );
        }
    }
    let parts = policy_parts(&config.policy, present.clone(), serving.builtin_config().clone());
    Ok(renewed(engine, serving, parts))
}

fn policy_parts(settings: &PolicyConfig, modules: HookModules, builtin_config: Arc<str>) -> AgentPolicyParts {
    AgentPolicyParts {
        modules,
        previous: None,
        builtin_config,
        on_failure: settings.on_failure,
        breaker: settings.breaker,
        limits: settings.limits,
        grants: settings.grants,
        instances: settings.instances,
    }
}

fn renewed(engine: &Engine, serving: &Arc<AgentPolicy>, parts: AgentPolicyParts) -> Arc<AgentPolicy> {
    let renewed = serving.renewed(engine, parts);
    if renewed.is(serving) { serving.clone() } else { Arc::new(renewed) }
}

fn upstreams(config: &Config) -> anyhow::Result<HashMap<String, Backend>> {
    config.upstreams.iter().map(|(name, upstream)| Ok((name.clone(), backend(upstream, &config.home)?))).collect()
}

/// What answers for an upstream; a model is loaded here.
pub(crate) fn backend(upstream: &UpstreamConfig, home: &Path) -> anyhow::Result<Backend> {
    match &upstream.kind {
        UpstreamKind::Http { base, reach, api_key, auth, key_header, provider } => {
            let settings = Settings {
                name: &upstream.name,
                base: base.as_str(),
                reach: *reach,
                api_key: api_key.as_ref(),
                key_header,
                forward: *auth == Auth::Forward,
                quirks: &provider.quirks,
                limits: upstream.limits,
            };
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
