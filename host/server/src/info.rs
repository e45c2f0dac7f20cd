//! Everything that is not a turn: which models, is it alive, is it ready, what was counted, what became of a turn.

use std::collections::BTreeSet;

use agents::Host;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use domain::TurnId;
use prometheus_client::registry::Registry;
use serde_json::json;

use crate::access::Caller;
use crate::error::{HttpError, json};
use crate::state::App;

/// `GET /v1/models`: open, because OpenClaw asks without its key. So it names neither agents nor upstreams.
pub(crate) async fn models(State(app): State<App>) -> Response<Body> {
    let names: BTreeSet<String> = app.host.models().into_iter().map(|(model, _)| model).collect();
    let list = protocol::ModelList::new(names.into_iter().map(|name| (name, "metaclaw".to_owned())));
    json(StatusCode::OK, serde_json::to_vec(&list).unwrap_or_default().into())
}

/// `GET /healthz`: the process lives.
pub(crate) async fn health() -> Response<Body> {
    json(StatusCode::OK, json!({"ok": true, "version": env!("CARGO_PKG_VERSION")}).to_string().into())
}

/// `GET /readyz`: whether it can do its work. Open, so it says no more: `GET /admin/status` says why not.
pub(crate) async fn ready(State(app): State<App>) -> Response<Body> {
    let ready = app.host.problems().is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, json!({"ready": ready}).to_string().into())
}

/// `GET /metrics`: Prometheus text.
pub(crate) async fn metrics(State(app): State<App>, headers: HeaderMap) -> Response<Body> {
    match app.access.admit(&headers) {
        Ok(Caller::Operator) => {}
        // It counts what other agents do.
        Ok(Caller::Agents(_)) => return HttpError::NotFound.into_response(),
        Err(refused) => return refused.into_response(),
    }
    metrics_text(&app.host, &app.registry)
}

pub(crate) fn metrics_text(host: &Host, registry: &Registry) -> Response<Body> {
    host.count_losses();
    let mut text = String::new();
    // Encoding into a String cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, registry);
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// `GET /v1/turns/{id}`: whether a turn, and the sample made of it, are durable. Ids are random, so one cannot be guessed.
pub(crate) async fn turn(State(app): State<App>, Path(id): Path<String>, headers: HeaderMap) -> Response<Body> {
    let caller = match app.access.admit(&headers) {
        Ok(caller) => caller,
        Err(refused) => return refused.into_response(),
    };
    let Ok(id) = id.parse::<TurnId>() else { return HttpError::NoTurn.into_response() };
    match app.host.turn_state(id).await {
        Ok(Some(state)) if caller.may_see(&state.agent) => {
            json(StatusCode::OK, serde_json::to_vec(&state).unwrap_or_default().into())
        }
        Ok(_) => HttpError::NoTurn.into_response(),
        Err(error) => HttpError::Store(error).into_response(),
    }
}
