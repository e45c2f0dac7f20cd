use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use domain::{
    AgentId, DecisionSource, Digest, EndReason, Sample, SessionId, TurnId, TurnKind, TurnOutcome, TurnRecord,
};
use protocol::{Answer, ChatRequest};
use store::Store;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::metrics::{Metrics, TurnLabels};
use crate::open_turn::Ending;
use crate::registry::Agent;
use crate::sampler::{Candidate, Sampler};
use crate::status::outcome_name;
use crate::uses::Uses;
use crate::views::SampleView;
use crate::window::Sent;

/// How many turns may be under way: each holds a place in the recorder's queue from its start, so that no finished turn can
/// be turned away for lack of room.
pub(crate) const MAX_IN_FLIGHT: usize = 4096;
/// How much the answers and requests of finished turns may hold while they wait to be recorded. Above it, new turns wait.
const MAX_BACKLOG: usize = 8 << 20;
/// What a finished turn holds beside its contents, roughly.
const TURN_COST: usize = 4 << 10;
/// How long a new turn waits for a place.
const PATIENCE: Duration = Duration::from_secs(5);
/// Answers above this are read off the async threads.
const READ_INLINE: usize = 1 << 20;

/// What is known of a turn before its answer.
pub(crate) struct Begun {
    pub(crate) id: TurnId,
    pub(crate) agent: Arc<Agent>,
    pub(crate) session: SessionId,
    pub(crate) session_key: Option<String>,
    pub(crate) kind: TurnKind,
    pub(crate) started: SystemTime,
    pub(crate) upstream: String,
    pub(crate) model: String,
    pub(crate) request: Arc<ChatRequest>,
    pub(crate) skills: Vec<String>,
    /// The skills that were found, in the prompt or not.
    pub(crate) offered: Vec<String>,
    pub(crate) skill_generation: u64,
    pub(crate) policy: (Digest, DecisionSource),
    pub(crate) ends_session: bool,
    /// What was sent, once somebody has answered.
    pub(crate) sent: Option<Sent>,
    /// The generation of the adapter that the answer is made with; 0: none.
    pub(crate) adapter: u64,
}

/// A turn that is over.
pub(crate) struct Finished {
    pub(crate) begun: Begun,
    pub(crate) duration: Duration,
    pub(crate) ending: Ending,
}

/// What waits to be written down, in order: the end of a session comes after the turns that were over before it.
enum Entry {
    Turn(Box<Finished>),
    End {
        agent: AgentId,
        session: SessionId,
        ended: oneshot::Sender<bool>,
    },
    /// Nothing, but it is known when it is its turn.
    Mark(oneshot::Sender<()>),
}

/// Writes finished turns down, and passes those that are to be learned from on. One owned task; the answer path only hands
/// over.
pub(crate) struct Recorder {
    queue: mpsc::Sender<Entry>,
    backlog: Arc<Backlog>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

/// The right of one turn to be recorded.
pub(crate) struct Place {
    queue: OwnedPermit<Entry>,
    backlog: Arc<Backlog>,
}

/// What finished turns hold while they wait, in bytes.
#[derive(Default)]
struct Backlog {
    bytes: AtomicUsize,
    shrunk: Notify,
}

struct Worker {
    store: Arc<Store>,
    uses: Arc<Uses>,
    metrics: Metrics,
    backlog: Arc<Backlog>,
}

impl Recorder {
    pub(crate) fn start(store: Arc<Store>, uses: Arc<Uses>, metrics: Metrics) -> Self {
        let (queue, entries) = mpsc::channel(MAX_IN_FLIGHT);
        let backlog = Arc::<Backlog>::default();
        let worker = Worker { store, uses, metrics, backlog: backlog.clone() };
        #[expect(clippy::disallowed_methods, reason = "owned here: `close` awaits it")]
        let task = tokio::spawn(worker.run(entries));
        Recorder { queue, backlog, task: tokio::sync::Mutex::new(Some(task)) }
    }

    /// A place for a turn that begins. When too many are under way, or the store does not keep up, it waits; none when it
    /// has waited in vain.
    pub(crate) async fn place(&self) -> Option<Place> {
        let queue = match self.queue.clone().try_reserve_owned() {
            Ok(place) => place,
            Err(_) => tokio::time::timeout(PATIENCE, self.queue.clone().reserve_owned()).await.ok()?.ok()?,
        };
        if self.backlog.is_full() {
            tokio::time::timeout(PATIENCE, self.backlog.room()).await.ok()?;
        }
        Some(Place { queue, backlog: self.backlog.clone() })
    }

    /// Ends a session once the turns that are over are written down, and says whether it was open; none when there was no place
    /// for the message, or the host closes.
    pub(crate) async fn end_session(&self, agent: AgentId, session: SessionId) -> Option<bool> {
        let (ended, answer) = oneshot::channel();
        let place = self.place().await?;
        place.queue.send(Entry::End { agent, session, ended });
        answer.await.ok()
    }

    /// Returns when the turns that are over are with the store; none when there was no place for the message, or the host closes.
    pub(crate) async fn caught_up(&self) -> Option<()> {
        let (reached, answer) = oneshot::channel();
        self.place().await?.queue.send(Entry::Mark(reached));
        answer.await.ok()
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

impl Place {
    /// Hands the turn over; never waits.
    pub(crate) fn take(self, turn: Finished) {
        self.backlog.bytes.fetch_add(turn.size(), Ordering::Relaxed);
        self.queue.send(Entry::Turn(Box::new(turn)));
    }
}

impl Backlog {
    fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > MAX_BACKLOG
    }

    async fn room(&self) {
        loop {
            let shrunk = self.shrunk.notified();
            if !self.is_full() {
                // One more may go: it will find out for itself.
                return self.shrunk.notify_one();
            }
            shrunk.await;
        }
    }

    fn shrink(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if !self.is_full() {
            self.shrunk.notify_one();
        }
    }
}

impl Finished {
    fn size(&self) -> usize {
        TURN_COST + self.begun.request.body().len() + self.ending.answer.len()
    }
}

impl Worker {
    async fn run(self, mut entries: mpsc::Receiver<Entry>) {
        let mut sampler = Sampler::new(self.uses.clone(), self.metrics.clone());
        while let Some(entry) = entries.recv().await {
            let turn = match entry {
                Entry::Turn(turn) => *turn,
                Entry::End { agent, session, ended } => {
                    // Whoever asked may have gone.
                    let _ = ended.send(self.end_session(&agent, &session).await);
                    continue;
                }
                Entry::Mark(reached) => {
                    let _ = reached.send(());
                    continue;
                }
            };
            let ends = turn.begun.ends_session.then(|| (turn.begun.agent.id.clone(), turn.begun.session.clone()));
            let size = turn.size();
            let candidate = self.record(turn).await;
            self.backlog.shrink(size);
            candidate.into_iter().for_each(|candidate| sampler.take(candidate));
            if let Some((agent, session)) = ends {
                self.end_session(&agent, &session).await;
            }
        }
        sampler.close().await;
    }

    async fn end_session(&self, agent: &AgentId, session: &SessionId) -> bool {
        match self.store.end_session(agent, session, EndReason::Header).await {
            Ok(ended) => {
                self.metrics.count_ended(EndReason::Header, u64::from(ended));
                ended
            }
            Err(error) => {
                tracing::error!(%agent, %session, %error, "the end of the session could not be recorded");
                false
            }
        }
    }

    /// Hands the record to the store; returns what is needed to make a sample when the turn is training material.
    async fn record(&self, turn: Finished) -> Option<Candidate> {
        let Finished { begun, duration, ending } = turn;
        let Ending { outcome, first_byte, answer, streamed, tokens } = ending;
        let read = read(answer, streamed).await;
        let usage = read.as_ref().and_then(|a| a.usage);
        if let (Some(sent), Some(usage)) = (&begun.sent, usage) {
            sent.learn(&begun.request, usage.prompt);
        }
        let labels = TurnLabels {
            agent: begun.agent.id.to_string(),
            kind: kind_name(begun.kind),
            outcome: outcome_name(outcome),
        };
        self.metrics.turns.get_or_create(&labels).inc();
        self.metrics.in_flight.dec();
        let record = TurnRecord {
            id: begun.id,
            agent: begun.agent.id.clone(),
            session: begun.session.clone(),
            session_key: begun.session_key,
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
            adapter: begun.adapter,
            usage,
            outcome,
        };
        if let Err(error) = self.store.record_turn(record).await {
            tracing::error!(agent = %begun.agent.id, turn = %begun.id, %error, "a turn could not be recorded");
            self.metrics.records_dropped.inc();
        } else if !begun.offered.is_empty()
            && let Err(error) = self.store.note_offered(&begun.agent.id, begun.offered).await
        {
            tracing::error!(agent = %begun.agent.id, turn = %begun.id, %error, "the skills of a turn could not be counted");
        }
        let learns = begun.agent.config.mode != domain::Mode::SkillsOnly && begun.kind == TurnKind::Main;
        let answer = read.filter(|a| learns && outcome == TurnOutcome::Complete && is_whole(a, streamed))?;
        let sample = Sample {
            turn: begun.id,
            agent: begun.agent.id.clone(),
            session: begun.session.clone(),
            // Replaced by the module that judges.
            policy: begun.policy.0,
            skill_generation: begun.skill_generation,
            adapter: begun.adapter,
            weight: 1.0,
            reward: None,
            tokens,
        };
        let view = SampleView {
            request: begun.request,
            agent: begun.agent.clone(),
            session: begun.session,
            received: begun.started,
            model: begun.model,
            answer: answer.json,
            answer_text: answer.text,
            finish_reason: answer.finish_reason,
            usage: usage.unwrap_or_default(),
            skills: begun.skills,
            has_tokens: sample.tokens.is_some(),
        };
        Some(Candidate { agent: begun.agent, view, sample })
    }
}

async fn read(answer: Bytes, streamed: bool) -> Option<Answer> {
    let large = answer.len() > READ_INLINE;
    let read = move || if streamed { Answer::from_stream(&answer) } else { Answer::from_json(&answer) };
    if large { tokio::task::spawn_blocking(read).await.ok().flatten() } else { read() }
}

/// Whether an answer can be learned from. A stream may end well and yet say that the upstream failed, or never come to a
/// finish.
fn is_whole(answer: &Answer, streamed: bool) -> bool {
    answer.finish_reason != "error" && !(streamed && answer.finish_reason.is_empty())
}

/// `main` or `side`, as headers and metrics write it.
pub(crate) fn kind_name(kind: TurnKind) -> &'static str {
    match kind {
        TurnKind::Main => "main",
        TurnKind::Side => "side",
    }
}
