use std::sync::atomic::AtomicU64;

use domain::AgentId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What training counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    steps: Family<OutcomeLabels, Counter>,
    samples: Family<OutcomeLabels, Counter>,
    tokens: Family<AgentLabels, Counter>,
    seconds: Family<AgentLabels, Counter<f64, AtomicU64>>,
    generation: Family<AgentLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    agent: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AgentLabels {
    agent: String,
}

impl Metrics {
    /// Registers everything.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Metrics {
            steps: Family::default(),
            samples: Family::default(),
            tokens: Family::default(),
            seconds: Family::default(),
            generation: Family::default(),
        };
        let steps = "Steps of training, by what came of them";
        registry.register("metaclaw_train_steps", steps, metrics.steps.clone());
        let samples = "Samples on their way to training, by what was decided about them";
        registry.register("metaclaw_train_samples", samples, metrics.samples.clone());
        registry.register("metaclaw_train_tokens", "Tokens that were trained on", metrics.tokens.clone());
        registry.register("metaclaw_train_seconds", "Time that steps of training took", metrics.seconds.clone());
        let generation = "The generation of the adapter that serves; 0 is the model without one";
        registry.register("metaclaw_adapter_generation", generation, metrics.generation.clone());
        metrics
    }

    /// Counts a step: `live`, `shadow`, `rejected`, `overtaken`, `failed` or `rolled-back`.
    pub(crate) fn step(&self, agent: &AgentId, outcome: &'static str) {
        self.steps.get_or_create(&OutcomeLabels { agent: agent.to_string(), outcome }).inc();
    }

    /// Counts samples: `scored`, `judged`, `postponed`, `unscored`, `eligible`, `held-out`, `rejected`, `equal` or `expired`.
    pub(crate) fn samples(&self, agent: &AgentId, outcome: &'static str, count: u64) {
        if count > 0 {
            self.samples.get_or_create(&OutcomeLabels { agent: agent.to_string(), outcome }).inc_by(count);
        }
    }

    /// Counts what a step worked on, and how long it took.
    pub(crate) fn worked(&self, agent: &AgentId, tokens: u64, seconds: f64) {
        let labels = AgentLabels { agent: agent.to_string() };
        self.tokens.get_or_create(&labels).inc_by(tokens);
        self.seconds.get_or_create(&labels).inc_by(seconds);
    }

    /// Says which adapter serves.
    pub(crate) fn serves(&self, agent: &AgentId, generation: u64) {
        let labels = AgentLabels { agent: agent.to_string() };
        self.generation.get_or_create(&labels).set(i64::try_from(generation).unwrap_or(i64::MAX));
    }
}
