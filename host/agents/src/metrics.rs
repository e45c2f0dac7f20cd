use domain::{AgentId, EndReason, Hook};
use policy::Failure;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// What the host counts. Labels are agents (bounded by config and the cap on unknown ones) and closed sets; never text of a
/// client or a policy.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) turns: Family<TurnLabels, Counter>,
    pub(crate) overhead: Histogram,
    policy_failures: Family<FailureLabels, Counter>,
    pub(crate) tool_calls: Family<ToolCallLabels, Counter>,
    pub(crate) skills_injected: Family<AgentLabels, Counter>,
    pub(crate) questions: Family<EmbeddingLabels, Counter>,
    pub(crate) question_seconds: Histogram,
    pub(crate) vectors_missing: Gauge,
    pub(crate) outcomes: Family<OutcomeLabels, Counter>,
    pub(crate) samples: Family<SampleLabels, Counter>,
    pub(crate) samples_failed: Family<AgentLabels, Counter>,
    pub(crate) sessions_ended: Family<EndLabels, Counter>,
    pub(crate) records_dropped: Counter,
    pub(crate) records_lost: Counter,
    pub(crate) reloads: Family<ReloadLabels, Counter>,
    pub(crate) in_flight: Gauge,
    pub(crate) upstream_attempts: Family<AttemptLabels, Counter>,
    pub(crate) upstream_ejected: Family<UpstreamLabels, Gauge>,
    pub(crate) adapter_bytes: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TurnLabels {
    pub(crate) agent: String,
    pub(crate) kind: &'static str,
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ToolCallLabels {
    pub(crate) agent: String,
    pub(crate) verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    agent: String,
    hook: &'static str,
    class: &'static str,
}

/// `policy`, `judge` or `feedback`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabels {
    pub(crate) agent: String,
    pub(crate) source: &'static str,
}

/// `in_time`, `late` or `busy`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct EmbeddingLabels {
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SampleLabels {
    pub(crate) agent: String,
    pub(crate) verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AgentLabels {
    pub(crate) agent: String,
}

/// Names of upstreams are bounded by config.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AttemptLabels {
    pub(crate) upstream: String,
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct UpstreamLabels {
    pub(crate) upstream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReloadLabels {
    pub(crate) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct EndLabels {
    pub(crate) reason: &'static str,
}

impl Metrics {
    /// Counts `count` sessions that have ended.
    pub(crate) fn count_ended(&self, reason: EndReason, count: u64) {
        let reason = match reason {
            EndReason::Header => "header",
            EndReason::Idle => "idle",
            EndReason::Shutdown => "shutdown",
        };
        self.sessions_ended.get_or_create(&EndLabels { reason }).inc_by(count);
    }

    /// Counts that an agent's module did not answer.
    pub(crate) fn count_failure(&self, agent: &AgentId, hook: Hook, failure: &Failure) {
        let labels = FailureLabels { agent: agent.to_string(), hook: hook.as_str(), class: failure.class.as_str() };
        self.policy_failures.get_or_create(&labels).inc();
    }

    /// Registers everything.
    pub fn new(registry: &mut Registry) -> Self {
        let seconds = [10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 5e-3, 25e-3, 100e-3];
        let metrics = Metrics {
            turns: Family::default(),
            overhead: Histogram::new(seconds),
            policy_failures: Family::default(),
            tool_calls: Family::default(),
            skills_injected: Family::default(),
            questions: Family::default(),
            question_seconds: Histogram::new([1e-3, 2e-3, 4e-3, 6e-3, 8e-3, 10e-3, 15e-3, 25e-3]),
            vectors_missing: Gauge::default(),
            outcomes: Family::default(),
            samples: Family::default(),
            samples_failed: Family::default(),
            sessions_ended: Family::default(),
            records_dropped: Counter::default(),
            records_lost: Counter::default(),
            reloads: Family::default(),
            in_flight: Gauge::default(),
            upstream_attempts: Family::default(),
            upstream_ejected: Family::default(),
            adapter_bytes: Gauge::default(),
        };
        let m = metrics.clone();
        registry.register("metaclaw_turns", "Turns that ended, by how", m.turns);
        registry.register(
            "metaclaw_overhead_seconds",
            "From the whole request to the question upstream: identity, policy, skills",
            m.overhead,
        );
        registry.register(
            "metaclaw_policy_failures",
            "Hooks that the built-in had to decide because the agent's module failed",
            m.policy_failures,
        );
        registry.register("metaclaw_tool_calls", "Tool calls that a policy was asked about", m.tool_calls);
        registry.register("metaclaw_skills_injected", "Skills put into prompts", m.skills_injected);
        registry.register(
            "metaclaw_questions_embedded",
            "Questions whose meaning was asked for, by whether it came in time to choose skills by it",
            m.questions,
        );
        registry.register(
            "metaclaw_question_seconds",
            "From a turn's beginning to the meaning of its question, which is found out while `route` runs",
            m.question_seconds,
        );
        registry.register(
            "metaclaw_skill_vectors_missing",
            "Agents among whose skills are some of which it is not known yet what they mean",
            m.vectors_missing,
        );
        registry.register(
            "metaclaw_outcomes",
            "Turns of which was said how good they were, by who said so; what was known already is not counted",
            m.outcomes,
        );
        registry.register(
            "metaclaw_samples",
            "Finished turns of rl agents, by the policy's verdict, once durable",
            m.samples,
        );
        registry.register("metaclaw_samples_failed", "Samples that could not be made durable", m.samples_failed);
        registry.register(
            "metaclaw_records_dropped",
            "Turns that the store did not take because an earlier write had failed",
            m.records_dropped,
        );
        registry.register(
            "metaclaw_records_lost",
            "Turns that the store had taken when a write failed, and did not keep",
            m.records_lost,
        );
        registry.register("metaclaw_sessions_ended", "Sessions that ended, by why", m.sessions_ended);
        registry.register("metaclaw_reloads", "Reloads, by what came of them", m.reloads);
        registry.register(
            "metaclaw_upstream_attempts",
            "Requests to upstreams, asking again included, by what came of them",
            m.upstream_attempts,
        );
        registry.register(
            "metaclaw_upstream_ejected",
            "Whether an upstream has failed so often that turns go elsewhere if they can",
            m.upstream_ejected,
        );
        registry.register("metaclaw_adapter_bytes", "Memory that the adapters of all agents take", m.adapter_bytes);
        registry.register("metaclaw_turns_in_flight", "Turns that have begun and are not recorded yet", m.in_flight);
        metrics
    }
}
