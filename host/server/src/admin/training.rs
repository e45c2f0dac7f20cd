//! What operators see of training, and decide.

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::Response;

use super::AdminApp;
use super::agents::{answer, named};
use super::learning::value;
use crate::error::HttpError;

/// The longest reason, in characters.
const MAX_REASON: usize = 200;

/// An agent, and the number of an adapter.
type OfAgent = Path<(String, String)>;

/// `GET /admin/training`: every lane, and what is under way.
pub(super) async fn status(State(app): State<AdminApp>) -> Response<Body> {
    answer(app.training.status().await.map_err(HttpError::from))
}

/// `POST /admin/agents/{id}/training/step`: answers when it has begun.
pub(super) async fn step(State(app): State<AdminApp>, Path(id): Path<String>) -> Response<Body> {
    let begun = async { Ok::<_, HttpError>(app.training.step(&named(&id)?).await?) };
    answer(begun.await)
}

/// `POST /admin/agents/{id}/training/pause`
pub(super) async fn pause(State(app): State<AdminApp>, Path(id): Path<String>) -> Response<Body> {
    let paused = async { Ok::<_, HttpError>(app.training.pause(&named(&id)?).await?) };
    answer(paused.await)
}

/// `POST /admin/agents/{id}/training/resume`
pub(super) async fn resume(State(app): State<AdminApp>, Path(id): Path<String>) -> Response<Body> {
    let resumed = async { Ok::<_, HttpError>(app.training.resume(&named(&id)?).await?) };
    answer(resumed.await)
}

/// `GET /admin/agents/{id}/adapters`
pub(super) async fn adapters(State(app): State<AdminApp>, Path(id): Path<String>) -> Response<Body> {
    let all = async { Ok::<_, HttpError>(app.training.adapters(&named(&id)?).await?) };
    answer(all.await)
}

/// `GET /admin/agents/{id}/adapters/{generation}`
pub(super) async fn adapter(State(app): State<AdminApp>, Path((id, generation)): OfAgent) -> Response<Body> {
    let one = async { Ok::<_, HttpError>(app.training.adapter(&named(&id)?, number(&generation)?).await?) };
    answer(one.await)
}

/// `GET /admin/agents/{id}/adapters/{generation}/diff/{other}`
pub(super) async fn diff(
    State(app): State<AdminApp>,
    Path((id, from, to)): Path<(String, String, String)>,
) -> Response<Body> {
    let diff = async { Ok::<_, HttpError>(app.training.diff(&named(&id)?, number(&from)?, number(&to)?).await?) };
    answer(diff.await)
}

/// `POST /admin/agents/{id}/adapters/{generation}/promote?reason=WORDS`
pub(super) async fn promote(
    State(app): State<AdminApp>,
    Path((id, generation)): OfAgent,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    let promoted = async {
        let (agent, generation) = (named(&id)?, number(&generation)?);
        Ok::<_, HttpError>(app.training.promote(&agent, generation, &reason(&query)).await?)
    };
    answer(promoted.await)
}

/// `POST /admin/agents/{id}/adapters/rollback?to=GENERATION&reason=WORDS`
pub(super) async fn rollback(
    State(app): State<AdminApp>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    let back = async {
        let to = value(&query, "to").map(number).transpose()?;
        Ok::<_, HttpError>(app.training.rollback(&named(&id)?, to, &reason(&query)).await?)
    };
    answer(back.await)
}

/// `POST /admin/agents/{id}/adapters/gc`
pub(super) async fn gc(State(app): State<AdminApp>, Path(id): Path<String>) -> Response<Body> {
    let removed = async { Ok::<_, HttpError>(app.training.gc(&named(&id)?).await?) };
    answer(removed.await)
}

fn number(text: &str) -> Result<u64, HttpError> {
    text.parse().map_err(|_| HttpError::NoAdapter)
}

/// An operator's own words, for the record.
fn reason(query: &Option<String>) -> String {
    let pairs = url::form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes());
    let words = pairs.into_iter().find(|(name, _)| name == "reason").map(|(_, words)| words.into_owned());
    words.unwrap_or_default().chars().take(MAX_REASON).collect()
}
