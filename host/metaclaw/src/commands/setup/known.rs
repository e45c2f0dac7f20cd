//! What setup knows of providers beyond their addresses: where people keep their keys, and a model to begin with.

/// A provider as setup offers it.
#[derive(Debug)]
pub(super) struct Known {
    /// As `provider:` names it.
    pub(super) name: &'static str,
    /// As people name it.
    pub(super) label: &'static str,
    /// The environment variables in which its key is customarily kept, the usual one first. None: it wants no key.
    pub(super) variables: &'static [&'static str],
    /// A model of its, for when nobody names one; empty when only the user can know.
    pub(super) model: &'static str,
}

const fn known(
    name: &'static str,
    label: &'static str,
    variables: &'static [&'static str],
    model: &'static str,
) -> Known {
    Known { name, label, variables, model }
}

/// The model inside this program.
pub(super) const EMBEDDED: &str = "embedded";
/// Any other address that speaks OpenAI's chat API.
pub(super) const CUSTOM: &str = "custom";

/// In the order in which they are offered. One that this build's configuration does not know is not offered.
pub(super) const PROVIDERS: &[Known] = &[
    known("openai", "OpenAI", &["OPENAI_API_KEY"], "gpt-5.2"),
    known("anthropic", "Anthropic", &["ANTHROPIC_API_KEY"], "claude-sonnet-4-5"),
    known("openrouter", "OpenRouter", &["OPENROUTER_API_KEY"], "openrouter/auto"),
    known("kimi", "Kimi (Moonshot)", &["MOONSHOT_API_KEY", "KIMI_API_KEY"], "kimi-k2.5"),
    known("qwen", "Qwen (Alibaba)", &["DASHSCOPE_API_KEY", "QWEN_API_KEY"], "qwen-plus"),
    known("minimax", "MiniMax", &["MINIMAX_API_KEY"], "MiniMax-M2.5"),
    known("novita", "Novita", &["NOVITA_API_KEY"], "moonshotai/kimi-k2.5"),
    known("volcengine", "Volcengine (BytePlus Ark)", &["ARK_API_KEY", "VOLCENGINE_API_KEY"], ""),
    known("bedrock", "Amazon Bedrock", &["AWS_BEARER_TOKEN_BEDROCK"], ""),
    known("ollama", "Ollama", &[], ""),
    known("lmstudio", "LM Studio", &[], ""),
    known("vllm", "vLLM", &[], ""),
    known("sglang", "SGLang", &[], ""),
];

/// Servers on this machine: the provider, and the address where it customarily listens. SGLang's is left out: its port is
/// this host's own.
pub(super) const LOCAL: &[(&str, &str)] = &[
    ("ollama", "http://127.0.0.1:11434/v1"),
    ("lmstudio", "http://127.0.0.1:1234/v1"),
    ("vllm", "http://127.0.0.1:8000/v1"),
];

/// What is known of the provider of this name.
pub(super) fn by_name(name: &str) -> Option<&'static Known> {
    PROVIDERS.iter().find(|known| known.name == name)
}

/// How people name a provider.
pub(super) fn label(name: &str) -> &str {
    match name {
        EMBEDDED => "the embedded model",
        CUSTOM => "an OpenAI-compatible server",
        _ => by_name(name).map_or(name, |known| known.label),
    }
}

/// A model that answers chats, from a server's list: some are there for other things.
pub(super) fn chat_model(models: &[String]) -> Option<&String> {
    let other = ["embed", "rerank", "whisper", "tts", "moderation", "dall-e", "bge-", "image"];
    models.iter().find(|model| {
        let lower = model.to_ascii_lowercase();
        !other.iter().any(|word| lower.contains(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_models_is_searched_for_one_to_talk_to() {
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        for (names, want) in [
            (&["nomic-embed-text:latest", "llama3.2:3b"][..], Some("llama3.2:3b")),
            (&["text-embedding-3", "whisper-1"], None),
            (&[], None),
        ] {
            assert_eq!(chat_model(&list(names)).map(String::as_str), want);
        }
    }

    #[test]
    fn every_provider_that_wants_a_key_has_a_variable_with_a_name() {
        for known in PROVIDERS {
            let proper = |name: &&str| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
            assert!(known.variables.iter().all(proper), "{known:?}");
            assert_eq!(known.variables.is_empty(), ["ollama", "lmstudio", "vllm", "sglang"].contains(&known.name));
        }
    }
}
