use std::sync::Arc;
use std::time::Duration;

use domain::{BreakerLimits, ByteSize, Fallback, FileGrant, Hook, PerHook, PolicyGrants, PolicyLimits, Verdict};
use policy::{
    AgentPolicy, AgentPolicyParts, Decided, Engine, HookModules, Module, Permission, Rendering, RouteDecision,
    Selection, Used,
};
use policy_cases::{Answer, Case, Complaint, Gate, Outcome, Route};
use tokio::runtime::Runtime;
use tracing_subscriber::layer::SubscriberExt;

use super::words::Words;
use super::world::{World, tool_call};

/// Asks a module what cases ask, each in fresh instances.
pub(in crate::commands::policy) struct Runner {
    engine: Arc<Engine>,
    module: Arc<Module>,
    runtime: Runtime,
    words: Words,
    /// Guests are heard while a case runs, and what else is logged is not.
    log: tracing::Dispatch,
}

/// Everything that there is to ask for.
pub(in crate::commands::policy) const GRANTS: PolicyGrants = PolicyGrants {
    skills: Some(FileGrant::Write),
    lora: true,
    kv: Some(ByteSize(1 << 20)),
    log: Some(ByteSize(64 << 10)),
    wasi: true,
    wasi_fs: false,
};

/// Instructions are counted here, which takes time, and machines that test are busy: only what never ends is stopped.
pub(in crate::commands::policy) fn generous_limits() -> PolicyLimits {
    PolicyLimits {
        cpu: Duration::from_secs(2),
        wall: Duration::from_secs(60),
        filter_cpu: Duration::from_secs(2),
        filter_wall: Duration::from_secs(60),
        queue: Duration::from_secs(5),
        ..PolicyLimits::default()
    }
}

/// A policy of this module alone: when it fails, nobody else decides.
pub(in crate::commands::policy) fn agent_policy(
    engine: &Engine,
    module: &Arc<Module>,
    config_json: &str,
    limits: PolicyLimits,
) -> AgentPolicy {
    let on_failure = PerHook::make(|hook| match hook {
        Hook::Filter | Hook::Reward => Fallback::Drop,
        _ => Fallback::Deny,
    });
    let parts = AgentPolicyParts {
        modules: HookModules::all(module, config_json),
        on_failure,
        breaker: BreakerLimits { failures: 0, ..BreakerLimits::default() },
        limits,
        grants: GRANTS,
        ..AgentPolicyParts::default()
    };
    AgentPolicy::new(engine, parts)
}

impl Runner {
    pub(in crate::commands::policy) fn new(engine: &Arc<Engine>, module: Arc<Module>) -> anyhow::Result<Self> {
        let words = Words::default();
        let log = tracing::Dispatch::new(tracing_subscriber::registry().with(words.clone()));
        Ok(Runner { engine: engine.clone(), module, runtime: crate::commands::runtime()?, words, log })
    }

    /// Asks the hooks of a case in a turn's order.
    pub(in crate::commands::policy) fn run(&self, case: &Case) -> anyhow::Result<Outcome> {
        let json = case.config_json();
        let mut outcome = Outcome::default();
        let problems = self.engine.config_problems(&self.module, &json)?;
        if !problems.is_empty() {
            let complaint = |p: policy::ConfigProblem| Complaint { code: p.code, message: p.message };
            outcome.problems = problems.into_iter().map(complaint).collect();
            return Ok(outcome);
        }
        let world = World::of(case)?;
        let policy = agent_policy(&self.engine, &self.module, &json, generous_limits());
        self.words.take();
        tracing::dispatcher::with_default(&self.log, || {
            self.runtime.block_on(self.ask(case, &world, &policy, &mut outcome))
        });
        outcome.log = self.words.take();
        outcome.kv = world.kept.all();
        outcome.files = world.folders.all();
        Ok(outcome)
    }

    async fn ask(&self, case: &Case, world: &World, policy: &AgentPolicy, outcome: &mut Outcome) {
        let asks = case.asks();
        let asked = |hook: policy_cases::Hook| asks.contains(&hook);
        let mut most = Most::default();
        let mut turn = policy.turn(world.turn.clone());
        if asked(policy_cases::Hook::Route) {
            outcome.route = Some(match self.has(Hook::Route) {
                true => most.note(turn.route().await, |route| match route {
                    RouteDecision::To(index) => Route::To(case.turn.targets[index].name()),
                    RouteDecision::Refuse(words) => Route::Refuse(words),
                }),
                false => Answer::NoHook,
            });
        }
        if asked(policy_cases::Hook::Select) {
            outcome.select = Some(match self.has(Hook::Select) {
                true => most.note(turn.select(world.catalog.clone()).await, |selection| match selection {
                    Selection::Skills(names) => names,
                    Selection::Deny => Vec::new(),
                }),
                false => Answer::NoHook,
            });
        }
        if asked(policy_cases::Hook::Render) {
            let selected = outcome.select.as_ref().and_then(Answer::value);
            let names = case.rendered(selected.map(Vec::as_slice));
            outcome.render = Some(match self.has(Hook::Render) {
                true => most.note(turn.render(world.catalog.clone(), &names).await, |rendering| match rendering {
                    Rendering::Text(text) => text,
                    Rendering::Usual => String::new(),
                }),
                false => Answer::NoHook,
            });
        }
        drop(turn);
        if asked(policy_cases::Hook::Gate) {
            for call in &case.calls {
                outcome.gate.push(match self.has(Hook::Gate) {
                    true => most.note(policy.gate(world.turn.clone(), &tool_call(call)).await, |answer| match answer {
                        Permission::Allow => Gate::Allow,
                        Permission::Deny(words) => Gate::Deny(words),
                        Permission::Hold(words) => Gate::Hold(words),
                    }),
                    false => Answer::NoHook,
                });
            }
        }
        if asked(policy_cases::Hook::Filter) {
            outcome.filter = Some(match self.has(Hook::Filter) {
                true => most.note(policy.filter(world.sample.clone()).await, |verdict| match verdict {
                    Verdict::Keep { weight } => policy_cases::Verdict::Keep(weight),
                    Verdict::Drop { reason } => policy_cases::Verdict::Drop(reason),
                }),
                false => Answer::NoHook,
            });
        }
        if asked(policy_cases::Hook::Reward) {
            outcome.reward = Some(match self.has(Hook::Reward) {
                true => most.note(policy.reward(world.sample.clone()).await, |reward| reward),
                false => Answer::NoHook,
            });
        }
        (outcome.fuel, outcome.memory) = (most.fuel, most.memory);
    }

    fn has(&self, hook: Hook) -> bool {
        self.module.hooks()[hook]
    }
}

/// The most that one of a case's instances has used.
#[derive(Default)]
struct Most {
    fuel: Option<u64>,
    memory: Option<u64>,
}

impl Most {
    fn note<T, A>(&mut self, decided: Decided<T>, answer: impl FnOnce(T) -> A) -> Answer<A> {
        if let Some(failure) = decided.failure {
            return Answer::Fails(Complaint::of_engine(failure.class.as_str(), &failure.message));
        }
        let Used { fuel, memory } = decided.used;
        self.fuel = self.fuel.max(fuel);
        self.memory = self.memory.max(Some(memory));
        Answer::Is(answer(decided.value))
    }
}
