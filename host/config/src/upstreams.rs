use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use domain::{EjectionLimits, RetryLimits, Secret, UpstreamLimits, UpstreamTimeouts};
use url::{Host, Url};

use crate::load::Reader;
use crate::providers::{self, EMBEDDED, Preset, Provider};
use crate::setting::unknown;
use crate::yaml::quote;

/// The upstream that `llm.*` describes.
pub(crate) const DEFAULT: &str = "default";

/// Somebody who answers.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// Its name: the key in `upstreams`, or `default` for `llm.*`.
    pub name: String,
    /// How it is reached.
    pub kind: UpstreamKind,
    /// The models to ask, the preferred one first. Empty: whatever the client asks for. For the embedded model exactly
    /// one, its name: `embedded` when the file gives none.
    pub models: Vec<String>,
    /// How patient to be with it; of no meaning for the embedded model.
    pub limits: UpstreamLimits,
}

/// How an upstream is reached.
#[derive(Clone, Debug)]
pub enum UpstreamKind {
    /// Over HTTP, with the OpenAI chat API.
    Http {
        /// The API's address.
        base: BaseUrl,
        /// What to send as bearer token.
        api_key: Option<Secret>,
        /// Whose manners to expect.
        provider: Provider,
    },
    /// In this process.
    Embedded {
        /// The installed model's name, or the absolute path of a file; none: the usual one.
        model: Option<String>,
    },
}

/// The address of an API: http or https, with a host, without credentials, query or fragment, and without a `/` at the
/// end. A path such as `/chat/completions` can be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether what is sent there leaves this machine unencrypted.
    fn is_open_road(&self) -> bool {
        let Ok(url) = Url::parse(&self.0) else { return false };
        let loopback = match url.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => IpAddr::from(ip).to_canonical().is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => true,
        };
        url.scheme() == "http" && !loopback
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BaseUrl {
    type Err = String;

    /// The error says what is wrong; it repeats the text only when no credentials can be in it.
    fn from_str(text: &str) -> Result<Self, String> {
        let bare = !text.contains(['@', '?', '#']);
        let shown = if bare { quote(text) } else { "the address".to_owned() };
        let url = Url::parse(text).map_err(|error| format!("{shown} is not an address: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(format!("{shown} is not an http or https address"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the address holds credentials (not shown), which belong into api_key".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(
                "the address has a part after `?` or `#` (not shown), to which no path can be appended".to_owned()
            );
        }
        Ok(BaseUrl(url.as_str().trim_end_matches('/').to_owned()))
    }
}

/// Every upstream. One that is wrong is in the report, and here all the same, so that who names it is not wrong too.
pub(crate) fn build(reader: &mut Reader<'_>) -> BTreeMap<String, UpstreamConfig> {
    let mut upstreams = BTreeMap::new();
    let llm = ["llm.provider", "llm.model_id", "llm.api_base", "llm.api_key"];
    let has_llm = llm.iter().any(|key| reader.settings.mentions(key));
    let names: Vec<_> = reader.settings.upstreams.iter().map(|(name, place)| (name.clone(), *place)).collect();
    for (name, place) in &names {
        if name == DEFAULT && has_llm {
            let message = "`llm` describes the upstream `default` already";
            reader.report.error("upstreams.default", Some(*place), message, "keep one of the two, or rename this one");
        }
        let prefix = format!("upstreams.{name}");
        let models = reader.value(&format!("{prefix}.models")).unwrap_or_default();
        upstreams.insert(name.clone(), build_one(name, &prefix, models, reader));
    }
    if has_llm || names.is_empty() {
        check_auth_method(reader);
        let models = reader.text("llm.model_id").into_iter().collect();
        upstreams.insert(DEFAULT.to_owned(), build_one(DEFAULT, "llm", models, reader));
    }
    upstreams
}

fn check_auth_method(reader: &mut Reader<'_>) {
    if reader.value::<String>("llm.auth_method").as_deref() == Some("oauth_token") {
        let message = "subscription logins (oauth_token) are not supported by this build";
        let remedy = "set llm.auth_method to api_key, and llm.api_key to the provider's key";
        reader.report.error("llm.auth_method", reader.place("llm.auth_method"), message, remedy);
    }
}

fn build_one(name: &str, prefix: &str, models: Vec<String>, reader: &mut Reader<'_>) -> UpstreamConfig {
    let provider_key = format!("{prefix}.provider");
    let provider = reader.text(&provider_key);
    let described = !models.is_empty()
        || ["api_base", "api_key"].iter().any(|key| reader.settings.mentions(&format!("{prefix}.{key}")));
    // MetaClaw takes a missing provider for `custom`. Where nothing at all is said, the embedded model answers.
    let provider = provider.unwrap_or_else(|| if described { "custom" } else { EMBEDDED }.to_owned());
    let known = match providers::by_name(&provider) {
        Some(preset) => return build_http(name, prefix, preset, models, reader),
        None if provider == EMBEDDED => return build_embedded(name, prefix, models, reader),
        None => providers::UNSUPPORTED.iter().find(|(name, _)| *name == provider),
    };
    let (message, remedy) = match known {
        Some((name, remedy)) => (format!("the provider {name} is not supported by this build"), (*remedy).to_owned()),
        None => unknown(&provider, "a provider", &providers::names().collect::<Vec<_>>()),
    };
    reader.report.error(&provider_key, reader.place(&provider_key), message, remedy);
    placeholder(name)
}

/// What stands for an upstream that could not be understood; the report holds the error.
fn placeholder(name: &str) -> UpstreamConfig {
    let kind = UpstreamKind::Embedded { model: None };
    UpstreamConfig { name: name.to_owned(), kind, models: Vec::new(), limits: UpstreamLimits::default() }
}

fn build_http(
    name: &str,
    prefix: &str,
    preset: &Preset,
    models: Vec<String>,
    reader: &mut Reader<'_>,
) -> UpstreamConfig {
    let (base_key, secret_key) = (format!("{prefix}.api_base"), format!("{prefix}.api_key"));
    let api_key = reader.secret(&secret_key);
    let preset_base = || preset.api_base.and_then(|base| base.parse().ok());
    let Some(base) = reader.value::<BaseUrl>(&base_key).or_else(preset_base) else {
        if !reader.settings.mentions(&base_key) {
            let message = format!("the upstream {name} has no address");
            let remedy = format!("set {base_key} to https://host/v1, or {prefix}.provider to {EMBEDDED}");
            reader.report.error(&base_key, None, message, remedy);
        }
        return placeholder(name);
    };
    if preset.needs_key && !reader.settings.mentions(&secret_key) {
        let message = format!("{} answers nobody without a key", preset.name);
        reader.report.warning(&secret_key, None, message, format!("set {secret_key} to env:NAME or file:PATH"));
    }
    if api_key.is_some() && base.is_open_road() {
        let message = format!("the key goes to {base} unencrypted");
        reader.report.warning(&base_key, reader.place(&base_key), message, "use https");
    }
    let kind = UpstreamKind::Http { base, api_key, provider: preset.provider };
    UpstreamConfig { name: name.to_owned(), kind, models, limits: limits(prefix, reader) }
}

fn limits(prefix: &str, reader: &mut Reader<'_>) -> UpstreamLimits {
    let UpstreamLimits { timeouts, retries, ejection } = UpstreamLimits::default();
    let mut time = |key: &str, usual| reader.value(&format!("{prefix}.{key}")).unwrap_or(usual);
    let timeouts = UpstreamTimeouts {
        connect: time("timeouts.connect", timeouts.connect),
        first_byte: time("timeouts.first_byte", timeouts.first_byte),
        idle: time("timeouts.idle", timeouts.idle),
        total: time("timeouts.total", timeouts.total),
    };
    let wait = time("retries.wait", retries.wait);
    let backoff = time("ejection.backoff", ejection.backoff);
    let longest = time("ejection.longest", ejection.longest).max(backoff);
    let mut count = |key: &str, usual| reader.value(&format!("{prefix}.{key}")).unwrap_or(usual);
    UpstreamLimits {
        timeouts,
        retries: RetryLimits {
            max: count("retries.max", retries.max),
            wait,
            budget: count("retries.budget", retries.budget),
        },
        ejection: EjectionLimits { failures: count("ejection.failures", ejection.failures), backoff, longest },
    }
}

fn build_embedded(name: &str, prefix: &str, models: Vec<String>, reader: &mut Reader<'_>) -> UpstreamConfig {
    for key in ["api_base", "api_key"] {
        let path = format!("{prefix}.{key}");
        if reader.settings.mentions(&path) {
            let message = "the embedded model is in this program and needs none";
            reader.report.warning(&path, reader.place(&path), message, "remove it");
        }
    }
    let models_key = format!("{prefix}.{}", if prefix == "llm" { "model_id" } else { "models" });
    if models.len() > 1 {
        let message = "the embedded upstream has one model";
        reader.report.error(&models_key, reader.place(&models_key), message, "make an upstream of each model");
    }
    let model = models.into_iter().next().and_then(|model| match is_path(&model) {
        true => reader.expand(&models_key, &model).map(|path| path.display().to_string()),
        false => Some(model),
    });
    let models = vec![model.clone().unwrap_or_else(|| EMBEDDED.to_owned())];
    let kind = UpstreamKind::Embedded { model };
    UpstreamConfig { name: name.to_owned(), kind, models, limits: UpstreamLimits::default() }
}

/// A model's name may hold a `/`, as in `Qwen/Qwen3-8B`; a path begins or ends in its own way.
fn is_path(model: &str) -> bool {
    model.starts_with(['/', '~', '.']) || model.ends_with(".gguf")
}
