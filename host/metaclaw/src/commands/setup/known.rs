//! What setup makes of the providers that the configuration knows: which to offer, where to look for one, and a model to begin
//! with.

use ::config::{Preset, presets};

/// The model inside this program.
pub(super) const EMBEDDED: &str = "embedded";
/// Any other address that speaks OpenAI's chat API.
pub(super) const CUSTOM: &str = "custom";
/// Its customary port is this host's own, so that nothing is looked for there.
const ON_OUR_PORT: &str = "sglang";

/// Models for when nobody names one. What the other providers have only they can say.
const MODELS: &[(&str, &str)] = &[
    ("openai", "gpt-5.2"),
    ("anthropic", "claude-sonnet-4-5"),
    ("openrouter", "openrouter/auto"),
    ("kimi", "kimi-k2.5"),
    ("qwen", "qwen-plus"),
    ("minimax", "MiniMax-M2.5"),
    ("novita", "moonshotai/kimi-k2.5"),
];

/// The providers that can be had by their name alone, in the order in which they are offered.
pub(super) fn offered() -> impl Iterator<Item = &'static Preset> {
    presets().iter().filter(|preset| preset.address(None).is_some())
}

/// Servers that customarily are on this machine: the provider, and the address where it listens.
pub(super) fn local() -> impl Iterator<Item = (&'static str, String)> {
    let here = presets().iter().filter(|preset| !preset.needs_key && preset.name != ON_OUR_PORT);
    here.filter_map(|preset| Some((preset.name, preset.address(None)?)))
}

/// The provider of this name, where it answers nobody without a key.
pub(super) fn locked(name: &str) -> Option<&'static Preset> {
    Preset::by_name(name).filter(|preset| preset.needs_key)
}

/// A model of this provider; none when only it can know.
pub(super) fn usual_model(provider: &str) -> Option<&'static str> {
    MODELS.iter().find(|(name, _)| *name == provider).map(|(_, model)| *model)
}

/// A provider's own address; none when it has none, or when it depends on more than the provider.
pub(super) fn address(provider: &str) -> Option<String> {
    Preset::by_name(provider)?.address(None)
}

/// How people name a provider.
pub(super) fn label(name: &str) -> &str {
    match name {
        EMBEDDED => "the embedded model",
        CUSTOM => "an OpenAI-compatible server",
        _ => Preset::by_name(name).map_or(name, |preset| preset.title),
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
    fn a_usual_model_belongs_to_a_provider() {
        for (index, (name, model)) in MODELS.iter().enumerate() {
            assert!(offered().any(|preset| preset.name == *name) && !model.is_empty(), "{name}");
            assert!(MODELS[..index].iter().all(|(other, _)| other != name), "{name} is there twice");
        }
    }

    #[test]
    fn servers_are_looked_for_on_this_machine_alone() {
        let names: Vec<_> = local().map(|(name, _)| name).collect();
        assert_eq!(names, ["ollama", "vllm", "lmstudio"]);
        assert!(local().all(|(_, base)| base.starts_with("http://127.0.0.1:") && !base.contains(":30000/")));
    }
}
