//! The two ways to get an answer: a provider over HTTP, and the model in this process.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use domain::TokenTrace;
use http_body::SizeHint;
use local_model::{ModelError, SubmitError};
use protocol::{Block, ChatRequest, Lifting, Omission, Splice};
use upstream::{Credential, Events, HttpUpstream, Question, Trace, UpstreamError, Wanted};
use uuid::Uuid;

use crate::adapters::Slot;
use crate::embedded::{Embedded, EmbeddedBody, EmbeddedError};
use crate::gatekeeper::Gated;
use crate::lifted::{self, Lifted};

/// A configured upstream.
#[expect(clippy::large_enum_variant, reason = "there are as many as the configuration names")]
pub enum Backend {
    /// A provider.
    Http(HttpUpstream),
    /// The model in this process.
    Embedded(Embedded),
}

/// What an upstream is asked.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) request: Arc<ChatRequest>,
    pub(crate) block: Option<Arc<Block>>,
    /// Names the conversation, for the embedded model's prompt cache.
    pub(crate) conversation: String,
    /// Where the adapter is that the embedded model answers with; none: it answers as it is.
    pub(crate) adapter: Option<Arc<Slot>>,
    pub(crate) trace: Trace,
    /// What the client itself logs in with.
    pub(crate) credential: Credential,
}

/// An answer that has begun, of the kind that the client asked for.
pub(crate) struct Answering {
    pub(crate) body: BackendBody,
    /// Filled when the answer is complete, by an upstream that samples here.
    pub(crate) tokens: Arc<OnceLock<TokenTrace>>,
    /// The generation of the adapter that it is made with; 0: the model as it is.
    pub(crate) adapter: u64,
}

/// An answer's bytes.
pub(crate) enum BackendBody {
    /// All of them, from a provider.
    Whole(Option<Bytes>),
    /// Events from a provider.
    Events(Box<Events>),
    /// Events from a provider that leaves in the words what has fields of its own.
    Lifted(Box<Lifted>),
    /// Events whose tool calls are decided on.
    Gated(Box<Gated>),
    /// From the model in this process.
    Embedded(Box<EmbeddedBody>),
    /// Made by the host.
    Own(Option<Bytes>),
}

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A provider's fault.
    #[error(transparent)]
    Http(#[from] UpstreamError),
    /// The embedded model's fault.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
}

impl Backend {
    /// How many tokens a prompt and its answer may have together, where that is known of the server itself.
    pub(crate) fn window(&self) -> Option<u32> {
        match self {
            Backend::Http(_) => None,
            Backend::Embedded(embedded) => embedded.window(),
        }
    }

    /// Asks for this model; an empty name stands for the one that the client asks for. `note` is told of each attempt.
    pub(crate) async fn ask(
        &self,
        ask: &Ask,
        model: &str,
        omitted: &Omission,
        note: &(dyn Fn(&'static str) + Send + Sync),
    ) -> Result<Answering, BackendError> {
        match self {
            Backend::Http(http) => {
                let model = (!model.is_empty()).then_some(model);
                let quirks = http.quirks();
                let block = ask.block.as_deref();
                let splice = || Splice { block, model, omitted: Some(omitted), quirks: Some(quirks) };
                let body = || ask.request.splice(&splice());
                let wanted = Wanted { stream: ask.request.stream(), usage: ask.request.include_usage() };
                let question = Question { body: &body, credential: &ask.credential, trace: &ask.trace, wanted, note };
                let reply = http.chat(question).await?;
                let ids = || Uuid::new_v4().simple().to_string();
                let lifting = (!quirks.lifts.is_none()).then(|| Lifting::new(&quirks.lifts, &ask.request, ids()));
                let body = match (reply, lifting) {
                    (upstream::Reply::Whole(bytes), None) => BackendBody::Whole(Some(bytes)),
                    (upstream::Reply::Events(events), None) => BackendBody::Events(events),
                    (upstream::Reply::Whole(bytes), Some(lifting)) => {
                        BackendBody::Whole(Some(lifted::at_once(bytes, wanted.stream, lifting).await))
                    }
                    (upstream::Reply::Events(events), Some(lifting)) => {
                        BackendBody::Lifted(Box::new(Lifted::new(events, lifting)))
                    }
                };
                Ok(Answering { body, tokens: Arc::default(), adapter: 0 })
            }
            Backend::Embedded(embedded) => {
                let answering = embedded.ask(ask.clone(), model.to_owned(), omitted.clone()).await;
                note(if answering.is_ok() { "answered" } else { "failed" });
                Ok(answering?)
            }
        }
    }

    /// Whether it has failed so often that turns which can go elsewhere should, at this moment.
    pub(crate) fn is_resting(&self) -> bool {
        matches!(self, Backend::Http(http) if http.is_resting())
    }

    /// Whether it has failed so often and has not answered since.
    pub(crate) fn is_ejected(&self) -> bool {
        matches!(self, Backend::Http(http) if http.is_ejected())
    }

    /// Ends what it answers still, and waits until nothing of it runs.
    pub(crate) async fn close(&self) {
        match self {
            // Connections close with the client.
            Backend::Http(_) => {}
            Backend::Embedded(model) => model.close().await,
        }
    }
}

impl BackendError {
    /// Whether another upstream may do better.
    pub(crate) fn may_fall_back(&self) -> bool {
        match self {
            BackendError::Http(error) => error.may_fall_back(),
            BackendError::Embedded(error) => matches!(
                error,
                EmbeddedError::Submit(SubmitError::Busy { .. }) | EmbeddedError::Model(ModelError::TooLong { .. })
            ),
        }
    }

    /// How many tokens the model has counted, where they were too many for it.
    pub(crate) fn too_many_tokens(&self) -> Option<usize> {
        match self {
            BackendError::Embedded(EmbeddedError::Model(ModelError::TooLong { tokens, .. })) => Some(*tokens),
            _ => None,
        }
    }

    /// Whether the client may be luckier a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            BackendError::Http(error) => error.is_transient() || matches!(error, UpstreamError::Timeout { .. }),
            BackendError::Embedded(error) => matches!(error, EmbeddedError::Submit(SubmitError::Busy { .. })),
        }
    }
}

impl BackendBody {
    /// The next bytes: whole events of a stream. A stream that ends without an error has ended with `[DONE]`.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BackendError>>> {
        match self {
            BackendBody::Whole(bytes) | BackendBody::Own(bytes) => Poll::Ready(bytes.take().map(Ok)),
            BackendBody::Events(events) => events.poll_events(cx).map(|d| d.map(|d| d.map_err(BackendError::from))),
            BackendBody::Lifted(body) => body.poll_data(cx).map(|d| d.map(|d| d.map_err(BackendError::from))),
            BackendBody::Gated(body) => body.poll_data(cx),
            BackendBody::Embedded(body) => body.poll_data(cx).map(|d| d.map(|d| d.map_err(BackendError::from))),
        }
    }

    /// Whether all of the answer has been given, though its end may not have been seen.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            BackendBody::Whole(bytes) | BackendBody::Own(bytes) => bytes.is_none(),
            BackendBody::Events(events) => events.is_done(),
            BackendBody::Lifted(body) => body.is_done(),
            BackendBody::Gated(body) => body.is_done(),
            BackendBody::Embedded(body) => body.is_done(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            BackendBody::Whole(bytes) | BackendBody::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            BackendBody::Events(_) | BackendBody::Lifted(_) | BackendBody::Gated(_) | BackendBody::Embedded(_) => {
                SizeHint::default()
            }
        }
    }
}
