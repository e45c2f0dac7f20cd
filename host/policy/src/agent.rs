use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use domain::{Digest, ToolCall, Verdict};
use tokio::sync::Semaphore;

use crate::breaker::Breaker;
use crate::call::Live;
use crate::decision::{Decided, Failure, Permission, Rendering, RouteDecision, Selection};
use crate::engine::{Engine, Machine};
use crate::hooks::{Filter, Gate, Hook, Render, Reward, Route, Select};
use crate::lane::Pace;
use crate::module::Module;
use crate::parts::{AgentPolicyParts, HookModules};
use crate::places::{Door, Places};
use crate::question::{Clock, Question};
use crate::source::{CatalogSource, SampleSource, TurnSource};
use crate::state::Subject;
use crate::warm::Warm;

/// Who decides for one agent, and within which limits. Cheap to clone; clones share the concurrency limit.
#[derive(Clone)]
pub struct AgentPolicy(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) machine: Arc<Machine>,
    pub(crate) builtin: Arc<Module>,
    pub(crate) own: AgentPolicyParts,
    /// One for each different module among the hooks'.
    pub(crate) breakers: Vec<(Digest, Arc<Breaker>)>,
    pub(crate) warm: Warm,
    pub(crate) pace: Arc<Pace>,
    pub(crate) turns: Arc<Semaphore>,
    /// Samples have places of their own: nobody waits for their verdict, and turns must not cost a sample its judge.
    samples: Arc<Semaphore>,
}

/// How long a sample waits for a place.
const SAMPLE_PATIENCE: Duration = Duration::from_secs(30);

/// The hooks of one turn before its answer. They share a fresh instance if one module has them, unless one failed.
///
/// It holds one of the agent's places from `route` on: drop it as soon as no other hook is needed.
pub struct TurnCall {
    policy: AgentPolicy,
    turn: Arc<dyn TurnSource>,
    kept: Option<Live>,
}

impl AgentPolicy {
    /// Puts an agent's modules together.
    pub fn new(engine: &Engine, parts: AgentPolicyParts) -> Self {
        let turns = usize::try_from(parts.limits.concurrency.max(1)).unwrap_or(Semaphore::MAX_PERMITS);
        let own = AgentPolicyParts {
            modules: parts.modules.existing(),
            previous: parts.previous.map(HookModules::existing),
            ..parts
        };
        let mut breakers: Vec<(Digest, Arc<Breaker>)> = Vec::new();
        for digest in own.modules.iter().map(|module| module.digest()) {
            if breakers.iter().all(|(known, _)| *known != digest) {
                breakers.push((digest, Breaker::new(own.breaker)));
            }
        }
        AgentPolicy(Arc::new(Parts {
            machine: engine.machine().clone(),
            builtin: engine.builtin(),
            warm: Warm::new(own.instances, engine.machine().warm_places.clone()),
            pace: Arc::default(),
            own,
            breakers,
            turns: Arc::new(Semaphore::new(turns.min(Semaphore::MAX_PERMITS))),
            samples: Arc::new(Semaphore::new(turns.min(Semaphore::MAX_PERMITS))),
        }))
    }

    /// This agent's policy after a reload that came to `parts`, their `previous` left out: the same one, with its breakers and
    /// places, when nothing has changed; otherwise a new one, which remembers the modules of this one.
    pub fn renewed(&self, engine: &Engine, parts: AgentPolicyParts) -> Self {
        let own = &self.0.own;
        let modules = parts.modules.clone().existing();
        let same_modules = modules.is_same_as(&own.modules);
        let same = same_modules
            && own.builtin_config == parts.builtin_config
            && own.on_failure == parts.on_failure
            && own.breaker == parts.breaker
            && own.limits == parts.limits
            && own.grants == parts.grants
            && own.instances == parts.instances;
        if same {
            return self.clone();
        }
        let previous = if same_modules { own.previous.clone() } else { Some(own.modules.clone()) };
        AgentPolicy::new(engine, AgentPolicyParts { previous, ..parts })
    }

    /// Whether both are one and the same: clones of one policy, that no reload has changed.
    pub fn is(&self, other: &AgentPolicy) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The modules that decide.
    pub fn modules(&self) -> &HookModules {
        &self.0.own.modules
    }

    /// The settings of the built-in policy, where it decides for this agent.
    pub fn builtin_config(&self) -> &Arc<str> {
        &self.0.own.builtin_config
    }

    /// Whether a module may keep values, which must then be there when it is asked.
    pub fn keeps_values(&self) -> bool {
        let own = &self.0.own;
        own.grants.kv.is_some()
            && own.modules.iter().chain(own.previous.iter().flat_map(HookModules::iter)).any(|module| module.asks().kv)
    }

    /// Whether a module of this agent's own has this hook. For those that the built-in policy does not have, there is nobody to ask
    /// otherwise.
    pub fn has(&self, hook: domain::Hook) -> bool {
        self.0.own.modules.of(hook).is_some()
    }

    /// Whether a module of this agent's has failed so often that it is not asked at the moment.
    pub fn is_breaker_open(&self) -> bool {
        self.0.breakers.iter().any(|(_, breaker)| breaker.is_open())
    }

    /// Lets every module be asked again at once. Says whether one was left alone.
    pub fn reset_breakers(&self) -> bool {
        self.0.breakers.iter().fold(false, |was_open, (_, breaker)| breaker.reset() || was_open)
    }

    /// Gives up the instances that have waited too long for their next turn.
    pub fn retire_idle(&self) {
        self.0.warm.retire_idle();
    }

    /// Begins a turn. Nothing runs yet.
    pub fn turn(&self, turn: Arc<dyn TurnSource>) -> TurnCall {
        TurnCall { policy: self.clone(), turn, kept: None }
    }

    /// Asks whether a finished turn becomes a sample. Needs a tokio runtime with its timer.
    ///
    /// If nobody can say, it does not.
    pub async fn filter(&self, sample: Arc<dyn SampleSource>) -> Decided<Verdict> {
        self.judge(sample, &Filter).await
    }

    /// Asks how good a finished turn was. Needs a tokio runtime with its timer.
    ///
    /// If nobody can say, there is no reward.
    pub async fn reward(&self, sample: Arc<dyn SampleSource>) -> Decided<Option<f32>> {
        self.judge(sample, &Reward).await
    }

    /// Asks whether the client gets a tool call of the answer to this turn. Needs a tokio runtime with its timer.
    ///
    /// If nobody can say, it does not.
    pub async fn gate(&self, turn: Arc<dyn TurnSource>, call: &ToolCall) -> Decided<Permission> {
        let (clock, subject) = (self.turn_clock(), &Subject::Turn(turn));
        let mut kept = None;
        let question = Question { policy: self, clock, subject, catalog: None, kept: &mut kept, places: None };
        let decided = question.decide(&Gate { call }).await;
        self.put_back(kept);
        decided
    }

    async fn judge<H: Hook>(&self, sample: Arc<dyn SampleSource>, hook: &H) -> Decided<H::Decision> {
        let limits = &self.0.own.limits;
        let clock = Clock { cpu: limits.filter_cpu, wall: limits.filter_wall };
        let subject = &Subject::Sample(sample);
        let places = self.admit(Some(&self.0.samples), SAMPLE_PATIENCE).await.ok();
        let mut kept = None;
        let call = Question { policy: self, clock, subject, catalog: None, kept: &mut kept, places };
        let decided = call.decide(hook).await;
        self.put_back(kept);
        decided
    }
}

impl TurnCall {
    /// Asks which of the targets answers, or that none does. Needs a tokio runtime with its timer.
    ///
    /// If nobody can say, it is the first target.
    pub async fn route(&mut self) -> Decided<RouteDecision> {
        self.decide(&Route, None).await
    }

    /// Asks for the skills that the prompt gets. Needs a tokio runtime with its timer.
    ///
    /// If nobody can say, there are none.
    pub async fn select(&mut self, catalog: Arc<dyn CatalogSource>) -> Decided<Selection> {
        self.decide(&Select, Some(catalog)).await
    }

    /// Asks how the skills that fit are laid out. Needs a tokio runtime with its timer.
    ///
    /// If nobody can say, the host lays them out.
    pub async fn render(&mut self, catalog: Arc<dyn CatalogSource>, skills: &[String]) -> Decided<Rendering> {
        self.decide(&Render { skills }, Some(catalog)).await
    }

    async fn decide<H: Hook>(&mut self, hook: &H, catalog: Option<Arc<dyn CatalogSource>>) -> Decided<H::Decision> {
        let (policy, subject) = (&self.policy, &Subject::Turn(self.turn.clone()));
        let clock = policy.turn_clock();
        Question { policy, clock, subject, catalog, kept: &mut self.kept, places: None }.decide(hook).await
    }
}

impl Drop for TurnCall {
    fn drop(&mut self) {
        self.policy.put_back(self.kept.take());
    }
}

impl AgentPolicy {
    /// Keeps an instance of the agent's own modules for its next turn, if it keeps any.
    fn put_back(&self, live: Option<Live>) {
        if let Some(live) = live.filter(|live| live.has_settings(&self.0.own.modules.config)) {
            self.0.warm.put_back(live);
        }
    }

    fn turn_clock(&self) -> Clock {
        Clock { cpu: self.0.own.limits.cpu, wall: self.0.own.limits.wall }
    }

    /// Waits for a place among the agent's own, if it is to be counted there, and for one among everybody's.
    pub(crate) async fn admit(&self, of_agent: Option<&Arc<Semaphore>>, patience: Duration) -> Result<Places, Failure> {
        let is_slow = of_agent.is_some() && self.0.pace.is_slow();
        Door { of_agent, machine: &self.0.machine, is_slow }.enter(patience).await
    }
}

impl fmt::Debug for AgentPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.own.fmt(f)
    }
}

impl fmt::Debug for TurnCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnCall").field("policy", &self.policy).finish_non_exhaustive()
    }
}
