//! Each agent's settings: what it says itself, what `_default` says, what the top level says.

mod fallbacks;
mod module;
mod policy;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use domain::{AgentId, Mode, RetrievalMode};
use serde::Serialize;

use crate::judging::{self, JudgeConfig};
use crate::learning::{self, LearningConfig};
use crate::load::{Config, Reader, UnknownRule};
use crate::setting::unknown;
use crate::training::{self, RlConfig};
use crate::upstreams::{DEFAULT, UpstreamConfig};

pub use module::{ModuleRef, ModuleSource};
pub use policy::{PolicyConfig, PolicyHooks};

/// The most skills that a prompt may get.
const MAX_SKILLS: u32 = 64;

/// One agent's settings, complete.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// What its turns are used for.
    pub mode: Mode,
    /// Where its turns may be answered: the configured choice first. Never empty, and no target twice.
    pub targets: Vec<Target>,
    /// Where a turn goes whose target fails, in order.
    pub fallbacks: Vec<Target>,
    /// How many tokens a prompt and its answer may have before the oldest messages are left out; 0: nothing ever is; none: as
    /// many as the model's window has.
    pub max_context_tokens: Option<u32>,
    /// What its prompts get.
    pub skills: SkillsConfig,
    /// Who decides.
    pub policy: PolicyConfig,
    /// How it trains, in the modes `rl` and `auto`.
    pub rl: RlConfig,
    /// How it learns skills from its sessions.
    pub learning: LearningConfig,
    /// Who judges its answers, if anybody does.
    pub judge: Option<JudgeConfig>,
}

/// A place where a turn may be answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// A key of [`Config::upstreams`].
    pub upstream: String,
    /// The model to ask for; empty: the one that the client asks for.
    pub model: String,
}

/// What an agent's prompts get.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SkillsConfig {
    /// Whether skills are injected at all.
    pub enabled: bool,
    /// How many at most, 0 to 64.
    pub top_k: u32,
    /// How many tokens of them at most.
    pub token_budget: u32,
    /// What matches less well is left out; finite, 0 or more.
    pub min_score: f64,
    /// How they are found.
    pub retrieval: RetrievalMode,
    /// With [`RetrievalMode::Template`]: how many of the turn's category at most, 0 to 64.
    pub specific_top_k: u32,
}

/// All agents' settings.
#[derive(Debug)]
pub(crate) struct Agents {
    /// `_default` is always among them.
    pub(crate) listed: BTreeMap<AgentId, Arc<AgentConfig>>,
    default: Arc<AgentConfig>,
}

impl Agents {
    pub(crate) fn get(&self, id: &AgentId, config: &Config) -> Arc<AgentConfig> {
        match self.listed.get(id) {
            Some(agent) => agent.clone(),
            None if config.unknown.rule == UnknownRule::Own => {
                let mut agent = AgentConfig::clone(&self.default);
                agent.rl.lora_output = own_lora(&config.home, id);
                Arc::new(agent)
            }
            None => self.default.clone(),
        }
    }
}

pub(crate) fn build(reader: &mut Reader<'_>, upstreams: &BTreeMap<String, UpstreamConfig>) -> Agents {
    let mut ids: Vec<AgentId> = reader.settings.agents.keys().cloned().collect();
    if !ids.contains(&AgentId::Default) {
        ids.push(AgentId::Default);
    }
    let mut listed = BTreeMap::new();
    for id in ids {
        let agent = build_one(&id, reader, upstreams);
        listed.insert(id, Arc::new(agent));
    }
    check_adapters(&listed, reader);
    review_modes(&listed, reader);
    training::review(&listed, reader, upstreams);
    let default = match listed.get(&AgentId::Default) {
        Some(default) => default.clone(),
        None => Arc::new(build_one(&AgentId::Default, reader, upstreams)),
    };
    Agents { listed, default }
}

fn build_one(id: &AgentId, reader: &mut Reader<'_>, upstreams: &BTreeMap<String, UpstreamConfig>) -> AgentConfig {
    let targets = targets(id, reader, upstreams);
    let skills = SkillsConfig {
        enabled: reader.for_agent(id, "skills.enabled").unwrap_or(true),
        top_k: reader.for_agent(id, "skills.top_k").unwrap_or_default(),
        token_budget: reader.for_agent(id, "skills.token_budget").unwrap_or_default(),
        min_score: reader.for_agent(id, "skills.min_score").unwrap_or_default(),
        retrieval: retrieval(id, reader),
        specific_top_k: specific_top_k(id, reader),
    };
    let mode = mode(id, reader);
    let rl = training::build(id, mode, &targets, reader, upstreams);
    let policy = policy::build(id, skills, reader);
    let fallbacks = fallbacks::build(id, reader, upstreams);
    let learning = learning::build(id, targets.first(), reader, upstreams);
    let judge = judging::build(id, targets.first(), reader, upstreams, &learning);
    let max_context_tokens = reader.for_agent(id, "max_context_tokens");
    AgentConfig { mode, targets, fallbacks, max_context_tokens, skills, policy, rl, learning, judge }
}

fn retrieval(id: &AgentId, reader: &mut Reader<'_>) -> RetrievalMode {
    match reader.for_agent::<String>(id, "skills.retrieval_mode").as_deref() {
        Some("template") => RetrievalMode::Template,
        Some("bm25") => RetrievalMode::Bm25,
        Some("embedding") => RetrievalMode::Embedding,
        _ => RetrievalMode::Hybrid,
    }
}

/// MetaClaw takes any number.
fn specific_top_k(id: &AgentId, reader: &mut Reader<'_>) -> u32 {
    let wanted = reader.for_agent::<i64>(id, "skills.task_specific_top_k").unwrap_or_default();
    u32::try_from(wanted).unwrap_or(MAX_SKILLS).min(MAX_SKILLS)
}

/// Where agents have their adapters that name no folder of their own.
pub(crate) fn lora_dir(home: &std::path::Path) -> PathBuf {
    home.join("lora")
}

pub(crate) fn own_lora(home: &std::path::Path, id: &AgentId) -> PathBuf {
    lora_dir(home).join(id.as_str())
}

/// `--mode` stands for the top level's `mode`; an agent's own word is stronger.
pub(crate) fn mode(id: &AgentId, reader: &mut Reader<'_>) -> Mode {
    let own = reader.settings.inherited(id, "mode").is_some_and(|(path, _)| path != "mode");
    if let (false, Some(mode)) = (own, reader.options.mode) {
        return mode;
    }
    match reader.for_agent::<String>(id, "mode").as_deref() {
        Some("rl") => Mode::Rl,
        Some("auto" | "madmax") => Mode::Auto,
        _ => Mode::SkillsOnly,
    }
}

/// The configured upstream's models, then those of the other upstreams that the agent may use.
fn targets(id: &AgentId, reader: &mut Reader<'_>, upstreams: &BTreeMap<String, UpstreamConfig>) -> Vec<Target> {
    let (chosen, allowed) = chosen_upstreams(id, reader, upstreams);
    let models = chosen_models(id, reader);
    let mut targets: Vec<Target> = Vec::new();
    for (rank, name) in chosen.iter().chain(allowed.iter().filter(|name| Some(*name) != chosen.as_ref())).enumerate() {
        let Some(upstream) = upstreams.get(name) else { continue };
        let as_the_client_asks = [String::new()];
        let models = match (rank, models.as_slice(), upstream.models.as_slice()) {
            (0, [_, ..], _) => models.as_slice(),
            (_, _, []) => &as_the_client_asks,
            (_, _, models) => models,
        };
        for model in models {
            let target = Target { upstream: name.clone(), model: model.clone() };
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
    }
    targets
}

/// The upstream that answers, and those that a policy may choose instead. An agent that names either inherits neither:
/// what it may use is what it says.
fn chosen_upstreams(
    id: &AgentId,
    reader: &mut Reader<'_>,
    upstreams: &BTreeMap<String, UpstreamConfig>,
) -> (Option<String>, Vec<String>) {
    let own = names_upstream(id, reader);
    let level = if own { id } else { &AgentId::Default };
    let (one, many) = (format!("agents.{level}.upstream"), format!("agents.{level}.upstreams"));
    let chosen = reader.text(&one);
    let allowed: Vec<String> = reader.value(&many).unwrap_or_default();
    // What is inherited is reported where it stands.
    if level == id {
        check_upstreams(&one, chosen.as_slice(), reader, upstreams);
        check_upstreams(&many, &allowed, reader, upstreams);
    }
    let chosen = chosen.or_else(|| allowed.first().cloned()).or_else(|| usual_upstream(id, reader, upstreams));
    (chosen, allowed)
}

/// The agent's own models, or those of `_default` when it has that one's upstream too.
fn chosen_models(id: &AgentId, reader: &mut Reader<'_>) -> Vec<String> {
    let own = format!("agents.{id}.model");
    if reader.settings.mentions(&own) || names_upstream(id, reader) {
        return reader.value(&own).unwrap_or_default();
    }
    reader.for_agent(id, "model").unwrap_or_default()
}

fn names_upstream(id: &AgentId, reader: &Reader<'_>) -> bool {
    ["upstream", "upstreams"].iter().any(|key| reader.settings.mentions(&format!("agents.{id}.{key}")))
}

/// The upstream of an agent that names none: `default`, or the only one there is.
fn usual_upstream(
    id: &AgentId,
    reader: &mut Reader<'_>,
    upstreams: &BTreeMap<String, UpstreamConfig>,
) -> Option<String> {
    if upstreams.contains_key(DEFAULT) {
        return Some(DEFAULT.to_owned());
    }
    let names: Vec<&str> = choosable(upstreams).collect();
    if let [only] = names.as_slice() {
        return Some((*only).to_owned());
    }
    // The others inherit from `_default`, and the mistake with it.
    if *id == AgentId::Default && !names_upstream(id, reader) {
        let message = "there are several upstreams, and none of them is named default";
        let remedy = format!("set it to {}, or describe the usual one under `llm`", names.join(" or "));
        reader.report.error("agents._default.upstream", None, message, remedy);
    }
    None
}

/// The upstreams that answer turns; who writes skills or judges does not.
fn choosable(upstreams: &BTreeMap<String, UpstreamConfig>) -> impl Iterator<Item = &str> {
    upstreams.keys().map(String::as_str).filter(|name| ![learning::EVOLVER, judging::JUDGE].contains(name))
}

fn check_upstreams(
    path: &str,
    names: &[String],
    reader: &mut Reader<'_>,
    upstreams: &BTreeMap<String, UpstreamConfig>,
) {
    let known: Vec<&str> = choosable(upstreams).collect();
    for name in names.iter().filter(|name| !known.contains(&name.as_str())) {
        let (message, remedy) = unknown(name, "an upstream", &known);
        reader.report.error(path, reader.place(path), message, remedy);
    }
}

/// Two agents that wrote into one folder would serve each other's adapters.
fn check_adapters(listed: &BTreeMap<AgentId, Arc<AgentConfig>>, reader: &mut Reader<'_>) {
    let mut owners = BTreeMap::new();
    for (id, agent) in listed {
        if let Some(other) = owners.insert(&agent.rl.lora_output, id) {
            let key = |id| format!("agents.{id}.rl.lora_output");
            let (path, other) = match reader.place(&key(id)) {
                Some(_) => (key(id), other),
                None => (key(other), id),
            };
            let message = format!("the agent {other} has the same folder, and adapters belong to one agent");
            reader.report.error(&path, reader.place(&path), message, "give each agent a folder of its own");
        }
    }
}

/// Says what the modes of MetaClaw's files come to here.
fn review_modes(listed: &BTreeMap<AgentId, Arc<AgentConfig>>, reader: &mut Reader<'_>) {
    for (path, found) in reader.settings.modes() {
        let message = match found.setting.to_string().as_str() {
            "auto" => {
                "auto keeps samples and trains only when told to (`metaclaw train step`): quiet windows are not looked for yet"
            }
            "madmax" => {
                "madmax is auto's old name; auto keeps samples and trains only when told to (`metaclaw train step`): quiet windows are not looked for yet"
            }
            _ => continue,
        };
        reader.report.warning(path, Some(found.place), message, "write rl to train as soon as there is a batch");
    }
    let trains = listed.values().any(|agent| agent.mode != Mode::SkillsOnly);
    if !trains && reader.value::<bool>("rl.enabled") == Some(true) {
        let message = "this has no effect: `mode` decides, and it is skills_only";
        reader.report.warning("rl.enabled", reader.place("rl.enabled"), message, "set mode to rl, or remove this key");
    }
}
