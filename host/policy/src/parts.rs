use std::sync::Arc;

use domain::{BreakerLimits, FailureRules, PolicyGrants, PolicyLimits, WarmInstances};

use crate::engine::NO_SETTINGS;
use crate::module::Module;

/// An agent's modules, and the settings with which they were loaded.
#[derive(Clone, Debug)]
pub struct HookModules {
    /// The module for `route`. With none, or one that has no such hook, the built-in decides.
    pub route: Option<Arc<Module>>,
    /// The module for `select`, likewise.
    pub select: Option<Arc<Module>>,
    /// The module for `filter`, likewise.
    pub filter: Option<Arc<Module>>,
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
    pub on_failure: FailureRules,
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
        HookModules { route: None, select: None, filter: None, config: NO_SETTINGS.into() }
    }
}

impl HookModules {
    /// One module for every hook that it has.
    pub fn all(module: &Arc<Module>, config: impl Into<Arc<str>>) -> Self {
        let module = Some(module.clone());
        HookModules { route: module.clone(), select: module.clone(), filter: module, config: config.into() }
    }

    pub(crate) fn is_same_as(&self, other: &HookModules) -> bool {
        let digests = |modules: &HookModules| {
            [&modules.route, &modules.select, &modules.filter].map(|module| module.as_ref().map(|m| m.digest()))
        };
        digests(self) == digests(other) && self.config == other.config
    }

    /// Without the modules that do not have the hook they stand for.
    pub(crate) fn existing(self) -> Self {
        HookModules {
            route: self.route.filter(|m| m.hooks().route),
            select: self.select.filter(|m| m.hooks().select),
            filter: self.filter.filter(|m| m.hooks().filter),
            config: self.config,
        }
    }
}

impl Default for AgentPolicyParts {
    /// The built-in policy within the usual limits.
    fn default() -> Self {
        AgentPolicyParts {
            modules: HookModules::default(),
            previous: None,
            builtin_config: NO_SETTINGS.into(),
            on_failure: FailureRules::default(),
            breaker: BreakerLimits::default(),
            limits: PolicyLimits::default(),
            grants: PolicyGrants::default(),
            instances: WarmInstances::default(),
        }
    }
}
