use std::collections::BTreeMap;

use domain::AgentId;

use super::Target;
use crate::load::Reader;
use crate::setting::unknown;
use crate::upstreams::UpstreamConfig;

const KEY: &str = "fallbacks";

/// The agent's own fallbacks, or `_default`'s: each the name of an upstream, whose first model is meant, or `UPSTREAM/MODEL`.
pub(super) fn build(
    id: &AgentId,
    reader: &mut Reader<'_>,
    upstreams: &BTreeMap<String, UpstreamConfig>,
) -> Vec<Target> {
    let names: Vec<String> = reader.for_agent(id, KEY).unwrap_or_default();
    let mut targets: Vec<Target> = Vec::new();
    for name in &names {
        match target(name, upstreams) {
            Some(target) if !targets.contains(&target) => targets.push(target),
            Some(_) => {}
            None => report(id, name, reader, upstreams),
        }
    }
    targets
}

/// The names of upstreams are the user's and may hold a `/` like those of models: the longest name that there is counts.
fn target(name: &str, upstreams: &BTreeMap<String, UpstreamConfig>) -> Option<Target> {
    if let Some(upstream) = upstreams.get(name) {
        let model = upstream.models.first().cloned().unwrap_or_default();
        return Some(Target { upstream: name.to_owned(), model });
    }
    let cuts = name.rmatch_indices('/').map(|(at, _)| (&name[..at], &name[at + 1..]));
    let (upstream, model) =
        cuts.into_iter().find(|(upstream, model)| !model.is_empty() && upstreams.contains_key(*upstream))?;
    Some(Target { upstream: upstream.to_owned(), model: model.to_owned() })
}

fn report(id: &AgentId, name: &str, reader: &mut Reader<'_>, upstreams: &BTreeMap<String, UpstreamConfig>) {
    let path = format!("agents.{id}.{KEY}");
    // What is inherited is reported where it stands.
    let Some(place) = reader.place(&path) else { return };
    let known: Vec<&str> = upstreams.keys().map(String::as_str).collect();
    let (message, remedy) = unknown(name, "an upstream, nor UPSTREAM/MODEL", &known);
    reader.report.error(&path, Some(place), message, remedy);
}
