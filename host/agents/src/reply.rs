use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use domain::{AgentId, SessionId, TokenTrace, TurnId, TurnOutcome};
use http_body::{Body, Frame, SizeHint};
use protocol::{StreamEnd, StreamWatch};
use upstream::ContentKind;

use crate::backend::{Answering, BackendBody, BackendError};
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
    /// How many skills were injected.
    pub skills: usize,
    /// Whether `body` is an event stream.
    pub streamed: bool,
    /// As the upstream sent it.
    pub content_type: Option<http::HeaderValue>,
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
}

impl Reply {
    pub(crate) fn about(begun: &Begun, policy: String) -> Outline {
        let (agent, session) = (begun.agent.id.clone(), begun.session.clone());
        Outline { turn: begun.id, agent, session, policy, skills: begun.skills.len() }
    }
}

impl Outline {
    pub(crate) fn answered(self, answering: Answering, turn: OpenTurn) -> Reply {
        let streamed = answering.kind == ContentKind::Events;
        Reply {
            turn: self.turn,
            agent: self.agent,
            session: self.session,
            policy: self.policy,
            skills: self.skills,
            streamed,
            content_type: answering.content_type,
            body: ReplyBody::new(answering.body, streamed, turn, answering.tokens),
        }
    }
}

/// Passes an answer's bytes on as they come and keeps a copy beside them. When it ends, or is dropped because the client
/// went away, the turn is handed to the recorder; dropping it also drops the upstream's body, which closes that connection.
pub struct ReplyBody {
    inner: BackendBody,
    streamed: bool,
    watch: StreamWatch,
    kept: BytesMut,
    too_large: bool,
    first_byte: Option<Duration>,
    turn: OpenTurn,
    tokens: Arc<OnceLock<TokenTrace>>,
    ended: bool,
    refused: bool,
    /// Bytes still to come, when the upstream announced how many. The server's connection does not ask again once they are
    /// out, so the end must be seen here.
    left: Option<u64>,
}

/// The most of one answer that is kept for the record; a longer answer goes out whole but is not learned from.
const MAX_KEPT: usize = 16 << 20;

impl ReplyBody {
    pub(crate) fn new(inner: BackendBody, streamed: bool, turn: OpenTurn, tokens: Arc<OnceLock<TokenTrace>>) -> Self {
        let refused = matches!(inner, BackendBody::Own(_));
        let left = inner.size_hint().exact();
        ReplyBody {
            inner,
            streamed,
            watch: StreamWatch::default(),
            kept: BytesMut::new(),
            too_large: false,
            first_byte: None,
            turn,
            tokens,
            ended: false,
            refused,
            left,
        }
    }

    fn keep(&mut self, data: &[u8]) {
        self.first_byte.get_or_insert_with(|| self.turn.elapsed());
        if self.streamed {
            self.watch.push(data);
        }
        if self.kept.len() + data.len() > MAX_KEPT {
            self.too_large = true;
            self.kept = BytesMut::new();
        } else if !self.too_large {
            self.kept.extend_from_slice(data);
        }
    }

    /// The upstream's body is over: what, if anything, must still be said?
    fn closing_words(&mut self) -> (TurnOutcome, Option<Bytes>) {
        if self.refused {
            return (TurnOutcome::Refused, None);
        }
        match self.streamed.then(|| self.watch.end()) {
            None | Some(StreamEnd::Done) => (TurnOutcome::Complete, None),
            Some(StreamEnd::Finished) => {
                let done: &[u8] =
                    if self.watch.at_event_start() { b"data: [DONE]\n\n" } else { b"\n\ndata: [DONE]\n\n" };
                (TurnOutcome::Complete, Some(Bytes::copy_from_slice(done)))
            }
            Some(StreamEnd::Broken) => (TurnOutcome::Failed, Some(self.broken_event())),
        }
    }

    fn broken_event(&self) -> Bytes {
        let error = protocol::ErrorBody {
            error: protocol::ErrorDetail {
                message: "the upstream broke off before the end of its answer".into(),
                kind: "upstream_error",
                param: None,
                code: "upstream_broken",
                request_id: self.turn.id().map(|id| id.to_string()).unwrap_or_default(),
            },
        };
        let event = error.to_event();
        if self.watch.at_event_start() { event } else { [b"\n\n".as_slice(), &event].concat().into() }
    }

    fn hand_over(&mut self, outcome: TurnOutcome) {
        let answer = std::mem::take(&mut self.kept).freeze();
        let tokens = (outcome == TurnOutcome::Complete).then(|| self.tokens.get().cloned()).flatten();
        self.turn.end(Ending { outcome, first_byte: self.first_byte, answer, streamed: self.streamed, tokens });
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BackendError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BackendError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        match std::task::ready!(this.inner.poll_data(cx)) {
            Some(Ok(data)) => {
                this.keep(&data);
                this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                if this.left == Some(0) && !this.streamed {
                    this.ended = true;
                    let (outcome, _) = this.closing_words();
                    this.hand_over(outcome);
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            None => {
                this.ended = true;
                let (outcome, words) = this.closing_words();
                this.hand_over(outcome);
                Poll::Ready(words.map(|w| Ok(Frame::data(w))))
            }
            Some(Err(error)) => {
                this.ended = true;
                tracing::warn!(turn = ?this.turn.id(), %error, "an answer broke off");
                let words = (this.streamed && this.watch.end() != StreamEnd::Done).then(|| this.broken_event());
                let whole = this.streamed && words.is_none();
                this.hand_over(if whole { TurnOutcome::Complete } else { TurnOutcome::Failed });
                match words {
                    Some(words) => Poll::Ready(Some(Ok(Frame::data(words)))),
                    None if whole => Poll::Ready(None),
                    // A body of announced length cannot be mended: the connection closes, which the client notices.
                    None => Poll::Ready(Some(Err(error))),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        // A stream may get closing words, so its length is not known.
        if self.streamed { SizeHint::default() } else { self.inner.size_hint() }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        // A client may leave as soon as it has read `[DONE]`, before the connection to the upstream is seen to end.
        let whole = self.streamed && self.watch.end() == StreamEnd::Done;
        self.hand_over(match (whole, self.refused) {
            (true, true) => TurnOutcome::Refused,
            (true, false) => TurnOutcome::Complete,
            (false, _) => TurnOutcome::Cancelled,
        });
    }
}

impl BackendBody {
    /// The next bytes; trailers are skipped.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BackendError>>> {
        loop {
            let frame = match self {
                BackendBody::Own(bytes) => return Poll::Ready(bytes.take().map(Ok)),
                BackendBody::Lifted(body) => return body.poll_data(cx),
                BackendBody::Embedded(body) => {
                    return body.poll_data(cx).map(|d| d.map(|d| d.map_err(BackendError::from)));
                }
                BackendBody::Http(body) => std::task::ready!(Pin::new(body).poll_frame(cx)),
            };
            match frame {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            BackendBody::Http(body) => body.size_hint(),
            BackendBody::Lifted(_) | BackendBody::Embedded(_) => SizeHint::default(),
            BackendBody::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
        }
    }
}
