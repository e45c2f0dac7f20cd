use std::sync::Arc;

use domain::{BreakerLimits, Fallback, Hook, PerHook, PolicyGrants, PolicyLimits, WarmInstances};

use crate::engine::NO_SETTINGS;
use crate::module::Module;

/// An agent's modules, and the settings with which they were loaded.
#[derive(Clone, Debug)]
pub struct HookModules {
    /// The module of each hook. With none, or one that has no such hook, the built-in decides.
    pub by_hook: PerHook<Option<Arc<Module>>>,
    /// The settings of all these modules, a JSON object.
    pub config: Arc<str>,
}

/// What an [`AgentPolicy`](crate::AgentPolicy) is made of.
#[derive(Clone, Debug)]
pub struct AgentPolicyParts {
    /// The modules that decide.
    pub modules: HookModules,
    /// Those that did before a reload, for the hooks whose failure rule is [`Fallback::Previous`](domain::Fallback::Previous).
    pub previous: Option<HookModules>,
    /// The settings of the built-in policy, where it decides for this agent: a JSON object that it has accepted.
    pub builtin_config: Arc<str>,
    /// What happens when a module fails.
    pub on_failure: PerHook<Fallback>,
    /// When a module that keeps failing is left alone.
    pub breaker: BreakerLimits,
    /// What a call may use.
    pub limits: PolicyLimits,
    /// What the modules may do beside deciding, as far as they ask for it.
    pub grants: PolicyGrants,
    /// Whether instances of the modules outlive their turn.
    pub instances: WarmInstances,
}

impl Default for HookModules {
    /// No modules: the built-in decides everything.
    fn default() -> Self {
        HookModules { by_hook: PerHook::default(), config: NO_SETTINGS.into() }
    }
}

impl HookModules {
    /// One module for every hook that it has.
    pub fn all(module: &Arc<Module>, config: impl Into<Arc<str>>) -> Self {
        HookModules { by_hook: PerHook::make(|_| Some(module.clone())), config: config.into() }
    }

    pub(crate) fn is_same_as(&self, other: &HookModules) -> bool {
        let digests = |modules: &HookModules| Hook::ALL.map(|hook| modules.of(hook).map(|module| module.digest()));
        digests(self) == digests(other) && self.config == other.config
    }

    /// Without the modules that do not have the hook they stand for.
    pub(crate) fn existing(self) -> Self {
        let of = |hook| self.of(hook).filter(|module| module.hooks()[hook]).cloned();
        HookModules { by_hook: PerHook::make(of), config: self.config }
    }

    /// The module of this hook.
    pub fn of(&self, hook: Hook) -> Option<&Arc<Module>> {
        self.by_hook[hook].as_ref()
    }

    /// Every module, once for each hook that it has.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Module>> {
        Hook::ALL.into_iter().filter_map(|hook| self.of(hook))
    }
}

impl Default for AgentPolicyParts {
    /// The built-in policy within the usual limits.
    fn default() -> Self {
        AgentPolicyParts {
            modules: HookModules::default(),
            previous: None,
            builtin_config: NO_SETTINGS.into(),
            on_failure: PerHook::make(Hook::usual_fallback),
            breaker: BreakerLimits::default(),
            limits: PolicyLimits::default(),
            grants: PolicyGrants::default(),
            instances: WarmInstances::default(),
        }
    }
}
