use super::{Gate, Key, Usage};
use crate::setting::Kind::{
    self, Bool, Choice, Clock, Digest, Host, Integer, List, Number, Object, Path, PublicKey, Secret, Size, Text, Time,
    Url,
};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const DAY: u64 = 24 * 60 * MINUTE;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const COUNT: Kind = Integer(0, i64::MAX);

/// `madmax` is what MetaClaw 0.3 called `auto`.
const MODE: Kind = Choice(&["skills_only", "rl", "auto", "madmax"]);
const BACKEND: Kind = Choice(&["auto", "embedded", "tinker", "mint", "weaver"]);
const WINDOW: Kind = Integer(0, 100_000_000);
const TURNS: Kind = Integer(0, 1_000_000);
const RETRIEVAL: Kind = Choice(&["template", "bm25", "embedding", "hybrid"]);
const VERIFY: Kind = Choice(&["off", "sample", "always"]);
const JUDGE: Kind = Choice(&["auto", "own", "off"]);
const VOTES: Kind = Integer(1, 15);
const TOP_K: Kind = Integer(0, 64);
const TOKENS: Kind = Integer(0, 1_000_000);
const SCORE: Kind = Number(0.0, 1_000_000.0);
const BATCH: Kind = Integer(1, 65_536);
const RANK: Kind = Integer(1, 1_024);
const ALPHA: Kind = Number(0.001, 100_000.0);
const WARMUP: Kind = Integer(0, 1_000_000);
const RATE: Kind = Number(0.0, 1.0);
const LOSS: Kind = Choice(&["importance_sampling", "ppo", "cispo"]);
const SAMPLE: Kind = Integer(16, 1 << 20);
const KEEP: Kind = Integer(1, 10_000);
const SEED: Kind = Integer(0, u32::MAX as i64);

const fn key(path: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key { path, kind, default, usage: Usage::Acted, about }
}

/// A key that is accepted but not acted on yet. `idle` values ask for nothing; an empty value never does.
const fn later(
    path: &'static str,
    kind: Kind,
    default: &'static str,
    idle: &'static [&'static str],
    gate: Gate,
    about: &'static str,
) -> Key {
    Key { path, kind, default, usage: Usage::Later { idle, gate }, about }
}

const ALWAYS: Gate = Gate::Always;
const RL: Gate = Gate::Rl;
const OPD: Gate = Gate::Switch("opd.enabled");
const SCHEDULER: Gate = Gate::Switch("scheduler.enabled");
const CALENDAR: Gate = Gate::Switch("scheduler.calendar.enabled");
const MEMORY: Gate = Gate::Switch("memory.enabled");
const OFF: &[&str] = &["false"];

/// In the order in which `metaclaw config show` prints them. The defaults are MetaClaw's where it has the key, except
/// `mode` (MetaClaw's `auto` needs a trainer), `proxy.host` (MetaClaw listens to the whole network) and `skills.retrieval_mode`
/// (MetaClaw's `template` ranks nothing; its own setup writes it into the file, and there it holds), and `rl.lora_rank` (its 32 is
/// for models a thousand times as large as the embedded one).
#[rustfmt::skip]
pub(crate) const KEYS: &[Key] = &[
    key("mode", MODE, "skills_only", "what turns are used for: skills_only, rl (an adapter is trained on them) or auto (as rl, but only when told to)"),
    key("max_context_tokens", WINDOW, "",
        "tokens of a prompt and its answer before the oldest messages are left out; 0: never; by default the model's window, where it is known"),
    key("context_window", WINDOW, "0", "tokens of a prompt and its answer, to tell clients; 0: what is known of the model"),
    later("claw_type", Choice(&["openclaw", "copaw", "ironclaw", "picoclaw", "zeroclaw", "nanoclaw", "nemoclaw",
          "hermes", "none"]), "none", &["none"], ALWAYS, "which agent program to configure at start"),
    later("configure_openclaw", Bool, "false", OFF, ALWAYS, "the old form of claw_type"),
    key("bedrock_region", Text, "", "as llm.region, for every upstream"),

    key("llm.provider", Text, "", "who answers: kimi, qwen, openai, … (docs/providers.md), custom, or embedded (the built-in model)"),
    key("llm.auth_method", Choice(&["api_key", "oauth_token"]), "api_key", "only api_key works in this build"),
    key("llm.model_id", Text, "", "the model to ask, whatever the client asks for; a name or a path when embedded"),
    key("llm.api_base", Url, "", "the API's address, up to and including /v1; providers have their own"),
    key("llm.addresses", Choice(&["public", "private", "local", "any"]), "",
        "how near it may be, whatever its name leads to: public; private networks, too; this machine, too; any. By default what its address says"),
    key("llm.api_key", Secret, "", "the provider's key"),
    key("llm.timeouts.connect", Time(1, 10 * MINUTE), "10s", "how long the provider may take to accept a connection"),
    key("llm.timeouts.first_byte", Time(1, DAY), "10m", "how long the first byte of an answer may take, asking again included"),
    key("llm.timeouts.idle", Time(1, DAY), "10m", "how long an answer may pause; measured coarsely, up to twice this"),
    key("llm.timeouts.total", Time(1, 7 * DAY), "1h", "how long a whole answer may take, asking again included"),
    key("llm.retries.max", Integer(0, 10), "2", "how often a turn asks again, as long as nothing of the answer has gone to the client"),
    key("llm.retries.wait", Time(0, 10 * MINUTE), "10s", "the longest pause before asking again; whoever wants more (Retry-After) is not asked again"),
    key("llm.retries.budget", Integer(0, 1_000), "20", "of a hundred turns, so many may ask again while the upstream keeps failing"),
    key("llm.ejection.failures", Integer(0, 1_000), "5", "so many failed turns in a row, and other turns go to their fallbacks; 0: never"),
    key("llm.ejection.backoff", Time(1, DAY), "5s", "for how long at first; then one turn tries, and each that fails doubles the time"),
    key("llm.ejection.longest", Time(1, DAY), "5m", "for how long at most"),
    later("llm.oauth_token", Secret, "", &[], ALWAYS, "a subscription's token"),
    key("llm.auth", Choice(&["key", "forward", "none"]), "key",
        "the credential that goes up: llm.api_key; forward: the client's own; or none"),
    key("llm.key_header", Text, "authorization", "the header that carries the key; there as a bearer token, elsewhere alone"),
    key("llm.region", Text, "", "the region in the address of bedrock, such as us-east-1"),
    key("llm.bedrock_region", Text, "", "MetaClaw's name for llm.region"),

    key("upstreams.*.provider", Text, "", "as llm.provider"),
    key("upstreams.*.api_base", Url, "", "as llm.api_base"),
    key("upstreams.*.addresses", Choice(&["public", "private", "local", "any"]), "", "as llm.addresses"),
    key("upstreams.*.api_key", Secret, "", "as llm.api_key"),
    key("upstreams.*.models", List, "", "the models to ask, the preferred one first; none: as the client asks"),
    key("upstreams.*.auth", Choice(&["key", "forward", "none"]), "", "as llm.auth"),
    key("upstreams.*.key_header", Text, "", "as llm.key_header"),
    key("upstreams.*.region", Text, "", "as llm.region"),
    key("upstreams.*.context_window", WINDOW, "0", "as context_window"),
    key("upstreams.*.timeouts.connect", Time(1, 10 * MINUTE), "10s", "as llm.timeouts.connect"),
    key("upstreams.*.timeouts.first_byte", Time(1, DAY), "10m", "as llm.timeouts.first_byte"),
    key("upstreams.*.timeouts.idle", Time(1, DAY), "10m", "as llm.timeouts.idle"),
    key("upstreams.*.timeouts.total", Time(1, 7 * DAY), "1h", "as llm.timeouts.total"),
    key("upstreams.*.retries.max", Integer(0, 10), "2", "as llm.retries.max"),
    key("upstreams.*.retries.wait", Time(0, 10 * MINUTE), "10s", "as llm.retries.wait"),
    key("upstreams.*.retries.budget", Integer(0, 1_000), "20", "as llm.retries.budget"),
    key("upstreams.*.ejection.failures", Integer(0, 1_000), "5", "as llm.ejection.failures"),
    key("upstreams.*.ejection.backoff", Time(1, DAY), "5s", "as llm.ejection.backoff"),
    key("upstreams.*.ejection.longest", Time(1, DAY), "5m", "as llm.ejection.longest"),

    later("openrouter.app_name", Text, "MetaClaw", &["MetaClaw"], ALWAYS, "shown in OpenRouter's statistics"),
    later("openrouter.app_url", Text, "", &[], ALWAYS, "shown in OpenRouter's statistics"),
    later("openrouter.route", Choice(&["fallback", "price", "throughput", "latency"]), "fallback", &["fallback"],
          ALWAYS, "how OpenRouter chooses"),
    later("openrouter.fallback_models", Text, "", &[], ALWAYS, "further models, comma-separated"),
    later("openrouter.data_policy", Choice(&["allow", "deny"]), "", &["allow"], ALWAYS, "who may collect data"),

    key("proxy.host", Host, "127.0.0.1", "the address to listen on; anything but loopback needs keys"),
    key("proxy.port", Integer(0, 65_535), "30000", "the port to listen on; 0 takes a free one"),
    key("proxy.api_key", Secret, "", "what clients must send as their bearer token"),
    key("proxy.max_body", Size(KIB, GIB), "64MiB", "the largest request body"),
    key("proxy.shutdown_grace", Time(0, 10 * MINUTE), "30s", "how long answers may go on after the stop signal"),
    key("proxy.keep_alive", Time(0, DAY), "15s",
        "after such a silence the client of a stream is told to wait on (a comment; up to twice this); 0: never"),

    key("admin.listen", Text, "", "where operators reach the host: unix:PATH (run/admin.sock in MetaClaw's folder by default), a loopback address, or none"),

    key("log.max_size", Size(64 * KIB, GIB), "16MiB", "a log file that is larger is put aside"),
    key("log.keep", Integer(1, 100), "5", "how many old log files are kept"),

    key("sessions.idle_timeout", Time(SECOND, 30 * DAY), "30m", "a session without a turn for so long has ended"),

    key("skills.enabled", Bool, "true", "whether skills are injected"),
    key("skills.dir", Path, "", "the skill library; `skills` in MetaClaw's folder by default"),
    key("skills.retrieval_mode", RETRIEVAL, "hybrid",
        "how skills are found: template (MetaClaw's lists of words), bm25 (shared words), embedding (meaning), hybrid (both)"),
    key("skills.embedder", Choice(&["auto", "none", "minilm", "static"]), "auto",
        "what says what texts mean, once it is installed (`metaclaw models fetch minilm`); auto: minilm, else static"),
    key("skills.top_k", TOP_K, "6", "how many skills a prompt gets at most"),
    key("skills.token_budget", TOKENS, "2000", "how many tokens of skills a prompt gets at most"),
    key("skills.min_score", SCORE, "0", "skills that match less well than this are left out"),
    key("skills.task_specific_top_k", COUNT, "10", "with retrieval_mode template: how many skills of the turn's category"),
    key("skills.auto_evolve", Bool, "false", "whether agents learn skills from their sessions, each for itself; costs a question to the model for each lesson"),
    key("skills.evolution_every_n_turns", TURNS, "10", "main turns after which a session is learned from though it goes on; 0: at its end only"),
    key("skills.review", Bool, "false", "whether what is learned waits for `metaclaw skills approve`"),
    key("skills.max_learned", Integer(1, 512), "50", "how many learned skills an agent may have in use, and how many may wait for review"),
    key("skills.verify", VERIFY, "off", "which learned skills are tried out before they are used, by answering the turns that they come from with and without them, before a judge: off, sample (one in four) or always"),
    key("skills.verify_budget", Integer(1, 1_000_000), "60", "questions to models that trying skills out may take in a day, for each agent; what it does not reach for waits for `metaclaw skills approve`"),
    key("skills.evolution_retry", Time(1, DAY), "1m", "the pause before a lesson that failed is tried again; doubles each time, up to 1h, five times"),

    key("rl.enabled", Bool, "false", "kept for MetaClaw's files: `mode` decides"),
    key("rl.model", Text, "", "the base model to train; the model that answers by default"),
    key("rl.batch_size", BATCH, "4", "samples to a training step"),
    key("rl.resume_from_ckpt", Text, "", "the checkpoint to go on from"),
    key("rl.backend", BACKEND, "auto", "who trains: auto and embedded are this process, and nobody else can be asked yet"),
    later("rl.api_key", Secret, "", &[], RL, "the trainer's key"),
    later("rl.base_url", Text, "", &[], RL, "the trainer's address"),
    later("rl.tinker_api_key", Secret, "", &[], RL, "older name of rl.api_key"),
    later("rl.tinker_base_url", Text, "", &[], RL, "older name of rl.base_url"),
    key("rl.lora_rank", RANK, "8", "rank of the adapters, which is how much they can learn and cost"),
    key("rl.lora_alpha", ALPHA, "", "weight of the adapters; twice the rank by default"),
    key("rl.learning_rate", RATE, "0.0003", "how far one training step goes"),
    key("rl.warmup_steps", WARMUP, "2", "so many first steps go less far, each further than the one before"),
    key("rl.loss", LOSS, "cispo", "what a training step makes small: importance_sampling, ppo or cispo"),
    key("rl.clip_low", Number(0.0, 1.0), "0.8", "ppo and cispo: the least ratio of probabilities, new to old, that counts in full"),
    key("rl.clip_high", Number(1.0, 1_000.0), "1.2", "ppo and cispo: the largest"),
    key("rl.candidates", Integer(0, 16), "0", "how many further answers are drawn to a prompt that was answered once, when nobody else is answered, for the judge to grade and the agent to learn from; they are seen by nobody"),
    key("rl.max_tokens", SAMPLE, "1024", "tokens of a sample, prompt and answer; what is longer is not trained on"),
    key("rl.staleness.adapters", Integer(0, 1_000_000), "4", "a sample expires when so many adapters have come since; 0: with the next one"),
    key("rl.staleness.age", Time(MINUTE, 3_650 * DAY), "14days", "a sample expires when it is so old"),
    key("rl.staleness.skills", Bool, "false", "whether a sample expires as soon as its agent's skills change"),
    key("rl.keep", KEEP, "8", "how many adapters are kept of an agent beside the one in use"),
    key("rl.threads", Integer(0, 1_024), "0", "threads that train, at low priority; 0: one fewer than the machine has, but one at least"),
    key("rl.seed", SEED, "0", "what an agent's first adapter is drawn from"),
    key("rl.gate.max_drift", Number(0.0, 1_000.0), "0.5", "how far a new adapter may be from the one before, in nats a token; further, and it does not serve"),
    key("rl.gate.prompts", Integer(0, 64), "4", "how many prompts that were not trained on a new adapter must answer sensibly"),
    key("rl.gate.judge", Bool, "false", "whether the judge compares those answers with the ones of the adapter before"),
    key("rl.gate.held_out", Integer(0, 1_000), "8", "of so many prompts one is kept out of training, to compare adapters by; 0: none is"),
    key("rl.gate.watch", Integer(0, 10_000), "8", "after so many rewarded answers a new adapter that does worse than the one before is taken back; 0: never"),
    key("rl.review", Bool, "false", "whether a trained adapter waits for `metaclaw adapters promote`"),
    key("rl.adapter_memory", Size(0, 64 * GIB), "512MiB", "memory of all agents' adapters; those that are used least are put aside and read again when they are wanted"),
    key("rl.manual_train_trigger", Bool, "false", "train only when told to (`metaclaw train step`)"),
    key("rl.judge", JUDGE, "auto", "who judges answers: auto (who rl.prm_* describes by more than MetaClaw's defaults, else nobody), own (the agent's own upstream and model) or off"),
    key("rl.prm_provider", Text, "openai", "the judge's provider"),
    key("rl.prm_url", Text, "https://api.openai.com/v1", "the judge's address"),
    key("rl.prm_model", Text, "gpt-5.2", "the judge's model"),
    key("rl.prm_api_key", Secret, "", "the judge's key, which goes to no other address"),
    key("rl.prm_votes", VOTES, "3", "how often the judge is asked about one answer; the reward is the mean"),
    key("rl.evolver_provider", Text, "openai", "who writes learned skills; by default whoever answers the agent's turns"),
    key("rl.evolver_api_base", Text, "", "the address of who writes learned skills"),
    key("rl.evolver_api_key", Secret, "", "its key, which goes to no other address"),
    key("rl.evolver_model", Text, "", "the model that writes learned skills; by default the agent's own"),

    later("opd.enabled", Bool, "false", OFF, ALWAYS, "on-policy distillation from a teacher"),
    later("opd.teacher_url", Text, "", &[], OPD, "the teacher's address"),
    later("opd.teacher_model", Text, "", &[], OPD, "the teacher's model"),
    later("opd.teacher_api_key", Secret, "", &[], OPD, "the teacher's key"),
    later("opd.kl_penalty_coef", Number(0.0, 1_000_000.0), "1.0", &[], OPD, "weight of the distance to the teacher"),

    later("scheduler.enabled", Bool, "false", OFF, ALWAYS, "train only in quiet windows"),
    later("scheduler.sleep_start", Clock, "23:00", &[], SCHEDULER, "the quiet window's beginning"),
    later("scheduler.sleep_end", Clock, "07:00", &[], SCHEDULER, "the quiet window's end"),
    later("scheduler.idle_threshold_minutes", COUNT, "30", &[], SCHEDULER, "idle time that counts as quiet"),
    later("scheduler.min_window_minutes", COUNT, "15", &[], SCHEDULER, "the shortest quiet window"),
    later("scheduler.calendar.enabled", Bool, "false", OFF, ALWAYS, "take quiet windows from a calendar"),
    later("scheduler.calendar.credentials_path", Path, "", &[], CALENDAR, "the calendar's credentials"),
    later("scheduler.calendar.token_path", Path, "", &[], CALENDAR, "where the calendar's token is kept"),

    later("memory.enabled", Bool, "false", OFF, ALWAYS, "remember facts between sessions"),
    later("memory.dir", Path, "", &[], MEMORY, "where memories are kept"),
    later("memory.scope", Text, "default", &[], MEMORY, "whose memories"),
    later("memory.retrieval_mode", Choice(&["keyword", "embedding", "semantic", "hybrid", "auto"]), "keyword", &[],
          MEMORY, "how memories are found"),
    later("memory.use_embeddings", Bool, "false", OFF, MEMORY, "compare meanings"),
    later("memory.embedding_mode", Text, "hashing", &[], MEMORY, "how meanings are computed"),
    later("memory.embedding_model", Text, "all-MiniLM-L6-v2", &[], MEMORY, "what computes meanings"),
    later("memory.embedding_model_path", Text, "Qwen/Qwen3-Embedding-0.6B", &[], MEMORY, "what computes meanings"),
    later("memory.store_path", Path, "", &[], MEMORY, "the memory database"),
    later("memory.policy_path", Path, "", &[], MEMORY, "the memory policy"),
    later("memory.telemetry_path", Path, "", &[], MEMORY, "the memory log"),
    later("memory.auto_upgrade_enabled", Bool, "false", OFF, MEMORY, "let the memory policy tune itself"),
    later("memory.auto_upgrade_interval_seconds", COUNT, "900", &[], MEMORY, "how often it tunes itself"),
    later("memory.auto_upgrade_require_review", Bool, "true", &[], MEMORY, "whether a person must agree"),
    later("memory.review_stale_after_hours", COUNT, "72", &[], MEMORY, "when an unanswered review lapses"),
    later("memory.max_injected_units", COUNT, "6", &[], MEMORY, "memories to a prompt"),
    later("memory.max_injected_tokens", COUNT, "800", &[], MEMORY, "tokens of memories to a prompt"),
    later("memory.auto_extract", Bool, "true", &[], MEMORY, "find memories in turns"),
    later("memory.auto_consolidate", Bool, "true", &[], MEMORY, "merge memories"),
    later("memory.ignore_turn_type", Bool, "false", OFF, MEMORY, "remember side turns too"),
    later("memory.manual_trigger", Bool, "false", OFF, MEMORY, "remember only when told to"),
    later("memory.flush_every", COUNT, "5", &[], MEMORY, "turns between two writes"),
    later("memory.top_k", COUNT, "", &[], MEMORY, "memories to a prompt"),
    later("memory.max_tokens", COUNT, "", &[], MEMORY, "tokens of memories to a prompt"),
    later("memory.consolidation_interval", COUNT, "", &[], MEMORY, "sessions between two merges"),
    later("memory.sidecar_url", Text, "", &[], MEMORY, "a memory service of its own"),

    later("wechat.enabled", Bool, "false", OFF, ALWAYS, "the WeChat bridge"),

    key("agents_unknown", Choice(&["own", "default", "reject"]), "own",
        "an agent that is not listed: has its own folder, is taken for _default, or is refused"),
    key("agents_unknown_cap", Integer(1, 100_000), "64", "how many unlisted agents may come into being"),

    key("trust.*", PublicKey, "", "whose signatures count: a name, and the public key as minisign prints it"),

    key("registry.auth_file", Path, "", "the logins for registries that modules come from: docker's config.json or a file like it, 0600; read only to fetch"),

    key("agents.*.mode", MODE, "", "as mode"),
    key("agents.*.client_key", Secret, "", "the agent's own key: who shows it speaks as this agent and no other"),
    key("agents.*.upstream", Text, "", "the upstream that answers"),
    key("agents.*.upstreams", List, "", "the upstreams that a policy may choose from"),
    key("agents.*.fallbacks", List, "",
        "who answers when the one that should cannot: UPSTREAM or UPSTREAM/MODEL, in order"),
    key("agents.*.model", List, "", "the model that answers; several: the first, and a policy may choose the others"),
    key("agents.*.max_context_tokens", WINDOW, "", "as max_context_tokens"),
    key("agents.*.skills.enabled", Bool, "", "as skills.enabled"),
    key("agents.*.skills.retrieval_mode", RETRIEVAL, "", "as skills.retrieval_mode"),
    key("agents.*.skills.top_k", TOP_K, "", "as skills.top_k"),
    key("agents.*.skills.token_budget", TOKENS, "", "as skills.token_budget"),
    key("agents.*.skills.min_score", SCORE, "", "as skills.min_score"),
    key("agents.*.skills.auto_evolve", Bool, "", "as skills.auto_evolve"),
    key("agents.*.skills.evolution_every_n_turns", TURNS, "", "as skills.evolution_every_n_turns"),
    key("agents.*.skills.review", Bool, "", "as skills.review"),
    key("agents.*.skills.max_learned", Integer(1, 512), "", "as skills.max_learned"),
    key("agents.*.skills.verify", VERIFY, "", "as skills.verify"),
    key("agents.*.skills.verify_budget", Integer(1, 1_000_000), "", "as skills.verify_budget"),
    key("agents.*.rl.judge", JUDGE, "", "as rl.judge"),
    key("agents.*.rl.prm_model", Text, "", "as rl.prm_model"),
    key("agents.*.rl.prm_votes", VOTES, "", "as rl.prm_votes"),
    key("agents.*.rl.evolver_model", Text, "", "as rl.evolver_model"),
    key("agents.*.rl.model", Text, "", "as rl.model"),
    key("agents.*.rl.lora_output", Path, "", "the agent's adapters; `lora/AGENT` in MetaClaw's folder by default"),
    key("agents.*.rl.batch_size", BATCH, "", "as rl.batch_size"),
    key("agents.*.rl.resume_from_ckpt", Text, "", "as rl.resume_from_ckpt"),
    key("agents.*.rl.lora_rank", RANK, "", "as rl.lora_rank"),
    key("agents.*.rl.lora_alpha", ALPHA, "", "as rl.lora_alpha"),
    key("agents.*.rl.learning_rate", RATE, "", "as rl.learning_rate"),
    key("agents.*.rl.warmup_steps", WARMUP, "", "as rl.warmup_steps"),
    key("agents.*.rl.loss", LOSS, "", "as rl.loss"),
    key("agents.*.rl.clip_low", Number(0.0, 1.0), "", "as rl.clip_low"),
    key("agents.*.rl.clip_high", Number(1.0, 1_000.0), "", "as rl.clip_high"),
    key("agents.*.rl.candidates", Integer(0, 16), "", "as rl.candidates"),
    key("agents.*.rl.max_tokens", SAMPLE, "", "as rl.max_tokens"),
    key("agents.*.rl.staleness.adapters", Integer(0, 1_000_000), "", "as rl.staleness.adapters"),
    key("agents.*.rl.staleness.age", Time(MINUTE, 3_650 * DAY), "", "as rl.staleness.age"),
    key("agents.*.rl.staleness.skills", Bool, "", "as rl.staleness.skills"),
    key("agents.*.rl.keep", KEEP, "", "as rl.keep"),
    key("agents.*.rl.seed", SEED, "", "as rl.seed"),
    key("agents.*.rl.gate.max_drift", Number(0.0, 1_000.0), "", "as rl.gate.max_drift"),
    key("agents.*.rl.gate.prompts", Integer(0, 64), "", "as rl.gate.prompts"),
    key("agents.*.rl.gate.judge", Bool, "", "as rl.gate.judge"),
    key("agents.*.rl.gate.held_out", Integer(0, 1_000), "", "as rl.gate.held_out"),
    key("agents.*.rl.gate.watch", Integer(0, 10_000), "", "as rl.gate.watch"),
    key("agents.*.rl.review", Bool, "", "as rl.review"),
    key("agents.*.rl.manual_train_trigger", Bool, "", "as rl.manual_train_trigger"),
    key("agents.*.policy.module", Text, "", "the agent's policy: a component's path, oci://REGISTRY/REPOSITORY@sha256:DIGEST, or builtin:default"),
    key("agents.*.policy.sha256", Digest, "", "the module's digest; outside dev mode this or signed_by is required"),
    key("agents.*.policy.signed_by", List, "", "names from `trust`, one of whom must have signed the module: MODULE.minisig"),
    key("agents.*.policy.config", Object, "", "the module's own settings"),
    key("agents.*.policy.grants.skills", Choice(&["read", "write"]), "", "files in the agent's own skill folder"),
    key("agents.*.policy.grants.lora", Choice(&["read"]), "", "files in the agent's adapter folder"),
    key("agents.*.policy.grants.kv", Size(1, 64 * MIB), "", "values that the module keeps between calls, so many bytes"),
    key("agents.*.policy.grants.wasi", Choice(&["stub"]), "", "an empty WASI, for languages that insist on one"),
    key("agents.*.policy.grants.wasi-fs", Choice(&["read"]), "", "the granted folders, to read, in that WASI"),
    key("agents.*.policy.grants.log", Size(1, MIB), "", "words of the module in the host's log, so many a call"),
    key("agents.*.policy.limits.cpu", Time(1, 10 * SECOND), "50ms", "CPU time of a route, select, render or gate call"),
    key("agents.*.policy.limits.wall", Time(1, MINUTE), "100ms", "time of a route, select, render or gate call"),
    key("agents.*.policy.limits.filter_cpu", Time(1, 10 * SECOND), "200ms", "CPU time of a filter or reward call"),
    key("agents.*.policy.limits.filter_wall", Time(1, MINUTE), "250ms", "time of a filter or reward call"),
    key("agents.*.policy.limits.memory", Size(MIB, 4 * GIB), "64MiB", "memory of a call"),
    key("agents.*.policy.limits.concurrency", Integer(1, 1_024), "16", "turns in the policy at once"),
    key("agents.*.policy.limits.queue", Time(0, 10 * SECOND), "20ms", "wait for a free place"),
    key("agents.*.policy.limits.hold", Time(0, 60 * MINUTE), "1m", "wait of a held tool call for an operator's word"),
    key("agents.*.policy.on_failure.route", Choice(&["builtin", "previous", "deny"]), "builtin",
        "when the module fails: the built-in decides, the version before a reload does, or the turn is refused"),
    key("agents.*.policy.on_failure.select", Choice(&["builtin", "previous", "deny", "drop"]), "builtin",
        "as for route; drop: the prompt gets no skills"),
    key("agents.*.policy.on_failure.render", Choice(&["builtin", "previous", "drop"]), "builtin",
        "as for route: the host lays the skills out; drop: the prompt gets no skills"),
    key("agents.*.policy.on_failure.gate", Choice(&["deny", "builtin", "previous"]), "deny",
        "deny: the client does not get the tool call; builtin: it does"),
    key("agents.*.policy.on_failure.filter", Choice(&["drop", "builtin", "previous"]), "drop",
        "as for route; drop: the turn becomes no sample"),
    key("agents.*.policy.on_failure.reward", Choice(&["drop", "previous"]), "drop", "drop: the turn gets no reward"),
    key("agents.*.policy.breaker.failures", Integer(0, 1_000), "5",
        "so many failures within the window, and the module is left alone for a while; 0: never"),
    key("agents.*.policy.breaker.window", Time(1, DAY), "30s", "see failures"),
    key("agents.*.policy.breaker.backoff", Time(1, DAY), "1s", "how long at first; doubled with each try that fails"),
    key("agents.*.policy.breaker.longest", Time(1, DAY), "1m", "how long at most"),
    key("agents.*.policy.instances.warm", Integer(0, 16), "0",
        "so many instances of the module wait for the agent's next turn: faster, but they remember; 0: each turn has a fresh one"),
    key("agents.*.policy.instances.max_calls", Integer(1, 1_000_000), "128", "how many hooks one instance answers"),
    key("agents.*.policy.instances.idle", Time(SECOND, DAY), "1m", "how long an instance waits for its next turn"),
    key("agents.*.policy.hooks.route.module", Text, "", "another module for this hook"),
    key("agents.*.policy.hooks.route.sha256", Digest, "", "its digest"),
    key("agents.*.policy.hooks.route.signed_by", List, "", "who must have signed it"),
    key("agents.*.policy.hooks.select.module", Text, "", "another module for this hook"),
    key("agents.*.policy.hooks.select.sha256", Digest, "", "its digest"),
    key("agents.*.policy.hooks.select.signed_by", List, "", "who must have signed it"),
    key("agents.*.policy.hooks.render.module", Text, "", "another module for this hook"),
    key("agents.*.policy.hooks.render.sha256", Digest, "", "its digest"),
    key("agents.*.policy.hooks.render.signed_by", List, "", "who must have signed it"),
    key("agents.*.policy.hooks.gate.module", Text, "", "another module for this hook"),
    key("agents.*.policy.hooks.gate.sha256", Digest, "", "its digest"),
    key("agents.*.policy.hooks.gate.signed_by", List, "", "who must have signed it"),
    key("agents.*.policy.hooks.filter.module", Text, "", "another module for this hook"),
    key("agents.*.policy.hooks.filter.sha256", Digest, "", "its digest"),
    key("agents.*.policy.hooks.filter.signed_by", List, "", "who must have signed it"),
    key("agents.*.policy.hooks.reward.module", Text, "", "another module for this hook"),
    key("agents.*.policy.hooks.reward.sha256", Digest, "", "its digest"),
    key("agents.*.policy.hooks.reward.signed_by", List, "", "who must have signed it"),
];
