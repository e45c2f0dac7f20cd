use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{DecisionSource, Digest, Fallback, Verdict};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::breaker::Breaker;
use crate::call::{CallLimits, Filter, Hook, Live, Route, Select};
use crate::decision::{Decided, Failure, FailureClass, RouteDecision, Selection};
use crate::engine::{Engine, Machine};
use crate::lane::Pace;
use crate::module::Module;
use crate::parts::{AgentPolicyParts, HookModules};
use crate::places::{Door, Places};
use crate::source::{CatalogSource, SampleSource, TurnSource};
use crate::state::Subject;
use crate::warm::Warm;

/// Who decides for one agent, and within which limits. Cheap to clone; clones share the concurrency limit.
#[derive(Clone)]
pub struct AgentPolicy(Arc<Parts>);

struct Parts {
    machine: Arc<Machine>,
    builtin: Arc<Module>,
    own: AgentPolicyParts,
    /// One for each different module among the three hooks'.
    breakers: Vec<(Digest, Arc<Breaker>)>,
    warm: Warm,
    pace: Arc<Pace>,
    turns: Arc<Semaphore>,
    /// Samples have places of their own: nobody waits for their verdict, and turns must not cost a sample its judge.
    samples: Arc<Semaphore>,
}

/// How long a sample waits for a place.
const SAMPLE_PATIENCE: Duration = Duration::from_secs(30);

/// The hooks of one turn. `route` and `select` share a fresh instance if one module has both, unless `route` failed.
///
/// It holds one of the agent's places from `route` on: drop it as soon as it is clear that `select` is not needed.
pub struct TurnCall {
    policy: AgentPolicy,
    turn: Arc<dyn TurnSource>,
    kept: Option<Live>,
}

/// The time limits of one call.
#[derive(Clone, Copy)]
struct Clock {
    cpu: Duration,
    wall: Duration,
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
        let modules = [&own.modules.route, &own.modules.select, &own.modules.filter];
        let mut breakers: Vec<(Digest, Arc<Breaker>)> = Vec::with_capacity(modules.len());
        for digest in modules.into_iter().flatten().map(|m| m.digest()) {
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
            && [&own.modules, own.previous.as_ref().unwrap_or(&own.modules)]
                .iter()
                .flat_map(|m| [&m.route, &m.select, &m.filter])
                .flatten()
                .any(|module| module.asks().kv)
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
        let limits = &self.0.own.limits;
        let clock = Clock { cpu: limits.filter_cpu, wall: limits.filter_wall };
        let subject = &Subject::Sample(sample);
        let places = self.admit(Some(&self.0.samples), SAMPLE_PATIENCE).await.ok();
        let mut kept = None;
        let call = Call { policy: self, clock, subject, catalog: None, kept: &mut kept, places };
        let decided = call.decide::<Filter>(|modules| modules.filter.as_ref(), self.0.own.on_failure.filter).await;
        self.put_back(kept);
        decided
    }
}

impl TurnCall {
    /// Asks which of the targets answers, or that none does. Needs a tokio runtime with its timer.
    ///
    /// If nobody can say, it is the first target.
    pub async fn route(&mut self) -> Decided<RouteDecision> {
        let policy = &self.policy;
        let call = Call {
            policy,
            clock: policy.turn_clock(),
            subject: &Subject::Turn(self.turn.clone()),
            catalog: None,
            kept: &mut self.kept,
            places: None,
        };
        call.decide::<Route>(|modules| modules.route.as_ref(), policy.0.own.on_failure.route).await
    }

    /// Asks for the skills that the prompt gets. Needs a tokio runtime with its timer.
    ///
    /// If nobody can say, there are none.
    pub async fn select(mut self, catalog: Arc<dyn CatalogSource>) -> Decided<Selection> {
        let policy = &self.policy;
        let call = Call {
            policy,
            clock: policy.turn_clock(),
            subject: &Subject::Turn(self.turn.clone()),
            catalog: Some(catalog),
            kept: &mut self.kept,
            places: None,
        };
        call.decide::<Select>(|modules| modules.select.as_ref(), policy.0.own.on_failure.select).await
    }
}

impl Drop for TurnCall {
    fn drop(&mut self) {
        self.policy.put_back(self.kept.take());
    }
}

/// One question, which may be put to several modules in turn.
struct Call<'a> {
    policy: &'a AgentPolicy,
    clock: Clock,
    subject: &'a Subject,
    catalog: Option<Arc<dyn CatalogSource>>,
    /// The instance that the turn has used already, and where one is kept that may be used again.
    kept: &'a mut Option<Live>,
    /// The place for the first attempt, when it was waited for before.
    places: Option<Places>,
}

impl Call<'_> {
    /// The agent's own module decides; if it does not, whoever `rule` says; if nobody can, the host.
    async fn decide<H: Hook>(
        mut self,
        of: impl Fn(&HookModules) -> Option<&Arc<Module>>,
        rule: Fallback,
    ) -> Decided<H::Decision> {
        let parts = &self.policy.0;
        let builtin = parts.builtin.digest();
        let (mut failure, mut source) = (None, DecisionSource::Builtin);
        if let Some(module) = of(&parts.own.modules) {
            match self.ask_own::<H>(module).await {
                Ok(value) => {
                    let own = module.digest() != builtin;
                    let source = if own { DecisionSource::Policy } else { DecisionSource::Builtin };
                    return Decided { value, source, digest: module.digest(), failure: None };
                }
                Err(reason) => {
                    if reason.class == FailureClass::Breaker {
                        source = DecisionSource::Breaker;
                    }
                    failure = Some(reason);
                }
            }
            let previous = parts.own.previous.as_ref().filter(|_| rule == Fallback::Previous);
            if matches!(rule, Fallback::Deny | Fallback::Drop) {
                return Decided { value: H::without(rule), source, digest: builtin, failure };
            }
            if let Some((module, settings)) = previous.and_then(|p| Some((of(p)?, &p.config))) {
                match self.attempt::<H>(module, settings, true).await {
                    Ok(value) => {
                        let source = DecisionSource::Previous;
                        return Decided { value, source, digest: module.digest(), failure };
                    }
                    Err(reason) => tracing::warn!(%reason, "the previous version of the policy failed too"),
                }
            }
        }
        let value = match self.attempt::<H>(&parts.builtin, &parts.own.builtin_config, false).await {
            Ok(value) => value,
            Err(reason) => {
                tracing::error!(%reason, "the built-in policy failed; the host decides");
                failure.get_or_insert(reason);
                H::without(Fallback::Drop)
            }
        };
        Decided { value, source, digest: builtin, failure }
    }

    /// Asks the agent's own module, unless it has failed too often lately.
    async fn ask_own<H: Hook>(&mut self, module: &Arc<Module>) -> Result<H::Decision, Failure> {
        let parts = &self.policy.0;
        let agent = self.subject.agent().map(tracing::field::display);
        let breaker = parts.breakers.iter().find(|(digest, _)| *digest == module.digest()).map(|(_, breaker)| breaker);
        let ticket = match breaker {
            Some(breaker) => Some(breaker.admit(Instant::now()).ok_or_else(|| {
                Failure::new(FailureClass::Breaker, "the module failed too often and is left alone for a while")
            })?),
            None => None,
        };
        let answer = self.attempt::<H>(module, &parts.own.modules.config, true).await;
        match (&answer, ticket) {
            (Ok(_), Some(ticket)) => ticket.succeeded(),
            (Err(failure), Some(ticket)) if failure.class.is_the_modules_fault() => {
                if let Some(pause) = ticket.failed(Instant::now()) {
                    let digest = module.digest().short();
                    tracing::warn!(agent, %digest, ?pause, %failure, "a policy keeps failing and is left alone for a while");
                }
            }
            _ => {}
        }
        answer
    }

    /// Asks one module, in the turn's instance of it or in a new one. An instance that has failed is dropped.
    async fn attempt<H: Hook>(
        &mut self,
        module: &Arc<Module>,
        settings: &Arc<str>,
        counted: bool,
    ) -> Result<H::Decision, Failure> {
        let parts = &self.policy.0;
        let Clock { cpu, wall } = self.clock;
        let is_own = counted && Arc::ptr_eq(settings, &parts.own.modules.config);
        let kept = self.kept.take().filter(|live| live.is_of(module, settings));
        let kept = kept.filter(|live| !is_own || parts.warm.may_ask_again(live.calls()));
        let waited_for = self.places.take();
        let work = async {
            let mut live = match kept {
                Some(live) => live,
                None => {
                    let of_agent = counted.then_some(&parts.turns);
                    let places = match waited_for {
                        Some(places) => places,
                        None => self.policy.admit(of_agent, parts.own.limits.queue).await?,
                    };
                    let warm = || parts.warm.take(module, settings, self.subject.agent());
                    match is_own.then(warm).flatten() {
                        Some(live) => live.resumed(self.subject.clone(), places),
                        None => {
                            let grants = module.asks().given(&parts.own.grants);
                            let limits = CallLimits { cpu, memory: parts.own.limits.memory.0, grants };
                            let pace = counted.then(|| parts.pace.clone());
                            Live::start(&parts.machine, module, settings, self.subject.clone(), limits, places, pace)
                                .await?
                        }
                    }
                }
            };
            if let Some(catalog) = self.catalog.clone() {
                live.lend(catalog);
            }
            let decision = live.ask::<H>(&parts.machine, cpu).await?;
            Ok((decision, live))
        };
        match timeout(wall, work).await {
            Ok(Ok((decision, live))) => {
                *self.kept = Some(live);
                Ok(decision)
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::new(FailureClass::Wall, &format!("the policy took longer than {wall:?}"))),
        }
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
    async fn admit(&self, of_agent: Option<&Arc<Semaphore>>, patience: Duration) -> Result<Places, Failure> {
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
