use std::fmt;
use std::path::PathBuf;

use domain::{AgentId, ByteSize, Digest, FileGrant, Mode, PolicyGrants, PolicyLimits, WarmInstances};
use serde::Serialize;

use crate::agents::{ModuleRef, ModuleSource, Target};
use crate::judging::JudgeConfig;
use crate::load::Config;
use crate::providers::{Auth, EMBEDDED};
use crate::training::{LossKind, RlConfig};
use crate::upstreams::{UpstreamConfig, UpstreamKind};

/// What a configuration comes to, in words that can be shown. It holds no secret.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// `127.0.0.1:30000`.
    pub listens_on: String,
    /// Whether clients must send a key.
    pub key_required: bool,
    /// Who answers, in order of name.
    pub upstreams: Vec<UpstreamOverview>,
    /// Each agent, `_default` first.
    pub agents: Vec<AgentOverview>,
}

/// What one upstream's settings come to.
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamOverview {
    /// Its name.
    pub name: String,
    /// As `provider:` names it; `embedded` for the model in this program.
    pub provider: &'static str,
    /// Where it is; none for the embedded model.
    pub api_base: Option<String>,
    /// Whether a key is sent.
    pub has_key: bool,
    /// Whether the client's own credential is sent.
    pub forwards: bool,
    /// The context window, where the configuration gives one.
    pub context_window: Option<u32>,
    /// Its models; empty: as the client asks.
    pub models: Vec<String>,
}

/// What one agent's settings come to.
#[derive(Clone, Debug, Serialize)]
pub struct AgentOverview {
    /// Its name.
    pub agent: String,
    /// `skills_only`, `rl` or `auto`.
    pub mode: &'static str,
    /// Where its turns may be answered, the configured choice first.
    pub targets: Vec<Target>,
    /// Where a turn goes whose target fails, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<Target>,
    /// Its own skill folder; none when no skills are injected.
    pub skills: Option<PathBuf>,
    /// Who decides on `route`, `select` and `filter`: `builtin:default`, or a module's path and digest.
    pub route: String,
    /// See `route`.
    pub select: String,
    /// See `route`.
    pub filter: String,
    /// Who lays out the chosen skills; none: the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub render: Option<String>,
    /// Who decides on tool calls; none: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// Who rewards turns; none: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward: Option<String>,
    /// What a call of its policy may use.
    pub limits: String,
    /// What its policy may do beside deciding, as `policy.grants` says; none: nothing.
    pub grants: Option<String>,
    /// How its policy's instances outlive their turn; none when each turn has a fresh one.
    pub instances: Option<String>,
    /// Who judges its answers, and how often each; none: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<String>,
    /// Where its adapters are; none in the mode `skills_only`.
    pub adapters: Option<PathBuf>,
    /// How it trains, or why it does not; none in the mode `skills_only`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<String>,
}

impl Config {
    /// What the configuration comes to.
    pub fn overview(&self) -> Overview {
        Overview {
            listens_on: std::net::SocketAddr::new(self.server.host, self.server.port).to_string(),
            key_required: self.server.wants_key(),
            upstreams: self.upstreams.values().map(upstream_overview).collect(),
            agents: self.agents().map(|(id, _)| self.agent_overview(id)).collect(),
        }
    }

    /// What one agent's settings come to, listed or not.
    pub fn agent_overview(&self, id: &AgentId) -> AgentOverview {
        let agent = self.agent(id);
        let hooks = &agent.policy.hooks;
        AgentOverview {
            agent: id.to_string(),
            mode: match agent.mode {
                Mode::SkillsOnly => "skills_only",
                Mode::Rl => "rl",
                Mode::Auto => "auto",
            },
            targets: agent.targets.clone(),
            fallbacks: agent.fallbacks.clone(),
            skills: agent.skills.enabled.then(|| self.skills_dir.join(id.as_str())),
            route: module_text(hooks.route.as_ref()),
            select: module_text(hooks.select.as_ref()),
            filter: module_text(hooks.filter.as_ref()),
            render: hooks.render.as_ref().map(|module| module_text(Some(module))),
            gate: hooks.gate.as_ref().map(|module| module_text(Some(module))),
            reward: hooks.reward.as_ref().map(|module| module_text(Some(module))),
            limits: limits_text(&agent.policy.limits),
            grants: grants_text(&agent.policy.grants),
            instances: instances_text(&agent.policy.instances),
            judge: agent.judge.as_ref().map(judge_text),
            adapters: (agent.mode != Mode::SkillsOnly).then(|| agent.rl.lora_output.clone()),
            training: (agent.mode != Mode::SkillsOnly).then(|| training_text(&agent.rl)),
        }
    }
}

/// For a person at a terminal.
impl fmt::Display for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.key_required { "clients need the key" } else { "every program on this machine is served" };
        write!(f, "listens on {}; {key}", self.listens_on)?;
        self.upstreams.iter().try_for_each(|upstream| write!(f, "\n{upstream}"))?;
        self.agents.iter().try_for_each(|agent| write!(f, "\n{agent}"))
    }
}

impl fmt::Display for UpstreamOverview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "upstream {}: {}", self.name, self.provider)?;
        self.api_base.iter().try_for_each(|base| write!(f, " at {base}"))?;
        f.write_str(match (self.has_key, self.forwards) {
            (true, _) => ", with a key",
            (_, true) => ", with the client's own credential",
            _ => "",
        })?;
        self.context_window.iter().try_for_each(|tokens| write!(f, ", context window {tokens}"))
    }
}

impl fmt::Display for AgentOverview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "agent {}\n    mode      {}", self.agent, self.mode)?;
        let targets = self.targets.iter().map(|target| ("target  ", target));
        for (word, target) in targets.chain(self.fallbacks.iter().map(|target| ("fallback", target))) {
            let model = if target.model.is_empty() { "as the client asks" } else { &target.model };
            write!(f, "\n    {word}  {}: {model}", target.upstream)?;
        }
        match &self.skills {
            Some(folder) => write!(f, "\n    skills    {}", folder.display())?,
            None => f.write_str("\n    skills    none")?,
        }
        let always = [("route ", &self.route), ("select", &self.select), ("filter", &self.filter)];
        let others = [("render", &self.render), ("gate  ", &self.gate), ("reward", &self.reward)];
        let others = others.into_iter().filter_map(|(hook, who)| Some((hook, who.as_ref()?)));
        if always.into_iter().chain(others.clone()).all(|(_, who)| *who == self.route) {
            write!(f, "\n    policy    {}", self.route)?;
        } else {
            always.into_iter().chain(others).try_for_each(|(hook, who)| write!(f, "\n    {hook}    {who}"))?;
        }
        write!(f, "\n    limits    {}", self.limits)?;
        self.grants.iter().try_for_each(|grants| write!(f, "\n    grants    {grants}"))?;
        self.instances.iter().try_for_each(|instances| write!(f, "\n    instances {instances}"))?;
        self.judge.iter().try_for_each(|judge| write!(f, "\n    judge     {judge}"))?;
        self.adapters.iter().try_for_each(|folder| write!(f, "\n    adapters  {}", folder.display()))?;
        self.training.iter().try_for_each(|training| write!(f, "\n    training  {training}"))
    }
}

fn upstream_overview(upstream: &UpstreamConfig) -> UpstreamOverview {
    let (provider, api_base, has_key, forwards) = match &upstream.kind {
        UpstreamKind::Http { base, api_key, auth, provider, .. } => {
            (provider.name, Some(base.to_string()), api_key.is_some(), *auth == Auth::Forward)
        }
        UpstreamKind::Embedded { .. } => (EMBEDDED, None, false, false),
    };
    UpstreamOverview {
        name: upstream.name.clone(),
        provider,
        api_base,
        has_key,
        forwards,
        context_window: upstream.context_window,
        models: upstream.models.clone(),
    }
}

fn module_text(module: Option<&ModuleRef>) -> String {
    match module {
        None => "builtin:default".to_owned(),
        Some(ModuleRef { source, sha256, signed_by }) => {
            let digest = sha256.as_ref().map(Digest::short);
            let names: Vec<&str> = signed_by.iter().map(|root| root.name.as_str()).collect();
            let signed = (!names.is_empty()).then(|| format!("signed by {}", names.join(" or ")));
            let checks: Vec<String> = digest.into_iter().chain(signed).collect();
            // A reference that pins its manifest says so itself.
            let pinned = matches!(source, ModuleSource::Registry(reference) if reference.digest().is_some());
            match (checks.is_empty(), pinned) {
                (true, true) => source.to_string(),
                (true, false) => format!("{source} (no digest)"),
                (false, _) => format!("{source} ({})", checks.join(", ")),
            }
        }
    }
}

fn grants_text(grants: &PolicyGrants) -> Option<String> {
    let skills = grants.skills.map(|to| match to {
        FileGrant::Read => "skills read".to_owned(),
        FileGrant::Write => "skills write".to_owned(),
    });
    let said = |granted: bool, word: &str| granted.then(|| word.to_owned());
    let sized = |size: Option<ByteSize>, word: &str| size.map(|size| format!("{word} {size}"));
    let all = [
        skills,
        said(grants.lora, "lora read"),
        sized(grants.kv, "kv"),
        sized(grants.log, "log"),
        said(grants.wasi, "wasi stub"),
        said(grants.wasi_fs, "wasi-fs read"),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn instances_text(instances: &WarmInstances) -> Option<String> {
    let WarmInstances { warm, max_calls, idle } = instances;
    let idle = humantime::format_duration(*idle);
    (*warm > 0).then(|| format!("{warm} stay warm, for {max_calls} calls each, {idle} idle"))
}

fn judge_text(judge: &JudgeConfig) -> String {
    let who = judge.target.as_ref().map_or_else(
        || "the model that answers".to_owned(),
        |target| {
            if target.model.is_empty() {
                target.upstream.clone()
            } else {
                format!("{}: {}", target.upstream, target.model)
            }
        },
    );
    format!("{who}, {} {}", judge.votes, if judge.votes == 1 { "vote" } else { "votes" })
}

fn training_text(rl: &RlConfig) -> String {
    let upstream = match &rl.trains {
        Ok(upstream) => upstream,
        Err(reason) => return format!("none: {reason}"),
    };
    let when = if rl.manual { ", when told to" } else { "" };
    let bounds = match rl.loss.kind {
        LossKind::ImportanceSampling => String::new(),
        LossKind::Ppo | LossKind::Cispo => format!(" from {} to {}", rl.loss.low, rl.loss.high),
    };
    let (rank, batch, loss, rate) = (rl.rank, rl.batch_size, rl.loss.kind.as_str(), rl.learning_rate);
    format!("the model of {upstream}, rank {rank}, {loss}{bounds}, rate {rate}, batches of {batch}{when}")
}

fn limits_text(limits: &PolicyLimits) -> String {
    let time = humantime::format_duration;
    format!(
        "cpu {}, wall {}, filter cpu {}, filter wall {}, memory {}, concurrency {}, queue {}",
        time(limits.cpu),
        time(limits.wall),
        time(limits.filter_cpu),
        time(limits.filter_wall),
        limits.memory,
        limits.concurrency,
        time(limits.queue)
    )
}
