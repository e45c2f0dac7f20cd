use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use domain::{
    AgentId, DecisionSource, Digest, EndReason, Hook, Mode, RetrievalMode, SessionId, TurnId, TurnKind, TurnOutcome,
};
use policy::{AgentPolicy, CatalogSource, DENIED, Decided, Engine, Rendering, RouteDecision, Selection, TurnSource};
use protocol::ChatRequest;
use skills::SkillTree;
use store::Store;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use upstream::{Credential, Trace};
use uuid::Uuid;

use crate::backend::{Ask, Backend};
use crate::errand::Errand;
use crate::error::TurnError;
use crate::gatekeeper::Gatekeeper;
use crate::held_calls::{HeldCall, HeldCalls};
use crate::identity::{HeaderClaims, Identity, IdentityError};
use crate::injection::{Blocks, Choice};
use crate::metrics::{AgentLabels, Metrics};
use crate::open_turn::{Ending, OpenTurn};
use crate::possessions::Possessions;
use crate::question::Asked;
use crate::recorder::{Begun, MAX_IN_FLIGHT, Recorder};
use crate::registry::{Agent, Registry};
use crate::reload::Reloads;
use crate::reply::{Outline, Pulse, Reply, refusal};
use crate::sessions::{Injected, SessionState, Sessions, lock};
use crate::uses::Uses;
use crate::views::{CatalogView, TurnView};

/// Everything that a turn passes through, in order. One for the whole process.
pub struct Host {
    pub(crate) registry: ArcSwap<Registry>,
    pub(crate) reloads: Mutex<Reloads>,
    /// Upstreams that the configuration has no more, while turns may still be with them.
    pub(crate) retired: Mutex<Vec<Arc<Backend>>>,
    pub(crate) held_calls: Arc<HeldCalls>,
    pub(crate) possessions: Arc<Possessions>,
    pub(crate) sessions: Sessions,
    pub(crate) engine: Arc<Engine>,
    pub(crate) skills: Arc<SkillTree>,
    pub(crate) blocks: Blocks,
    pub(crate) store: Arc<Store>,
    pub(crate) recorder: Recorder,
    pub(crate) uses: Arc<Uses>,
    /// Places for feedback that is being noted.
    pub(crate) feedback: Semaphore,
    pub(crate) metrics: Metrics,
    pub(crate) closing: CancellationToken,
}

/// A request as the server took it in.
#[derive(Debug)]
pub struct Incoming {
    /// The turn's id, which the client gets as its request id whatever happens.
    pub turn: TurnId,
    /// The agents whose key the client showed; none when it showed one for all, or needs none.
    pub owners: Option<Arc<[AgentId]>>,
    /// Identity headers.
    pub claims: HeaderClaims,
    /// The body, already within its size limit.
    pub body: Bytes,
    /// When the whole request was there.
    pub received: Instant,
    /// Trace headers, passed on.
    pub trace: Trace,
    /// What the client itself logs in with, for upstreams that are asked with it.
    pub credential: Credential,
}

/// Bodies above this are scanned off the async threads: 1 MiB takes about half a millisecond.
const SCAN_INLINE: usize = 1 << 20;

/// The hooks' verdict on one turn, before the upstream is asked.
struct Plan {
    route: RouteDecision,
    injected: Option<Injected>,
    /// The skills that were found.
    offered: Vec<String>,
    generation: u64,
    note: String,
    policy: (Digest, DecisionSource),
}

impl Host {
    /// Takes one turn from request to the beginning of its answer. The rest happens as [`Reply::body`] is read.
    pub async fn turn(&self, incoming: Incoming) -> Result<Reply, TurnError> {
        let started = SystemTime::now();
        let request = Arc::new(scan(incoming.body).await?);
        let owners = incoming.owners.as_deref();
        let identity = Identity::settle(owners, &incoming.claims, &request.claims())?;
        let agent = self.agent_for(owners, &identity)?;
        if self.closing.is_cancelled() {
            return Err(TurnError::Closing);
        }
        let policy = agent.policy.clone().map_err(|reason| TurnError::Policy { agent: agent.id.clone(), reason })?;
        let place = self.recorder.place().await.ok_or(TurnError::Busy(MAX_IN_FLIGHT))?;
        let session = self.session_of(&agent, &identity, &request);
        let state = self.state_of(&agent, &session, identity.session.is_some()).await;
        let index = lock(&state).next_turn();
        let view = Arc::new(TurnView {
            request: request.clone(),
            agent: agent.clone(),
            session: session.clone(),
            index,
            kind: identity.kind,
            received: started,
        });
        let plan = self.plan(&agent, &policy, &state, view.clone()).await;
        self.metrics.overhead.observe(incoming.received.elapsed().as_secs_f64());
        if identity.session_done {
            self.sessions.forget(&agent.id, &session);
        }

        let mut begun = Begun {
            id: incoming.turn,
            session,
            session_key: identity.session_key,
            kind: identity.kind,
            started,
            upstream: String::new(),
            model: String::new(),
            request: request.clone(),
            skills: plan.injected.iter().flat_map(|i| i.skills.iter()).map(|s| s.name.to_string()).collect(),
            offered: plan.offered,
            skill_generation: plan.generation,
            policy: plan.policy,
            ends_session: identity.session_done,
            sent: None,
            adapter: 0,
            agent: agent.clone(),
        };
        let reply = Reply::about(&begun, plan.note);
        self.metrics.in_flight.inc();
        let index = match plan.route {
            RouteDecision::To(index) => index,
            RouteDecision::Refuse(words) => {
                let asked = request.model();
                begun.model = if asked.is_empty() { agent.targets[0].model.to_string() } else { asked.into_owned() };
                let refusal = refusal(&begun, &words);
                return Ok(reply.own(refusal, OpenTurn::new(place, begun, incoming.received)));
            }
        };
        let target = &agent.targets[index];
        begun.upstream = target.upstream.to_string();
        begun.model = if target.model.is_empty() { request.model().into_owned() } else { target.model.to_string() };
        let ask = Ask {
            request,
            block: plan.injected.map(|i| i.block),
            conversation: format!("{}/{}", agent.id, begun.session),
            adapter: (agent.config.mode != Mode::SkillsOnly).then(|| agent.adapter.clone()),
            trace: incoming.trace,
            credential: incoming.credential,
        };
        let gatekeeper = policy.has(Hook::Gate).then(|| {
            Arc::new(Gatekeeper {
                agent: agent.clone(),
                session: begun.session.clone(),
                policy,
                turn: view,
                held: self.held_calls.clone(),
                store: self.store.clone(),
                metrics: self.metrics.clone(),
            })
        });
        let turn = OpenTurn::new(place, begun, incoming.received);
        let errand = Errand { agent, chosen: index, ask, gatekeeper };
        self.await_answer(errand, reply, turn).await
    }

    /// Waits for the answer to begin. The client of a stream is not kept waiting in silence: after a while it gets the head of
    /// its answer, and the rest of the errand is done as the body is read.
    async fn await_answer(&self, errand: Errand, reply: Outline, mut turn: OpenTurn) -> Result<Reply, TurnError> {
        let keep_alive = self.registry.load().keep_alive;
        let answered = if reply.streamed && !keep_alive.is_zero() {
            let mut asking = Box::pin(errand.run());
            let mut pulse = Pulse::every(keep_alive);
            tokio::select! {
                biased;
                answered = &mut asking => answered.map(|answered| (answered, Some(pulse))),
                () = pulse.beat() => return Ok(reply.awaited(asking, turn, pulse)),
            }
        } else {
            errand.run().await.map(|answered| (answered, None))
        };
        match answered {
            Ok((answered, pulse)) => Ok(reply.answered(answered, turn, pulse)),
            Err(error) => {
                turn.end(Ending::without_answer(TurnOutcome::Failed));
                Err(error)
            }
        }
    }

    /// The agent of this name. Where unlisted ones are taken for `_default`, a key of such a one does not become a key of
    /// `_default`.
    pub(crate) fn agent_for(&self, owners: Option<&[AgentId]>, identity: &Identity) -> Result<Arc<Agent>, TurnError> {
        let agent = self.registry.load().find(&identity.agent)?;
        match owners {
            Some(owners) if !owners.contains(&agent.id) => Err(IdentityError::Foreign.into()),
            _ => Ok(agent),
        }
    }

    fn session_of(&self, agent: &Agent, identity: &Identity, request: &ChatRequest) -> SessionId {
        match &identity.session {
            Some(named) => named.clone(),
            None => self.sessions.by_conversation(&agent.id, request, || SessionId::generated(Uuid::now_v7())),
        }
    }

    /// What is remembered of a session. One that is not, and that the client named, may have spoken before this host was
    /// started: then it goes on where it was.
    async fn state_of(&self, agent: &Agent, session: &SessionId, named: bool) -> Arc<Mutex<SessionState>> {
        if let Some(state) = self.sessions.get(&agent.id, session) {
            return state;
        }
        let stored = if named { self.store.session(&agent.id, session).await } else { Ok(None) };
        let turns = stored.unwrap_or_else(|error| {
            tracing::warn!(agent = %agent.id, %session, %error, "the session's earlier turns could not be counted");
            None
        });
        // A session that the client ended begins anew, though it may keep its name.
        let goes_on = turns.filter(|s| !matches!(s.ended, Some((_, EndReason::Header))));
        self.sessions.open(&agent.id, session, goes_on.map_or(0, |s| u32::try_from(s.turns).unwrap_or(u32::MAX)))
    }

    /// Asks the agent's policy: where to, and with which skills.
    async fn plan(
        &self,
        agent: &Agent,
        policy: &AgentPolicy,
        state: &Mutex<SessionState>,
        view: Arc<TurnView>,
    ) -> Plan {
        let (kind, request) = (view.kind, view.request.clone());
        if policy.keeps_values()
            && let Err(error) = agent.values.load(&self.store, &agent.id).await
        {
            tracing::error!(agent = %agent.id, %error, "what the policy keeps cannot be read");
        }
        let library = self.skills.library(&agent.id);
        let selects = kind == TurnKind::Main && agent.config.skills.enabled && !library.is_empty();
        let asked = Asked::about(&view, agent, &library, self.skills.meanings(), &self.metrics);
        let mut hooks = policy.turn(view as Arc<dyn TurnSource>);
        let mut route = hooks.route().await;
        self.count_failure(agent, Hook::Route, &route);
        let generation = library.generation();
        let selects = selects && !matches!(route.value, RouteDecision::Refuse(_));
        let mut note = note(&route);
        let mut decided_by = (route.digest, route.source);
        let (mut injected, mut offered) = (None, Vec::new());
        if selects {
            let learned = self.uses.learned(agent, &library).await;
            let meaning = asked.answered(&self.metrics).await;
            let view = Arc::new(CatalogView::new(library.clone(), agent.config.skills, meaning, learned));
            let catalog = view.clone() as Arc<dyn CatalogSource>;
            let chosen = hooks.select(catalog.clone()).await;
            offered = view.found();
            self.count_failure(agent, Hook::Select, &chosen);
            match &chosen.value {
                Selection::Skills(names) => {
                    let ranked = !policy.has(Hook::Select) && agent.config.skills.retrieval != RetrievalMode::Template;
                    let scores = ranked.then_some(|names: &[&str]| view.scores(&request.user_text(), names));
                    injected = match Blocks::choose(&library, names, &agent.config.skills, state, scores) {
                        Choice::Nothing => None,
                        Choice::AsBefore(injected) => Some(injected),
                        Choice::New(skills) => {
                            let mut rendering = Rendering::Usual;
                            if policy.has(Hook::Render) {
                                let names: Vec<String> = skills.iter().map(|skill| skill.name.to_string()).collect();
                                let rendered = hooks.render(catalog, &names).await;
                                self.count_failure(agent, Hook::Render, &rendered);
                                rendering = rendered.value;
                            }
                            self.blocks.inject(skills, rendering, state)
                        }
                    };
                }
                Selection::Deny => route.value = RouteDecision::Refuse(DENIED.into()),
            }
            decided_by = (chosen.digest, chosen.source);
            if route.failure.is_none() {
                note = self::note(&chosen);
            }
        }
        drop(hooks);
        agent.values.hand_over(&self.store, &agent.id).await;
        if let RouteDecision::To(target) = route.value {
            injected = injected.filter(|injected| agent.has_room_for(&injected.block, &request, target));
        }
        if let Some(injected) = &injected {
            let labels = AgentLabels { agent: agent.id.to_string() };
            self.metrics.skills_injected.get_or_create(&labels).inc_by(injected.skills.len() as u64);
        }
        Plan { route: route.value, injected, offered, generation, note, policy: decided_by }
    }

    fn count_failure<T>(&self, agent: &Agent, hook: Hook, decided: &Decided<T>) {
        if let Some(failure) = &decided.failure {
            tracing::warn!(agent = %agent.id, hook = hook.as_str(), %failure, "the agent's policy failed");
            self.metrics.count_failure(&agent.id, hook, failure);
        }
    }

    /// The tool calls that wait for an operator's word.
    pub fn held_calls(&self) -> Vec<HeldCall> {
        self.held_calls.list()
    }

    /// Answers one of them. False when it does not wait any more.
    pub fn answer_call(&self, id: u64, allow: bool) -> bool {
        self.held_calls.answer(id, allow)
    }

    /// Denies the tool calls that wait for an operator, now and from now on: who stops the host waits for nobody.
    pub fn deny_held_calls(&self) {
        self.held_calls.close();
    }

    /// Ends everything, in order: the last turns are recorded, open sessions ended, the store closed.
    pub async fn close(self) {
        self.closing.cancel();
        self.recorder.close().await;
        if let Err(error) = self.store.end_all_open(EndReason::Shutdown).await {
            tracing::error!(%error, "open sessions could not be ended");
        }
        self.store.close().await;
        self.skills.close();
        let retired = self.retired.into_inner().unwrap_or_else(PoisonError::into_inner);
        for backend in self.registry.load().upstreams.backends().chain(&retired) {
            backend.close().await;
        }
    }
}

pub(crate) async fn scan(body: Bytes) -> Result<ChatRequest, TurnError> {
    if body.len() <= SCAN_INLINE {
        return Ok(ChatRequest::parse(body)?);
    }
    let scanned = tokio::task::spawn_blocking(|| ChatRequest::parse(body)).await;
    Ok(scanned.map_err(|_| TurnError::Closing)??)
}

fn note<T>(decided: &Decided<T>) -> String {
    let (who, source) = match decided.source {
        DecisionSource::Builtin => ("builtin".to_owned(), "builtin"),
        DecisionSource::Breaker => ("builtin".to_owned(), "breaker"),
        DecisionSource::Policy => (decided.digest.short(), "policy"),
        DecisionSource::Previous => (decided.digest.short(), "previous"),
    };
    match &decided.failure {
        Some(failure) => format!("{who}; source={source}; failed={}", failure.class.as_str()),
        None => format!("{who}; source={source}"),
    }
}
