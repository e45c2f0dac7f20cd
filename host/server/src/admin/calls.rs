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

/// `POST /admin/calls/{id}/allow`
pub(crate) async fn allow(State(app): State<AdminApp>, Path(id): Path<u64>) -> Response<Body> {
    answer(&app, id, true)
}

/// `POST /admin/calls/{id}/deny`
pub(crate) async fn deny(State(app): State<AdminApp>, Path(id): Path<u64>) -> Response<Body> {
    answer(&app, id, false)
}

fn answer(app: &AdminApp, id: u64, allowed: bool) -> Response<Body> {
    match app.host.answer_call(id, allowed) {
        true => json(StatusCode::OK, json!({"id": id, "allowed": allowed}).to_string().into()),
        false => HttpError::NotFound.into_response(),
    }
}
