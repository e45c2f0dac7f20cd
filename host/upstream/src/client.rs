use std::time::Duration;

use bytes::Bytes;
use domain::Secret;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt, Limited};
use memchr::memmem;
use protocol::{Quirks, Spliced};
use reqwest::{Client, Request, Url};

use crate::body::{Pieces, SILENCE, UpstreamBody};
use crate::credential::{self, Credential};
use crate::error::{BuildError, UpstreamError, root_cause};

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections kept for each upstream; more are closed after use.
const IDLE_CONNECTIONS: usize = 256;
/// How much of an error body is read.
const MAX_ERROR_BODY: usize = 64 * 1024;
const EVENTS: &[u8] = b"text/event-stream";
/// How long an error body may take.
const ERROR_TIME: Duration = Duration::from_secs(10);

/// What config says of an HTTP upstream.
#[derive(Debug)]
pub struct Settings<'a> {
    /// Its name in config.
    pub name: &'a str,
    /// The base address, such as `https://api.openai.com/v1`.
    pub base: &'a str,
    /// The provider's key.
    pub api_key: Option<&'a Secret>,
    /// The header that carries the key: in `authorization` it is a bearer token, in any other it stands alone.
    pub key_header: &'a str,
    /// Whether the client's own credential goes there, and no key.
    pub forward: bool,
    /// Where its wire format departs from OpenAI's.
    pub quirks: &'static Quirks,
}

/// One provider: an address and the credential that goes there and nowhere else.
#[derive(Debug)]
pub struct HttpUpstream {
    name: String,
    client: Client,
    chat: Url,
    headers: HeaderMap,
    /// What goes into `headers`, to be told apart in what comes back.
    api_key: Option<Secret>,
    forward: bool,
    quirks: &'static Quirks,
}

/// The W3C trace headers of the client: beside a [`Credential`], the only ones of its headers that go up.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// `traceparent`
    pub parent: Option<HeaderValue>,
    /// `tracestate`
    pub state: Option<HeaderValue>,
}

/// What kind of answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentKind {
    /// Server-sent events.
    Events,
    /// JSON, or whatever else.
    Whole,
}

/// An answer that has begun.
#[derive(Debug)]
pub struct Reply {
    /// Its kind.
    pub kind: ContentKind,
    /// `Content-Type` as it came.
    pub content_type: Option<HeaderValue>,
    /// The rest.
    pub body: UpstreamBody,
}

/// Chooses the TLS implementation for every client of this process. Calling it again changes nothing.
pub fn install_crypto() {
    // A second install is refused, harmlessly: the first one is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl HttpUpstream {
    /// Sets the client up; opens no connection.
    pub fn new(settings: &Settings<'_>) -> Result<Self, BuildError> {
        let name = || settings.name.to_owned();
        let bad_base = || BuildError::Base { name: name(), base: settings.base.to_owned() };
        let chat =
            Url::parse(&format!("{}/chat/completions", settings.base.trim_end_matches('/'))).map_err(|_| bad_base())?;
        if !matches!(chat.scheme(), "http" | "https") {
            return Err(bad_base());
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(key) = settings.api_key {
            let (header, value) = credential::of_key(settings.key_header, key.expose())
                .ok_or_else(|| BuildError::Key { name: name() })?;
            headers.insert(header, value);
        }
        install_crypto();
        let client = Client::builder()
            .user_agent(concat!("metaclaw/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build()
            .map_err(|source| BuildError::Client { name: name(), source })?;
        let (api_key, forward, quirks) = (settings.api_key.cloned(), settings.forward, settings.quirks);
        Ok(HttpUpstream { name: name(), client, chat, headers, api_key, forward, quirks })
    }

    /// Where its wire format departs from OpenAI's.
    pub fn quirks(&self) -> &'static Quirks {
        self.quirks
    }

    /// Sends a chat request and waits for the head of the answer. Dropping the returned body closes the connection, which
    /// is how a provider learns that nobody listens any more.
    ///
    /// The client's credential goes up only where config says so.
    pub async fn chat(&self, body: Spliced, trace: &Trace, client: &Credential) -> Result<Reply, UpstreamError> {
        let mut request = Request::new(Method::POST, self.chat.clone());
        request.headers_mut().clone_from(&self.headers);
        if self.forward && !client.show(request.headers_mut()) {
            return Err(UpstreamError::NoCredential { name: self.name.clone() });
        }
        for (name, value) in [("traceparent", &trace.parent), ("tracestate", &trace.state)] {
            if let Some(value) = value {
                request.headers_mut().insert(name, value.clone());
            }
        }
        *request.body_mut() = Some(reqwest::Body::wrap(Pieces::new(body.parts, body.len)));
        let response = tokio::time::timeout(SILENCE, self.client.execute(request)).await;
        let response = response.map_err(|_| UpstreamError::Timeout { name: self.name.clone() })?;
        let response = response.map_err(|e| self.failed(&e))?;
        let status = response.status();
        let response: http::Response<reqwest::Body> = response.into();
        let (head, body) = response.into_parts();
        let body = UpstreamBody::new(self.name.clone(), body);
        if !status.is_success() {
            let retry_after = head.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()).map(str::to_owned);
            let body = tokio::time::timeout(ERROR_TIME, Limited::new(body, MAX_ERROR_BODY).collect()).await;
            let body = body.ok().and_then(Result::ok).map(|b| b.to_bytes()).unwrap_or_default();
            if self.forward && matches!(status.as_u16(), 401..=403) {
                return Err(UpstreamError::RefusedClient { name: self.name.clone(), status: status.as_u16(), body });
            }
            let body = self.without_key(body);
            return Err(UpstreamError::Rejected {
                name: self.name.clone(),
                status: status.as_u16(),
                body,
                retry_after,
            });
        }
        let content_type = head.headers.get(CONTENT_TYPE).cloned();
        let events = content_type.as_ref().is_some_and(|t| t.as_bytes().to_ascii_lowercase().starts_with(EVENTS));
        Ok(Reply { kind: if events { ContentKind::Events } else { ContentKind::Whole }, content_type, body })
    }

    /// Some providers repeat in their errors the key that they were shown, and errors are passed on in their own words.
    fn without_key(&self, body: Bytes) -> Bytes {
        let Some(key) = self.api_key.as_ref().map(|key| key.expose().as_bytes()).filter(|key| !key.is_empty()) else {
            return body;
        };
        let mut found = memmem::find_iter(&body, key).peekable();
        if found.peek().is_none() {
            return body;
        }
        let (mut clean, mut after) = (Vec::with_capacity(body.len()), 0);
        for at in found {
            clean.extend_from_slice(&body[after..at]);
            clean.extend_from_slice(b"[key]");
            after = at + key.len();
        }
        clean.extend_from_slice(&body[after..]);
        clean.into()
    }

    fn failed(&self, error: &reqwest::Error) -> UpstreamError {
        let name = self.name.clone();
        if error.is_timeout() {
            UpstreamError::Timeout { name }
        } else if error.is_connect() {
            UpstreamError::Unreachable { name, reason: root_cause(error) }
        } else {
            UpstreamError::Broken { name, reason: root_cause(error) }
        }
    }
}
