use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use domain::{DecisionSource, Digest, EndReason, Sample, SessionId, TokenTrace, TurnId, TurnKind, TurnOutcome, TurnRecord, Verdict};
use policy::SampleSource;
use protocol::{Answer, ChatRequest};
use store::Store;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::task::{JoinHandle, JoinSet};

use crate::metrics::{AgentLabels, FailureLabels, Metrics, SampleLabels, TurnLabels};
use crate::registry::Agent;
use crate::status::outcome_name;
use crate::views::SampleView;

/// How many turns may be under way: each holds a place in the recorder's queue from its start, so that no finished turn can
/// be turned away for lack of room.
pub(crate) const MAX_IN_FLIGHT: usize = 4096;
/// How many finished turns are judged by their policies at once.
const MAX_FILTERING: usize = 8;

/// What is known of a turn before its answer.
pub(crate) struct Begun {
    pub(crate) id: TurnId,
    pub(crate) agent: Arc<Agent>,
    pub(crate) session: SessionId,
    pub(crate) kind: TurnKind,
    pub(crate) started: SystemTime,
    pub(crate) upstream: String,
    pub(crate) model: String,
    pub(crate) request: Arc<ChatRequest>,
    pub(crate) skills: Vec<String>,
    pub(crate) skill_generation: u64,
    pub(crate) policy: (Digest, DecisionSource),
    pub(crate) ends_session: bool,
}

/// A turn with its answer, as it went out.
pub(crate) struct Finished {
    pub(crate) begun: Begun,
    pub(crate) duration: Duration,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) outcome: TurnOutcome,
    /// The answer's bytes, empty when it was too large to keep.
    pub(crate) answer: Bytes,
    pub(crate) streamed: bool,
    pub(crate) tokens: Option<TokenTrace>,
}

/// Writes finished turns down, and makes samples of those that are to be learned from. One owned task; the answer path only
/// hands over.
pub(crate) struct Recorder {
    queue: mpsc::Sender<Finished>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

struct Worker {
    store: Arc<Store>,
    metrics: Metrics,
}

impl Recorder {
    pub(crate) fn start(store: Arc<Store>, metrics: Metrics) -> Self {
        let (queue, finished) = mpsc::channel(MAX_IN_FLIGHT);
        let worker = Arc::new(Worker { store, metrics });
        #[expect(clippy::disallowed_methods, reason = "owned here: `close` awaits it")]
        let task = tokio::spawn(worker.run(finished));
        Recorder { queue, task: tokio::sync::Mutex::new(Some(task)) }
    }

    /// A place for a turn that begins; none when too many are under way or the host is closing.
    pub(crate) fn place(&self) -> Option<OwnedPermit<Finished>> {
        self.queue.clone().try_reserve_owned().ok()
    }

    /// Waits until every turn that has a place is written down. The caller has stopped new turns and dropped this
    /// recorder's other handles.
    pub(crate) async fn close(self) {
        drop(self.queue);
        if let Some(task) = self.task.into_inner() {
            // The task ends by itself when the last place is gone; it cannot be cancelled, so a failure is a panic, logged.
            if let Err(error) = task.await {
                tracing::error!(%error, "the recorder ended badly: the last turns may not be recorded");
            }
        }
    }
}

impl Worker {
    async fn run(self: Arc<Self>, mut finished: mpsc::Receiver<Finished>) {
        let mut filtering = JoinSet::new();
        while let Some(turn) = finished.recv().await {
            let ends = turn.begun.ends_session.then(|| (turn.begun.agent.id.clone(), turn.begun.session.clone()));
            if let Some(sampling) = self.record(turn) {
                while filtering.len() >= MAX_FILTERING {
                    filtering.join_next().await;
                }
                filtering.spawn(self.clone().sample(sampling));
            }
            while filtering.try_join_next().is_some() {}
            if let Some((agent, session)) = ends
                && let Err(error) = self.store.end_session(&agent, &session, EndReason::Header).await
            {
                tracing::error!(%agent, %session, %error, "the end of the session could not be recorded");
            }
        }
        while filtering.join_next().await.is_some() {}
    }

    /// Hands the record to the store; returns what is needed to make a sample when the turn is training material.
    fn record(&self, turn: Finished) -> Option<(Arc<Agent>, SampleView, Sample)> {
        let Finished { begun, duration, first_byte, outcome, answer, streamed, tokens } = turn;
        let read = if streamed { Answer::from_stream(&answer) } else { Answer::from_json(&answer) };
        let usage = read.as_ref().and_then(|a| a.usage);
        let labels = TurnLabels { agent: begun.agent.id.to_string(), kind: kind_name(begun.kind), outcome: outcome_name(outcome) };
        self.metrics.turns.get_or_create(&labels).inc();
        self.metrics.in_flight.dec();
        let recorded = self.store.record_turn(TurnRecord {
            id: begun.id,
            agent: begun.agent.id.clone(),
            session: begun.session.clone(),
            kind: begun.kind,
            started: begun.started,
            duration,
            first_byte,
            upstream: begun.upstream,
            model: begun.model.clone(),
            request: begun.request.body().clone(),
            answer: read.as_ref().map(|a| a.json.clone()).unwrap_or_default(),
            skills: begun.skills.clone(),
            policy: begun.policy,
            usage,
            outcome,
        });
        if !recorded {
            self.metrics.records_dropped.inc();
        }
        let learns = begun.agent.config.mode != domain::Mode::SkillsOnly && begun.kind == TurnKind::Main;
        let answer = read.filter(|_| learns && outcome == TurnOutcome::Complete)?;
        let sample = Sample {
            turn: begun.id,
            agent: begun.agent.id.clone(),
            session: begun.session.clone(),
            // Replaced by the module that judges.
            policy: begun.policy.0,
            skill_generation: begun.skill_generation,
            weight: 1.0,
            tokens,
        };
        let view = SampleView {
            request: begun.request,
            agent: begun.agent.id.clone(),
            session: begun.session,
            model: begun.model,
            answer_text: answer.text,
            finish_reason: answer.finish_reason,
            usage: usage.unwrap_or_default(),
            skills: begun.skills,
            has_tokens: sample.tokens.is_some(),
        };
        Some((begun.agent, view, sample))
    }

    async fn sample(self: Arc<Self>, (agent, view, mut sample): (Arc<Agent>, SampleView, Sample)) {
        // A turn that has run had a policy.
        let Ok(policy) = &agent.policy else { return };
        let decided = policy.filter(Arc::new(view) as Arc<dyn SampleSource>).await;
        let name = agent.id.to_string();
        if let Some(failure) = &decided.failure {
            tracing::warn!(agent = %agent.id, turn = %sample.turn, %failure, "the sample filter failed, the built-in judged instead");
            let labels = FailureLabels { agent: name.clone(), hook: "filter", class: failure.class.as_str() };
            self.metrics.policy_failures.get_or_create(&labels).inc();
        }
        sample.policy = decided.digest;
        let verdict = match &decided.value {
            Verdict::Keep { weight } => {
                sample.weight = *weight;
                "keep"
            }
            Verdict::Drop { .. } => "drop",
        };
        let turn = sample.turn;
        match self.store.capture(sample, decided.value).await {
            Ok(_) => drop(self.metrics.samples.get_or_create(&SampleLabels { agent: name, verdict }).inc()),
            Err(error) => {
                tracing::error!(agent = %agent.id, %turn, %error, "a sample could not be made durable");
                self.metrics.samples_failed.get_or_create(&AgentLabels { agent: name }).inc();
            }
        }
    }
}

/// `main` or `side`, as headers and metrics write it.
pub(crate) fn kind_name(kind: TurnKind) -> &'static str {
    match kind {
        TurnKind::Main => "main",
        TurnKind::Side => "side",
    }
}
