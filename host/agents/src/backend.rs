//! The two ways to get an answer: a provider over HTTP, and the model in this process.

use std::sync::{Arc, OnceLock};

use domain::TokenTrace;
use protocol::{Block, ChatRequest, Lifting, Splice};
use upstream::{ContentKind, Credential, HttpUpstream, Trace, UpstreamBody, UpstreamError};
use uuid::Uuid;

use crate::embedded::{Embedded, EmbeddedBody, EmbeddedError};
use crate::lifted::Lifted;

/// A configured upstream.
pub enum Backend {
    /// A provider.
    Http(HttpUpstream),
    /// The model in this process.
    Embedded(Embedded),
}

/// What an upstream is asked.
pub(crate) struct Ask {
    pub(crate) request: Arc<ChatRequest>,
    pub(crate) block: Option<Arc<Block>>,
    /// Empty: as the client asked.
    pub(crate) model: String,
    /// Names the conversation, for the embedded model's prompt cache.
    pub(crate) conversation: String,
    pub(crate) trace: Trace,
    /// What the client itself logs in with.
    pub(crate) credential: Credential,
}

/// An answer that has begun.
pub(crate) struct Answering {
    pub(crate) kind: ContentKind,
    pub(crate) content_type: Option<http::HeaderValue>,
    pub(crate) body: BackendBody,
    /// Filled when the answer is complete, by an upstream that samples here.
    pub(crate) tokens: Arc<OnceLock<TokenTrace>>,
}

/// An answer's bytes.
pub(crate) enum BackendBody {
    /// From a provider.
    Http(UpstreamBody),
    /// From a provider whose answers are lifted.
    Lifted(Box<Lifted>),
    /// From the model in this process.
    Embedded(EmbeddedBody),
    /// Made by the host.
    Own(Option<bytes::Bytes>),
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
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Answering, BackendError> {
        match self {
            Backend::Http(http) => {
                let model = (!ask.model.is_empty()).then_some(ask.model.as_str());
                let quirks = http.quirks();
                let body = ask.request.splice(&Splice { block: ask.block.as_deref(), model, quirks: Some(quirks) });
                let reply = http.chat(body, &ask.trace, &ask.credential).await?;
                let mut body = BackendBody::Http(reply.body);
                if !quirks.lifts.is_none() {
                    let ids = Uuid::new_v4().simple().to_string();
                    body = Lifted::new(body, reply.kind, Lifting::new(&quirks.lifts, &ask.request, ids)).into();
                }
                Ok(Answering { kind: reply.kind, content_type: reply.content_type, body, tokens: Arc::default() })
            }
            Backend::Embedded(model) => Ok(model.ask(ask).await?),
        }
    }

    pub(crate) async fn close(self) {
        match self {
            // Connections close with the client.
            Backend::Http(_) => {}
            Backend::Embedded(model) => model.close().await,
        }
    }
}
