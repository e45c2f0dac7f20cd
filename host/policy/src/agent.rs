use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use domain::{DecisionSource, PolicyLimits, Verdict};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::call::{CallLimits, Filter, Hook, Live, Places, Route, Select};
use crate::decision::{Decided, Failure, FailureClass, RouteDecision};
use crate::engine::{Engine, Machine};
use crate::module::Module;
use crate::source::{CatalogSource, SampleSource, TurnSource};
use crate::state::Subject;

/// Who decides for one agent, and within which limits. Cheap to clone; clones share the concurrency limit.
#[derive(Clone)]
pub struct AgentPolicy(Arc<Parts>);

/// What an [`AgentPolicy`] is made of.
#[derive(Clone, Debug)]
pub struct AgentPolicyParts {
    /// The module for `route`. With none, or one that has no such hook, the built-in decides.
    pub route: Option<Arc<Module>>,
    /// The module for `select`, likewise.
    pub select: Option<Arc<Module>>,
    /// The module for `filter`, likewise.
    pub filter: Option<Arc<Module>>,
    /// The settings of all these modules: the JSON object with which they were loaded.
    pub config: Arc<str>,
    /// The settings of the built-in policy, where it decides for this agent: a JSON object that it has accepted.
    pub builtin_config: Arc<str>,
    /// Whether the built-in judges a sample when the agent's own module has failed. Otherwise the sample is left out: what
    /// an agent's filter has not passed is not learned from.
    pub builtin_filters_after_failure: bool,
    /// What a call may use.
    pub limits: PolicyLimits,
}

struct Parts {
    machine: Arc<Machine>,
    builtin: Arc<Module>,
    own: AgentPolicyParts,
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
        AgentPolicy(Arc::new(Parts {
            machine: engine.machine().clone(),
            builtin: engine.builtin(),
            own: AgentPolicyParts {
                route: parts.route.filter(|m| m.hooks().route),
                select: parts.select.filter(|m| m.hooks().select),
                filter: parts.filter.filter(|m| m.hooks().filter),
                ..parts
            },
            turns: Arc::new(Semaphore::new(turns.min(Semaphore::MAX_PERMITS))),
            samples: Arc::new(Semaphore::new(turns.min(Semaphore::MAX_PERMITS))),
        }))
    }

    /// Begins a turn. Nothing runs yet.
    pub fn turn(&self, turn: Arc<dyn TurnSource>) -> TurnCall {
        TurnCall { policy: self.clone(), turn, kept: None }
    }

    /// Asks whether a finished turn becomes a sample. Needs a tokio runtime with its timer.
    ///
    /// If neither the agent's module nor the built-in one can say, it does not.
    pub async fn filter(&self, sample: Arc<dyn SampleSource>) -> Decided<Verdict> {
        let limits = &self.0.own.limits;
        let clock = Clock { cpu: limits.filter_cpu, wall: limits.filter_wall };
        let last_resort = || Verdict::Drop { reason: "no policy could judge the sample".into() };
        let falls_back = self.0.own.builtin_filters_after_failure;
        let subject = &Subject::Sample(sample);
        let places = self.admit(Some(&self.0.samples), SAMPLE_PATIENCE).await.ok();
        let call = Call { policy: self, clock, subject, catalog: None, kept: &mut None, places, falls_back };
        call.decide::<Filter>(self.0.own.filter.as_ref(), last_resort).await
    }
}

impl TurnCall {
    /// Asks which of the targets answers, or that none does. Needs a tokio runtime with its timer.
    ///
    /// If neither the agent's module nor the built-in one can say, it is the first target.
    pub async fn route(&mut self) -> Decided<RouteDecision> {
        let policy = &self.policy;
        let call = Call {
            policy,
            clock: policy.turn_clock(),
            subject: &Subject::Turn(self.turn.clone()),
            catalog: None,
            kept: &mut self.kept,
            places: None,
            falls_back: true,
        };
        call.decide::<Route>(policy.0.own.route.as_ref(), || RouteDecision::To(0)).await
    }

    /// Asks for the names of the skills that the prompt gets, in this order. Needs a tokio runtime with its timer.
    ///
    /// If neither the agent's module nor the built-in one can say, there are none.
    pub async fn select(mut self, catalog: Arc<dyn CatalogSource>) -> Decided<Vec<String>> {
        let policy = &self.policy;
        let call = Call {
            policy,
            clock: policy.turn_clock(),
            subject: &Subject::Turn(self.turn.clone()),
            catalog: Some(catalog),
            kept: &mut self.kept,
            places: None,
            falls_back: true,
        };
        call.decide::<Select>(policy.0.own.select.as_ref(), Vec::new).await
    }
}

/// One question, which may be put to two modules.
struct Call<'a> {
    policy: &'a AgentPolicy,
    clock: Clock,
    subject: &'a Subject,
    catalog: Option<Arc<dyn CatalogSource>>,
    /// The instance that the turn has used already, and where one is kept that may be used again.
    kept: &'a mut Option<Live>,
    /// The place for the first attempt, when it was waited for before.
    places: Option<Places>,
    /// Whether the built-in is asked when the agent's own module has failed.
    falls_back: bool,
}

impl Call<'_> {
    /// The agent's own module decides; else the built-in one; else the host.
    async fn decide<H: Hook>(
        mut self,
        own: Option<&Arc<Module>>,
        last_resort: impl FnOnce() -> H::Decision,
    ) -> Decided<H::Decision> {
        let parts = &self.policy.0;
        let builtin = parts.builtin.digest();
        let mut failure = None;
        if let Some(module) = own {
            let source = if module.digest() == builtin { DecisionSource::Builtin } else { DecisionSource::Policy };
            match self.attempt::<H>(module, &parts.own.config, true).await {
                Ok(value) => return Decided { value, source, digest: module.digest(), failure: None },
                Err(reason) if !self.falls_back => {
                    let failure = Some(reason);
                    return Decided { value: last_resort(), source: DecisionSource::Builtin, digest: builtin, failure };
                }
                Err(reason) => failure = Some(reason),
            }
        }
        let value = match self.attempt::<H>(&parts.builtin, &parts.own.builtin_config, false).await {
            Ok(value) => value,
            Err(reason) => {
                tracing::error!(%reason, "the built-in policy failed; the host decides");
                failure.get_or_insert(reason);
                last_resort()
            }
        };
        Decided { value, source: DecisionSource::Builtin, digest: builtin, failure }
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
        let kept = self.kept.take().filter(|live| live.is_of(module, settings));
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
                    let limits = CallLimits { cpu, memory: parts.own.limits.memory.0 };
                    Live::start(&parts.machine, module, settings, self.subject.clone(), limits, places).await?
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
    fn turn_clock(&self) -> Clock {
        Clock { cpu: self.0.own.limits.cpu, wall: self.0.own.limits.wall }
    }

    /// Waits for a place among the agent's own, if it is to be counted there, and for one among everybody's.
    async fn admit(&self, of_agent: Option<&Arc<Semaphore>>, patience: Duration) -> Result<Places, Failure> {
        let wait = async {
            let of_agent = match of_agent {
                Some(places) => Some(place(places).await?),
                None => None,
            };
            Some(Places { _of_engine: place(&self.0.machine.places).await?, _of_agent: of_agent })
        };
        timeout(patience, wait).await.ok().flatten().ok_or_else(|| {
            Failure::new(FailureClass::Queue, "too many turns are waiting for a place in this agent's policy")
        })
    }
}

async fn place(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    places.clone().acquire_owned().await.ok()
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
