use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use serde_json::json;

use crate::claims::claims;
use crate::error::{HttpError, json};
use crate::state::App;

/// `POST /v1/sessions/end`: the session that the identity headers name is over. For clients that learn of an end when there is
/// no turn left to say it with. Saying it twice does no harm.
pub(crate) async fn end(State(app): State<App>, headers: HeaderMap) -> Response<Body> {
    match try_end(&app, &headers).await {
        Ok(ended) => json(StatusCode::OK, json!({"ended": ended}).to_string().into()),
        Err(error) => error.into_response(),
    }
}

async fn try_end(app: &App, headers: &HeaderMap) -> Result<bool, HttpError> {
    let caller = app.access.admit(headers)?;
    Ok(app.host.end_session(caller.agents().map(|own| &**own), &claims(headers)?).await?)
}
