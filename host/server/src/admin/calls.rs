//! Tool calls that policies have left to operators.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode};
use serde_json::json;

use super::AdminApp;
use crate::error::{HttpError, json};

/// `GET /admin/calls`
pub(crate) async fn list(State(app): State<AdminApp>) -> Response<Body> {
    json(StatusCode::OK, json!({"calls": app.host.held_calls()}).to_string().into())
}

/// `POST /admin/calls/{call}/allow`
pub(crate) async fn allow(State(app): State<AdminApp>, Path(id): Path<String>) -> Response<Body> {
    answer(&app, &id, true)
}

/// `POST /admin/calls/{call}/deny`
pub(crate) async fn deny(State(app): State<AdminApp>, Path(id): Path<String>) -> Response<Body> {
    answer(&app, &id, false)
}

fn answer(app: &AdminApp, id: &str, allowed: bool) -> Response<Body> {
    let waited = id.parse().is_ok_and(|id| app.host.answer_call(id, allowed));
    match waited {
        true => json(StatusCode::OK, json!({"call": id, "allowed": allowed}).to_string().into()),
        false => HttpError::NotFound.into_response(),
    }
}
