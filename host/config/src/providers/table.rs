use protocol::{Lifts, Quirks, Refused};

use super::{Preset, Window};

/// As many open models write their reasoning, when the server does not part it from the words.
const THINK: &[(&str, &str)] = &[("<think>", "</think>"), ("◁think▷", "◁/think▷")];
const KIMI: Lifts = Lifts { reasoning: THINK, kimi_calls: true, qwen_calls: false };
const QWEN: Lifts = Lifts { reasoning: THINK, kimi_calls: false, qwen_calls: true };
const REASONING: Lifts = Lifts { reasoning: THINK, kimi_calls: false, qwen_calls: false };
/// Of servers that answer with whatever model they were given, and may have been started without its parsers.
const OPEN_MODELS: Lifts = Lifts { reasoning: THINK, kimi_calls: true, qwen_calls: true };
/// Bedrock puts the reasoning of OpenAI's open models into the words.
const BEDROCK: Lifts = Lifts {
    reasoning: &[("<reasoning>", "</reasoning>"), ("<think>", "</think>")],
    kimi_calls: false,
    qwen_calls: false,
};

const fn lifting(lifts: Lifts) -> Quirks {
    Quirks { lifts, ..Quirks::NONE }
}

/// Looked up in November 2026. What a provider merely ignores is left in; what it refuses is taken out, and what it calls by
/// another name is renamed only where it refuses ours.
pub(crate) const PRESETS: &[Preset] = &[
    Preset {
        name: "kimi",
        title: "Moonshot AI (Kimi)",
        // Keys of platform.kimi.ai belong to https://api.moonshot.ai/v1 instead.
        api_base: Some("https://api.moonshot.cn/v1"),
        key_env: &["MOONSHOT_API_KEY", "KIMI_API_KEY"],
        needs_key: true,
        window: Window::Models(262_144),
        // "invalid temperature: only 1 is allowed for this model": a refused value is better not sent.
        quirks: Quirks {
            refuses: &[Refused {
                models: "kimi-",
                fields: &["temperature", "top_p", "presence_penalty", "frequency_penalty"],
            }],
            ..lifting(KIMI)
        },
        sources: &[
            "https://platform.kimi.com/docs/api/overview",
            "https://platform.kimi.ai/docs/api/overview",
            "https://platform.kimi.ai/docs/api/models-overview",
            "https://www.promptfoo.dev/docs/providers/moonshot/",
            "https://dev.to/aihubmix/kimi-k31-pro-migration-guide-five-400s-one-404-and-the-claude-code-codex-config-13k",
            "https://huggingface.co/moonshotai/Kimi-K2-Thinking/blob/main/docs/tool_call_guidance.md",
        ],
    },
    Preset {
        name: "qwen",
        title: "Alibaba Cloud Model Studio (Qwen)",
        // Keys of the international site belong to https://dashscope-intl.aliyuncs.com/compatible-mode/v1 instead, those of
        // Virginia to dashscope-us.aliyuncs.com, those of Hong Kong to cn-hongkong.dashscope.aliyuncs.com.
        api_base: Some("https://dashscope.aliyuncs.com/compatible-mode/v1"),
        key_env: &["DASHSCOPE_API_KEY", "QWEN_API_KEY"],
        needs_key: true,
        window: Window::Models(131_072),
        quirks: lifting(QWEN),
        sources: &[
            "https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope",
            "https://www.alibabacloud.com/help/en/model-studio/deep-thinking",
            "https://huggingface.co/Qwen/Qwen3-Coder-30B-A3B-Instruct/blob/main/qwen3coder_tool_parser.py",
            "https://www.promptfoo.dev/docs/providers/alibaba",
        ],
    },
    Preset {
        name: "openai",
        title: "OpenAI",
        api_base: Some("https://api.openai.com/v1"),
        key_env: &["OPENAI_API_KEY"],
        needs_key: true,
        window: Window::Models(128_000),
        // Reasoning models refuse the old name; the others know both.
        quirks: Quirks { renames: &[("max_tokens", "max_completion_tokens")], json_schema: true, ..Quirks::NONE },
        sources: &["https://platform.openai.com/docs/api-reference/chat/create"],
    },
    Preset {
        name: "anthropic",
        title: "Anthropic (Claude, by its OpenAI-compatible route)",
        api_base: Some("https://api.anthropic.com/v1"),
        key_env: &["ANTHROPIC_API_KEY"],
        needs_key: true,
        window: Window::Models(200_000),
        // What it does not support it ignores.
        quirks: Quirks::NONE,
        sources: &["https://platform.claude.com/docs/en/api/openai-sdk"],
    },
    Preset {
        name: "gemini",
        title: "Google (Gemini, by its OpenAI-compatible route)",
        api_base: Some("https://generativelanguage.googleapis.com/v1beta/openai"),
        key_env: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        needs_key: true,
        window: Window::Models(1_048_576),
        // "Invalid JSON payload received. Unknown name": fields that it does not know fail the whole request.
        quirks: Quirks {
            refuses: &[Refused {
                models: "",
                fields: &[
                    "store",
                    "metadata",
                    "seed",
                    "web_search_options",
                    "prompt_cache_key",
                    "frequency_penalty",
                    "reasoning",
                    "top_k",
                ],
            }],
            json_schema: true,
            ..Quirks::NONE
        },
        sources: &[
            "https://ai.google.dev/gemini-api/docs/openai",
            "https://github.com/openai/openai-agents-python/issues/443",
            "https://github.com/algorithmicsuperintelligence/openevolve/issues/105",
            "https://github.com/FuzzAnything/PromptFuzz/issues/42",
            "https://github.com/liliMozi/openhanako/issues/2494",
            "https://github.com/MinLL/SkyrimNet-GamePlugin/issues/77",
        ],
    },
    Preset {
        name: "openrouter",
        title: "OpenRouter",
        api_base: Some("https://openrouter.ai/api/v1"),
        key_env: &["OPENROUTER_API_KEY"],
        needs_key: true,
        window: Window::Models(128_000),
        // It makes all of its models answer alike.
        quirks: Quirks::NONE,
        sources: &["https://openrouter.ai/docs/api-reference/overview"],
    },
    Preset {
        name: "minimax",
        title: "MiniMax",
        // Keys of the Chinese site belong to https://api.minimaxi.com/v1 instead.
        api_base: Some("https://api.minimax.io/v1"),
        key_env: &["MINIMAX_API_KEY"],
        needs_key: true,
        window: Window::Models(204_800),
        // Its reasoning stands in the words unless `reasoning_split` is asked for.
        quirks: lifting(REASONING),
        sources: &[
            "https://platform.minimax.io/docs/api-reference/text-openai-api",
            "https://ai-sdk.dev/providers/ai-sdk-providers/minimax",
            "https://java.agentscope.io/v2/en/integration/model/minimax",
            "https://docs.rs/drep-ai/2.5.1/drep/cli/init/presets/static.MINIMAX.html",
        ],
    },
    Preset {
        name: "novita",
        title: "Novita AI",
        api_base: Some("https://api.novita.ai/openai/v1"),
        key_env: &["NOVITA_API_KEY"],
        needs_key: true,
        window: Window::Models(131_072),
        // Open models; reasoning stands in the words unless `separate_reasoning` is asked for.
        quirks: lifting(OPEN_MODELS),
        // Its older pages have /v3/openai.
        sources: &[
            "https://novita.ai/docs/api-reference/model-apis-llm-create-chat-completion",
            "https://novita.ai/docs/guides/llm-reasoning",
            "https://docs.litellm.ai/docs/providers/novita",
            "https://www.promptfoo.dev/docs/providers/novita/",
        ],
    },
    Preset {
        name: "volcengine",
        title: "Volcengine Ark (Doubao)",
        api_base: Some("https://ark.cn-beijing.volces.com/api/v3"),
        key_env: &["ARK_API_KEY", "VOLCANO_ENGINE_API_KEY"],
        needs_key: true,
        window: Window::Models(131_072),
        quirks: Quirks::NONE,
        sources: &[
            "https://www.volcengine.com/docs/82379/1263482",
            "https://www.volcengine.com/docs/82379/1330310",
            "https://docs.openclaw.ai/providers/volcengine",
        ],
    },
    Preset {
        name: "bedrock",
        title: "Amazon Bedrock (by its OpenAI-compatible route, with a Bedrock API key)",
        api_base: Some("https://bedrock-runtime.{region}.amazonaws.com/openai/v1"),
        key_env: &["AWS_BEARER_TOKEN_BEDROCK"],
        needs_key: true,
        window: Window::Models(128_000),
        quirks: lifting(BEDROCK),
        sources: &[
            "https://docs.aws.amazon.com/bedrock/latest/userguide/inference-chat-completions.html",
            // Has another route beside, https://bedrock-mantle.REGION.api.aws/v1, with models of its own: `api_base` takes it.
            "https://docs.aws.amazon.com/bedrock/latest/userguide/inference-chat-completions-mantle.html",
            "https://github.com/promptfoo/promptfoo/pull/9587",
        ],
    },
    Preset {
        name: "ollama",
        title: "Ollama",
        api_base: Some("http://127.0.0.1:11434/v1"),
        key_env: &["OLLAMA_API_KEY"],
        needs_key: false,
        // OLLAMA_CONTEXT_LENGTH sets another.
        window: Window::Server(4_096),
        quirks: lifting(OPEN_MODELS),
        sources: &["https://docs.ollama.com/api/openai-compatibility", "https://docs.ollama.com/context-length"],
    },
    Preset {
        name: "vllm",
        title: "vLLM",
        api_base: Some("http://127.0.0.1:8000/v1"),
        key_env: &["VLLM_API_KEY"],
        needs_key: false,
        // `--max-model-len` sets another.
        window: Window::Server(32_768),
        quirks: lifting(OPEN_MODELS),
        sources: &[
            "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
            "https://docs.vllm.ai/en/latest/features/tool_calling/",
        ],
    },
    Preset {
        name: "sglang",
        title: "SGLang",
        // This host's own port by default: one of the two must be given another.
        api_base: Some("http://127.0.0.1:30000/v1"),
        key_env: &["SGLANG_API_KEY"],
        needs_key: false,
        // `--context-length` sets another.
        window: Window::Server(32_768),
        quirks: lifting(OPEN_MODELS),
        sources: &[
            "https://docs.sglang.io/docs/basic_usage/send_request",
            "https://docs.sglang.io/docs/basic_usage/openai_api_completions",
            "https://docs.sglang.io/docs/advanced_features/separate_reasoning",
        ],
    },
    Preset {
        name: "lmstudio",
        title: "LM Studio",
        api_base: Some("http://127.0.0.1:1234/v1"),
        key_env: &["LM_API_TOKEN"],
        needs_key: false,
        // The model is loaded with another by LM Studio's own settings.
        window: Window::Server(4_096),
        quirks: lifting(OPEN_MODELS),
        sources: &[
            "https://lmstudio.ai/docs/developer/openai-compat",
            "https://lmstudio.ai/docs/developer/core/authentication",
            "https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/1569",
        ],
    },
    Preset {
        name: "custom",
        title: "anything else that speaks the OpenAI chat API",
        api_base: None,
        key_env: &[],
        needs_key: false,
        window: Window::Models(128_000),
        quirks: Quirks::NONE,
        sources: &[],
    },
];

/// The windows of models by the beginnings of their names, from their makers' pages; of several the longest counts.
#[rustfmt::skip]
pub(crate) const MODELS: &[(&str, u32)] = &[
    // https://platform.kimi.ai/docs/models
    ("kimi-k2", 262_144), ("kimi-k3", 1_048_576),
    ("moonshot-v1-8k", 8_192), ("moonshot-v1-32k", 32_768), ("moonshot-v1-128k", 131_072),
    // https://www.alibabacloud.com/help/en/model-studio/models
    ("qwen3-max", 262_144), ("qwen3.5-plus", 1_000_000), ("qwen3.6-plus", 1_000_000), ("qwen3.7-max", 1_000_000),
    ("qwen3.7-plus", 1_000_000), ("qwen-max", 32_768),
    // https://platform.openai.com/docs/models
    ("gpt-3.5", 16_385), ("gpt-4", 8_192), ("gpt-4-turbo", 128_000), ("gpt-4o", 128_000), ("gpt-4.1", 1_047_576),
    ("gpt-5", 400_000), ("gpt-5-chat", 128_000), ("gpt-5.1-chat", 128_000), ("gpt-oss", 131_072),
    ("o1", 200_000), ("o3", 200_000), ("o4", 200_000),
    // https://platform.claude.com/docs/build-with-claude/context-windows
    ("claude-", 200_000), ("claude-opus-4-6", 1_000_000), ("claude-opus-4-7", 1_000_000), ("claude-opus-4-8", 1_000_000),
    ("claude-opus-5", 1_000_000), ("claude-sonnet-4-6", 1_000_000), ("claude-sonnet-5", 1_000_000),
    ("claude-haiku-5-5", 1_000_000), ("claude-fable-5", 1_000_000), ("claude-mythos-5", 1_000_000),
    // https://ai.google.dev/gemini-api/docs/models
    ("gemini-", 1_048_576),
    // https://platform.minimax.io/docs
    ("minimax-m2", 204_800), ("minimax-m3", 1_000_000),
    // https://docs.openclaw.ai/providers/volcengine
    ("doubao-seed", 256_000),
    // https://api-docs.deepseek.com
    ("deepseek-v3", 128_000), ("deepseek-v4", 1_000_000), ("glm-4.7", 200_000),
];
