use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use config::AgentConfig;
use policy::Target;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::backend::{Answering, Ask, Backend, BackendError};
use crate::build::Reached;
use crate::error::TurnError;
use crate::gatekeeper::Gatekeeper;
use crate::metrics::{AttemptLabels, Metrics, UpstreamLabels};
use crate::registry::Agent;
use crate::window::{Gauges, Sent, Window};

/// How often a request that was too long by the model's own count is asked again with more left out.
const SHORTER: usize = 3;

/// Every configured upstream, by name, with what is counted of it.
pub(crate) struct Upstreams {
    all: HashMap<String, Upstream>,
    metrics: Metrics,
}

struct Upstream {
    backend: Arc<Backend>,
    /// As the configuration says it.
    window: Option<u32>,
    gauges: Gauges,
    answered: Counter,
    ejected: Gauge,
}

/// One turn's question, and to whom it goes: first where the policy sends it, then to the agent's fallbacks.
pub(crate) struct Errand {
    pub(crate) agent: Arc<Agent>,
    /// The policy's choice among the agent's targets.
    pub(crate) chosen: usize,
    pub(crate) ask: Ask,
    /// Who decides on the answer's tool calls, if anybody does.
    pub(crate) gatekeeper: Option<Arc<Gatekeeper>>,
}

/// What came of an errand.
pub(crate) struct Answered {
    pub(crate) answering: Answering,
    /// Who answers.
    pub(crate) by: Target,
    /// How often anybody was asked.
    pub(crate) attempts: u32,
    /// What was sent.
    pub(crate) sent: Sent,
    /// Whether it is another than the policy's choice.
    pub(crate) fell_back: bool,
}

impl Upstreams {
    pub(crate) fn new(reached: HashMap<String, Reached>, metrics: Metrics) -> Self {
        let upstream = |(name, Reached { backend, window }): (String, Reached)| {
            let labels = AttemptLabels { upstream: name.clone(), outcome: "answered" };
            let answered = metrics.upstream_attempts.get_or_create_owned(&labels);
            let ejected = metrics.upstream_ejected.get_or_create_owned(&UpstreamLabels { upstream: name.clone() });
            ejected.set(i64::from(backend.is_ejected()));
            (name, Upstream { backend, window, gauges: Gauges::new(), answered, ejected })
        };
        let all = reached.into_iter().map(upstream).collect();
        Upstreams { all, metrics }
    }

    pub(crate) fn backend(&self, target: &Target) -> Option<&Arc<Backend>> {
        self.all.get(&*target.upstream).map(|upstream| &upstream.backend)
    }

    pub(crate) fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.all.values().map(|upstream| &upstream.backend)
    }

    /// Those whose place another has taken, and forgets what was counted of names that are gone.
    pub(crate) fn replaced_by(&self, next: &Upstreams) -> Vec<Arc<Backend>> {
        for name in self.all.keys().filter(|name| !next.all.contains_key(*name)) {
            self.metrics.upstream_ejected.remove(&UpstreamLabels { upstream: name.clone() });
        }
        let stays = |backend: &Arc<Backend>| next.backends().any(|other| Arc::ptr_eq(other, backend));
        self.backends().filter(|backend| !stays(backend)).cloned().collect()
    }

    /// What this agent may send there at once, to the model that the target names or else the client.
    pub(crate) fn window(&self, target: &Target, asked: &str, agent: &AgentConfig) -> Option<Window> {
        let upstream = self.all.get(&*target.upstream)?;
        let model = if target.model.is_empty() { asked } else { &target.model };
        let tokens = |known: Option<u32>| match agent.max_context_tokens {
            Some(0) => None,
            Some(tokens) => Some(tokens),
            None => upstream.window.or_else(|| upstream.backend.window()).or(known),
        };
        Some(upstream.gauges.window(model, tokens))
    }

    fn is_resting(&self, target: &Target) -> bool {
        self.all.get(&*target.upstream).is_some_and(Upstream::is_resting)
    }
}

impl Upstream {
    fn is_resting(&self) -> bool {
        let resting = self.backend.is_resting();
        if resting {
            // Streams that broke since somebody asked may have done it.
            self.ejected.set(1);
        }
        resting
    }
}

impl Errand {
    /// Asks one after the other until somebody answers. One that has failed again and again is passed over while there is
    /// another; nobody is turned away for a guess.
    pub(crate) async fn run(self) -> Result<Answered, TurnError> {
        let attempts = AtomicU32::new(0);
        let chosen = &self.agent.targets[self.chosen];
        let others = self.agent.fallbacks.iter().filter(|target| *target != chosen);
        let upstreams = &self.agent.upstreams;
        let targets = || std::iter::once(chosen).chain(others.clone());
        let some_works = !self.agent.fallbacks.is_empty() && targets().any(|target| !upstreams.is_resting(target));
        let mut refusal: Option<TurnError> = None;
        for target in targets() {
            if some_works && upstreams.is_resting(target) {
                continue;
            }
            match self.ask(target, &attempts).await {
                Ok((mut answering, sent)) => {
                    if let Some(gatekeeper) = &self.gatekeeper {
                        let streamed = self.ask.request.stream();
                        answering.body = gatekeeper.clone().guard(answering.body, streamed).await;
                    }
                    let (by, fell_back) = (target.clone(), target != chosen);
                    let attempts = attempts.into_inner();
                    return Ok(Answered { answering, by, attempts, sent, fell_back });
                }
                Err(error) => {
                    if !error.may_fall_back() {
                        return Err(error);
                    }
                    if !self.agent.fallbacks.is_empty() {
                        let upstream = &target.upstream;
                        tracing::warn!(agent = %self.agent.id, %upstream, %error, "a turn goes on to the next upstream, if there is one");
                    }
                    // The first one's word counts, unless a later one promises more.
                    let better = refusal.as_ref().is_none_or(|first| !first.is_transient() && error.is_transient());
                    if better {
                        refusal = Some(error);
                    }
                }
            }
        }
        Err(refusal.unwrap_or_else(|| self.missing(chosen)))
    }

    async fn ask(&self, target: &Target, attempts: &AtomicU32) -> Result<(Answering, Sent), TurnError> {
        let upstreams = &self.agent.upstreams;
        let upstream = upstreams.all.get(&*target.upstream).ok_or_else(|| self.missing(target))?;
        let (request, block) = (&*self.ask.request, self.ask.block.as_deref());
        let window = upstreams.window(target, &request.model(), &self.agent.config);
        let window = window.ok_or_else(|| self.missing(target))?;
        let mut omitted = window.fit(request, block);
        let note = |outcome: &'static str| {
            attempts.fetch_add(1, Ordering::Relaxed);
            if outcome == "answered" {
                upstream.answered.inc();
            } else {
                let labels = AttemptLabels { upstream: target.upstream.to_string(), outcome };
                upstreams.metrics.upstream_attempts.get_or_create(&labels).inc();
            }
        };
        let mut answer = upstream.backend.ask(&self.ask, &target.model, &omitted, &note).await;
        for _ in 0..SHORTER {
            let Some(tokens) = answer.as_ref().err().and_then(BackendError::too_many_tokens) else { break };
            window.sent(block, omitted.clone()).was_too_long(request, tokens);
            let shorter = window.fit(request, block);
            if shorter.len() <= omitted.len() {
                break;
            }
            omitted = shorter;
            answer = upstream.backend.ask(&self.ask, &target.model, &omitted, &note).await;
        }
        if answer.is_err() || upstream.ejected.get() != 0 {
            upstream.ejected.set(i64::from(upstream.backend.is_ejected()));
        }
        if !omitted.is_empty() {
            let (agent, count) = (&self.agent.id, omitted.len());
            tracing::debug!(%agent, upstream = %target.upstream, count, "the oldest messages were left out: the window is full");
        }
        Ok((answer?, window.sent(block, omitted)))
    }

    fn missing(&self, target: &Target) -> TurnError {
        TurnError::NoUpstream { agent: self.agent.id.clone(), upstream: target.upstream.to_string() }
    }
}
