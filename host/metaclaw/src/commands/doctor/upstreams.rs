//! The upstreams: whether each answers one short question, asked as the host asks.

use std::time::Duration;

use ::config::{Config, UpstreamConfig, UpstreamKind};
use futures_util::future::join_all;

use super::Patient;
use super::finding::Finding;
use crate::commands::setup::models_of;
use crate::commands::trial;

const CHECK: &str = "upstream";

pub(super) async fn check(patient: &Patient<'_>, offline: bool, limit: Duration) -> Vec<Finding> {
    let Some(config) = patient.config else { return Vec::new() };
    join_all(config.upstreams.values().map(|upstream| one(upstream, config, offline, limit))).await
}

async fn one(upstream: &UpstreamConfig, config: &Config, offline: bool, limit: Duration) -> Finding {
    let name = &upstream.name;
    let model = asked_for(upstream, config);
    let at = match &upstream.kind {
        UpstreamKind::Http { base, .. } if offline => {
            return Finding::fine(CHECK, format!("{name}: {base}, not asked (--offline)"));
        }
        UpstreamKind::Http { base, api_key, .. } if model.is_empty() => {
            return match models_of(base.as_str(), api_key.as_ref()).await {
                Some(models) => {
                    Finding::fine(CHECK, format!("{name}: {base} has {} models; clients name theirs", models.len()))
                }
                None => Finding::warning(
                    CHECK,
                    format!("{name}: {base} lists no models, and no model is configured to be asked"),
                    "name a model, so that it can be tried: llm.model_id, or `models` of the upstream",
                ),
            };
        }
        UpstreamKind::Http { base, .. } => base.to_string(),
        UpstreamKind::Embedded { .. } => "in this program".to_owned(),
    };
    match trial::ask(upstream, &model, &config.home, limit).await {
        Ok(answered) => {
            Finding::fine(CHECK, format!("{name}: {model} {at} answers ({:.1} s)", answered.took.as_secs_f32()))
        }
        Err(trouble) if trouble.passing => Finding::warning(CHECK, format!("{name}: {}", trouble.what), trouble.remedy),
        Err(trouble) => Finding::failure(CHECK, format!("{name}: {}", trouble.what), trouble.remedy),
    }
}

/// The model that some agent gets from this upstream, or the first that the upstream has; empty: as clients ask.
fn asked_for(upstream: &UpstreamConfig, config: &Config) -> String {
    let targets = config.agents().flat_map(|(_, agent)| agent.targets.iter());
    let mut named = targets.filter(|t| t.upstream == upstream.name && !t.model.is_empty()).map(|t| &t.model);
    named.next().or(upstream.models.first()).cloned().unwrap_or_default()
}
