//! What operators see of learning, and decide.

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::Response;

use super::AdminApp;
use super::agents::{answer, named};
use crate::error::HttpError;

/// An agent, and a skill or lesson of it.
type OfAgent = Path<(String, String)>;

/// `GET /admin/agents/{id}/lessons`: the lessons, and the versions that came of them.
pub(super) async fn history(State(app): State<AdminApp>, Path(id): Path<String>) -> Response<Body> {
    let history = async { Ok::<_, HttpError>(app.learning.history(&named(&id)?).await?) };
    answer(history.await)
}

/// `POST /admin/agents/{id}/lessons/{lesson}/retry`
pub(super) async fn retry(State(app): State<AdminApp>, Path((id, lesson)): OfAgent) -> Response<Body> {
    let again = async { Ok::<_, HttpError>(app.learning.retry(&named(&id)?, &lesson).await?) };
    answer(again.await)
}

/// `POST /admin/agents/{id}/skills/{name}/approve?version=BEGINNING&replace=true`
pub(super) async fn approve(
    State(app): State<AdminApp>,
    Path((id, name)): OfAgent,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    let (version, replace) = (value(&query, "version"), value(&query, "replace") == Some("true"));
    let approved = async { Ok::<_, HttpError>(app.learning.approve(&named(&id)?, &name, version, replace).await?) };
    answer(approved.await)
}

/// `POST /admin/agents/{id}/skills/{name}/reject?version=BEGINNING`
pub(super) async fn reject(
    State(app): State<AdminApp>,
    Path((id, name)): OfAgent,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    let version = value(&query, "version");
    let rejected = async { Ok::<_, HttpError>(app.learning.reject(&named(&id)?, &name, version).await?) };
    answer(rejected.await)
}

/// `POST /admin/agents/{id}/skills/{name}/rollback?version=BEGINNING`
pub(super) async fn rollback(
    State(app): State<AdminApp>,
    Path((id, name)): OfAgent,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    let version = value(&query, "version");
    let back = async { Ok::<_, HttpError>(app.learning.rollback(&named(&id)?, &name, version).await?) };
    answer(back.await)
}

/// `POST /admin/agents/{id}/skills/{name}/retire`
pub(super) async fn retire(State(app): State<AdminApp>, Path((id, name)): OfAgent) -> Response<Body> {
    let retired = async { Ok::<_, HttpError>(app.learning.retire(&named(&id)?, &name).await?) };
    answer(retired.await)
}

/// A value of the query; none of ours needs escaping.
pub(super) fn value<'a>(query: &'a Option<String>, name: &str) -> Option<&'a str> {
    let pairs = query.as_deref().unwrap_or_default().split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}
