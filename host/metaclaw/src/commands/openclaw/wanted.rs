//! What a connection should be, from the host's configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ::config::{Config, Paths, Settings, UnknownRule, UpstreamKind};
use ::openclaw::{ApiKey, Choice, Model, Offer, is_variable_name};
use anyhow::bail;
use domain::{AgentId, AgentName};

use super::ConnectArgs;
use crate::running::Running;

/// What OpenClaw assumes of models that it does not know.
const CONTEXT_WINDOW: u32 = 128_000;
const MAX_TOKENS: u32 = 8192;
/// OpenClaw's own prompts and tools take some 10,000 tokens: with less it would leave no room for an answer.
const EMBEDDED_CONTEXT_WINDOW: u32 = 32_768;
const EMBEDDED_MAX_TOKENS: u32 = 2048;
/// What the embedded model is called there: its name may be a path.
const EMBEDDED: &str = "embedded";

/// What the command line and the configuration come to.
pub(crate) struct Wanted<'a> {
    config: &'a Config,
    args: &'a ConnectArgs,
    base_url: String,
    running: bool,
    api_key: ApiKey,
}

impl<'a> Wanted<'a> {
    /// Finds the host's address and key.
    pub(crate) fn new(paths: &Paths, config: &'a Config, args: &'a ConnectArgs) -> anyhow::Result<Self> {
        let running = Running::find(&paths.home, None).ok();
        let configured = SocketAddr::new(config.server.host, config.server.port);
        let address = running.as_ref().map_or(configured, |running| running.address);
        if address.port() == 0 {
            bail!(
                "proxy.port is 0, so the port is known once the host runs: `metaclaw start` first, or set proxy.port"
            );
        }
        let api_key = api_key(paths, config)?;
        Ok(Wanted { config, args, base_url: self::address(address), running: running.is_some(), api_key })
    }

    /// Hands the wish to `work`.
    pub(crate) fn ask<T>(&self, work: impl FnOnce(&::openclaw::Wanted<'_>) -> T) -> T {
        let agents = match self.args.agents.as_slice() {
            [] => Choice::All,
            ids => Choice::Only(ids.iter().map(|id| id.trim().to_owned()).collect()),
        };
        let offer = |agent: Option<&str>, asked: Option<&str>| self.offer(agent, asked);
        work(&::openclaw::Wanted {
            base_url: self.base_url.clone(),
            api_key: self.api_key.clone(),
            agents,
            offer: &offer,
        })
    }

    /// What is good to know.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        match &self.api_key {
            ApiKey::Variable(name) => {
                notes.push(format!("OpenClaw's gateway needs the environment variable {name}, with the host's key"));
            }
            ApiKey::Literal(_) => {
                notes.push(
                    "the host's key stands in OpenClaw's file now: with file:PATH in proxy.api_key it would not"
                        .to_owned(),
                );
            }
            ApiKey::None | ApiKey::File(_) => {}
        }
        if !self.running {
            notes.push(format!(
                "the host is not running: OpenClaw finds nobody at {} until `metaclaw start`",
                self.base_url
            ));
        }
        notes
    }

    /// The model that OpenClaw's agent asks for: the agent's first target.
    fn offer(&self, agent: Option<&str>, asked: Option<&str>) -> Offer {
        let id = match agent.map(str::parse::<AgentName>).transpose() {
            Ok(name) => name.map_or(AgentId::Default, AgentId::Named),
            Err(error) => return Offer::Unfit(error.to_string()),
        };
        if self.config.unknown.rule == UnknownRule::Reject && !self.config.is_listed(&id) {
            return Offer::Unfit(format!(
                "agents_unknown is `reject`, and it is not listed (`metaclaw agents add {id}`)"
            ));
        }
        let agent = self.config.agent(&id);
        let upstream = |name: &String| self.config.upstreams.get(name);
        let Some((target, upstream)) = agent.targets.first().and_then(|t| Some((t, upstream(&t.upstream)?))) else {
            return Offer::Unfit("it has no upstream".to_owned());
        };
        let embedded = matches!(upstream.kind, UpstreamKind::Embedded { .. });
        let model = match (embedded, target.model.as_str(), asked) {
            (true, ..) => EMBEDDED,
            // As the client asks: what it asks for now.
            (_, "", Some(asked)) => asked,
            (_, "", None) => {
                let key = "llm.model_id, or the agent's model";
                return Offer::Unfit(format!("neither OpenClaw nor this host names a model (set {key})"));
            }
            (_, model, _) => model,
        };
        let (window, tokens) = match embedded {
            true => (EMBEDDED_CONTEXT_WINDOW, EMBEDDED_MAX_TOKENS),
            false => (CONTEXT_WINDOW, MAX_TOKENS),
        };
        Offer::Model(Model {
            id: model.to_owned(),
            context_window: self.args.context_window.or_else(|| upstream.window_of(model)).unwrap_or(window),
            max_tokens: self.args.max_tokens.unwrap_or(tokens),
            images: !embedded && !self.args.text_only,
        })
    }
}

/// The host's API as a program on this machine reaches it.
pub(crate) fn address(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        } else {
            IpAddr::V6(Ipv6Addr::LOCALHOST)
        });
    }
    format!("http://{address}/v1")
}

/// The host's key in OpenClaw's own terms: by reference where that is possible.
fn api_key(paths: &Paths, config: &Config) -> anyhow::Result<ApiKey> {
    let Some(key) = &config.server.api_key else {
        if config.server.wants_key() {
            bail!(
                "the plugin speaks for all agents and needs a key that stands somewhere, which those of `metaclaw keys` and of \
                 single agents do not: set proxy.api_key, or see `Without the plugin` in examples/openclaw/README.md"
            );
        }
        return Ok(ApiKey::None);
    };
    let settings = Settings::read(paths).map_err(::config::ConfigError::from)?;
    let written = settings.get("proxy.api_key")?;
    let written = written.as_str().unwrap_or_default();
    let file = || paths.expand(written.strip_prefix("file:")?).ok()?.to_str().map(str::to_owned);
    Ok(match written.strip_prefix("env:") {
        Some(name) if is_variable_name(name) => ApiKey::Variable(name.to_owned()),
        _ => file().map_or_else(|| ApiKey::Literal(key.clone()), ApiKey::File),
    })
}
