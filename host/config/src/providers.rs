mod table;

use protocol::Quirks;
use serde::Serialize;

pub(crate) use table::{MODELS, PRESETS};

/// What is known of a provider before anybody configures it. All of them speak the OpenAI chat API; they differ in address and
/// manners.
#[derive(Debug)]
pub struct Preset {
    /// As `provider:` names it.
    pub name: &'static str,
    /// As its makers name it.
    pub title: &'static str,
    /// Where it is; `{region}` stands for the upstream's `region`. None when only the user can know.
    pub api_base: Option<&'static str>,
    /// The environment variables that customarily hold its key, the usual one first.
    pub key_env: &'static [&'static str],
    /// Whether it answers nobody without a key.
    pub needs_key: bool,
    /// How many tokens a prompt and its answer may have together.
    pub window: Window,
    /// Where its wire format departs from OpenAI's.
    pub quirks: Quirks,
    /// Where all this is written down: first the page of its own makers that has its address.
    pub sources: &'static [&'static str],
}

/// A context window, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The model's own, by its name; this where the model is not known.
    Models(u32),
    /// Whatever the model, what the server was started with: by default this.
    Server(u32),
}

/// With which credential an upstream is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// With the upstream's `api_key`; with none when it has none.
    Key,
    /// With the client's own.
    Forward,
    /// With none.
    None,
}

/// Every provider, in the order in which to offer them.
pub fn presets() -> &'static [Preset] {
    PRESETS
}

/// The model inside this program: no preset, because nothing is sent anywhere.
pub(crate) const EMBEDDED: &str = "embedded";

/// Providers that some version of MetaClaw has and this build has not, and what to do instead.
pub(crate) const UNSUPPORTED: &[(&str, &str)] = &[(
    "openai-codex",
    "use provider: openai, with an API key or with auth: forward, which sends the client's own login",
)];

/// Stands for the region in an address.
const REGION: &str = "{region}";

impl Preset {
    /// The provider of this name.
    pub fn by_name(name: &str) -> Option<&'static Preset> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// Whether its address holds a region.
    pub(crate) fn has_regions(&self) -> bool {
        self.api_base.is_some_and(|base| base.contains(REGION))
    }

    /// Its address; none when there is none, or when it wants a region and has none.
    pub fn address(&self, region: Option<&str>) -> Option<String> {
        match (self.api_base?, region) {
            (base, _) if !self.has_regions() => Some(base.to_owned()),
            (base, region) => region.map(|region| base.replace(REGION, region)),
        }
    }

    /// The window of this model, or what is assumed of models that nobody knows; none where the server decides.
    pub(crate) fn known_window(&self, model: &str) -> Option<u32> {
        matches!(self.window, Window::Models(_)).then(|| self.window_of(model))
    }

    /// How many tokens a prompt to this model and its answer may have together.
    pub fn window_of(&self, model: &str) -> u32 {
        match self.window {
            Window::Server(tokens) => tokens,
            Window::Models(tokens) => model_window(model).unwrap_or(tokens),
        }
    }
}

/// A known model's window. Hosts of many vendors' models write `vendor/model`, some `vendor.model`, and of several beginnings the
/// longest counts.
pub fn model_window(model: &str) -> Option<u32> {
    let model = model.to_ascii_lowercase();
    let name = model.rsplit('/').next().unwrap_or_default();
    let bare = name.split_once('.').map_or(name, |(_, rest)| rest);
    let known = |name: &str| {
        let found = MODELS.iter().filter(|(prefix, _)| name.starts_with(prefix)).max_by_key(|(prefix, _)| prefix.len());
        found.map(|(_, tokens)| *tokens)
    };
    known(name).or_else(|| known(bare))
}

/// Every name that `provider:` may have.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|preset| preset.name).chain([EMBEDDED])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where each provider itself writes its address down; read in November 2026.
    const OWN_PAGES: [(&str, &str); 14] = [
        ("kimi", "platform.kimi.com"),
        ("qwen", "www.alibabacloud.com"),
        ("openai", "platform.openai.com"),
        ("anthropic", "platform.claude.com"),
        ("gemini", "ai.google.dev"),
        ("openrouter", "openrouter.ai"),
        ("minimax", "platform.minimax.io"),
        ("novita", "novita.ai"),
        ("volcengine", "www.volcengine.com"),
        ("bedrock", "docs.aws.amazon.com"),
        ("ollama", "docs.ollama.com"),
        ("vllm", "docs.vllm.ai"),
        ("sglang", "docs.sglang.io"),
        ("lmstudio", "lmstudio.ai"),
    ];

    #[test]
    fn presets_are_sound() {
        for (index, preset) in PRESETS.iter().enumerate() {
            let Preset { name, sources, .. } = preset;
            assert!(PRESETS[..index].iter().all(|other| other.name != *name), "{name} is there twice");
            assert!(sources.iter().all(|s| s.starts_with("https://")), "{name}");
            let own =
                OWN_PAGES.iter().find(|(provider, _)| provider == name).map(|(_, site)| format!("https://{site}/"));
            let first_is_own = own.is_some_and(|site| sources.first().is_some_and(|first| first.starts_with(&site)));
            assert!(*name == "custom" || first_is_own, "{name}: what its makers say comes first");
            let address = preset.address(Some("eu-west-1"));
            assert!(address.is_none_or(|a| a.parse::<crate::BaseUrl>().is_ok_and(|base| base.as_str() == a)), "{name}");
            assert!(!preset.needs_key || preset.api_base.unwrap().starts_with("https://"), "{name}");
            assert!(!preset.needs_key || !preset.key_env.is_empty(), "{name}");
            let lower = |text: &str| text.chars().all(|c| !c.is_ascii_uppercase());
            assert!(preset.quirks.refuses.iter().all(|refused| lower(refused.models)), "{name}");
        }
        assert!(MODELS.iter().all(|(prefix, tokens)| *prefix == prefix.to_ascii_lowercase() && *tokens >= 4096));
    }

    #[test]
    fn a_models_window_is_known_by_its_name() {
        let window = |provider: &str, model: &str| Preset::by_name(provider).unwrap().window_of(model);
        for (provider, model, tokens) in [
            ("kimi", "kimi-k2.6", 262_144),
            ("kimi", "kimi-k3", 1_048_576),
            ("kimi", "moonshot-v1-8k", 8_192),
            ("novita", "moonshotai/kimi-k2-thinking", 262_144),
            ("bedrock", "openai.gpt-oss-120b-1:0", 131_072),
            ("anthropic", "claude-sonnet-4-5-20250929", 200_000),
            ("anthropic", "claude-sonnet-4-6", 1_000_000),
            ("openai", "gpt-4o-mini", 128_000),
            ("openai", "gpt-5.2", 400_000),
            ("openai", "unheard-of", 128_000),
            ("ollama", "gpt-5.2", 4_096),
        ] {
            assert_eq!(window(provider, model), tokens, "{provider} {model}");
        }
    }

    #[test]
    fn an_address_may_want_a_region() {
        let bedrock = Preset::by_name("bedrock").unwrap();
        assert_eq!(bedrock.address(None), None);
        let address = "https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1";
        assert_eq!(bedrock.address(Some("us-west-2")).as_deref(), Some(address));
    }
}
