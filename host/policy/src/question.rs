use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{DecisionSource, Fallback};
use tokio::time::timeout;

use crate::agent::AgentPolicy;
use crate::call::{CallLimits, Live};
use crate::decision::{Decided, Failure, FailureClass, Used};
use crate::hooks::Hook;
use crate::module::Module;
use crate::places::Places;
use crate::source::CatalogSource;
use crate::state::Subject;

/// The time limits of one call.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
}

/// One question, which may be put to several modules in turn.
pub(crate) struct Question<'a> {
    pub(crate) policy: &'a AgentPolicy,
    pub(crate) clock: Clock,
    pub(crate) subject: &'a Subject,
    pub(crate) catalog: Option<Arc<dyn CatalogSource>>,
    /// The instance that the turn has used already, and where one is kept that may be used again.
    pub(crate) kept: &'a mut Option<Live>,
    /// The place for the first attempt, when it was waited for before.
    pub(crate) places: Option<Places>,
}

impl Question<'_> {
    /// The agent's own module decides; if it does not, whoever `rule` says; if nobody can, the host.
    pub(crate) async fn decide<H: Hook>(mut self, hook: &H) -> Decided<H::Decision> {
        let parts = &self.policy.0;
        let rule = parts.own.on_failure[H::NAME];
        let builtin = parts.builtin.digest();
        let (mut failure, mut source) = (None, DecisionSource::Builtin);
        if let Some(module) = parts.own.modules.of(H::NAME) {
            match self.ask_own(hook, module).await {
                Ok((value, used)) => {
                    let own = module.digest() != builtin;
                    let source = if own { DecisionSource::Policy } else { DecisionSource::Builtin };
                    return Decided { value, source, digest: module.digest(), failure: None, used };
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
                return Decided { value: H::without(rule), source, digest: builtin, failure, used: Used::default() };
            }
            if let Some((module, settings)) = previous.and_then(|p| Some((p.of(H::NAME)?, &p.config))) {
                match self.attempt(hook, module, settings, true).await {
                    Ok((value, used)) => {
                        let source = DecisionSource::Previous;
                        return Decided { value, source, digest: module.digest(), failure, used };
                    }
                    Err(reason) => tracing::warn!(%reason, "the previous version of the policy failed too"),
                }
            }
        }
        let (value, used) = if parts.builtin.hooks()[H::NAME] {
            self.attempt(hook, &parts.builtin, &parts.own.builtin_config, false).await.unwrap_or_else(|reason| {
                tracing::error!(%reason, "the built-in policy failed; the host decides");
                failure.get_or_insert(reason);
                (H::without(Fallback::Drop), Used::default())
            })
        } else {
            // Without a module nobody objects. Where one has failed, its rule holds as far as it can.
            let rule = if failure.is_some() { rule } else { Fallback::Builtin };
            (H::without(rule), Used::default())
        };
        Decided { value, source, digest: builtin, failure, used }
    }

    /// Asks the agent's own module, unless it has failed too often lately.
    async fn ask_own<H: Hook>(&mut self, hook: &H, module: &Arc<Module>) -> Result<(H::Decision, Used), Failure> {
        let parts = &self.policy.0;
        let agent = self.subject.agent().map(tracing::field::display);
        let breaker = parts.breakers.iter().find(|(digest, _)| *digest == module.digest()).map(|(_, breaker)| breaker);
        let ticket = match breaker {
            Some(breaker) => Some(breaker.admit(Instant::now()).ok_or_else(|| {
                Failure::new(FailureClass::Breaker, "the module failed too often and is left alone for a while")
            })?),
            None => None,
        };
        let answer = self.attempt(hook, module, &parts.own.modules.config, true).await;
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
        hook: &H,
        module: &Arc<Module>,
        settings: &Arc<str>,
        counted: bool,
    ) -> Result<(H::Decision, Used), Failure> {
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
            let decision = live.ask(hook, &parts.machine, cpu).await?;
            Ok((decision, live))
        };
        match timeout(wall, work).await {
            Ok(Ok((decision, live))) => {
                let used = live.used();
                *self.kept = Some(live);
                Ok((decision, used))
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::new(FailureClass::Wall, &format!("the policy took longer than {wall:?}"))),
        }
    }
}
