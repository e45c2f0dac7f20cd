use std::time::Duration;

use domain::{
    AgentId, BreakerLimits, Fallback, FileGrant, Hook, PerHook, PolicyGrants, PolicyLimits, RetrievalMode,
    WarmInstances,
};
use serde_json::json;

use super::module::{ModuleRef, Named, check_lone_proof, named_module};
use super::{MAX_SKILLS, SkillsConfig};
use crate::load::Reader;

/// MetaClaw's template gives every turn so many skills that say what to avoid.
const TEMPLATE_MISTAKES: u32 = 5;
/// What a call may wait for, beyond its CPU time, when only the CPU time is configured.
const WAITING: Duration = Duration::from_millis(50);

/// Who decides for an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyConfig {
    /// The agent's own modules.
    pub hooks: PolicyHooks,
    /// The settings of the agent's own modules, a JSON object. An agent without modules has the built-in's here.
    pub config_json: String,
    /// The settings of the built-in policy, a JSON object: what the agent's `skills` section says, and without modules
    /// its `policy.config`; `{}` when that is what the built-in does anyway.
    pub builtin_json: String,
    /// What a call may use.
    pub limits: PolicyLimits,
    /// What happens when a module fails.
    pub on_failure: PerHook<Fallback>,
    /// When a module that keeps failing is left alone.
    pub breaker: BreakerLimits,
    /// What the modules may do beside deciding.
    pub grants: PolicyGrants,
    /// Whether instances of the modules outlive their turn.
    pub instances: WarmInstances,
}

/// Which module has which hook; none: the built-in. The hooks that a module does not export are the built-in's too.
pub type PolicyHooks = PerHook<Option<ModuleRef>>;

pub(super) fn build(id: &AgentId, skills: SkillsConfig, reader: &mut Reader<'_>) -> PolicyConfig {
    let hooks = hooks(id, reader);
    let own = own_settings(id, reader);
    let mut builtin = builtin_settings(skills);
    let config_json = match own {
        // Without a module the settings are the built-in's, and win over what `skills` says.
        Some(serde_json::Value::Object(own)) if hooks == PolicyHooks::default() => {
            builtin.extend(own);
            None
        }
        own => own.filter(|_| hooks != PolicyHooks::default()).map(|own| own.to_string()),
    };
    let builtin_json = serde_json::Value::Object(builtin).to_string();
    let without_modules = || if hooks == PolicyHooks::default() { builtin_json.clone() } else { "{}".to_owned() };
    let grants = grants(id, reader);
    PolicyConfig {
        config_json: config_json.unwrap_or_else(without_modules),
        builtin_json,
        hooks,
        limits: limits(id, reader),
        on_failure: on_failure(id, reader),
        breaker: breaker(id, reader),
        instances: instances(id, grants, reader),
        grants,
    }
}

/// The built-in's settings, where they differ from what it does without any.
fn builtin_settings(skills: SkillsConfig) -> serde_json::Map<String, serde_json::Value> {
    let mut settings = serde_json::Map::new();
    let max_skills = match skills.retrieval {
        RetrievalMode::Template => (skills.top_k + skills.specific_top_k + TEMPLATE_MISTAKES).min(MAX_SKILLS),
        _ => skills.top_k,
    };
    if max_skills != 6 {
        settings.insert("max_skills".to_owned(), json!(max_skills));
    }
    if skills.token_budget != 2_000 {
        settings.insert("max_tokens".to_owned(), json!(skills.token_budget));
    }
    // Lists of words give no scores.
    if skills.min_score != 0.0 && skills.retrieval != RetrievalMode::Template {
        settings.insert("min_score".to_owned(), json!(skills.min_score));
    }
    settings
}

/// Modules, digests and settings belong together: an agent that names a module inherits none of them.
fn level(id: &AgentId, reader: &Reader<'_>) -> AgentId {
    let hooks = Hook::ALL.map(|hook| format!("hooks.{}.module", hook.as_str()));
    let mut own = hooks.iter().map(String::as_str).chain(["module"]);
    match own.any(|key| reader.settings.mentions(&format!("agents.{id}.policy.{key}"))) {
        true => id.clone(),
        false => AgentId::Default,
    }
}

fn own_settings(id: &AgentId, reader: &mut Reader<'_>) -> Option<serde_json::Value> {
    let own = format!("agents.{id}.policy.config");
    if reader.settings.mentions(&own) {
        return reader.value(&own);
    }
    let level = level(id, reader);
    reader.value(&format!("agents.{level}.policy.config"))
}

fn hooks(id: &AgentId, reader: &mut Reader<'_>) -> PolicyHooks {
    let level = level(id, reader);
    // What is inherited is reported where it stands.
    let inherited = level != *id;
    let prefix = format!("agents.{level}.policy");
    let whole = named_module(&prefix, inherited, reader);
    let hooks =
        PolicyHooks::make(|hook| match named_module(&format!("{prefix}.hooks.{}", hook.as_str()), inherited, reader) {
            Named::Nothing => whole.clone().module(),
            named => named.module(),
        });
    if inherited {
        check_lone_proof(&format!("agents.{id}.policy"), reader);
        for hook in Hook::ALL {
            check_lone_proof(&format!("agents.{id}.policy.hooks.{}", hook.as_str()), reader);
        }
    }
    hooks
}

fn limits(id: &AgentId, reader: &mut Reader<'_>) -> PolicyLimits {
    let usual = PolicyLimits::default();
    let limits = PolicyLimits {
        cpu: reader.for_agent(id, "policy.limits.cpu").unwrap_or(usual.cpu),
        wall: reader.for_agent(id, "policy.limits.wall").unwrap_or(usual.wall),
        filter_cpu: reader.for_agent(id, "policy.limits.filter_cpu").unwrap_or(usual.filter_cpu),
        filter_wall: reader.for_agent(id, "policy.limits.filter_wall").unwrap_or(usual.filter_wall),
        memory: reader.for_agent(id, "policy.limits.memory").unwrap_or(usual.memory),
        concurrency: reader.for_agent(id, "policy.limits.concurrency").unwrap_or(usual.concurrency),
        queue: reader.for_agent(id, "policy.limits.queue").unwrap_or(usual.queue),
        hold: reader.for_agent(id, "policy.limits.hold").unwrap_or(usual.hold),
    };
    PolicyLimits {
        wall: wall(id, "wall", limits.wall, "cpu", limits.cpu, reader),
        filter_wall: wall(id, "filter_wall", limits.filter_wall, "filter_cpu", limits.filter_cpu, reader),
        ..limits
    }
}

/// A wall time below the CPU time would make the latter a limit in name only. A wall time that nobody configured makes
/// room for the CPU time.
fn wall(
    id: &AgentId,
    wall_key: &str,
    wall: Duration,
    cpu_key: &str,
    cpu: Duration,
    reader: &mut Reader<'_>,
) -> Duration {
    let configured = reader.settings.inherited(id, &format!("policy.limits.{wall_key}"));
    let Some((path, place)) = configured.map(|(path, found)| (path, found.place)) else {
        return wall.max(cpu + WAITING);
    };
    let own = format!("agents.{id}.policy.limits.");
    let here = path.starts_with(&own) || reader.settings.mentions(&format!("{own}{cpu_key}"));
    if wall <= cpu && here {
        let shown = humantime::format_duration;
        let message = format!("{} is not more than {cpu_key}, which is {}", shown(wall), shown(cpu));
        let remedy = format!("set it to {} or more", shown(cpu + WAITING));
        reader.report.error(path, Some(place), message, remedy);
    }
    wall
}

/// Grants are a module's: an agent that names a module of its own inherits none.
fn grants(id: &AgentId, reader: &mut Reader<'_>) -> PolicyGrants {
    let prefix = format!("agents.{}.policy.grants", level(id, reader));
    let mut word = |key: &str| reader.text(&format!("{prefix}.{key}"));
    let skills = match word("skills").as_deref() {
        Some("write") => Some(FileGrant::Write),
        Some(_) => Some(FileGrant::Read),
        None => None,
    };
    let (lora, wasi, wasi_fs) = (word("lora").is_some(), word("wasi").is_some(), word("wasi-fs").is_some());
    let (kv, log) = (reader.value(&format!("{prefix}.kv")), reader.value(&format!("{prefix}.log")));
    PolicyGrants { skills, lora, kv, log, wasi, wasi_fs }
}

/// As for grants: that an agent's module may remember says nothing about another agent's.
fn instances(id: &AgentId, grants: PolicyGrants, reader: &mut Reader<'_>) -> WarmInstances {
    let prefix = format!("agents.{}.policy.instances", level(id, reader));
    let usual = WarmInstances::default();
    let key = format!("{prefix}.warm");
    let warm = reader.value(&key).unwrap_or(usual.warm);
    if let (true, true, Some(place)) = (warm > 0, grants.wasi_fs, reader.place(&key)) {
        let message = "with the grant wasi-fs each turn has a fresh instance, since its folders are looked through when it starts";
        reader.report.error(&key, Some(place), message, "remove this key, or the grant");
    }
    WarmInstances {
        warm,
        max_calls: reader.value(&format!("{prefix}.max_calls")).unwrap_or(usual.max_calls),
        idle: reader.value(&format!("{prefix}.idle")).unwrap_or(usual.idle),
    }
}

fn on_failure(id: &AgentId, reader: &mut Reader<'_>) -> PerHook<Fallback> {
    PerHook::make(|hook| {
        let rule = reader.for_agent::<String>(id, &format!("policy.on_failure.{}", hook.as_str()));
        match rule.as_deref() {
            Some("builtin") => Fallback::Builtin,
            Some("previous") => Fallback::Previous,
            Some("deny") => Fallback::Deny,
            Some("drop") => Fallback::Drop,
            _ => hook.usual_fallback(),
        }
    })
}

fn breaker(id: &AgentId, reader: &mut Reader<'_>) -> BreakerLimits {
    let usual = BreakerLimits::default();
    let backoff = reader.for_agent(id, "policy.breaker.backoff").unwrap_or(usual.backoff);
    BreakerLimits {
        failures: reader.for_agent(id, "policy.breaker.failures").unwrap_or(usual.failures),
        window: reader.for_agent(id, "policy.breaker.window").unwrap_or(usual.window),
        backoff,
        longest: reader.for_agent(id, "policy.breaker.longest").unwrap_or(usual.longest).max(backoff),
    }
}
