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
    loop {
        let now = training.status().await?;
        for (agent, step) in agents.iter().zip(&mut steps).filter(|(_, step)| step.is_none()) {
            *step = ended(lane(&before, agent), lane(&now, agent));
        }
        if steps.iter().all(Option::is_some) {
            return summary(&agents, steps.into_iter().flatten().collect());
        }
        if Instant::now() >= until {
            return Err(HttpError::StepGoesOn(timeout.min(LONGEST).as_secs()));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Every agent that has samples to train on.
fn ready(state: &Value) -> Result<Vec<AgentId>, HttpError> {
    let lanes: Vec<&Value> = state["lanes"].as_array().into_iter().flatten().collect();
    let trains: Vec<&&Value> = lanes.iter().filter(|lane| lane["refused"].is_null()).collect();
    if trains.is_empty() {
        return Err(HttpError::NoTrainer);
    }
    let waits = |lane: &&&Value| lane["paused"] != true && lane["eligible"].as_u64().is_some_and(|count| count > 0);
    let names = trains.iter().filter(waits).filter_map(|lane| lane["agent"].as_str());
    let ready: Vec<AgentId> = names.filter_map(|name| AgentId::from_trusted(name).ok()).collect();
    if ready.is_empty() { Err(HttpError::NothingToTrain) } else { Ok(ready) }
}

fn lane<'a>(state: &'a Value, agent: &AgentId) -> &'a Value {
    let lanes = state["lanes"].as_array();
    lanes.into_iter().flatten().find(|lane| lane["agent"] == agent.as_str()).unwrap_or(&Value::Null)
}

/// What came of a step that was under way; none while it is.
fn ended(before: &Value, now: &Value) -> Option<Value> {
    let failed = now["failures"] != before["failures"] && now["error"].is_string();
    match &now["last"] {
        last if last.is_object() && last["batch"] != before["last"]["batch"] => Some(last.clone()),
        _ if failed => Some(json!({"state": "failed", "reason": now["error"]})),
        _ => None,
    }
}

/// In MetaClaw's words, of all of them together, and each by itself.
fn summary(agents: &[AgentId], steps: Vec<Value>) -> Result<Value, HttpError> {
    if let Some((agent, failed)) = agents.iter().zip(&steps).find(|(_, step)| step["state"] == "failed") {
        let reason = failed["reason"].as_str().unwrap_or_default().to_owned();
        return Err(HttpError::StepFailed { agent: agent.clone(), reason });
    }
    let count = |step: &Value| step["samples"].as_u64().unwrap_or_default();
    let samples: u64 = steps.iter().map(count).sum();
    let mean = |name: &str| {
        let sum: f64 = steps.iter().filter_map(|step| Some(step[name].as_f64()? * count(step) as f64)).sum();
        if samples == 0 { 0.0 } else { sum / samples as f64 }
    };
    let (mean_reward, success_rate) = (mean("mean_reward"), mean("success_rate"));
    let last = steps.iter().filter_map(|step| step["generation"].as_u64()).max();
    let each: Vec<Value> = agents
        .iter()
        .zip(&steps)
        .map(|(agent, step)| {
            let mut step = step.clone();
            step["agent"] = json!(agent.as_str());
            step
        })
        .collect();
    Ok(json!({
        "status": "ok", "step": last, "samples": samples, "mean_reward": mean_reward, "success_rate": success_rate,
        "steps": each,
    }))
}
