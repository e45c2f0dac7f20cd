//! From configuration to parts: the only place that knows every concrete type. What blocks (compiling modules, loading a
//! model) happens here, before the runtime serves anybody.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use agents::{AgentParts, Backend, Configured, Embedded, Reached};
use anyhow::Context;
use config::{AgentConfig, Auth, Config, ModuleRef, PolicyConfig, ServerConfig, UpstreamConfig, UpstreamKind};
use domain::{AgentId, PerHook};
use local_model::Model;
use policy::{AgentPolicy, AgentPolicyParts, Engine, EngineOptions, HookModules, Module};
use registry::{Limits, Modules};
use server::Bounds;
use skills::{SkillTree, TreeOptions};
use upstream::{HttpUpstream, Settings};

use crate::embedder;
use crate::modules::{self, Sources};

/// Everything that can be made without the runtime.
pub(crate) struct Parts {
    pub(crate) engine: Arc<Engine>,
    /// Modules from registries.
    pub(crate) registries: Arc<Modules>,
    pub(crate) skills: Arc<SkillTree>,
    pub(crate) backends: Backends,
    pub(crate) configured: Configured,
    /// Agents that cannot be served, and why.
    pub(crate) problems: Vec<String>,
}

/// What answers for each upstream, by its name.
pub(crate) type Backends = HashMap<String, Wired>;

/// What answers for an upstream, with what it was made of.
#[derive(Clone)]
pub(crate) struct Wired {
    made_of: UpstreamConfig,
    backend: Arc<Backend>,
    /// The model in this process, which can be trained.
    pub(crate) local: Option<Local>,
}

/// A model in this process, and what answers with it.
#[derive(Clone)]
pub(crate) struct Local {
    pub(crate) model: Arc<Model>,
    pub(crate) engine: Arc<local_model::Engine>,
}

/// Makes the parts.
pub(crate) fn parts(config: &Config) -> anyhow::Result<Parts> {
    let options = EngineOptions { compiler: Some(modules::compiler(&config.home)?), ..EngineOptions::default() };
    let engine = Arc::new(Engine::new(options)?);
    let (meanings, mut problems) = match embedder::start(config) {
        (meanings, Some(problem)) => {
            tracing::warn!("{problem}");
            (meanings, vec![problem])
        }
        (meanings, None) => (meanings, Vec::new()),
    };
    let skills = SkillTree::open_understood(&config.skills_dir, TreeOptions::default(), meanings)?;
    let backends = backends(config, &Backends::new())?;
    let registries = Arc::new(Modules::of(&config.home));
    registries.begin(modules::pinned(config), Limits::STARTING);
    let sources = Sources { registries: &registries, auth_file: config.registry_auth.as_deref() };
    let configured = configured(config, &backends, |id, config| {
        let policy = agent_policy(&engine, config, None, sources).map_err(|error| {
            problems.push(format!("agent `{id}` is not served: {error:#}"));
            format!("{error:#}").into()
        });
        AgentParts { id: id.clone(), config: config.clone(), policy }
    });
    Ok(Parts { engine, registries, skills, backends, configured, problems })
}

/// What the configuration makes of a host, given how it makes an agent.
pub(crate) fn configured(
    config: &Config,
    backends: &Backends,
    mut agent: impl FnMut(&AgentId, &Arc<AgentConfig>) -> AgentParts,
) -> Configured {
    Configured {
        default: agent(&AgentId::Default, &config.agent(&AgentId::Default)),
        named: config.agents().filter(|(id, _)| **id != AgentId::Default).map(|(id, c)| agent(id, c)).collect(),
        unknown: config.unknown,
        upstreams: config.upstreams.iter().filter_map(|(name, upstream)| reached(name, upstream, backends)).collect(),
        idle_timeout: config.sessions.idle_timeout,
        keep_alive: config.server.keep_alive,
        adapter_memory: usize::try_from(config.adapter_memory.0).unwrap_or(usize::MAX),
    }
}

fn reached(name: &str, upstream: &UpstreamConfig, backends: &Backends) -> Option<(String, Reached)> {
    let backend = backends.get(name)?.backend.clone();
    Some((name.to_owned(), Reached { backend, window: upstream.context_window }))
}

/// What the configuration bounds a client's requests by.
pub(crate) fn bounds(server: &ServerConfig) -> Bounds {
    let max_body = usize::try_from(server.max_body.0).unwrap_or(usize::MAX);
    Bounds { max_body, shutdown_grace: server.shutdown_grace }
}

/// Loads an agent's modules. One that cannot be loaded takes its own agent out of service, never another one. `serving` is the
/// agent's policy until now: it stays when nothing has changed.
pub(crate) fn agent_policy(
    engine: &Engine,
    config: &AgentConfig,
    serving: Option<&Arc<AgentPolicy>>,
    sources: Sources<'_>,
) -> anyhow::Result<Arc<AgentPolicy>> {
    let settings = &config.policy;
    engine.check_builtin_config(&settings.builtin_json)?;
    // Most agents have one module for all hooks.
    let mut loaded: Vec<(&ModuleRef, Arc<Module>)> = Vec::new();
    let by_hook = PerHook::try_make(|hook| {
        let Some(wanted) = &settings.hooks[hook] else { return Ok(None) };
        if let Some((_, module)) = loaded.iter().find(|(reference, _)| *reference == wanted) {
            return Ok(Some(module.clone()));
        }
        let module = modules::load(engine, wanted, settings, sources)?;
        loaded.push((wanted, module.clone()));
        anyhow::Ok(Some(module))
    })?;
    let modules = HookModules { by_hook, config: settings.config_json.as_str().into() };
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
    for (hook, wanted) in wanted.iter() {
        if let (Some(ModuleRef { signed_by, .. }), Some(module)) = (wanted, present.of(hook)) {
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

/// What answers for each upstream. What serves at `present` and is still wanted stays, with its connections and what is known of
/// its health.
pub(crate) fn backends(config: &Config, present: &Backends) -> anyhow::Result<Backends> {
    spare_huge_pages(config);
    let one = |(name, wanted): (&String, &UpstreamConfig)| {
        let serving = present.get(name).filter(|wired| wired.made_of.is_reached_like(wanted));
        let wired = match serving {
            Some(wired) => Wired { made_of: wanted.clone(), ..wired.clone() },
            None => {
                let (backend, local) =
                    backend(wanted, &config.home).with_context(|| format!("the upstream `{name}`"))?;
                Wired { made_of: wanted.clone(), backend: Arc::new(backend), local }
            }
        };
        Ok((name.clone(), wired))
    };
    config.upstreams.iter().map(one).collect()
}

/// Huge pages suit a model's weights; a proxy's scattered small allocations would only hold four times the memory. To be settled
/// before much is allocated.
pub(crate) fn spare_huge_pages(config: &Config) {
    let has_model = config.upstreams.values().any(|u| matches!(u.kind, UpstreamKind::Embedded { .. }));
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(!has_model) {
        tracing::debug!(%error, "huge pages stay as they are");
    }
}

/// What answers for an upstream; a model is loaded here.
pub(crate) fn backend(upstream: &UpstreamConfig, home: &Path) -> anyhow::Result<(Backend, Option<Local>)> {
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
            Ok((Backend::Http(HttpUpstream::new(&settings)?), None))
        }
        UpstreamKind::Embedded { model } => {
            let path = crate::commands::models::locate(home, model.as_deref())?;
            let model = Arc::new(Model::load(&path)?);
            let engine = Arc::new(local_model::Engine::start(model.clone(), &local_model::EngineOptions::default())?);
            Ok((Backend::Embedded(Embedded::new(engine.clone())), Some(Local { model, engine })))
        }
    }
}
