use std::sync::atomic::Ordering::Relaxed;

use domain::{TurnId, TurnOutcome};
use serde::Serialize;
use store::{Health, StoreError};

use crate::adapters::name;
use crate::host::Host;
use crate::registry::Agent;

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
    /// The adapter that it was answered with, `AGENT@GENERATION`; none: the model as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// The sample made of it, when there is one.
    pub sample: Option<SampleStatus>,
}

/// What became of a turn as training material.
#[derive(Clone, Debug, Serialize)]
pub struct SampleStatus {
    /// `captured`, `scored`, `eligible`, `claimed`, `consumed`, `held-out`, `expired`, `rejected` or `dropped`.
    pub state: &'static str,
    /// Why it was dropped, rejected or given up.
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
            adapter: (turn.record.adapter > 0).then(|| name(&turn.record.agent, turn.record.adapter)),
            sample: sample.map(|s| SampleStatus { state: s.state.as_str(), reason: s.reason, reward: s.sample.reward }),
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

    /// Brings the metrics up to date with what the store and the skills know by themselves; for whoever is about to read them.
    pub fn count_losses(&self) {
        self.metrics.records_lost.inner().store(self.store.lost_turns(), Relaxed);
        let lacks = |agent: &Agent| {
            let library = self.skills.library(&agent.id);
            agent.config.skills.retrieval.embeds() && !library.is_empty() && !library.is_understood()
        };
        let missing = match self.skills.meanings() {
            Some(_) => self.registry.load().all().iter().filter(|agent| lacks(agent)).count(),
            None => 0,
        };
        self.metrics.vectors_missing.set(i64::try_from(missing).unwrap_or(i64::MAX));
        self.metrics.adapter_bytes.set(i64::try_from(self.adapters().bytes).unwrap_or(i64::MAX));
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use bytes::Bytes;
    use domain::{AgentId, ByteSize, DecisionSource, Digest, TurnKind, TurnRecord};
    use policy::{AgentPolicy, AgentPolicyParts, Engine, EngineOptions};
    use prometheus_client::registry::Registry;
    use store::StoreOptions;
    use uuid::Uuid;

    use super::*;
    use crate::{AgentParts, Configured, HostParts, Metrics};

    /// A host that serves nobody, with a store of these options.
    async fn host(home: &Path, engine: &Arc<Engine>, registry: &mut Registry, options: StoreOptions) -> Host {
        let paths = config::Paths::resolve(Some(home.to_owned()), None).unwrap();
        let config = config::load_text("", &paths, config::LoadOptions::default()).unwrap().config;
        let policy = Ok(Arc::new(AgentPolicy::new(engine, AgentPolicyParts::default())));
        Host::new(HostParts {
            configured: Configured {
                default: AgentParts { id: AgentId::Default, config: config.agent(&AgentId::Default), policy },
                named: Vec::new(),
                unknown: config.unknown,
                upstreams: HashMap::new(),
                idle_timeout: Duration::from_secs(60),
                keep_alive: Duration::from_secs(15),
                adapter_memory: 0,
            },
            engine: engine.clone(),
            skills: skills::SkillTree::open(&home.join("skills"), skills::TreeOptions::default()).unwrap(),
            skills_dir: home.join("skills"),
            lora_dir: home.join("lora"),
            store: store::Store::open(&home.join("state"), options).await.unwrap(),
            metrics: Metrics::new(registry),
        })
    }

    /// A turn with a request of this many bytes.
    fn turn(length: usize) -> TurnRecord {
        TurnRecord {
            id: TurnId(Uuid::now_v7()),
            agent: AgentId::Default,
            session: "s".parse().unwrap(),
            session_key: None,
            kind: TurnKind::Main,
            started: SystemTime::now(),
            duration: Duration::ZERO,
            first_byte: None,
            upstream: String::new(),
            model: String::new(),
            request: vec![b'x'; length].into(),
            answer: Bytes::new(),
            skills: Vec::new(),
            policy: (Digest::of(b""), DecisionSource::Builtin),
            adapter: 0,
            usage: None,
            outcome: TurnOutcome::Complete,
        }
    }

    /// As when the thread that interrupts guests has died.
    #[tokio::test]
    async fn a_host_whose_policies_cannot_run_says_so() {
        let home = tempfile::tempdir().unwrap();
        let engine = Arc::new(Engine::new(EngineOptions::default()).unwrap());
        let host = host(home.path(), &engine, &mut Registry::default(), StoreOptions::default()).await;
        assert_eq!(host.problems(), Vec::<String>::new());
        engine.shutdown();
        assert_eq!(host.problems(), ["no policy can run any more, restart the host"]);
        host.close().await;
    }

    /// As when the disk is full.
    #[tokio::test]
    async fn turns_that_a_failed_write_loses_are_counted() {
        let home = tempfile::tempdir().unwrap();
        let engine = Arc::new(Engine::new(EngineOptions::default()).unwrap());
        let mut registry = Registry::default();
        let options = StoreOptions { database_limit: Some(ByteSize(512 << 10)), ..StoreOptions::default() };
        let host = host(home.path(), &engine, &mut registry, options).await;
        let lost = || {
            host.count_losses();
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("metaclaw_records_lost_total ")).unwrap();
            line.parse::<u64>().unwrap()
        };
        assert_eq!(lost(), 0);
        host.store.record_turn(turn(1 << 20)).await.unwrap();
        assert!(host.store.flush().await.is_err(), "there is no room for it");
        assert_eq!((lost(), lost()), (1, 1), "however often it is asked for");
        engine.shutdown();
        host.close().await;
    }
}
