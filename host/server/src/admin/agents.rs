//! What an operator does to one agent of the running host.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode};
use domain::AgentId;
use serde_json::{Value, json};

use super::AdminApp;
use crate::error::{HttpError, json};

/// `POST /admin/agents/{id}/breaker/reset`: its policy is asked again at once.
pub(super) async fn reset(State(app): State<AdminApp>, Path(id): Path<String>) -> Response<Body> {
    let reset = named(&id).and_then(|id| app.host.reset_breaker(&id).ok_or(HttpError::NoAgent));
    answer(reset.map(|was_open| json!({"agent": id, "was_open": was_open})))
}

/// `GET /admin/agents/{id}/sessions`: also of an agent that spoke once and is not configured.
pub(super) async fn sessions(State(app): State<AdminApp>, Path(id): Path<String>) -> Response<Body> {
    let sessions = async {
        let sessions = app.host.sessions_of(&named(&id)?).await.map_err(HttpError::Store)?;
        Ok(json!({"agent": id, "sessions": sessions}))
    };
    answer(sessions.await)
}

/// `POST /admin/agents/{id}/sessions/{session}/end`: saying it twice does no harm.
pub(super) async fn end(State(app): State<AdminApp>, Path((id, session)): Path<(String, String)>) -> Response<Body> {
    let ended = async {
        let agent = named(&id)?;
        let session = session.parse().map_err(|_| HttpError::NoSession)?;
        Ok(json!({"ended": app.host.end_session_of(&agent, &session).await?}))
    };
    answer(ended.await)
}

/// `GET /admin/agents/{id}/sessions/{session}/skills`: those that its prompt has.
pub(super) async fn skills(State(app): State<AdminApp>, Path((id, session)): Path<(String, String)>) -> Response<Body> {
    let skills = || {
        let session = session.parse().map_err(|_| HttpError::NoSession)?;
        Ok(json!({"skills": app.host.skills_in(&named(&id)?, &session)}))
    };
    answer(skills())
}

pub(super) fn named(id: &str) -> Result<AgentId, HttpError> {
    AgentId::from_trusted(id).map_err(|_| HttpError::NoAgent)
}

pub(super) fn answer(result: Result<Value, HttpError>) -> Response<Body> {
    match result {
        Ok(value) => json(StatusCode::OK, value.to_string().into()),
        Err(error) => error.into_response(),
    }
}
