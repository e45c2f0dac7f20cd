//! What is said of an agent's training, and of all of them.

use serde_json::Value;

use super::{agents, text};
use crate::output;

/// The states of samples in the order in which they are gone through.
const STATES: [&str; 9] =
    ["captured", "scored", "eligible", "claimed", "consumed", "held-out", "expired", "rejected", "dropped"];

/// One agent's training, in a few lines.
pub(super) fn agent(one: &Value) {
    output::line(format_args!("agent {}", text(&one["agent"])));
    output::line(format_args!("    now      {}", standing(one)));
    if let Some(waits) = one["waits"].as_str().filter(|_| one["refused"].is_null()) {
        output::line(format_args!("    waits    {}", harmless(waits)));
    }
    let counts = counts(one);
    if !counts.is_empty() {
        output::line(format_args!("    samples  {counts}"));
    }
    let last = &one["last"];
    if last.is_object() {
        output::line(format_args!(
            "    last     @{} {}, {:.1} s ({})",
            last["generation"],
            text(&last["outcome"]),
            last["seconds"].as_f64().unwrap_or_default(),
            text(&last["time"])
        ));
    }
    for trouble in troubles(one) {
        output::line(format_args!("    trouble  {trouble}"));
    }
}

/// What it is doing, in one line.
pub(super) fn standing(one: &Value) -> String {
    if let Some(reason) = one["refused"].as_str() {
        return format!("nothing is trained: {}", harmless(reason));
    }
    let adapter = match one["generation"].as_u64() {
        Some(generation) if generation > 0 => format!("{}@{generation} serves", text(&one["agent"])),
        _ => "the model as it is serves".to_owned(),
    };
    let when = match one["mode"].as_str() {
        _ if one["paused"] == true => ", paused",
        Some("off") => ", does not train",
        Some("when told") => ", trains when told to",
        _ => "",
    };
    let eligible = one["samples"]["eligible"].as_u64().unwrap_or_default();
    format!("{adapter}; {}; {eligible} of {} for the next batch{when}", phase(one), one["batch_size"])
}

/// `idle`, or what is under way and how far.
pub(super) fn phase(one: &Value) -> String {
    let progress = &one["progress"];
    match (progress["tokens"].as_u64(), progress["tokens_total"].as_u64()) {
        _ if progress.is_null() => "idle".to_owned(),
        (Some(done), Some(total)) if total > 0 => format!("{} ({done} of {total} tokens)", text(&progress["phase"])),
        _ => text(&progress["phase"]),
    }
}

/// How many samples are in which state.
fn counts(one: &Value) -> String {
    let count = |state: &str| one["samples"][state].as_u64().filter(|count| *count > 0);
    let some = STATES.into_iter().filter_map(|state| Some(format!("{} {state}", count(state)?)));
    some.collect::<Vec<_>>().join(", ")
}

/// What stands in its way.
fn troubles(one: &Value) -> Vec<String> {
    let failed = one["error"].as_str().map(|error| {
        let again = one["not_before"].as_str().map(|at| format!("; tried again at {at}")).unwrap_or_default();
        format!("a step failed {} times: {}{again}", one["failures"], harmless(error))
    });
    one["trouble"].as_str().map(harmless).into_iter().chain(failed).collect()
}

/// What came of a step.
pub(super) fn outcome(step: &Value) -> String {
    let number =
        |name: &str, word: &str| step[name].as_f64().map(|number| format!(", {word} {number:.3}")).unwrap_or_default();
    let reason = step["reason"].as_str().map(|why| format!(": {}", harmless(why))).unwrap_or_default();
    format!(
        "@{} {}{reason} ({} samples{}{}, {:.1} s)",
        step["generation"],
        text(&step["state"]),
        step["samples"],
        number("mean_reward", "mean reward"),
        number("drift", "drift"),
        step["seconds"].as_f64().unwrap_or_default()
    )
}

/// What `metaclaw status` says of training: what serves, what is under way, what is in the way. Nothing where nobody trains.
pub(crate) fn show_training(training: &Value, adapters: &Value) {
    for one in agents(training) {
        let agent = text(&one["agent"]);
        output::line(format_args!("training: agent `{agent}`: {}", standing(one)));
        for trouble in troubles(one) {
            output::line(format_args!("training: agent `{agent}`: {trouble}"));
        }
    }
    let count = adapters["agents"].as_array().map_or(0, Vec::len);
    if count > 0 {
        let bytes = adapters["bytes"].as_u64().unwrap_or_default();
        let (used, limit) = (bytes.div_ceil(1 << 20), adapters["limit"].as_u64().unwrap_or_default() >> 20);
        output::line(format_args!("adapters: {count} serve; {used} of {limit} MiB of memory (`rl.adapter_memory`)"));
    }
}

fn harmless(words: &str) -> String {
    output::harmless(words).replace('\n', " ")
}
