use agents::{BackendError, EmbeddedError, TurnError};
use local_model::{ModelError, SubmitError};
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};
use bytes::Bytes;
use protocol::{ErrorBody, ErrorDetail};
use upstream::UpstreamError;
use uuid::Uuid;

/// The request's id, in every answer.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Everything that can be wrong with a request, on its way to becoming a response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error(transparent)]
    Turn(#[from] TurnError),
    #[error("this host wants an API key: send it as `Authorization: Bearer …`")]
    Unauthorized,
    #[error("the body is larger than {0} bytes, which is the most this host takes")]
    TooLarge(usize),
    #[error("the body did not arrive: {0}")]
    Body(String),
    #[error("the body did not arrive in time")]
    SlowBody,
    #[error("the header `{0}` stands more than once or is not text: send it once, as UTF-8")]
    Header(&'static str),
    #[error("there is nothing at this path: see GET /v1/models and POST /v1/chat/completions")]
    NotFound,
    #[error("this path does not take that method")]
    Method,
    #[error("no turn has this id, or it is not recorded yet")]
    NoTurn,
    #[error("the store cannot be read: {0}")]
    Store(#[source] store::StoreError),
}

/// Status, error family, error code.
type Shape = (StatusCode, &'static str, &'static str);

const INVALID: &str = "invalid_request_error";
const UPSTREAM: &str = "upstream_error";
const SERVER: &str = "server_error";

impl HttpError {
    /// The one table of errors and statuses. OpenClaw locks a key away after 401 and 403 and retries for minutes after 429
    /// and 5xx, so each is kept for what it means.
    fn shape(&self) -> Shape {
        match self {
            HttpError::Turn(error) => turn_shape(error),
            HttpError::Unauthorized => (StatusCode::UNAUTHORIZED, "authentication_error", "invalid_api_key"),
            HttpError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, INVALID, "body_too_large"),
            HttpError::Body(_) => (StatusCode::BAD_REQUEST, INVALID, "body_incomplete"),
            HttpError::SlowBody => (StatusCode::REQUEST_TIMEOUT, INVALID, "body_timeout"),
            HttpError::Header(_) => (StatusCode::BAD_REQUEST, INVALID, "ambiguous_header"),
            HttpError::NotFound => (StatusCode::NOT_FOUND, INVALID, "not_found"),
            HttpError::Method => (StatusCode::METHOD_NOT_ALLOWED, INVALID, "method_not_allowed"),
            HttpError::NoTurn => (StatusCode::NOT_FOUND, INVALID, "turn_not_found"),
            HttpError::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "store_error"),
        }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let request_id = Uuid::now_v7().to_string();
        if let HttpError::Turn(TurnError::Upstream(BackendError::Http(UpstreamError::Rejected { status, body, retry_after, .. }))) = &self
            && let Some(response) = upstreams_own_words(*status, body, retry_after.as_deref(), &request_id)
        {
            return response;
        }
        let (status, kind, code) = self.shape();
        if status.is_server_error() {
            tracing::warn!(%request_id, error = %self, "a request failed");
        }
        let error = ErrorDetail { message: self.to_string(), kind, param: None, code, request_id: request_id.clone() };
        let mut response = json(status, ErrorBody { error }.to_json());
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        with_id(response, &request_id)
    }
}

fn turn_shape(error: &TurnError) -> Shape {
    match error {
        TurnError::Request(_) => (StatusCode::BAD_REQUEST, INVALID, "invalid_body"),
        TurnError::Identity(_) => (StatusCode::BAD_REQUEST, INVALID, "invalid_identity"),
        TurnError::Agent(_) => (StatusCode::BAD_REQUEST, INVALID, "unknown_agent"),
        TurnError::Policy { .. } => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "policy_unavailable"),
        TurnError::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "overloaded"),
        TurnError::Closing => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "shutting_down"),
        TurnError::NoUpstream { .. } => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "no_upstream"),
        TurnError::Upstream(BackendError::Http(error)) => match error {
            UpstreamError::Unreachable { .. } => (StatusCode::BAD_GATEWAY, UPSTREAM, "upstream_unreachable"),
            UpstreamError::Timeout { .. } => (StatusCode::GATEWAY_TIMEOUT, UPSTREAM, "upstream_timeout"),
            UpstreamError::Broken { .. } => (StatusCode::BAD_GATEWAY, UPSTREAM, "upstream_broken"),
            // The host's own key is wrong, which is no fault of the client's key.
            UpstreamError::Rejected { status: 401 | 403, .. } => (StatusCode::BAD_GATEWAY, UPSTREAM, "upstream_credentials"),
            UpstreamError::Rejected { status: 429, .. } => (StatusCode::TOO_MANY_REQUESTS, UPSTREAM, "upstream_rate_limited"),
            UpstreamError::Rejected { status: 400..=499, .. } => (StatusCode::BAD_REQUEST, UPSTREAM, "upstream_rejected"),
            UpstreamError::Rejected { .. } => (StatusCode::BAD_GATEWAY, UPSTREAM, "upstream_failed"),
        },
        TurnError::Upstream(BackendError::Embedded(error)) => match error {
            EmbeddedError::Submit(SubmitError::Busy { .. }) => (StatusCode::TOO_MANY_REQUESTS, UPSTREAM, "model_busy"),
            EmbeddedError::Submit(SubmitError::Stopped) | EmbeddedError::Model(ModelError::Stopped) => {
                (StatusCode::SERVICE_UNAVAILABLE, SERVER, "shutting_down")
            }
            EmbeddedError::Model(ModelError::TooLong { .. }) => (StatusCode::BAD_REQUEST, INVALID, "context_length_exceeded"),
            EmbeddedError::Model(ModelError::Template(_) | ModelError::Message { .. } | ModelError::Sampling { .. })
            | EmbeddedError::Request(_) => (StatusCode::BAD_REQUEST, INVALID, "invalid_body"),
            EmbeddedError::Model(_) => (StatusCode::BAD_GATEWAY, UPSTREAM, "model_failed"),
        },
    }
}

/// A provider's complaint about the client's request is passed on as it is: it says best what is wrong. Credentials and
/// server errors are the host's affair and are told in the host's words.
fn upstreams_own_words(status: u16, body: &Bytes, retry_after: Option<&str>, request_id: &str) -> Option<Response<Body>> {
    if !matches!(status, 400 | 402 | 404 | 409 | 413 | 415 | 422 | 429) || serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err() {
        return None;
    }
    let mut response = json(StatusCode::from_u16(status).ok()?, body.clone());
    if let Some(wait) = retry_after.and_then(|w| HeaderValue::from_str(w).ok()) {
        response.headers_mut().insert(RETRY_AFTER, wait);
    }
    Some(with_id(response, request_id))
}

pub(crate) fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn with_id(mut response: Response<Body>, request_id: &str) -> Response<Body> {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
