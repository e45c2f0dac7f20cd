//! How agents learn from their sessions, and who writes what they learn.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::AgentId;

use crate::agents::Target;
use crate::described::Described;
use crate::load::Reader;
use crate::upstreams::UpstreamConfig;

/// The upstream that `rl.evolver_*` describes. No user can give this name: it has a dot.
pub(crate) const EVOLVER: &str = "rl.evolver";

/// How an agent learns from its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearningConfig {
    /// Whether it does.
    pub enabled: bool,
    /// After how many main turns of a session that goes on; 0: only at its end.
    pub every: u32,
    /// Whether a person decides on everything that is learned.
    pub review: bool,
    /// How many learned skills it may have in use, and as many candidates.
    pub max_learned: u32,
    /// The pause before a lesson that failed is tried again; each further one is twice as long.
    pub retry_wait: Duration,
    /// Who writes its skills; none: whoever answers its turns.
    pub evolver: Option<Target>,
    /// Which proposals are tried out, by answering the turns that they came from with and without them, before they are used.
    pub verify: Verify,
    /// How many questions to models that may take in a day (UTC). At least 1.
    pub verify_budget: u32,
}

/// Which proposals are tried out before they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// None.
    Off,
    /// About one in four, chosen by their content.
    Sample,
    /// Every one.
    Always,
}

/// How this agent learns. `upstreams` has the one that `rl.evolver_*` describes when somebody learns and it describes one.
pub(crate) fn build(
    id: &AgentId,
    usual: Option<&Target>,
    reader: &mut Reader<'_>,
    upstreams: &BTreeMap<String, UpstreamConfig>,
) -> LearningConfig {
    let enabled = reader.for_agent(id, "skills.auto_evolve").unwrap_or(false);
    let model = reader.for_agent::<String>(id, "rl.evolver_model").filter(|model| !model.is_empty());
    let evolver = match (upstreams.contains_key(EVOLVER), model, usual) {
        (true, model, usual) => {
            let model = model.or_else(|| usual.map(|usual| usual.model.clone())).unwrap_or_default();
            Some(Target { upstream: EVOLVER.to_owned(), model })
        }
        (false, Some(model), Some(usual)) => Some(Target { upstream: usual.upstream.clone(), model }),
        _ => None,
    };
    LearningConfig {
        enabled: enabled && reader.for_agent(id, "skills.enabled").unwrap_or(true),
        every: reader.for_agent(id, "skills.evolution_every_n_turns").unwrap_or_default(),
        review: reader.for_agent(id, "skills.review").unwrap_or(false),
        max_learned: reader.for_agent(id, "skills.max_learned").unwrap_or_default(),
        retry_wait: reader.value("skills.evolution_retry").unwrap_or(Duration::from_secs(60)),
        evolver,
        verify: match reader.for_agent::<String>(id, "skills.verify").as_deref() {
            Some("sample") => Verify::Sample,
            Some("always") => Verify::Always,
            _ => Verify::Off,
        },
        verify_budget: reader.for_agent(id, "skills.verify_budget").unwrap_or(1),
    }
}

/// The upstream that `rl.evolver_*` describes, when it says where to go or with which key, and somebody learns.
pub(crate) fn evolver(reader: &mut Reader<'_>, upstreams: &BTreeMap<String, UpstreamConfig>) -> Option<UpstreamConfig> {
    const KEYS: Described = Described {
        upstream: EVOLVER,
        base: "rl.evolver_api_base",
        key: "rl.evolver_api_key",
        provider: "rl.evolver_provider",
        task: "write skills",
    };
    let ids = KEYS.agents(reader);
    let learns = ids.iter().any(|id| reader.for_agent::<bool>(id, "skills.auto_evolve").unwrap_or(false));
    let (base, has_key) = (reader.text(KEYS.base), reader.settings.mentions(KEYS.key));
    if !learns || (base.is_none() && !has_key) {
        return None;
    }
    KEYS.build(base, reader, upstreams)
}
