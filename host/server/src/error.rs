use agents::{BackendError, EmbeddedError, FeedbackError, TurnError};
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};
use bytes::Bytes;
use domain::AgentId;
use learning::OperatorError;
use local_model::{ModelError, SubmitError};
use protocol::{ErrorBody, ErrorDetail, Flaw};
use training::OperatorError as TrainingError;
use upstream::UpstreamError;
use uuid::Uuid;

use crate::access::Refused;

/// The request's id, in every answer.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Everything that can be wrong with a request, on its way to becoming a response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error(transparent)]
    Turn(#[from] TurnError),
    #[error(transparent)]
    Unauthorized(#[from] Refused),
    #[error("this host has no key and serves its own machine only: a request from another site or name is refused")]
    Foreign,
    #[error("administration takes no request of a web page, nor one under another name than this machine's")]
    ForeignAdmin,
    #[error("the host is stopping")]
    Stopping,
    #[error("the body is larger than {0} bytes, which is the most this host takes")]
    TooLarge(usize),
    #[error("the body did not arrive: {0}")]
    Body(String),
    #[error("the body did not arrive in time")]
    SlowBody,
    #[error(
        "the header `{0}` stands more than once, or differs from its X-ClawRouter- form, or is not text: send it once, as UTF-8"
    )]
    Header(&'static str),
    #[error("the request is not clear about its {0}: it and the connection end here")]
    Ambiguous(&'static str),
    #[error("there is nothing at this path: see GET /v1/models and POST /v1/chat/completions")]
    NotFound,
    #[error("this path does not take that method")]
    Method,
    #[error("no agent of this name is configured, nor has one spoken: see `metaclaw agents list`")]
    NoAgent,
    #[error("this is no session's name: see `metaclaw sessions list`")]
    NoSession,
    #[error("no turn has this id, or it is not recorded yet")]
    NoTurn,
    #[error(
        "the feedback is not understood: {0}; it is a JSON object with \"turn\": the x-request-id of an answer, and \"reward\": -1 to 1, or \
         \"rating\": \"up\" or \"down\", or \"skills\": at most 32 names of those that helped"
    )]
    Feedback(String),
    #[error(transparent)]
    NotNoted(FeedbackError),
    #[error(transparent)]
    Learning(#[from] learning::OperatorError),
    #[error(transparent)]
    Training(#[from] training::OperatorError),
    #[error("this is no adapter's number: see `metaclaw adapters list`")]
    NoAdapter,
    #[error("`{0}` in the query is not a number of seconds")]
    Query(&'static str),
    #[error("no agent here trains: set its mode to rl, and let the embedded model answer it (`metaclaw train status`)")]
    NoTrainer,
    #[error("no agent has samples to train on: `metaclaw train status` says what each one waits for")]
    NothingToTrain,
    #[error("the step is not done after {0} s; it goes on: `metaclaw train status`")]
    StepGoesOn(u64),
    #[error("the step of agent `{agent}` has failed: {reason}")]
    StepFailed { agent: AgentId, reason: String },
    #[error("the store cannot be read: {0}")]
    Store(#[source] store::StoreError),
}

impl From<FeedbackError> for HttpError {
    fn from(error: FeedbackError) -> Self {
        match error {
            FeedbackError::Turn(error) => error.into(),
            // A turn of another agent, one that nobody has made and an id that is none look alike.
            FeedbackError::NoTurn => HttpError::NoTurn,
            error => HttpError::NotNoted(error),
        }
    }
}

/// Status, error family, error code.
type Shape = (StatusCode, &'static str, &'static str);

const INVALID: &str = "invalid_request_error";
const UPSTREAM: &str = "upstream_error";
const SERVER: &str = "server_error";
const AUTHENTICATION: &str = "authentication_error";

impl HttpError {
    /// The one table of errors and statuses. OpenClaw locks a key away after 401, 402 and 403, and tries again for a minute and
    /// more after 429 and 5xx, so each is kept for what it means: 401 for the client's own key, 429 and 5xx for what may pass.
    /// What only the operator can mend is a 400, which fails at once and locks nothing.
    fn shape(&self) -> Shape {
        match self {
            HttpError::Turn(error) => turn_shape(error),
            HttpError::Unauthorized(_) => (StatusCode::UNAUTHORIZED, AUTHENTICATION, "invalid_api_key"),
            HttpError::Foreign | HttpError::ForeignAdmin => (StatusCode::FORBIDDEN, AUTHENTICATION, "foreign_origin"),
            HttpError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "shutting_down"),
            HttpError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, INVALID, "body_too_large"),
            HttpError::Body(_) => (StatusCode::BAD_REQUEST, INVALID, "body_incomplete"),
            HttpError::SlowBody => (StatusCode::REQUEST_TIMEOUT, INVALID, "body_timeout"),
            HttpError::Header(_) => (StatusCode::BAD_REQUEST, INVALID, "ambiguous_header"),
            HttpError::Ambiguous(_) => (StatusCode::BAD_REQUEST, INVALID, "ambiguous_request"),
            HttpError::NotFound => (StatusCode::NOT_FOUND, INVALID, "not_found"),
            HttpError::Method => (StatusCode::METHOD_NOT_ALLOWED, INVALID, "method_not_allowed"),
            HttpError::NoAgent => (StatusCode::NOT_FOUND, INVALID, "unknown_agent"),
            HttpError::NoSession => (StatusCode::NOT_FOUND, INVALID, "unknown_session"),
            HttpError::NoTurn => (StatusCode::NOT_FOUND, INVALID, "turn_not_found"),
            HttpError::Feedback(_) => (StatusCode::BAD_REQUEST, INVALID, "invalid_feedback"),
            HttpError::NotNoted(error) => match error {
                FeedbackError::Turn(error) => turn_shape(error),
                FeedbackError::NoTurn => (StatusCode::NOT_FOUND, INVALID, "turn_not_found"),
                FeedbackError::NoSkill { .. } => (StatusCode::BAD_REQUEST, INVALID, "unknown_skill"),
                FeedbackError::Busy => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "overloaded"),
                FeedbackError::Request(_) | FeedbackError::Store(_) => {
                    (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "store_error")
                }
            },
            HttpError::Learning(error) => match error {
                OperatorError::Nothing { .. } | OperatorError::NoLesson { .. } => {
                    (StatusCode::NOT_FOUND, INVALID, "nothing_to_decide")
                }
                OperatorError::Several { .. } => (StatusCode::CONFLICT, INVALID, "several_versions"),
                OperatorError::Foreign(_) => (StatusCode::CONFLICT, INVALID, "persons_skill"),
                OperatorError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "learning_failed"),
            },
            HttpError::Training(error) => match error {
                TrainingError::NoAgent(_) => (StatusCode::NOT_FOUND, INVALID, "unknown_agent"),
                TrainingError::NoAdapter { .. } => (StatusCode::NOT_FOUND, INVALID, "unknown_adapter"),
                TrainingError::Refused { .. } => (StatusCode::CONFLICT, INVALID, "not_trained"),
                TrainingError::NoStep { .. } => (StatusCode::CONFLICT, INVALID, "nothing_to_train"),
                TrainingError::NoWayBack(_) => (StatusCode::CONFLICT, INVALID, "nothing_to_roll_back"),
                TrainingError::NotSo { .. } => (StatusCode::CONFLICT, INVALID, "adapter_state"),
                TrainingError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "training_failed"),
            },
            HttpError::NoAdapter => (StatusCode::NOT_FOUND, INVALID, "unknown_adapter"),
            HttpError::Query(_) => (StatusCode::BAD_REQUEST, INVALID, "invalid_query"),
            HttpError::NoTrainer => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "no_trainer"),
            HttpError::NothingToTrain => (StatusCode::CONFLICT, INVALID, "nothing_to_train"),
            HttpError::StepGoesOn(_) => (StatusCode::GATEWAY_TIMEOUT, SERVER, "train_step_timeout"),
            HttpError::StepFailed { .. } => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "train_step_failed"),
            HttpError::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "store_error"),
        }
    }

    /// The upstream that refuses the host itself: for its key, or for its account.
    fn refused_by(&self) -> Option<&str> {
        match self {
            HttpError::Turn(TurnError::Upstream(BackendError::Http(error))) => match error {
                UpstreamError::Rejected { name, .. } => error.refuses_the_host().then_some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// The answer to a request that is no turn.
    pub(crate) fn into_response(self) -> Response<Body> {
        self.for_request(&Uuid::now_v7().to_string())
    }

    /// The answer to the request of this id.
    pub(crate) fn for_request(self, request_id: &str) -> Response<Body> {
        let mut wait = None;
        if let HttpError::Turn(TurnError::Upstream(BackendError::Http(UpstreamError::RefusedClient {
            status,
            body,
            ..
        }))) = &self
            && let Some(response) = own_words(*status, body)
        {
            return with_headers(response, wait, request_id);
        }
        if let HttpError::Turn(TurnError::Upstream(BackendError::Http(rejected))) = &self
            && let UpstreamError::Rejected { status, body, retry_after, .. } = rejected
            && self.refused_by().is_none()
        {
            wait = retry_after.as_deref().and_then(|w| HeaderValue::from_str(w).ok());
            if let Some(response) = upstreams_own_words(*status, body) {
                return with_headers(response, wait, request_id);
            }
        }
        let (status, error) = self.detail(request_id);
        let passes = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        wait = wait.or(passes.then(|| HeaderValue::from_static("1")));
        with_headers(json(status, ErrorBody { error }.to_json()), wait, request_id)
    }

    /// The event that says this at the end of a stream, where it is too late for a status.
    pub(crate) fn to_event(&self, request_id: &str) -> Bytes {
        let (_, error) = self.detail(request_id);
        ErrorBody { error }.to_event()
    }

    /// What the client is told, and with which status; the log is told more.
    fn detail(&self, request_id: &str) -> (StatusCode, ErrorDetail) {
        let (status, kind, code) = self.shape();
        let refused = self.refused_by();
        if status.is_server_error() || refused.is_some() {
            tracing::warn!(%request_id, error = %self, "a request failed");
        }
        let message = match refused {
            // OpenClaw takes any word of keys, money or numbers such as 401 for a fault of its own key, and locks it away.
            Some(name) => format!("upstream `{name}` does not take this host's requests: the host's log says why"),
            None => self.to_string(),
        };
        (status, ErrorDetail { message, kind, param: None, code, request_id: request_id.to_owned() })
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
            UpstreamError::Unreachable { .. } | UpstreamError::Forbidden { .. } => {
                (StatusCode::BAD_GATEWAY, UPSTREAM, "upstream_unreachable")
            }
            UpstreamError::Timeout { .. } => (StatusCode::GATEWAY_TIMEOUT, UPSTREAM, "upstream_timeout"),
            UpstreamError::NoCredential { .. } => (StatusCode::UNAUTHORIZED, AUTHENTICATION, "missing_credential"),
            // The client's own login: it alone can mend it.
            UpstreamError::RefusedClient { status, .. } => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::UNAUTHORIZED);
                (status, AUTHENTICATION, "credential_refused")
            }
            UpstreamError::Malformed { flaw: Flaw::Error { .. }, .. } => {
                (StatusCode::BAD_GATEWAY, UPSTREAM, "upstream_failed")
            }
            UpstreamError::Broken { .. } | UpstreamError::Malformed { flaw: Flaw::Cut, .. } => {
                (StatusCode::BAD_GATEWAY, UPSTREAM, "upstream_broken")
            }
            UpstreamError::Malformed { .. } | UpstreamError::Encoded { .. } => {
                (StatusCode::BAD_GATEWAY, UPSTREAM, "upstream_malformed")
            }
            // The host's own key or account is at fault, not the client's, and trying again does not mend it.
            UpstreamError::Rejected { .. } if error.refuses_the_host() => {
                (StatusCode::BAD_REQUEST, UPSTREAM, "upstream_refused")
            }
            UpstreamError::Rejected { status: 429, .. } => {
                (StatusCode::TOO_MANY_REQUESTS, UPSTREAM, "upstream_rate_limited")
            }
            // Trying again may help, which a 400 denies.
            UpstreamError::Rejected { status: 408, .. } => (StatusCode::GATEWAY_TIMEOUT, UPSTREAM, "upstream_timeout"),
            UpstreamError::Rejected { status: 400..=499, .. } => {
                (StatusCode::BAD_REQUEST, UPSTREAM, "upstream_rejected")
            }
            UpstreamError::Rejected { .. } => (StatusCode::BAD_GATEWAY, UPSTREAM, "upstream_failed"),
        },
        TurnError::Upstream(BackendError::Embedded(error)) => match error {
            EmbeddedError::Submit(SubmitError::Busy { .. }) => (StatusCode::TOO_MANY_REQUESTS, UPSTREAM, "model_busy"),
            EmbeddedError::Submit(SubmitError::Stopped) | EmbeddedError::Model(ModelError::Stopped) => {
                (StatusCode::SERVICE_UNAVAILABLE, SERVER, "shutting_down")
            }
            EmbeddedError::Model(ModelError::TooLong { .. }) => {
                (StatusCode::BAD_REQUEST, INVALID, "context_length_exceeded")
            }
            EmbeddedError::Model(
                ModelError::Template(_) | ModelError::Message { .. } | ModelError::Sampling { .. },
            )
            | EmbeddedError::OneAnswer
            | EmbeddedError::Request(_) => (StatusCode::BAD_REQUEST, INVALID, "invalid_body"),
            EmbeddedError::Model(_) => (StatusCode::BAD_GATEWAY, UPSTREAM, "model_failed"),
        },
    }
}

/// A provider's complaint about the client's request is passed on as it is: it says best what is wrong. Credentials and
/// server errors are the host's affair and are told in the host's words.
fn upstreams_own_words(status: u16, body: &Bytes) -> Option<Response<Body>> {
    let is_the_clients = matches!(status, 400 | 404 | 409 | 413 | 415 | 422 | 429);
    if is_the_clients { own_words(status, body) } else { None }
}

fn own_words(status: u16, body: &Bytes) -> Option<Response<Body>> {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).ok()?;
    Some(json(StatusCode::from_u16(status).ok()?, body.clone()))
}

pub(crate) fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn with_headers(mut response: Response<Body>, wait: Option<HeaderValue>, request_id: &str) -> Response<Body> {
    let id = HeaderValue::from_str(request_id).ok();
    let headers = [(REQUEST_ID, id), (RETRY_AFTER, wait)];
    response.headers_mut().extend(headers.into_iter().filter_map(|(name, value)| Some((name, value?))));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_keeps_its_meaning_and_its_wait() {
        for (status, body, retry_after, want) in [
            (429, r#"{"error":{}}"#, Some("7"), (429, "7")),
            (429, "<html>", Some("7"), (429, "7")),
            (429, "<html>", None, (429, "1")),
            (404, "{}", None, (404, "")),
            (404, "<html>", None, (400, "")),
            (401, "{}", None, (400, "")),
            (403, "{}", None, (400, "")),
            (402, "{}", None, (400, "")),
            (451, "{}", None, (400, "")),
            (400, r#"{"error":{"message":"API key not valid. Please pass a valid API key."}}"#, None, (400, "")),
            (
                429,
                r#"{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}"#,
                Some("7"),
                (400, ""),
            ),
            (429, r#"{"error":{"message":"Rate limit reached"}}"#, Some("7"), (429, "7")),
            (422, "{}", None, (422, "")),
            (408, "{}", None, (504, "")),
            (503, "{}", Some("9"), (502, "9")),
            (302, "", None, (502, "")),
        ] {
            let (name, body, retry_after) = ("u".into(), Bytes::from(body), retry_after.map(str::to_owned));
            let rejected = UpstreamError::Rejected { name, status, body, retry_after };
            let response = HttpError::from(TurnError::from(BackendError::from(rejected))).into_response();
            let wait = response.headers().get(RETRY_AFTER).map_or("", |w| w.to_str().unwrap());
            assert_eq!((response.status().as_u16(), wait), want, "{status}");
            assert!(response.headers().contains_key(REQUEST_ID));
        }
    }
}
