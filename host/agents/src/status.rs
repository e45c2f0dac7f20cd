use domain::{SampleState, TurnId, TurnOutcome};
use serde::Serialize;
use store::{Health, StoreError};

use crate::host::Host;

/// What is durably known of a turn: once this answers, it survives a crash.
#[derive(Clone, Debug, Serialize)]
pub struct TurnStatus {
    /// The turn.
    pub turn: String,
    /// Whose.
    pub agent: String,
    /// In which session.
    pub session: String,
    /// `complete`, `refused`, `cancelled` or `failed`.
    pub outcome: &'static str,
    /// The sample made of it, when there is one.
    pub sample: Option<SampleStatus>,
}

/// What became of a turn as training material.
#[derive(Clone, Debug, Serialize)]
pub struct SampleStatus {
    /// `captured` or `dropped`.
    pub state: &'static str,
    /// The policy's reason for dropping it.
    pub reason: Option<String>,
    /// How good the policy found the turn, from -1 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward: Option<f32>,
}

impl Host {
    /// What is durable of this turn; none while it is under way, and when there is no such turn.
    pub async fn turn_state(&self, id: TurnId) -> Result<Option<TurnStatus>, StoreError> {
        let Some(turn) = self.store.turn(id).await? else { return Ok(None) };
        let sample = self.store.sample_of(id).await?;
        Ok(Some(TurnStatus {
            turn: id.to_string(),
            agent: turn.record.agent.to_string(),
            session: turn.record.session.to_string(),
            outcome: outcome_name(turn.record.outcome),
            sample: sample.map(|s| SampleStatus {
                state: state_name(s.state),
                reason: s.reason,
                reward: s.sample.reward,
            }),
        }))
    }

    /// Every model that a configured agent may use, with its upstream, each once.
    pub fn models(&self) -> Vec<(String, String)> {
        let mut models: Vec<_> = self
            .registry
            .load()
            .all()
            .iter()
            .flat_map(|a| a.targets.iter())
            .filter(|t| !t.model.is_empty())
            .map(|t| (t.model.to_string(), t.upstream.to_string()))
            .collect();
        models.sort();
        models.dedup();
        models
    }

    /// Why the host cannot do all of its work, for `/readyz`; empty when it can.
    pub fn problems(&self) -> Vec<String> {
        let closing = self.closing.is_cancelled().then(|| "the host is shutting down".to_owned());
        let store = match self.store.health() {
            Health::Ok => None,
            Health::Poisoned { reason } => Some(format!("nothing is recorded any more, restart the host: {reason}")),
        };
        // Without the thread that interrupts guests none runs, the built-in policy included.
        let policies = (!self.engine.is_healthy()).then(|| "no policy can run any more, restart the host".to_owned());
        closing.into_iter().chain(store).chain(policies).collect()
    }
}

/// As metrics and answers write it.
pub(crate) fn outcome_name(outcome: TurnOutcome) -> &'static str {
    match outcome {
        TurnOutcome::Complete => "complete",
        TurnOutcome::Refused => "refused",
        TurnOutcome::Cancelled => "cancelled",
        TurnOutcome::Failed => "failed",
    }
}

fn state_name(state: SampleState) -> &'static str {
    match state {
        SampleState::Captured => "captured",
        SampleState::Dropped => "dropped",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::time::Duration;

    use domain::AgentId;
    use policy::{AgentPolicy, AgentPolicyParts, Engine, EngineOptions};

    use super::*;
    use crate::{AgentParts, Configured, HostParts, Metrics};

    /// As when the thread that interrupts guests has died.
    #[tokio::test]
    async fn a_host_whose_policies_cannot_run_says_so() {
        let home = tempfile::tempdir().unwrap();
        let paths = config::Paths::resolve(Some(home.path().to_owned()), None).unwrap();
        let config = config::load_text("", &paths, config::LoadOptions::default()).unwrap().config;
        let engine = Arc::new(Engine::new(EngineOptions::default()).unwrap());
        let policy = Ok(Arc::new(AgentPolicy::new(&engine, AgentPolicyParts::default())));
        let host = Host::new(HostParts {
            configured: Configured {
                default: AgentParts { id: AgentId::Default, config: config.agent(&AgentId::Default), policy },
                named: Vec::new(),
                unknown: config.unknown,
                upstreams: HashMap::new(),
                idle_timeout: Duration::from_secs(60),
                keep_alive: Duration::from_secs(15),
            },
            engine: engine.clone(),
            skills: skills::SkillTree::open(&home.path().join("skills"), skills::TreeOptions::default()).unwrap(),
            skills_dir: home.path().join("skills"),
            lora_dir: home.path().join("lora"),
            store: store::Store::open(&home.path().join("state"), store::StoreOptions::default()).await.unwrap(),
            metrics: Metrics::new(&mut prometheus_client::registry::Registry::default()),
        });
        assert_eq!(host.problems(), Vec::<String>::new());
        engine.shutdown();
        assert_eq!(host.problems(), ["no policy can run any more, restart the host"]);
        host.close().await;
    }
}
