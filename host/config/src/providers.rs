use serde::Serialize;

/// Who answers at an upstream. All of them speak the OpenAI chat API; they differ in address and manners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it, and the table below says the rest")]
pub enum Provider {
    Kimi,
    Qwen,
    OpenAi,
    OpenRouter,
    MiniMax,
    Novita,
    Volcengine,
    Ollama,
    Vllm,
    LmStudio,
    Custom,
}

/// What is known of a provider before anybody configures it.
pub(crate) struct Preset {
    pub(crate) provider: Provider,
    /// As `provider:` names it.
    pub(crate) name: &'static str,
    /// Where it is; none when only the user can know.
    pub(crate) api_base: Option<&'static str>,
    /// Whether it answers nobody without a key.
    pub(crate) needs_key: bool,
}

const fn preset(provider: Provider, name: &'static str, api_base: Option<&'static str>, needs_key: bool) -> Preset {
    Preset { provider, name, api_base, needs_key }
}

/// The model inside this program: not a `Provider`, because nothing is sent anywhere.
pub(crate) const EMBEDDED: &str = "embedded";

/// The addresses of MetaClaw's own setup, and the customary ports of local servers.
pub(crate) const PRESETS: &[Preset] = &[
    preset(Provider::Kimi, "kimi", Some("https://api.moonshot.cn/v1"), true),
    preset(Provider::Qwen, "qwen", Some("https://dashscope.aliyuncs.com/compatible-mode/v1"), true),
    preset(Provider::OpenAi, "openai", Some("https://api.openai.com/v1"), true),
    preset(Provider::OpenRouter, "openrouter", Some("https://openrouter.ai/api/v1"), true),
    preset(Provider::MiniMax, "minimax", Some("https://api.minimax.io/v1"), true),
    preset(Provider::Novita, "novita", Some("https://api.novita.ai/v3/openai"), true),
    preset(Provider::Volcengine, "volcengine", Some("https://ark.cn-beijing.volces.com/api/v3"), true),
    preset(Provider::Ollama, "ollama", Some("http://127.0.0.1:11434/v1"), false),
    preset(Provider::Vllm, "vllm", Some("http://127.0.0.1:8000/v1"), false),
    preset(Provider::LmStudio, "lmstudio", Some("http://127.0.0.1:1234/v1"), false),
    preset(Provider::Custom, "custom", None, false),
];

/// Providers that some version of MetaClaw has and this build has not, and what to do instead.
pub(crate) const UNSUPPORTED: &[(&str, &str)] = &[
    ("anthropic", "use its OpenAI-compatible address: provider: custom, api_base: https://api.anthropic.com/v1"),
    (
        "gemini",
        "use its OpenAI-compatible address: provider: custom, \
         api_base: https://generativelanguage.googleapis.com/v1beta/openai",
    ),
    ("openai-codex", "subscription logins are not supported: use provider: openai with an API key"),
    ("bedrock", "put an OpenAI-compatible gateway in front of Bedrock, and use provider: custom with its api_base"),
];

/// The provider of this name.
pub(crate) fn by_name(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// Every name that `provider:` may have.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|preset| preset.name).chain([EMBEDDED])
}

impl Provider {
    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        PRESETS.iter().find(|preset| preset.provider == self).map_or("custom", |preset| preset.name)
    }
}
