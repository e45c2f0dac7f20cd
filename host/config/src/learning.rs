//! How agents learn from their sessions, and who writes what they learn.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{AgentId, UpstreamLimits};

use crate::agents::Target;
use crate::load::Reader;
use crate::providers::{self, Auth, Preset};
use crate::setting::unknown;
use crate::upstreams::{BaseUrl, DEFAULT, UpstreamConfig, UpstreamKind};
use crate::yaml::quote;

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
    }
}

/// The upstream that `rl.evolver_*` describes, when it says where to go or with which key, and somebody learns. As in MetaClaw,
/// what it leaves out is taken from `llm`; but for the key, which goes nowhere else than to its own address.
pub(crate) fn evolver(reader: &mut Reader<'_>, upstreams: &BTreeMap<String, UpstreamConfig>) -> Option<UpstreamConfig> {
    const BASE: &str = "rl.evolver_api_base";
    const KEY: &str = "rl.evolver_api_key";
    const PROVIDER: &str = "rl.evolver_provider";
    let agents: Vec<AgentId> = reader.settings.agents.keys().cloned().chain([AgentId::Default]).collect();
    let learns = agents.iter().any(|id| reader.for_agent::<bool>(id, "skills.auto_evolve").unwrap_or(false));
    let (base, has_key) = (reader.text(BASE), reader.settings.mentions(KEY));
    if !learns || (base.is_none() && !has_key) {
        return None;
    }
    let usual = upstreams.get(DEFAULT).and_then(|usual| match &usual.kind {
        UpstreamKind::Http { base, provider, .. } => Some((base.clone(), *provider)),
        UpstreamKind::Embedded { .. } => None,
    });
    let named = reader.settings.mentions(PROVIDER).then(|| reader.text(PROVIDER)).flatten();
    let preset = match named.as_deref() {
        // What MetaClaw writes into every file says nothing.
        None | Some("openai") if base.is_some() => Preset::by_name("custom"),
        None | Some("openai") => usual.as_ref().map(|(_, preset)| *preset).or_else(|| Preset::by_name("openai")),
        Some(name) => Preset::by_name(name),
    };
    let Some(provider) = preset else {
        let (message, remedy) =
            unknown(named.as_deref().unwrap_or_default(), "a provider", &providers::names().collect::<Vec<_>>());
        reader.report.error(PROVIDER, reader.place(PROVIDER), message, remedy);
        return None;
    };
    let address = match base {
        Some(text) => match text.parse::<BaseUrl>() {
            Ok(base) => Some(base),
            Err(message) => {
                reader.report.error(BASE, reader.place(BASE), message, "write it as https://host/v1");
                return None;
            }
        },
        None => usual
            .filter(|(_, preset)| preset.name == provider.name)
            .map(|(base, _)| base)
            .or_else(|| provider.address(None).and_then(|base| base.parse().ok())),
    };
    let Some(base) = address else {
        let message = format!("{} is asked to write skills, and its address is not known", quote(provider.name));
        reader.report.error(BASE, None, message, "set it to https://host/v1");
        return None;
    };
    let api_key = reader.secret(KEY);
    if api_key.is_some() && base.is_open_road() {
        let message = format!("the key goes to {base} unencrypted");
        reader.report.warning(BASE, reader.place(BASE), message, "use https");
    }
    let reach = crate::reach::build(EVOLVER, EVOLVER, &base, reader);
    let auth = if api_key.is_some() { Auth::Key } else { Auth::None };
    let kind = UpstreamKind::Http { base, reach, api_key, auth, key_header: "authorization".to_owned(), provider };
    let (models, limits) = (Vec::new(), UpstreamLimits::default());
    Some(UpstreamConfig { name: EVOLVER.to_owned(), kind, models, context_window: None, limits })
}
