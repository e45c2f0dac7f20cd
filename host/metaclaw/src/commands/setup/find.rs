//! What is there already, without asking anybody: keys in the environment, servers on this machine, a MetaClaw home,
//! OpenClaw. Nothing is changed, nothing leaves the machine, and no value of a variable is kept or shown.

use std::path::PathBuf;
use std::time::Duration;

use ::config::{Paths, Preset, Settings};
use anyhow::bail;
use futures_util::future::join_all;
use reqwest::{Client, Url};
use serde_json::Value;

use super::known::{self, EMBEDDED};

/// How long a server on this machine may take to list its models.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long a provider may take for the same.
const REMOTE_PATIENCE: Duration = Duration::from_secs(8);
/// More than any list of models.
const MAX_LIST: usize = 4 << 20;

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// What the configuration file is at present.
    pub(super) present: Present,
    /// Providers whose key is in the environment, and the variable.
    pub(super) keys: Vec<(&'static Preset, &'static str)>,
    /// Servers on this machine that answer.
    pub(super) servers: Vec<Server>,
    /// Whether a model for the embedded upstream is installed.
    pub(super) model_installed: bool,
    /// OpenClaw's configuration, and whether it is connected to this home.
    pub(super) openclaw: Option<(PathBuf, bool)>,
    /// Skills in MetaClaw's flat layout: `skills/NAME/SKILL.md`.
    pub(super) flat_skills: usize,
}

/// What the configuration file is at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Present {
    /// There is none.
    None,
    /// It says who answers.
    Configured,
    /// It does not.
    Unfinished,
}

/// A server on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// As `provider:` names it.
    pub(super) provider: String,
    /// Its address.
    pub(super) base: String,
    /// What it has.
    pub(super) models: Vec<String>,
}

/// Looks everywhere at once. `probes`, where given, are asked instead of the customary ports: `provider=address`.
pub(super) async fn everything(paths: &Paths, probes: Option<&str>) -> anyhow::Result<Found> {
    let probes = match probes {
        None => known::local().map(|(name, base)| (name.to_owned(), base)).collect(),
        Some(text) => parse_probes(text)?,
    };
    let client = client(PATIENCE)?;
    let asked = probes.into_iter().map(async |(provider, base)| {
        let models = models_at(&client, &base, None).await?;
        Some(Server { provider, base, models })
    });
    let servers = join_all(asked).await.into_iter().flatten().filter(|s| !is_ourselves(s)).collect();
    let installed = crate::commands::models::locate(&paths.home, None).is_ok();
    Ok(Found {
        present: present(paths),
        keys: keys(),
        servers,
        model_installed: installed,
        openclaw: crate::commands::openclaw::found(&paths.home),
        flat_skills: flat_skills(paths),
    })
}

/// The models that an API lists; none when it does not.
pub(crate) async fn models_of(base: &str, key: Option<&domain::Secret>) -> Option<Vec<String>> {
    models_at(&client(REMOTE_PATIENCE).ok()?, base, key).await
}

fn client(patience: Duration) -> anyhow::Result<Client> {
    let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(patience);
    Ok(client.build()?)
}

async fn models_at(client: &Client, base: &str, key: Option<&domain::Secret>) -> Option<Vec<String>> {
    let mut request = client.get(format!("{base}/models"));
    if let Some(key) = key {
        request = request.bearer_auth(key.expose());
    }
    let mut answer = request.send().await.ok().filter(|answer| answer.status().is_success())?;
    let mut text = Vec::new();
    while let Some(piece) = answer.chunk().await.ok()? {
        text.extend_from_slice(&piece);
        if text.len() > MAX_LIST {
            return None;
        }
    }
    let list: Value = serde_json::from_slice(&text).ok()?;
    let names = list["data"].as_array()?.iter().filter_map(|model| model["id"].as_str());
    // Names go to a terminal and into a file of one line each.
    Some(names.filter(|name| !name.is_empty() && !name.contains(char::is_control)).map(str::to_owned).collect())
}

/// vLLM's customary port may be this host's: it lists its upstream as the owner.
fn is_ourselves(server: &Server) -> bool {
    server.models == [EMBEDDED]
}

fn parse_probes(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut probes = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let Some((provider, base)) = item.split_once('=') else { bail!("{item:?} is not provider=address") };
        let url = Url::parse(base)?;
        // Only this machine is looked at unasked.
        if !matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")) {
            bail!("{base} is not on this machine");
        }
        probes.push((provider.to_owned(), base.trim_end_matches('/').to_owned()));
    }
    Ok(probes)
}

/// A local server's key says nothing of whether the server is there.
fn keys() -> Vec<(&'static Preset, &'static str)> {
    let set = |name: &&&'static str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let locked = known::offered().filter(|preset| preset.needs_key);
    locked.filter_map(|preset| Some((preset, *preset.key_env.iter().find(set)?))).collect()
}

fn present(paths: &Paths) -> Present {
    if !paths.config_file.exists() {
        return Present::None;
    }
    match Settings::read(paths) {
        Ok(settings) if !settings.has("llm") && !settings.has("upstreams") => Present::Unfinished,
        // One that cannot be read is reported when it is needed.
        _ => Present::Configured,
    }
}

fn flat_skills(paths: &Paths) -> usize {
    let Ok(entries) = std::fs::read_dir(paths.home.join("skills")) else { return 0 };
    entries.flatten().filter(|entry| entry.path().join("SKILL.md").is_file()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_looked_at() {
        let probes = parse_probes("ollama=http://127.0.0.1:7/v1/, vllm=http://[::1]:9/v1").unwrap();
        let want = [("ollama", "http://127.0.0.1:7/v1"), ("vllm", "http://[::1]:9/v1")];
        assert_eq!(probes, want.map(|(p, b)| (p.to_owned(), b.to_owned())));
        assert!(parse_probes("").unwrap().is_empty());
        for bad in ["ollama", "x=http://example.org/v1", "x=http://127.0.0.1.example.org/v1", "x=nothing"] {
            assert!(parse_probes(bad).is_err(), "{bad}");
        }
    }
}
