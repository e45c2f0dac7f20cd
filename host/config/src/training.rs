//! How agents train, and which of them cannot.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::{AgentId, Mode};

use crate::agents::{AgentConfig, Target, own_lora};
use crate::load::Reader;
use crate::upstreams::{UpstreamConfig, UpstreamKind};
use crate::yaml::quote;

/// How an agent trains.
#[derive(Clone, Debug, PartialEq)]
pub struct RlConfig {
    /// Whose model it trains, a key of [`Config::upstreams`](crate::Config::upstreams); or why it does not.
    pub trains: Result<String, Untrained>,
    /// Whether it trains only when somebody says so.
    pub manual: bool,
    /// The base model: the first target's unless configured. Empty when neither names one.
    pub model: String,
    /// The folder of this agent's adapters, absolute; no two agents share one. It need not exist yet.
    pub lora_output: PathBuf,
    /// Samples to a training step, at least 1.
    pub batch_size: u32,
    /// The checkpoint to go on from, in the trainer's own terms.
    pub resume_from_ckpt: Option<String>,
    /// The rank of its adapters, at least 1.
    pub rank: u32,
    /// Their weight is this over the rank.
    pub alpha: f64,
    /// How far one step goes.
    pub learning_rate: f64,
    /// So many first steps go less far, each further than the one before.
    pub warmup_steps: u32,
    /// What is made small.
    pub loss: LossConfig,
    /// How many further answers are drawn to a prompt that was answered once, for the judge to grade.
    pub candidates: u32,
    /// Tokens of a sample, prompt and answer; longer ones are not trained on.
    pub max_tokens: u32,
    /// When a sample is too old.
    pub staleness: StalenessConfig,
    /// How many adapters are kept beside the one in use, at least 1.
    pub keep: u32,
    /// How many threads train; none: one fewer than the machine has.
    pub threads: Option<u32>,
    /// What the first adapter is drawn from.
    pub seed: u32,
    /// What a new adapter must pass.
    pub gate: GateConfig,
    /// Whether it then waits for a person's word.
    pub review: bool,
}

/// What a training step makes small.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossConfig {
    /// Which loss.
    pub kind: LossKind,
    /// The least ratio of a token's probabilities, learner to sampler, that counts in full, 0 to 1.
    pub low: f64,
    /// The largest, 1 or more.
    pub high: f64,
}

/// The losses that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossKind {
    /// Weighs by the ratio, without bounds.
    ImportanceSampling,
    /// Nothing is learned beyond the bounds.
    Ppo,
    /// Beyond the bounds, the bound weighs.
    Cispo,
}

/// When a sample is too old to be trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StalenessConfig {
    /// How many adapters may have come since the one that it was drawn with.
    pub adapters: u32,
    /// How long ago it may have been drawn.
    pub age: Duration,
    /// Whether the agent's skills must be the same still.
    pub skills: bool,
}

/// What a new adapter must pass before it serves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateConfig {
    /// How far it may be from the one before: divergence in nats a token.
    pub max_drift: f64,
    /// How many prompts are answered with both.
    pub prompts: u32,
    /// Whether the judge compares those answers.
    pub judge: bool,
    /// Of so many prompts one is kept out of training; 0: none is.
    pub held_out: u32,
    /// After how many rewarded answers one that does worse than the one before is taken back; 0: never.
    pub watch: u32,
}

/// Why an agent trains nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untrained {
    /// It is not to.
    Mode,
    /// Nobody who answers it says which tokens were drawn, and how likely each was.
    NoTokens {
        /// Who answers.
        upstream: String,
    },
    /// Who is to train cannot be asked yet.
    Backend(String),
}

impl fmt::Display for Untrained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Untrained::Mode => f.write_str("its mode is skills_only"),
            Untrained::NoTokens { upstream } => write!(
                f,
                "the upstream {upstream} says neither which tokens were drawn nor how likely each was, and only such answers can be trained on: the agent is served and learns skills"
            ),
            Untrained::Backend(name) => {
                write!(f, "`rl.backend: {name}` cannot be asked to train yet: samples are kept")
            }
        }
    }
}

impl LossKind {
    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            LossKind::ImportanceSampling => "importance_sampling",
            LossKind::Ppo => "ppo",
            LossKind::Cispo => "cispo",
        }
    }
}

/// How this agent, of that mode and with those targets, trains.
pub(crate) fn build(
    id: &AgentId,
    mode: Mode,
    targets: &[Target],
    reader: &mut Reader<'_>,
    upstreams: &BTreeMap<String, UpstreamConfig>,
) -> RlConfig {
    let named = |text: &String| !text.is_empty();
    let rank: u32 = reader.for_agent(id, "rl.lora_rank").unwrap_or(1);
    let manual: bool = reader.for_agent(id, "rl.manual_train_trigger").unwrap_or(false);
    RlConfig {
        trains: trains(mode, targets, reader, upstreams),
        manual: manual || mode == Mode::Auto,
        model: reader
            .for_agent::<String>(id, "rl.model")
            .filter(named)
            .or_else(|| targets.first().map(|target| target.model.clone()))
            .unwrap_or_default(),
        // Not inherited: an adapter folder belongs to one agent.
        lora_output: reader
            .path(&format!("agents.{id}.rl.lora_output"))
            // Component by component, so that a `/` at the end makes no difference.
            .map(|folder| folder.components().collect())
            .unwrap_or_else(|| own_lora(&reader.paths.home, id)),
        batch_size: reader.for_agent(id, "rl.batch_size").unwrap_or(1),
        resume_from_ckpt: reader.for_agent::<String>(id, "rl.resume_from_ckpt").filter(named),
        rank,
        alpha: reader.for_agent(id, "rl.lora_alpha").unwrap_or(2.0 * f64::from(rank)),
        learning_rate: reader.for_agent(id, "rl.learning_rate").unwrap_or_default(),
        warmup_steps: reader.for_agent(id, "rl.warmup_steps").unwrap_or_default(),
        loss: LossConfig {
            kind: match reader.for_agent::<String>(id, "rl.loss").as_deref() {
                Some("importance_sampling") => LossKind::ImportanceSampling,
                Some("ppo") => LossKind::Ppo,
                _ => LossKind::Cispo,
            },
            low: reader.for_agent(id, "rl.clip_low").unwrap_or(1.0),
            high: reader.for_agent(id, "rl.clip_high").unwrap_or(1.0),
        },
        candidates: reader.for_agent(id, "rl.candidates").unwrap_or_default(),
        max_tokens: reader.for_agent(id, "rl.max_tokens").unwrap_or_default(),
        staleness: StalenessConfig {
            adapters: reader.for_agent(id, "rl.staleness.adapters").unwrap_or_default(),
            age: reader.for_agent(id, "rl.staleness.age").unwrap_or_default(),
            skills: reader.for_agent(id, "rl.staleness.skills").unwrap_or(false),
        },
        keep: reader.for_agent(id, "rl.keep").unwrap_or(1),
        threads: reader.value("rl.threads").filter(|threads| *threads > 0),
        seed: reader.for_agent(id, "rl.seed").unwrap_or_default(),
        gate: GateConfig {
            max_drift: reader.for_agent(id, "rl.gate.max_drift").unwrap_or_default(),
            prompts: reader.for_agent(id, "rl.gate.prompts").unwrap_or_default(),
            judge: reader.for_agent(id, "rl.gate.judge").unwrap_or(false),
            held_out: reader.for_agent(id, "rl.gate.held_out").unwrap_or_default(),
            watch: reader.for_agent(id, "rl.gate.watch").unwrap_or_default(),
        },
        review: reader.for_agent(id, "rl.review").unwrap_or(false),
    }
}

/// Whose model an agent trains: the first of its targets that runs in this process.
fn trains(
    mode: Mode,
    targets: &[Target],
    reader: &mut Reader<'_>,
    upstreams: &BTreeMap<String, UpstreamConfig>,
) -> Result<String, Untrained> {
    if mode == Mode::SkillsOnly {
        return Err(Untrained::Mode);
    }
    if let Some(backend) = reader.text(BACKEND).filter(|backend| !matches!(backend.as_str(), "auto" | "embedded")) {
        return Err(Untrained::Backend(backend));
    }
    let here = |target: &&Target| {
        upstreams.get(&target.upstream).is_some_and(|upstream| matches!(upstream.kind, UpstreamKind::Embedded { .. }))
    };
    let upstream = || targets.first().map(|target| target.upstream.clone()).unwrap_or_default();
    targets
        .iter()
        .find(here)
        .map(|target| target.upstream.clone())
        .ok_or_else(|| Untrained::NoTokens { upstream: upstream() })
}

const BACKEND: &str = "rl.backend";

/// Says of whom nothing can be trained though their mode asks for it, and why.
pub(crate) fn review(
    listed: &BTreeMap<AgentId, Arc<AgentConfig>>,
    reader: &mut Reader<'_>,
    upstreams: &BTreeMap<String, UpstreamConfig>,
) {
    let mut refused = BTreeMap::<_, Vec<&str>>::new();
    for (id, agent) in listed {
        match &agent.rl.trains {
            Err(Untrained::NoTokens { upstream }) => {
                let path = reader.settings.inherited(id, "mode").map_or("mode".to_owned(), |(path, _)| path);
                refused.entry((path, upstream.clone())).or_default().push(id.as_str());
            }
            Err(Untrained::Mode | Untrained::Backend(_)) => {}
            Ok(upstream) => {
                other_model(id, upstream, reader, upstreams);
                ungraded(id, agent, reader);
            }
        }
    }
    for ((path, upstream), agents) in refused {
        let message = format!("nothing is trained for {}: {}", agents.join(", "), Untrained::NoTokens { upstream });
        let remedy = "let the embedded model answer (`provider: embedded`), or write skills_only";
        reader.report.warning(&path, reader.place(&path), message, remedy);
    }
    let backend = listed.values().find_map(|agent| match &agent.rl.trains {
        Err(refused @ Untrained::Backend(_)) => Some(refused.to_string()),
        _ => None,
    });
    if let Some(message) = backend {
        reader.report.warning(BACKEND, reader.place(BACKEND), message, "write embedded to train in this process");
    }
}

/// Candidates that nobody grades are not drawn.
fn ungraded(id: &AgentId, agent: &AgentConfig, reader: &mut Reader<'_>) {
    if agent.rl.candidates == 0 || agent.judge.is_some() {
        return;
    }
    let found = reader.settings.inherited(id, "rl.candidates").map(|(path, found)| (path, found.place));
    let Some((path, place)) = found else { return };
    let message = format!("no candidates are drawn for {id}: nobody judges its answers");
    reader.report.warning(path, Some(place), message, "set rl.prm_url and rl.prm_api_key, or `rl.judge: own`");
}

/// The embedded trainer trains the model that answers, and no other.
fn other_model(id: &AgentId, upstream: &str, reader: &mut Reader<'_>, upstreams: &BTreeMap<String, UpstreamConfig>) {
    let Some((path, place)) = reader.settings.inherited(id, "rl.model").map(|(path, found)| (path, found.place)) else {
        return;
    };
    let kind = upstreams.get(upstream).map(|upstream| &upstream.kind);
    let Some(UpstreamKind::Embedded { model: Some(answers) }) = kind else { return };
    let wanted = reader.for_agent::<String>(id, "rl.model").unwrap_or_default();
    if !wanted.is_empty() && wanted != *answers {
        let message = format!("{id} trains {}, the model that answers it, and not this one", quote(answers));
        reader.report.warning(path, Some(place), message, "remove this key");
    }
}
