//! What an operator sees and changes, on a listener of its own that no agent's key opens: a Unix socket of this user, or a
//! loopback port with a key for administration.

mod agents;
mod calls;
mod learning;
mod training;

use std::sync::Arc;

use ::agents::{Host, Reloads};
use ::learning::Learning;
use ::training::Training;
use arc_swap::ArcSwapOption;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::ORIGIN;
use axum::http::{Response, StatusCode};
use axum::middleware::Next;
use axum::routing::{MethodRouter, get, post};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::access::{Access, is_local};
use crate::error::{HttpError, json};
use crate::{info, listen, train_step};

/// What the routes share.
#[derive(Clone)]
pub struct AdminApp {
    /// The turn pipeline.
    pub host: Arc<Host>,
    /// What is learned from sessions.
    pub learning: Arc<Learning>,
    /// What agents are trained with.
    pub training: Arc<Training>,
    /// What is measured.
    pub registry: Arc<Registry>,
    /// Who may come in, here and at the front door.
    pub access: Access,
    /// Asks for the configuration to be read anew; answered with what could not be taken over.
    pub reload: mpsc::Sender<Reload>,
    /// Begins the shutdown.
    pub stop: CancellationToken,
    /// Why the key file, as it is now, does not serve; none when it does.
    pub key_trouble: Arc<ArcSwapOption<String>>,
    /// What does not change while the host runs: its process, address, version and files.
    pub about: Arc<Value>,
}

/// Where the outcome of a reload goes.
pub type Reload = oneshot::Sender<Vec<String>>;

/// Who may come in at the admin listener.
#[derive(Clone)]
pub(crate) enum Guard {
    /// The socket lets in this user only.
    Peer,
    /// Whoever shows a key for administration.
    Key(Access),
}

type Route = (&'static str, &'static str, MethodRouter<AdminApp>);

fn routes() -> Vec<Route> {
    vec![
        ("GET", "/admin/status", get(status)),
        ("GET", "/admin/routes", get(list)),
        ("GET", "/admin/metrics", get(metrics)),
        ("POST", "/admin/reload", post(reload)),
        ("POST", "/admin/stop", post(stop)),
        ("GET", "/admin/calls", get(calls::list)),
        ("POST", "/admin/calls/{call}/allow", post(calls::allow)),
        ("POST", "/admin/calls/{call}/deny", post(calls::deny)),
        ("POST", "/admin/agents/{id}/breaker/reset", post(agents::reset)),
        ("GET", "/admin/agents/{id}/sessions", get(agents::sessions)),
        ("POST", "/admin/agents/{id}/sessions/{session}/end", post(agents::end)),
        ("GET", "/admin/agents/{id}/sessions/{session}/skills", get(agents::skills)),
        ("GET", "/admin/agents/{id}/lessons", get(learning::history)),
        ("POST", "/admin/agents/{id}/lessons/{lesson}/retry", post(learning::retry)),
        ("POST", "/admin/agents/{id}/skills/{name}/approve", post(learning::approve)),
        ("POST", "/admin/agents/{id}/skills/{name}/reject", post(learning::reject)),
        ("POST", "/admin/agents/{id}/skills/{name}/rollback", post(learning::rollback)),
        ("POST", "/admin/agents/{id}/skills/{name}/retire", post(learning::retire)),
        ("GET", "/admin/training", get(training::status)),
        ("POST", "/admin/train_step", post(train_step::back)),
        ("POST", "/admin/agents/{id}/training/step", post(training::step)),
        ("POST", "/admin/agents/{id}/training/pause", post(training::pause)),
        ("POST", "/admin/agents/{id}/training/resume", post(training::resume)),
        ("GET", "/admin/agents/{id}/adapters", get(training::adapters)),
        ("GET", "/admin/agents/{id}/adapters/{generation}", get(training::adapter)),
        ("GET", "/admin/agents/{id}/adapters/{generation}/diff/{other}", get(training::diff)),
        ("POST", "/admin/agents/{id}/adapters/{generation}/promote", post(training::promote)),
        ("POST", "/admin/agents/{id}/adapters/rollback", post(training::rollback)),
        ("POST", "/admin/agents/{id}/adapters/gc", post(training::gc)),
    ]
}

pub(crate) fn router(app: AdminApp, guard: Guard) -> Router {
    let all = routes().into_iter().fold(Router::new(), |router, (_, path, route)| router.route(path, route));
    all.fallback(async || HttpError::NotFound.into_response())
        .method_not_allowed_fallback(async || HttpError::Method.into_response())
        // Around everything, so that a path that does not exist looks like one that does to who may not come in.
        .layer(axum::middleware::from_fn_with_state(guard, check))
        .with_state(app)
}

async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response<Body> {
    let allowed = match &guard {
        // No program of an operator's names an origin; every web page does.
        _ if request.headers().contains_key(ORIGIN) => Err(HttpError::ForeignAdmin),
        Guard::Peer => Ok(()),
        Guard::Key(_) if !is_local(request.headers()) => Err(HttpError::ForeignAdmin),
        Guard::Key(access) => access.admit_admin(request.headers()),
    };
    match allowed {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// `GET /admin/status`
async fn status(State(app): State<AdminApp>) -> Response<Body> {
    let mut problems = app.host.problems();
    let ready = problems.is_empty();
    problems.extend(app.key_trouble.load().iter().map(|trouble| trouble.to_string()));
    let Reloads { count, problems: reload_problems } = app.host.reloads();
    let ring = app.access.ring();
    let learning = app.learning.status().await.unwrap_or_else(|error| json!({"problem": error.to_string()}));
    let training = app.training.status().await.unwrap_or_else(|error| json!({"problem": error.to_string()}));
    let state = json!({
        "host": *app.about,
        "ready": ready,
        "problems": problems,
        "reloads": count,
        "reload_problems": reload_problems,
        "keys": ring.records().len(),
        "learning": learning,
        "training": training,
        "adapters": app.host.adapters(),
        "models": app.host.models().into_iter().map(|(model, upstream)| json!({"model": model, "upstream": upstream}))
            .collect::<Vec<_>>(),
    });
    json(StatusCode::OK, state.to_string().into())
}

/// `GET /admin/routes`: every route of both listeners, so that a test can try them all.
async fn list() -> Response<Body> {
    let shown = |(method, path): (&str, &str)| json!({"method": method, "path": path});
    let admin: Vec<Value> = routes().into_iter().map(|(method, path, _)| shown((method, path))).collect();
    let open: Vec<Value> = listen::routes().into_iter().map(|(method, path, _)| shown((method, path))).collect();
    json(StatusCode::OK, json!({"admin": admin, "open": open}).to_string().into())
}

/// `GET /admin/metrics`
async fn metrics(State(app): State<AdminApp>) -> Response<Body> {
    info::metrics_text(&app.host, &app.registry)
}

/// `POST /admin/reload`: answers when it is done.
async fn reload(State(app): State<AdminApp>) -> Response<Body> {
    let (answer, outcome) = oneshot::channel();
    if app.reload.send(answer).await.is_err() {
        return HttpError::Stopping.into_response();
    }
    match outcome.await {
        Ok(problems) => json(StatusCode::OK, json!({"problems": problems}).to_string().into()),
        Err(_) => HttpError::Stopping.into_response(),
    }
}

/// `POST /admin/stop`: answers at once; turns under way finish.
async fn stop(State(app): State<AdminApp>) -> Response<Body> {
    app.stop.cancel();
    json(StatusCode::ACCEPTED, json!({"stopping": true}).to_string().into())
}
