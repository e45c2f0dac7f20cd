use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use domain::{Reach, Secret, UpstreamLimits};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method};
use protocol::{Flaw, Quirks, Spliced};
use reqwest::dns::Resolve;
use reqwest::{Client, Request, Url};
use tokio::time::Instant;

use crate::body::{Pieces, UpstreamBody};
use crate::credential::{self, Credential};
use crate::error::{BuildError, UpstreamError, root_cause};
use crate::guard::{self, Guarded, SystemResolver};
use crate::health::{self, Budget, Health, Watch};
use crate::reply::{self, Reply, Wanted};
use crate::retry::Pauses;

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
    /// How near it may be.
    pub reach: Reach,
    /// The provider's key.
    pub api_key: Option<&'a Secret>,
    /// The header that carries the key: in `authorization` it is a bearer token, in any other it stands alone.
    pub key_header: &'a str,
    /// Whether the client's own credential goes there, and no key.
    pub forward: bool,
    /// Where its wire format departs from OpenAI's.
    pub quirks: &'static Quirks,
    /// How patient to be with it.
    pub limits: UpstreamLimits,
}

/// One provider: an address and the credential that goes there and nowhere else.
#[derive(Debug)]
pub struct HttpUpstream {
    name: Arc<str>,
    client: Client,
    chat: Url,
    headers: HeaderMap,
    /// What goes into `headers`, to be told apart in what comes back.
    api_key: Option<Secret>,
    forward: bool,
    quirks: &'static Quirks,
    limits: UpstreamLimits,
    health: Arc<Health>,
    budget: Budget,
}

/// What an upstream is asked.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Makes the body; called for each attempt, so that the pieces need not be kept.
    pub body: &'a (dyn Fn() -> Spliced + Send + Sync),
    /// What the client itself logs in with; it goes up only where config says so.
    pub credential: &'a Credential,
    /// The client's trace.
    pub trace: &'a Trace,
    /// The kind of answer.
    pub wanted: Wanted,
    /// Told what became of each attempt, in one word: `answered`, or an [`UpstreamError::outcome`].
    pub note: &'a (dyn Fn(&'static str) + Send + Sync),
}

/// The W3C trace headers of the client: beside a [`Credential`], the only ones of its headers that go up.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// `traceparent`
    pub parent: Option<HeaderValue>,
    /// `tracestate`
    pub state: Option<HeaderValue>,
}

/// Chooses the TLS implementation for every client of this process. Calling it again changes nothing.
pub fn install_crypto() {
    // A second install is refused, harmlessly: the first one is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl HttpUpstream {
    /// Sets the client up; opens no connection.
    pub fn new(settings: &Settings<'_>) -> Result<Self, BuildError> {
        Self::with_resolver(settings, SystemResolver)
    }

    pub(crate) fn with_resolver(settings: &Settings<'_>, resolver: impl Resolve + 'static) -> Result<Self, BuildError> {
        let name = || settings.name.to_owned();
        let bad_base = || BuildError::Base { name: name(), base: settings.base.to_owned() };
        let chat =
            Url::parse(&format!("{}/chat/completions", settings.base.trim_end_matches('/'))).map_err(|_| bad_base())?;
        if !matches!(chat.scheme(), "http" | "https") {
            return Err(bad_base());
        }
        // An address is asked as it stands; the guard sees names.
        if let Some(refused) = guard::literal(&chat).filter(|kind| !settings.reach.has(*kind)) {
            return Err(BuildError::Address { name: name(), kind: refused.name() });
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
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
            .dns_resolver(Guarded::new(settings.name.into(), settings.reach, resolver))
            .tcp_nodelay(true)
            .connect_timeout(settings.limits.timeouts.connect)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build()
            .map_err(|source| BuildError::Client { name: name(), source })?;
        let limits = settings.limits;
        let (health, budget) = (Arc::new(Health::new(limits.ejection)), Budget::new(&limits.retries));
        let api_key = settings.api_key.cloned();
        let (name, forward, quirks) = (settings.name.into(), settings.forward, settings.quirks);
        Ok(HttpUpstream { name, client, chat, headers, api_key, forward, quirks, limits, health, budget })
    }

    /// Where its wire format departs from OpenAI's.
    pub fn quirks(&self) -> &'static Quirks {
        self.quirks
    }

    /// Whether it has failed so often that turns which can go elsewhere should, at this moment.
    pub fn is_resting(&self) -> bool {
        self.health.is_resting(std::time::Instant::now())
    }

    /// Whether it has failed so often and has not answered since.
    pub fn is_ejected(&self) -> bool {
        self.health.is_ejected()
    }

    /// Sends a chat request and waits until its answer has begun; asks again where that may help, as long as there is time.
    /// Dropping the answer closes the connection, which is how a provider learns that nobody listens any more.
    pub async fn chat(&self, question: Question<'_>) -> Result<Reply, UpstreamError> {
        let times = self.limits.timeouts;
        let now = Instant::now();
        let deadline = now + times.total;
        let first_byte = (now + times.first_byte).min(deadline);
        let trial = self.health.begin(now.into_std());
        self.budget.save();
        let mut pauses = Pauses::new(&self.limits.retries);
        loop {
            let error = match self.attempt(question, first_byte, deadline).await {
                Ok(mut reply) => {
                    (question.note)("answered");
                    match &mut reply {
                        Reply::Whole(_) => trial.succeeded(),
                        Reply::Events(events) => {
                            trial.begun();
                            events.watch(Watch::new(self.health.clone(), self.name.clone()));
                        }
                    }
                    return Ok(reply);
                }
                Err(error) => error,
            };
            (question.note)(error.outcome());
            // One that has failed for long is asked once a turn: it has enough to do.
            let again = if self.is_ejected() { None } else { pauses.after(&error) };
            let again = again.filter(|until| *until < first_byte && self.budget.spend());
            let Some(until) = again else {
                if !error.is_its_fault() {
                    trial.succeeded();
                } else {
                    health::report(&self.name, &error, trial.failed(std::time::Instant::now()));
                }
                return Err(error);
            };
            tracing::debug!(upstream = %self.name, %error, "an upstream is asked again");
            tokio::time::sleep_until(until).await;
        }
    }

    async fn attempt(
        &self,
        question: Question<'_>,
        first_byte: Instant,
        deadline: Instant,
    ) -> Result<Reply, UpstreamError> {
        let request = self.request(question)?;
        let mut timer = Box::pin(tokio::time::sleep_until(first_byte));
        let response = tokio::select! {
            biased;
            response = self.client.execute(request) => response.map_err(|e| self.failed(&e))?,
            () = &mut timer => return Err(UpstreamError::Timeout { name: self.name.to_string() }),
        };
        let status = response.status();
        let response: http::Response<reqwest::Body> = response.into();
        let (head, body) = response.into_parts();
        let body = UpstreamBody::new(self.name.clone(), body, timer, self.limits.timeouts.idle, deadline);
        let encoded = head.headers.get(CONTENT_ENCODING).is_some_and(|how| how.as_bytes() != b"identity");
        if !status.is_success() {
            let body = if encoded { Bytes::new() } else { error_body(body).await };
            let retry_after = head.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()).map(str::to_owned);
            return Err(self.rejected(status.as_u16(), body, retry_after));
        }
        if encoded {
            return Err(UpstreamError::Encoded { name: self.name.to_string() });
        }
        let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let says_events = kind.get(..EVENTS.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS));
        match reply::open(&self.name, body, says_events, question.wanted).await {
            // Some gateways pass a provider's error on with the status 200, and name the true one inside.
            Err(UpstreamError::Malformed { flaw: Flaw::Error { status: Some(status), body }, .. }) => {
                Err(self.rejected(status, body, None))
            }
            opened => opened,
        }
    }

    fn request(&self, question: Question<'_>) -> Result<Request, UpstreamError> {
        let mut request = Request::new(Method::POST, self.chat.clone());
        request.headers_mut().clone_from(&self.headers);
        if self.forward && !question.credential.show(request.headers_mut()) {
            return Err(UpstreamError::NoCredential { name: self.name.to_string() });
        }
        for (name, value) in [("traceparent", &question.trace.parent), ("tracestate", &question.trace.state)] {
            if let Some(value) = value {
                request.headers_mut().insert(name, value.clone());
            }
        }
        let body = (question.body)();
        *request.body_mut() = Some(reqwest::Body::wrap(Pieces::new(body.parts, body.len)));
        Ok(request)
    }

    fn rejected(&self, status: u16, body: Bytes, retry_after: Option<String>) -> UpstreamError {
        let name = self.name.to_string();
        if self.forward && matches!(status, 401..=403) {
            return UpstreamError::RefusedClient { name, status, body };
        }
        UpstreamError::Rejected { name, status, body: self.without_key(body), retry_after }
    }

    /// Some providers repeat in their errors the key that they were shown, and errors are passed on in their own words.
    fn without_key(&self, body: Bytes) -> Bytes {
        let Some(key) = self.api_key.as_ref().map(Secret::expose).filter(|key| !key.is_empty()) else { return body };
        let text = String::from_utf8_lossy(&body);
        if text.contains(key) { text.replace(key, "[key]").into() } else { body }
    }

    fn failed(&self, error: &reqwest::Error) -> UpstreamError {
        let name = self.name.to_string();
        if let Some(refused) = guard::refused(error) {
            return UpstreamError::Forbidden { name, kind: refused.kind.name() };
        }
        if error.is_connect() {
            let reason = if error.is_timeout() { "no connection in time".to_owned() } else { root_cause(error) };
            UpstreamError::Unreachable { name, reason }
        } else {
            UpstreamError::Broken { name, reason: root_cause(error) }
        }
    }
}

/// What comes of an error body, or of its beginning; nothing when it is slow.
async fn error_body(mut body: UpstreamBody) -> Bytes {
    let mut read = BytesMut::new();
    let reading = async {
        while let Some(Ok(more)) = body.next().await {
            let room = MAX_ERROR_BODY - read.len();
            read.extend_from_slice(&more[..more.len().min(room)]);
            if more.len() >= room {
                return;
            }
        }
    };
    match tokio::time::timeout(ERROR_TIME, reading).await {
        Ok(()) => read.freeze(),
        Err(_) => Bytes::new(),
    }
}
