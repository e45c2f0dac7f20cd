//! What is said of a lane, and of all of them.

use serde_json::Value;

use super::{lanes, text};
use crate::output;

/// The states of samples in the order in which they are gone through.
const STATES: [&str; 9] =
    ["captured", "scored", "eligible", "claimed", "consumed", "held-out", "expired", "rejected", "dropped"];

/// One agent's training, in a few lines.
pub(super) fn lane(lane: &Value) {
    output::line(format_args!("agent {}", text(&lane["agent"])));
    if let Some(reason) = lane["refused"].as_str() {
        output::line(format_args!("    does not train: {}", output::harmless(reason)));
    } else {
        output::line(format_args!("    {}", standing(lane)));
    }
    let counts = counts(lane);
    if !counts.is_empty() {
        output::line(format_args!("    samples  {counts}"));
    }
    let last = &lane["last"];
    if last.is_object() {
        output::line(format_args!("    last     {} ({})", outcome(last), text(&last["finished"])));
    }
    if let Some(error) = lane["error"].as_str() {
        let retry = lane["retry"].as_str().map(|at| format!("; tried again at {at}")).unwrap_or_default();
        output::line(format_args!(
            "    failed {} times: {}{retry}",
            lane["failures"],
            output::harmless(error).replace('\n', " ")
        ));
    }
}

/// What it is doing, in one line.
pub(super) fn standing(lane: &Value) -> String {
    let adapter = match lane["generation"].as_u64() {
        Some(generation) if generation > 0 => format!("{}@{generation} serves", text(&lane["agent"])),
        _ => "no adapter yet".to_owned(),
    };
    let when = match lane["mode"].as_str() {
        _ if lane["paused"] == true => ", paused (`metaclaw train resume`)",
        Some("when_told") => ", trains when told to (`metaclaw train step`)",
        _ => "",
    };
    let batch = format!("{} of {} for the next batch", lane["eligible"], lane["batch"]);
    format!("{adapter}; {}; {batch}{when}", phase(lane))
}

/// `idle`, or what is under way and how far.
pub(super) fn phase(lane: &Value) -> String {
    let phase = text(&lane["phase"]);
    match (lane["done"].as_u64(), lane["total"].as_u64()) {
        (Some(done), Some(total)) if total > 0 => format!("{phase} {done}/{total} tokens"),
        _ => phase,
    }
}

/// How many samples are in which state.
fn counts(lane: &Value) -> String {
    let count = |state: &&str| lane["samples"][**state].as_u64().filter(|count| *count > 0);
    let one = |state: &'static str| Some(format!("{} {state}", count(&state)?));
    STATES.into_iter().filter_map(one).collect::<Vec<_>>().join(", ")
}

/// What came of a step.
pub(super) fn outcome(step: &Value) -> String {
    let samples = step["samples"].as_u64().unwrap_or_default();
    let reward = step["mean_reward"].as_f64().map(|mean| format!(", mean reward {mean:.2}")).unwrap_or_default();
    let seconds = step["seconds"].as_f64().map(|seconds| format!(", {seconds:.1} s")).unwrap_or_default();
    let reason = step["reason"].as_str().map(|why| format!(": {}", output::harmless(why))).unwrap_or_default();
    let generation = step["generation"].as_u64().map(|number| format!("@{number} ")).unwrap_or_default();
    format!("{generation}{}{reason} ({samples} samples{reward}{seconds})", text(&step["state"]))
}

/// What `metaclaw status` says of training: what serves, what is under way, what failed. Nothing where nobody trains.
pub(crate) fn show_training(training: &Value, adapters: &Value) {
    for lane in lanes(training) {
        let agent = text(&lane["agent"]);
        match (lane["refused"].as_str(), lane["error"].as_str()) {
            (Some(_), _) => output::line(format_args!(
                "training: nothing is trained for agent `{agent}` (`metaclaw train status --agent {agent}` says why)"
            )),
            (None, Some(error)) => output::line(format_args!(
                "training: agent `{agent}` failed {} times: {}",
                lane["failures"],
                output::harmless(error).replace('\n', " ")
            )),
            (None, None) => output::line(format_args!("training: agent `{agent}`: {}", standing(lane))),
        }
    }
    let bytes = adapters["bytes"].as_u64().unwrap_or_default();
    let count = adapters["agents"].as_array().map_or(0, Vec::len);
    if count > 0 {
        let (used, limit) = (bytes.div_ceil(1 << 20), adapters["limit"].as_u64().unwrap_or_default() >> 20);
        output::line(format_args!("adapters: {count} serve; {used} of {limit} MiB of memory (`rl.adapter_memory`)"));
    }
}
