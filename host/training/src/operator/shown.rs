use std::time::SystemTime;

use domain::SampleState;
use serde_json::{Value, json};
use store::{Lane, StoredAdapter};

use crate::lane::Progress;
use crate::{Mode, Settings};

pub(super) fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

pub(super) fn adapter_json(adapter: &StoredAdapter) -> Value {
    let metrics: Value = serde_json::from_str(&adapter.metrics).unwrap_or_default();
    json!({
        "name": format!("{}@{}", adapter.agent, adapter.generation), "generation": adapter.generation,
        "parent": adapter.parent, "batch": adapter.batch.map(|batch| batch.to_string()), "state": adapter.state.as_str(),
        "folder": adapter.folder, "digest": adapter.digest.to_string(), "base": adapter.base,
        "created": time(adapter.created), "changed": time(adapter.changed), "reason": adapter.reason, "metrics": metrics,
    })
}

pub(super) fn progress_json(progress: &Progress) -> Value {
    let (done, total) = progress.watch.progress();
    json!({
        "phase": progress.phase.as_str(), "generation": progress.generation, "samples": progress.samples,
        "batch": progress.batch.to_string(), "tokens": done, "tokens_total": total,
        "seconds": progress.began.elapsed().as_secs_f64(),
    })
}

/// What the next step waits for, in words.
pub(super) fn waiting(settings: &Settings, lane: &Lane, has_judge: bool, of: impl Fn(SampleState) -> u64) -> String {
    let (eligible, captured) = (of(SampleState::Eligible), of(SampleState::Captured));
    let mut parts = Vec::new();
    if let (Some(error), Some(time)) = (&lane.error, lane.not_before.filter(|time| *time > SystemTime::now())) {
        parts.push(format!("the last step failed ({error}) and is tried again at {}", self::time(time)));
    }
    if of(SampleState::Claimed) > 0 {
        parts.push("its turn has not come".to_owned());
    } else if eligible < settings.batch_size as u64 {
        parts.push(format!("{eligible} of {} samples are there", settings.batch_size));
    } else if settings.mode == Mode::WhenTold {
        parts.push(format!("{eligible} samples are there: `metaclaw train step` takes a step"));
    } else {
        parts.push("its turn has not come".to_owned());
    }
    match (captured, has_judge) {
        (0, _) => {}
        (_, true) => parts.push(format!("{captured} wait for what follows them, or for the judge")),
        (_, false) => parts.push(format!(
            "{captured} have no reward: no judge is set up (`rl.prm_url`), so rewards come from the agent's policy or from \
             `POST /v1/feedback`"
        )),
    }
    parts.join("; ")
}
