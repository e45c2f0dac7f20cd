use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use domain::{EjectionLimits, Reach, RetryLimits, Secret, UpstreamLimits, UpstreamTimeouts};
use url::{Host, Url};

use crate::credential::{self, Credential};
use crate::load::Reader;
use crate::providers::{self, Auth, EMBEDDED, Preset};
use crate::reach;
use crate::schema::KEYS;
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
    /// How many tokens a prompt and its answer may have together, when the configuration says so.
    pub context_window: Option<u32>,
    /// How patient to be with it; of no meaning for the embedded model.
    pub limits: UpstreamLimits,
}

impl UpstreamConfig {
    /// How many tokens a prompt to this model and its answer may have together; none where only the server's operator knows.
    pub fn window_of(&self, model: &str) -> Option<u32> {
        let known = || match &self.kind {
            UpstreamKind::Http { provider, .. } => provider.known_window(model),
            UpstreamKind::Embedded { .. } => None,
        };
        self.context_window.or_else(known)
    }

    /// Whether what answers for the other can answer for this one as well: it is the same server or model, with the same
    /// credential and the same patience. What is asked of it may differ.
    pub fn is_reached_like(&self, other: &UpstreamConfig) -> bool {
        match (&self.kind, &other.kind) {
            (
                UpstreamKind::Http { base, api_key, auth, key_header, provider, reach },
                UpstreamKind::Http {
                    base: other_base,
                    api_key: other_key,
                    auth: other_auth,
                    key_header: other_header,
                    provider: other_provider,
                    reach: other_reach,
                },
            ) => {
                base == other_base
                    && api_key.as_ref().map(Secret::expose) == other_key.as_ref().map(Secret::expose)
                    && auth == other_auth
                    && key_header == other_header
                    && provider.name == other_provider.name
                    && reach == other_reach
                    && self.limits == other.limits
            }
            (UpstreamKind::Embedded { model }, UpstreamKind::Embedded { model: other }) => model == other,
            _ => false,
        }
    }
}

/// How an upstream is reached.
#[derive(Clone, Debug)]
pub enum UpstreamKind {
    /// Over HTTP, with the OpenAI chat API.
    Http {
        /// The API's address.
        base: BaseUrl,
        /// How near it may be, whatever its name leads to.
        reach: Reach,
        /// Its key; none unless `auth` is [`Auth::Key`].
        api_key: Option<Secret>,
        /// With whose credential it is asked. The client's own goes to no upstream that does not say so.
        auth: Auth,
        /// The header that carries the key, in lower case: in `authorization` it is a bearer token, in any other it stands alone.
        key_header: String,
        /// Whose manners to expect.
        provider: &'static Preset,
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
    pub(crate) fn is_open_road(&self) -> bool {
        Url::parse(&self.0).is_ok_and(|url| url.scheme() == "http" && !is_local(&url))
    }

    /// The port, when it is on this machine.
    fn local_port(&self) -> Option<u16> {
        Url::parse(&self.0).ok().filter(is_local)?.port_or_known_default()
    }
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).to_canonical().is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => true,
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
    let llm = ["llm.provider", "llm.model_id", "llm.api_base", "llm.api_key", "llm.auth"];
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
        let remedy = "set llm.auth_method to api_key, and llm.api_key to the provider's key; or remove it and set llm.auth to \
                      forward, which sends what the client itself logs in with";
        reader.report.error("llm.auth_method", reader.place("llm.auth_method"), message, remedy);
    }
}

fn build_one(name: &str, prefix: &str, models: Vec<String>, reader: &mut Reader<'_>) -> UpstreamConfig {
    let provider_key = format!("{prefix}.provider");
    let provider = reader.text(&provider_key);
    let described = !models.is_empty()
        || ["api_base", "api_key", "auth"].iter().any(|key| reader.settings.mentions(&format!("{prefix}.{key}")));
    // MetaClaw takes a missing provider for `custom`. Where nothing at all is said, the embedded model answers.
    let provider = provider.unwrap_or_else(|| if described { "custom" } else { EMBEDDED }.to_owned());
    let known = match Preset::by_name(&provider) {
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
    let (models, limits) = (Vec::new(), UpstreamLimits::default());
    UpstreamConfig { name: name.to_owned(), kind, models, context_window: None, limits }
}

fn build_http(
    name: &str,
    prefix: &str,
    preset: &'static Preset,
    models: Vec<String>,
    reader: &mut Reader<'_>,
) -> UpstreamConfig {
    let base_key = format!("{prefix}.api_base");
    let region = region(prefix, reader);
    let preset_base = || preset.address(region.as_deref()).and_then(|base| base.parse().ok());
    let Some(base) = reader.value::<BaseUrl>(&base_key).or_else(preset_base) else {
        if !reader.settings.mentions(&base_key) {
            let message = format!("the upstream {name} has no address");
            let remedy = match preset.has_regions() {
                true => format!("set {prefix}.region to the region that your key is for, such as us-east-1"),
                false => format!("set {base_key} to https://host/v1, or {prefix}.provider to {EMBEDDED}"),
            };
            reader.report.error(&base_key, None, message, remedy);
        }
        return placeholder(name);
    };
    check_loop(name, &base_key, &base, reader);
    let reach = reach::build(name, prefix, &base, reader);
    let Credential { auth, api_key, key_header } = credential::build(prefix, preset, &base, reader);
    let kind = UpstreamKind::Http { base, reach, api_key, auth, key_header, provider: preset };
    let (context_window, limits) = (context_window(prefix, reader), limits(prefix, reader));
    UpstreamConfig { name: name.to_owned(), kind, models, context_window, limits }
}

/// The region of an upstream: its own, or MetaClaw's for all of them.
fn region(prefix: &str, reader: &mut Reader<'_>) -> Option<String> {
    let keys = [format!("{prefix}.region"), format!("{prefix}.bedrock_region"), "bedrock_region".to_owned()];
    let (key, region) = keys.into_iter().find_map(|key| reader.text(&key).map(|region| (key, region)))?;
    let fits = region.len() <= 32 && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fits {
        let message = format!("{} is not a region", quote(&region));
        reader.report.error(&key, reader.place(&key), message, "write it as in us-east-1");
    }
    Some(region).filter(|_| fits)
}

fn context_window(prefix: &str, reader: &mut Reader<'_>) -> Option<u32> {
    let keys = [format!("{prefix}.context_window"), "context_window".to_owned()];
    keys.iter().find_map(|key| reader.value::<u32>(key).filter(|tokens| *tokens > 0))
}

/// A host that is its own upstream asks itself without end.
fn check_loop(name: &str, base_key: &str, base: &BaseUrl, reader: &mut Reader<'_>) {
    let port = reader.options.port.or_else(|| reader.value("proxy.port")).unwrap_or_default();
    if port != 0 && base.local_port() == Some(port) {
        let message = format!("the upstream {name} is at {base}, where this host itself listens");
        let remedy = format!("set proxy.port to another port, or {base_key} to where the upstream is");
        reader.report.error(base_key, reader.place(base_key), message, remedy);
    }
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
    for key in ["api_base", "api_key", "auth", "key_header", "addresses", "region"] {
        let path = format!("{prefix}.{key}");
        if reader.settings.mentions(&path) {
            let message = "the embedded model is in this program and needs none";
            reader.report.warning(&path, reader.place(&path), message, "remove it");
        }
    }
    let limits = KEYS.iter().filter_map(|key| key.path.strip_prefix("llm."));
    for key in
        limits.filter(|key| ["timeouts.", "retries.", "ejection."].iter().any(|section| key.starts_with(section)))
    {
        let path = format!("{prefix}.{key}");
        if reader.settings.mentions(&path) {
            let message = "this does nothing: the embedded model is in this program, and is not waited for, asked again or ejected";
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
    let (kind, context_window) = (UpstreamKind::Embedded { model }, context_window(prefix, reader));
    UpstreamConfig { name: name.to_owned(), kind, models, context_window, limits: UpstreamLimits::default() }
}

/// A model's name may hold a `/`, as in `Qwen/Qwen3-8B`; a path begins or ends in its own way.
fn is_path(model: &str) -> bool {
    model.starts_with(['/', '~', '.']) || model.ends_with(".gguf")
}
