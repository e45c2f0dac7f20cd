use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use domain::{AgentId, SessionId, TokenTrace, TurnId, TurnOutcome, Usage};
use http_body::{Body, Frame, SizeHint};
use protocol::CompletionHead;
use tokio::time::{Instant, Sleep};

use crate::adapters::name;
use crate::backend::BackendBody;
use crate::errand::Answered;
use crate::error::TurnError;
use crate::open_turn::{Ending, OpenTurn};
use crate::recorder::Begun;

/// An answer that has begun, with what the client may know about how it came to be.
pub struct Reply {
    /// The turn.
    pub turn: TurnId,
    /// Whose.
    pub agent: AgentId,
    /// In which session; worth telling clients that named none.
    pub session: SessionId,
    /// The value of `x-metaclaw-policy`: which module decided, and why the built-in did if it had to.
    pub policy: String,
    /// The value of `x-metaclaw-upstream`, when there is something to tell: who answered, after how many attempts.
    pub upstream: Option<String>,
    /// The value of `x-metaclaw-adapter`, when the answer is made with one: `AGENT@GENERATION`.
    pub adapter: Option<String>,
    /// How many skills were injected.
    pub skills: usize,
    /// How many messages were left out for want of room.
    pub omitted: usize,
    /// Whether `body` is an event stream, as the client wanted; otherwise it is JSON.
    pub streamed: bool,
    /// The bytes.
    pub body: ReplyBody,
}

/// What is known of a reply before there is one.
pub(crate) struct Outline {
    turn: TurnId,
    agent: AgentId,
    session: SessionId,
    policy: String,
    skills: usize,
    pub(crate) streamed: bool,
}

/// Passes an answer's bytes on as they come and keeps a copy beside them. When it ends, or is dropped because the client
/// went away, the turn is handed to the recorder; dropping it also drops the upstream's body, which closes that connection.
///
/// A stream consists of whole events at every moment, so that an error, which the reader of this body writes as an event of
/// its own, or a word to wait on can stand between any two frames.
pub struct ReplyBody {
    source: Source,
    streamed: bool,
    kept: BytesMut,
    too_large: bool,
    first_byte: Option<Duration>,
    turn: OpenTurn,
    tokens: Arc<OnceLock<TokenTrace>>,
    pulse: Option<Pulse>,
    over: bool,
}

/// Where the bytes come from.
enum Source {
    /// Nobody has answered yet.
    Awaited(Pin<Box<dyn Future<Output = Result<Answered, TurnError>> + Send>>),
    Begun(BackendBody),
}

/// Tells the client of a silent stream to wait on. As with the upstream's own timer, a piece of the answer does not pay for
/// a clock: the silence lasts between one and two of `every`.
pub(crate) struct Pulse {
    timer: Pin<Box<Sleep>>,
    every: Duration,
    heard: bool,
}

/// The most of one answer that is kept for the record; a longer answer goes out whole but is not learned from.
const MAX_KEPT: usize = 16 << 20;
/// A comment, which every reader of event streams skips.
const WAIT_ON: &[u8] = b": keep-alive\n\n";

impl Reply {
    pub(crate) fn about(begun: &Begun, policy: String) -> Outline {
        Outline {
            turn: begun.id,
            agent: begun.agent.id.clone(),
            session: begun.session.clone(),
            policy,
            skills: begun.skills.len(),
            streamed: begun.request.stream(),
        }
    }
}

impl Outline {
    /// Somebody has answered.
    pub(crate) fn answered(self, answered: Answered, mut turn: OpenTurn, pulse: Option<Pulse>) -> Reply {
        let Answered { answering, by, attempts, sent, fell_back } = answered;
        let omitted = sent.omitted();
        turn.sent(sent);
        turn.answered_with(answering.adapter);
        if fell_back {
            turn.answered_by(&by.upstream, &by.model);
        }
        let adapter = (answering.adapter > 0).then(|| name(&self.agent, answering.adapter));
        let upstream = (attempts > 1 || fell_back).then(|| format!("{}; attempts={attempts}", by.upstream));
        let body = ReplyBody::new(Source::Begun(answering.body), self.streamed, turn, answering.tokens, pulse);
        Reply { omitted, adapter, ..self.with(upstream, body) }
    }

    /// Nobody has answered yet.
    pub(crate) fn awaited(
        self,
        asking: Pin<Box<dyn Future<Output = Result<Answered, TurnError>> + Send>>,
        turn: OpenTurn,
        pulse: Pulse,
    ) -> Reply {
        let body = ReplyBody::new(Source::Awaited(asking), self.streamed, turn, Arc::default(), Some(pulse));
        self.with(None, body)
    }

    /// The host answers itself.
    pub(crate) fn own(self, answer: Bytes, turn: OpenTurn) -> Reply {
        let source = Source::Begun(BackendBody::Own(Some(answer)));
        let body = ReplyBody::new(source, self.streamed, turn, Arc::default(), None);
        self.with(None, body)
    }

    fn with(self, upstream: Option<String>, body: ReplyBody) -> Reply {
        let Outline { turn, agent, session, policy, skills, streamed } = self;
        Reply { turn, agent, session, policy, upstream, adapter: None, skills, omitted: 0, streamed, body }
    }
}

impl Pulse {
    pub(crate) fn every(every: Duration) -> Self {
        Pulse { timer: Box::pin(tokio::time::sleep(every)), every, heard: false }
    }

    /// Waits for the first time that something must be said.
    pub(crate) async fn beat(&mut self) {
        self.timer.as_mut().await;
    }

    /// Whether something must be said now.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            std::task::ready!(self.timer.as_mut().poll(cx));
            self.timer.as_mut().reset(Instant::now() + self.every);
            if !std::mem::take(&mut self.heard) {
                return Poll::Ready(());
            }
        }
    }
}

impl ReplyBody {
    fn new(
        source: Source,
        streamed: bool,
        turn: OpenTurn,
        tokens: Arc<OnceLock<TokenTrace>>,
        pulse: Option<Pulse>,
    ) -> Self {
        let (kept, too_large, first_byte, over) = (BytesMut::new(), false, None, false);
        ReplyBody { source, streamed, kept, too_large, first_byte, turn, tokens, pulse, over }
    }

    fn keep(&mut self, data: &[u8]) {
        self.first_byte.get_or_insert_with(|| self.turn.elapsed());
        if let Some(pulse) = &mut self.pulse {
            pulse.heard = true;
        }
        if self.kept.len() + data.len() > MAX_KEPT {
            self.too_large = true;
            self.kept = BytesMut::new();
        } else if !self.too_large {
            self.kept.extend_from_slice(data);
        }
    }

    /// All of the answer was given.
    fn outcome(&self) -> TurnOutcome {
        match self.source {
            Source::Begun(BackendBody::Own(_)) => TurnOutcome::Refused,
            _ => TurnOutcome::Complete,
        }
    }

    /// A stream whose connection is seen to end after its last event.
    fn is_stream_of_upstream(&self) -> bool {
        use BackendBody::{Events, Gated, Lifted};
        matches!(self.source, Source::Begun(Events(_) | Lifted(_) | Gated(_)))
    }

    fn is_done(&self) -> bool {
        matches!(&self.source, Source::Begun(body) if body.is_done())
    }

    fn hand_over(&mut self, outcome: TurnOutcome) {
        self.over = true;
        let answer = std::mem::take(&mut self.kept).freeze();
        let tokens = (outcome == TurnOutcome::Complete).then(|| self.tokens.get().cloned()).flatten();
        self.turn.end(Ending { outcome, first_byte: self.first_byte, answer, streamed: self.streamed, tokens });
    }

    fn fail(&mut self, error: TurnError) -> Poll<Option<Result<Frame<Bytes>, TurnError>>> {
        // Of a stream, the last event says it.
        if !self.streamed {
            tracing::warn!(turn = ?self.turn.id(), %error, "an answer broke off");
        }
        self.hand_over(TurnOutcome::Failed);
        Poll::Ready(Some(Err(error)))
    }

    /// Nothing comes at the moment.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TurnError>>> {
        let done = self.is_done();
        match &mut self.pulse {
            Some(pulse) if !done => pulse.poll(cx).map(|()| Some(Ok(Frame::data(Bytes::from_static(WAIT_ON))))),
            _ => Poll::Pending,
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = TurnError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TurnError>>> {
        let this = &mut *self;
        while !this.over {
            let next = match &mut this.source {
                Source::Begun(body) => body.poll_data(cx),
                Source::Awaited(asking) => match asking.as_mut().poll(cx) {
                    Poll::Pending => return this.wait(cx),
                    Poll::Ready(Err(error)) => return this.fail(error),
                    Poll::Ready(Ok(Answered { answering, by, sent, fell_back, .. })) => {
                        this.turn.sent(sent);
                        this.turn.answered_with(answering.adapter);
                        if fell_back {
                            this.turn.answered_by(&by.upstream, &by.model);
                        }
                        this.source = Source::Begun(answering.body);
                        this.tokens = answering.tokens;
                        continue;
                    }
                },
            };
            match next {
                Poll::Pending => return this.wait(cx),
                Poll::Ready(Some(Ok(data))) => {
                    this.keep(&data);
                    // A body of announced length is not asked again once its bytes are out.
                    if this.is_done() && !this.is_stream_of_upstream() {
                        this.hand_over(this.outcome());
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(error))) => return this.fail(error.into()),
                Poll::Ready(None) => this.hand_over(this.outcome()),
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Begun(body) if !self.streamed => body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        // A client may leave as soon as it has read `[DONE]`, before the connection to the upstream is seen to end.
        let outcome = if self.is_done() { self.outcome() } else { TurnOutcome::Cancelled };
        self.hand_over(outcome);
    }
}

/// A refusal is an ordinary answer: clients show it, and do not retry or lock the key as they do after an error.
pub(crate) fn refusal(begun: &Begun, words: &str) -> Bytes {
    let created = begun.started.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let head = CompletionHead { id: format!("chatcmpl-{}", begun.id), created, model: begun.model.clone() };
    let usage = Usage::default();
    if begun.request.stream() {
        let shown = begun.request.include_usage().then_some(usage);
        [head.first_event(), head.text_event(words), head.last_events("stop", shown)].concat().into()
    } else {
        head.whole(words, "stop", usage)
    }
}
