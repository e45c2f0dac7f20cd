use std::time::{Duration, Instant};

use agents::{Incoming, Reply};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Response};
use bytes::{Bytes, BytesMut};
use domain::TurnId;
use http_body_util::BodyExt;
use upstream::Trace;
use uuid::Uuid;

use crate::claims::claims;
use crate::error::{HttpError, REQUEST_ID};
use crate::event_body::EventBody;
use crate::forward::credential;
use crate::state::App;

/// How long the next piece of a body may take.
const BODY_PAUSE: Duration = Duration::from_secs(30);
/// How long the whole of it may take.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(300);
/// How much of a body that is too large is still read, and for how long.
const MAX_DISCARD: usize = 64 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(5);
/// How much is set aside for a body on its announced length alone.
const FIRST_RESERVE: usize = 256 << 10;

const AGENT: HeaderName = HeaderName::from_static("x-metaclaw-agent");
const SESSION: HeaderName = HeaderName::from_static("x-metaclaw-session");
const POLICY: HeaderName = HeaderName::from_static("x-metaclaw-policy");
const UPSTREAM: HeaderName = HeaderName::from_static("x-metaclaw-upstream");
const ADAPTER: HeaderName = HeaderName::from_static("x-metaclaw-adapter");
const SKILLS: HeaderName = HeaderName::from_static("x-metaclaw-skills");
const OMITTED: HeaderName = HeaderName::from_static("x-metaclaw-omitted");
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// `POST /v1/chat/completions`
pub(crate) async fn completions(State(app): State<App>, request: Request) -> Response<Body> {
    let turn = TurnId(Uuid::now_v7());
    match take(app, request, turn).await {
        Ok(response) => response,
        Err(error) => error.for_request(&turn.to_string()),
    }
}

async fn take(app: App, request: Request, turn: TurnId) -> Result<Response<Body>, HttpError> {
    let (head, body) = request.into_parts();
    let caller = app.access.admit(&head.headers)?;
    let claims = claims(&head.headers)?;
    let credential = credential(&head.headers, app.access.is_open())?;
    let trace =
        Trace { parent: head.headers.get("traceparent").cloned(), state: head.headers.get("tracestate").cloned() };
    let max_body = app.bounds.load().max_body;
    let body = tokio::time::timeout(BODY_TIME, read(body, &head.headers, max_body)).await;
    let body = body.map_err(|_| HttpError::SlowBody)??;
    let reply = app
        .host
        .turn(Incoming {
            turn,
            owners: caller.agents().cloned(),
            claims,
            body,
            received: Instant::now(),
            trace,
            credential,
        })
        .await?;
    Ok(answer(reply))
}

/// Reads the whole body, never more than `max` bytes of it, into memory of its own: a piece of the connection's read buffer
/// would keep all of that buffer for as long as the turn waits to be recorded.
pub(crate) async fn read(mut body: Body, headers: &HeaderMap, max: usize) -> Result<Bytes, HttpError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|n| n > max) {
        discard(body).await;
        return Err(HttpError::TooLarge(max));
    }
    let mut whole = BytesMut::with_capacity(announced.unwrap_or(0).min(FIRST_RESERVE));
    loop {
        let frame = tokio::time::timeout(BODY_PAUSE, body.frame()).await.map_err(|_| HttpError::SlowBody)?;
        let Some(frame) = frame else { return Ok(whole.freeze()) };
        let Ok(data) = frame.map_err(|e| HttpError::Body(e.to_string()))?.into_data() else { continue };
        if whole.len() + data.len() > max {
            discard(body).await;
            return Err(HttpError::TooLarge(max));
        }
        whole.extend_from_slice(&data);
    }
}

/// Reads on for a while without keeping anything: a client that is still writing would see its connection reset, and never the
/// answer that says why.
async fn discard(mut body: Body) {
    let rest = async {
        let mut left = MAX_DISCARD;
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    // Whoever is slower than this does without the answer.
    let _ = tokio::time::timeout(DISCARD_TIME, rest).await;
}

fn answer(reply: Reply) -> Response<Body> {
    let mut headers = HeaderMap::with_capacity(12);
    let kind = if reply.streamed { "text/event-stream" } else { "application/json" };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if reply.streamed {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
    }
    headers.insert(SKILLS, HeaderValue::from(reply.skills));
    if reply.omitted > 0 {
        headers.insert(OMITTED, HeaderValue::from(reply.omitted));
    }
    let texts = [(REQUEST_ID, reply.turn.to_string()), (AGENT, reply.agent.to_string()), (POLICY, reply.policy)];
    let upstream = reply.upstream.map(|upstream| (UPSTREAM, upstream));
    let adapter = reply.adapter.map(|adapter| (ADAPTER, adapter));
    for (name, text) in texts.into_iter().chain(upstream).chain(adapter) {
        headers.extend(HeaderValue::try_from(text).ok().map(|value| (name, value)));
    }
    // A session id may hold any printable text, so it is sent as its bytes.
    headers.extend(HeaderValue::from_bytes(reply.session.as_str().as_bytes()).ok().map(|value| (SESSION, value)));
    let body = if reply.streamed { Body::new(EventBody::new(reply.body, reply.turn)) } else { Body::new(reply.body) };
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}
