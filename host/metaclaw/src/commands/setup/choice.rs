//! What is to be set up: from the command line and what was found, where nobody is asked.

use std::io::BufRead;

use ::config::Paths;
use anyhow::{Context, bail};
use domain::{AgentId, AgentName, Secret};

use super::SetupArgs;
use super::find::{self, Found, Present};
use super::known::{self, CUSTOM, EMBEDDED};
use crate::bank::{self, Role};
use crate::cli::ModeArg;

/// What is to be set up.
#[derive(Debug)]
pub(super) struct Choice {
    /// Who answers; none: whom the file names already.
    pub(super) upstream: Option<Upstream>,
    /// Instead of the present `llm.model_id`, where the file's upstream is kept.
    pub(super) other_model: Option<String>,
    /// Instead of the present `llm.api_key`, likewise.
    pub(super) other_key: Key,
    pub(super) agents: Vec<(AgentName, Role)>,
    /// As the configuration spells it.
    pub(super) mode: Option<&'static str>,
    pub(super) port: Option<u16>,
    pub(super) connect_openclaw: bool,
}

impl Choice {
    /// The agents that get skills.
    pub(super) fn with_skills(&self) -> Vec<(AgentId, Role)> {
        self.agents.iter().map(|(name, role)| (AgentId::Named(name.clone()), *role)).collect()
    }
}

/// Who answers.
#[derive(Debug)]
pub(super) struct Upstream {
    /// As `provider:` names it.
    pub(super) provider: String,
    /// Instead of the provider's own address.
    pub(super) base: Option<String>,
    /// Empty for the embedded model's usual one.
    pub(super) model: String,
    pub(super) key: Key,
}

/// A provider's key.
#[derive(Debug)]
pub(super) enum Key {
    /// It wants none.
    None,
    /// `env:NAME` or `file:PATH`.
    Reference(String),
    /// The key itself, which goes into a file of its own.
    Typed(Secret),
}

impl Key {
    /// The variable of the environment that holds it.
    pub(super) fn variable(name: &str) -> Key {
        Key::Reference(format!("env:{name}"))
    }

    /// As the command line gives it.
    pub(super) fn parse(text: &str) -> anyhow::Result<Key> {
        match text {
            "-" => {
                let mut line = String::new();
                std::io::stdin().lock().read_line(&mut line).context("no key could be read from standard input")?;
                let key = line.trim_end_matches(['\r', '\n']);
                if key.is_empty() {
                    bail!("standard input holds no key: put it in the first line");
                }
                Ok(Key::Typed(Secret::new(key.to_owned())))
            }
            _ if text.starts_with("env:") || text.starts_with("file:") => Ok(Key::Reference(text.to_owned())),
            // What was given may be the key itself, so it is not repeated.
            _ => bail!(
                "--api-key names where the key is, env:NAME or file:PATH, or is `-` to read it from standard input; \
                 a key on the command line would stay in the shell's history"
            ),
        }
    }

    /// Whether there is one.
    pub(super) fn is_some(&self) -> bool {
        !matches!(self, Key::None)
    }

    /// The secret itself, where it can be had now.
    pub(super) fn resolve(&self, paths: &Paths) -> Option<Secret> {
        let reference = match self {
            Key::None => return None,
            Key::Typed(secret) => return Some(secret.clone()),
            Key::Reference(reference) => serde_json::Value::from(reference.as_str()),
        };
        // The configuration knows how references are followed.
        let text = format!("llm: {{ provider: custom, api_base: \"http://127.0.0.1\", api_key: {reference} }}");
        let loaded = ::config::load_text(&text, paths, super::super::lenient()).ok()?;
        match &loaded.config.upstreams.values().next()?.kind {
            ::config::UpstreamKind::Http { api_key, .. } => api_key.clone(),
            ::config::UpstreamKind::Embedded { .. } => None,
        }
    }
}

impl Choice {
    /// Without asking: what the command line says, and else the best of what was found.
    pub(super) async fn unasked(args: &SetupArgs, found: &Found, paths: &Paths) -> anyhow::Result<Choice> {
        let key = args.api_key.as_deref().map(Key::parse).transpose()?;
        let keeps = found.present == Present::Configured && !args.force;
        let mut choice = Choice::of(args, found)?;
        match (args.provider(), key) {
            (None, key) if keeps => {
                choice.other_model.clone_from(&args.model);
                choice.other_key = key.unwrap_or(Key::None);
            }
            (provider, key) => {
                let provider = provider.map_or_else(|| best(found, key.is_some()), |name| Ok(name.to_owned()))?;
                choice.upstream = Some(Upstream::complete(provider, args, key, found, paths).await?);
            }
        }
        Ok(choice)
    }

    /// All but the upstream, from the command line.
    pub(super) fn of(args: &SetupArgs, found: &Found) -> anyhow::Result<Choice> {
        let agents = args.agents.iter().map(|text| bank::parse(text)).collect::<anyhow::Result<_>>()?;
        if args.connect_openclaw && found.openclaw.is_none() {
            bail!("OpenClaw was not found: `metaclaw openclaw connect --openclaw-config FILE` names its file");
        }
        Ok(Choice {
            upstream: None,
            other_model: None,
            other_key: Key::None,
            agents,
            mode: args.mode.map(ModeArg::word),
            port: args.port,
            connect_openclaw: args.connect_openclaw,
        })
    }
}

impl Upstream {
    /// A provider, with what the command line and its own list of models say of it.
    pub(super) async fn complete(
        provider: String,
        args: &SetupArgs,
        key: Option<Key>,
        found: &Found,
        paths: &Paths,
    ) -> anyhow::Result<Upstream> {
        if provider == EMBEDDED {
            let model = args.model.clone().unwrap_or_default();
            return Ok(Upstream { provider, base: None, model, key: Key::None });
        }
        let server = found.servers.iter().find(|s| s.provider == provider && args.api_base.is_none());
        let own = known::address(&provider);
        let base = args.api_base.clone().or_else(|| server.map(|s| s.base.clone()).filter(|b| own.as_ref() != Some(b)));
        let Some(address) = base.clone().or(own) else {
            bail!("{} has no address of its own: say it with --api-base https://host/v1", known::label(&provider));
        };
        let in_environment = found.keys.iter().find(|(preset, _)| preset.name == provider);
        let key = key.or_else(|| in_environment.map(|(_, name)| Key::variable(name))).unwrap_or(Key::None);
        let wanted = known::locked(&provider).map(|preset| preset.key_env).unwrap_or_default();
        if let (false, [variable, ..]) = (key.is_some(), wanted) {
            let label = known::label(&provider);
            bail!("{label} wants a key: set {variable}, or say --api-key env:NAME, file:PATH, or - for standard input");
        }
        let model = match (&args.model, server) {
            (Some(model), _) => model.clone(),
            (None, Some(server)) => known::chat_model(&server.models).cloned().unwrap_or_default(),
            (None, None) => usual_model(&provider, &address, &key, paths).await,
        };
        if model.is_empty() {
            bail!("{address} lists no model to talk to: name one with --model{}", hint(&provider));
        }
        Ok(Upstream { provider, base, model, key })
    }
}

fn hint(provider: &str) -> &'static str {
    match provider {
        "ollama" => ", or start it and get one (`ollama pull llama3.2`)",
        "lmstudio" | "vllm" | "sglang" => ", or start the server with one",
        _ => "",
    }
}

/// The model that we know, or the first that the provider lists.
async fn usual_model(provider: &str, address: &str, key: &Key, paths: &Paths) -> String {
    match known::usual_model(provider) {
        Some(model) => model.to_owned(),
        None => {
            let models = find::models_of(address, key.resolve(paths).as_ref()).await.unwrap_or_default();
            known::chat_model(&models).cloned().unwrap_or_default()
        }
    }
}

/// What costs nothing and stays on this machine comes first, then a key that is there, then the model in this program.
pub(super) fn best(found: &Found, has_key: bool) -> anyhow::Result<String> {
    if has_key {
        bail!("--api-key says nothing of whose key it is: add --provider NAME or --api-base URL");
    }
    let server = found.servers.iter().find(|server| known::chat_model(&server.models).is_some());
    let key = found.keys.first().map(|(preset, _)| preset.name.to_owned());
    Ok(server.map(|s| s.provider.clone()).or(key).unwrap_or_else(|| EMBEDDED.to_owned()))
}

impl SetupArgs {
    /// The provider that the command line names; an address alone is anybody's.
    pub(super) fn provider(&self) -> Option<&str> {
        self.provider.as_deref().or_else(|| self.api_base.as_ref().map(|_| CUSTOM))
    }
}
