//! MetaClaw's route to train a step, for an operator's own programs: it answers when the step is done.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Response, StatusCode};
use domain::AgentId;
use serde_json::{Value, json};
use tokio::time::Instant;
use training::Training;

use crate::admin::AdminApp;
use crate::error::{HttpError, json};
use crate::state::App;

/// How long a step is waited for unless the query says otherwise, as in MetaClaw; and at most.
const USUAL: Duration = Duration::from_secs(600);
const LONGEST: Duration = Duration::from_secs(3600);
/// How often it is looked whether it is done.
const LOOK: Duration = Duration::from_millis(100);

/// `POST /v1/admin/train_step?agent=NAME&timeout=SECONDS` at the front door: only with a key for administration, also where agents
/// need none.
pub(crate) async fn front(State(app): State<App>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response<Body> {
    if let Err(refused) = app.access.admit_admin(&headers) {
        return refused.into_response();
    }
    answer(step(&app.training, query.as_deref().unwrap_or_default()).await)
}

/// `POST /admin/train_step`, as above.
pub(crate) async fn back(State(app): State<AdminApp>, RawQuery(query): RawQuery) -> Response<Body> {
    answer(step(&app.training, query.as_deref().unwrap_or_default()).await)
}

fn answer(done: Result<Value, HttpError>) -> Response<Body> {
    match done {
        Ok(done) => json(StatusCode::OK, done.to_string().into()),
        Err(error) => error.into_response(),
    }
}

/// Trains a step of the agent that the query names, or else of every one that has samples, and waits for its end.
async fn step(training: &Training, query: &str) -> Result<Value, HttpError> {
    let value = |name: &str| url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
    let timeout = match value("timeout") {
        Some((_, seconds)) => seconds.parse().map(Duration::from_secs).map_err(|_| HttpError::Query("timeout"))?,
        None => USUAL,
    };
    let before = training.status().await?;
    let agents = match value("agent") {
        Some((_, name)) => vec![AgentId::from_trusted(&name).map_err(|_| HttpError::NoAgent)?],
        None => ready(&before)?,
    };
    for agent in &agents {
        training.step(agent).await?;
    }
    let until = Instant::now() + timeout.min(LONGEST);
    let mut steps: Vec<Option<Value>> = vec![None; agents.len()];
    while steps.iter().any(Option::is_none) {
        if Instant::now() >= until {
            return Err(HttpError::StepGoesOn(timeout.min(LONGEST).as_secs()));
        }
        tokio::time::sleep(LOOK).await;
        let now = training.status().await?;
        for (agent, step) in agents.iter().zip(&mut steps).filter(|(_, step)| step.is_none()) {
            let (was, is) = (of(&before, agent), of(&now, agent));
            if is["progress"].is_null() && is["last"] != was["last"] {
                *step = Some(outcome(training, agent, is).await?);
            }
        }
    }
    Ok(summary(&steps.into_iter().flatten().collect::<Vec<_>>()))
}

/// Every agent that has samples to train on.
fn ready(state: &Value) -> Result<Vec<AgentId>, HttpError> {
    let trains = |agent: &&Value| agent["refused"].is_null() && agent["mode"] != "off";
    let all: Vec<&Value> = state["agents"].as_array().into_iter().flatten().filter(trains).collect();
    if all.is_empty() {
        return Err(HttpError::NoTrainer);
    }
    let has_samples = |agent: &&&Value| agent["paused"] != true && agent["samples"]["eligible"].as_u64() > Some(0);
    let names = all.iter().filter(has_samples).filter_map(|agent| agent["agent"].as_str());
    let ready: Vec<AgentId> = names.filter_map(|name| AgentId::from_trusted(name).ok()).collect();
    if ready.is_empty() { Err(HttpError::NothingToTrain) } else { Ok(ready) }
}

/// How one agent's training stands.
fn of<'a>(state: &'a Value, agent: &AgentId) -> &'a Value {
    let all = state["agents"].as_array().into_iter().flatten();
    all.into_iter().find(|one| one["agent"] == agent.as_str()).unwrap_or(&Value::Null)
}

/// What came of an agent's last step.
async fn outcome(training: &Training, agent: &AgentId, now: &Value) -> Result<Value, HttpError> {
    let last = &now["last"];
    let adapters = training.adapters(agent).await?;
    let all = adapters["adapters"].as_array().into_iter().flatten();
    let Some(made) = all.into_iter().find(|one| one["generation"] == last["generation"]) else {
        let why = now["error"].as_str().or(last["outcome"].as_str()).unwrap_or_default().to_owned();
        return Err(HttpError::StepFailed { agent: agent.clone(), reason: why });
    };
    let metrics = &made["metrics"];
    Ok(json!({
        "agent": agent.as_str(), "generation": made["generation"], "state": made["state"], "reason": made["reason"],
        "samples": metrics["samples"], "mean_reward": metrics["mean_reward"], "success_rate": metrics["success_rate"],
        "drift": metrics["gate"]["drift"], "tokens": last["tokens"], "seconds": last["seconds"],
    }))
}

/// In MetaClaw's words, of all of them together, and each by itself.
fn summary(steps: &[Value]) -> Value {
    let count = |step: &Value| step["samples"].as_f64().unwrap_or_default();
    let samples: f64 = steps.iter().map(count).sum();
    let whole: u64 = steps.iter().filter_map(|step| step["samples"].as_u64()).sum();
    let mean = |name: &str| {
        let sum: f64 = steps.iter().filter_map(|step| Some(step[name].as_f64()? * count(step))).sum();
        if samples == 0.0 { 0.0 } else { sum / samples }
    };
    let rejected = steps.iter().any(|step| step["state"] == "rejected");
    json!({
        "status": if rejected { "rejected" } else { "ok" },
        "step": steps.iter().filter_map(|step| step["generation"].as_u64()).max(),
        "samples": whole, "mean_reward": mean("mean_reward"), "success_rate": mean("success_rate"), "steps": steps,
    })
}
