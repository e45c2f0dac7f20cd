use domain::AgentId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What learning counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    lessons: Family<LessonLabels, Counter>,
    skills: Family<AgentLabels, Counter>,
    demoted: Family<AgentLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LessonLabels {
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
        let metrics = Metrics { lessons: Family::default(), skills: Family::default(), demoted: Family::default() };
        registry.register(
            "metaclaw_lessons",
            "Attempts to learn from a session, by what came of them",
            metrics.lessons.clone(),
        );
        registry.register(
            "metaclaw_skills_learned",
            "Versions of skills that were learned and put to use",
            metrics.skills.clone(),
        );
        registry.register(
            "metaclaw_skills_demoted",
            "Learned skills that were retired because turns with them went worse",
            metrics.demoted.clone(),
        );
        metrics
    }

    /// Counts an attempt: `learned`, `held`, `refused`, `nothing`, `retried` or `failed`.
    pub(crate) fn count(&self, agent: &AgentId, outcome: &'static str) {
        self.lessons.get_or_create(&LessonLabels { agent: agent.to_string(), outcome }).inc();
    }

    /// Counts versions that were put to use.
    pub(crate) fn learned(&self, agent: &AgentId, count: usize) {
        self.skills.get_or_create(&AgentLabels { agent: agent.to_string() }).inc_by(count as u64);
    }

    /// Counts a skill that hurt.
    pub(crate) fn demoted(&self, agent: &AgentId) {
        self.demoted.get_or_create(&AgentLabels { agent: agent.to_string() }).inc();
    }
}
