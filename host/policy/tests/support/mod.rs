//! Turns, catalogs and samples to ask policies about, and the guests to ask.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of this")]

use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, SystemTime};

use domain::{
    AgentId, BreakerLimits, ByteSize, Fallback, Hook, Mode, PerHook, PolicyGrants, PolicyLimits, SessionId, SkillScope,
    ToolCall, TurnKind,
};
use policy::{
    AgentPolicy, AgentPolicyParts, CatalogSource, Engine, EngineOptions, FileSource, HookModules, Message, Module,
    SampleSource, Scored, SkillSummary, Target, TurnSource,
};

/// One engine for all tests of a file, as in the product.
pub static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(EngineOptions::default()).unwrap());

/// The component of `tests/guests/misbehaving`.
pub fn misbehaving() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| guest("tests/guests/misbehaving"))
}

/// The component of `examples/two-agents/policy`.
pub fn assistant() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| guest("examples/two-agents/policy"))
}

/// The component that the engine has built in.
pub fn default_policy() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| guest("policies/default"))
}

/// A component whose filter keeps every sample and does nothing else.
pub fn idle() -> Vec<u8> {
    wat::parse_str(format!("(component {})", include_str!("../../../../tests/guests/text/policy.wat"))).unwrap()
}

/// The component of `tests/guests/storing`.
pub fn storing() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| guest("tests/guests/storing"))
}

/// The component of `tests/guests/hooks`.
pub fn hooks() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| guest("tests/guests/hooks"))
}

/// A time as guests are told it.
pub fn millis(time: SystemTime) -> u128 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()
}

fn guest(path: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // Guests share a target directory, so that their dependencies are built once; cargo's lock makes them queue.
    policy_build::build(&root.join(path), &Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests")).unwrap()
}

/// An agent whose hooks are all those of `module`.
pub fn agent(module: &Arc<Module>, config: &str, limits: PolicyLimits) -> AgentPolicy {
    AgentPolicy::new(&ENGINE, parts(module, config, limits))
}

/// Its parts: it is asked however often it fails.
pub fn parts(module: &Arc<Module>, config: &str, limits: PolicyLimits) -> AgentPolicyParts {
    AgentPolicyParts {
        modules: HookModules::all(module, config),
        on_failure: PerHook { filter: Fallback::Builtin, ..PerHook::make(Hook::usual_fallback) },
        breaker: BreakerLimits { failures: 0, ..BreakerLimits::default() },
        grants: PolicyGrants { log: Some(ByteSize(8 << 10)), ..PolicyGrants::default() },
        limits,
        ..AgentPolicyParts::default()
    }
}

/// An agent that has no module.
pub fn plain() -> AgentPolicy {
    AgentPolicy::new(&ENGINE, AgentPolicyParts::default())
}

/// Limits whose wall time does not matter, however busy the machine is.
pub fn patient() -> PolicyLimits {
    let wall = Duration::from_secs(20);
    PolicyLimits { wall, filter_wall: wall, queue: wall, ..PolicyLimits::default() }
}

/// When every turn here came.
pub static RECEIVED: LazyLock<SystemTime> =
    LazyLock::new(|| SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123));

/// A call that a model makes.
pub fn tool_call() -> ToolCall {
    ToolCall { id: "call-1".into(), name: "remove".into(), arguments: r#"{"path":"/"}"#.into() }
}

/// A turn with two targets.
pub struct FakeTurn {
    pub agent: AgentId,
    pub session: SessionId,
    pub requested_model: &'static str,
    pub user_text: String,
    pub targets: Vec<Target>,
    pub files: Option<Arc<dyn FileSource>>,
}

pub fn turn(requested_model: &'static str, user_text: &str) -> Arc<FakeTurn> {
    let target = |upstream: &str, model: &str| Target { upstream: upstream.into(), model: model.into() };
    Arc::new(FakeTurn {
        agent: AgentId::from_trusted("tester").unwrap(),
        session: "session-1".parse().unwrap(),
        requested_model,
        user_text: user_text.to_owned(),
        targets: vec![target("first", "model-a"), target("second", "model-b")],
        files: None,
    })
}

impl TurnSource for FakeTurn {
    fn agent(&self) -> &AgentId {
        &self.agent
    }
    fn session(&self) -> &SessionId {
        &self.session
    }
    fn index(&self) -> u32 {
        0
    }
    fn kind(&self) -> TurnKind {
        TurnKind::Main
    }
    fn mode(&self) -> Mode {
        Mode::SkillsOnly
    }
    fn received_at(&self) -> SystemTime {
        *RECEIVED
    }
    fn requested_model(&self) -> Cow<'_, str> {
        self.requested_model.into()
    }
    fn user_text(&self) -> Cow<'_, str> {
        self.user_text.as_str().into()
    }
    fn body_size(&self) -> u64 {
        self.user_text.len() as u64
    }
    fn message_count(&self) -> u32 {
        1
    }
    fn message(&self, index: u32) -> Option<Message<'_>> {
        (index == 0).then(|| Message { role: "user".into(), text: self.user_text.as_str().into() })
    }
    fn tool_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn targets(&self) -> &[Target] {
        &self.targets
    }
    fn files(&self) -> Option<Arc<dyn FileSource>> {
        self.files.clone()
    }
}

/// Skills with a fixed score each; a search finds the best, whatever the words, and keeps count.
pub struct FakeCatalog {
    pub skills: Vec<(SkillSummary, f32)>,
    pub searches: AtomicUsize,
    pub longest_query: AtomicUsize,
}

/// A catalog of (name, score, tokens).
pub fn catalog(skills: &[(&str, f32, u32)]) -> Arc<FakeCatalog> {
    let mut skills: Vec<_> = skills
        .iter()
        .map(|(name, score, tokens)| {
            let summary = SkillSummary {
                name: (*name).into(),
                description: "What it is for, in one sentence.".into(),
                category: "".into(),
                scope: SkillScope::Shared,
                tokens: *tokens,
            };
            (summary, *score)
        })
        .collect();
    skills.sort_by(|a, b| b.1.total_cmp(&a.1));
    Arc::new(FakeCatalog { skills, searches: AtomicUsize::new(0), longest_query: AtomicUsize::new(0) })
}

impl CatalogSource for FakeCatalog {
    fn len(&self) -> usize {
        self.skills.len()
    }
    fn contains(&self, name: &str) -> bool {
        self.skills.iter().any(|(s, _)| &*s.name == name)
    }
    fn list(&self, offset: usize, limit: usize) -> Vec<SkillSummary> {
        let mut all: Vec<_> = self.skills.iter().map(|(s, _)| s.clone()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.into_iter().skip(offset).take(limit).collect()
    }
    fn search(&self, query: &str, k: usize) -> Vec<Scored> {
        self.searches.fetch_add(1, Ordering::Relaxed);
        self.longest_query.fetch_max(query.len(), Ordering::Relaxed);
        let found = self.skills.iter().filter(|(_, score)| *score > 0.0).take(k);
        found.map(|(s, score)| Scored { name: s.name.clone(), score: *score, tokens: s.tokens }).collect()
    }
    fn read(&self, name: &str) -> Option<Arc<str>> {
        self.contains(name).then(|| "The body.".into())
    }
}

pub struct FakeSample {
    pub agent: AgentId,
    pub session: SessionId,
    pub finish_reason: &'static str,
    pub answer: &'static str,
}

pub fn sample(finish_reason: &'static str, answer: &'static str) -> Arc<FakeSample> {
    let agent = AgentId::from_trusted("tester").unwrap();
    Arc::new(FakeSample { agent, session: "session-1".parse().unwrap(), finish_reason, answer })
}

impl SampleSource for FakeSample {
    fn agent(&self) -> &AgentId {
        &self.agent
    }
    fn session(&self) -> &SessionId {
        &self.session
    }
    fn received_at(&self) -> SystemTime {
        *RECEIVED
    }
    fn message_count(&self) -> u32 {
        1
    }
    fn message(&self, index: u32) -> Option<Message<'_>> {
        (index == 0).then(|| Message { role: "user".into(), text: self.user_text() })
    }
    fn tool_calls(&self) -> Vec<ToolCall> {
        vec![tool_call()]
    }
    fn model(&self) -> Cow<'_, str> {
        "model-a".into()
    }
    fn user_text(&self) -> Cow<'_, str> {
        "a question".into()
    }
    fn answer_text(&self) -> Cow<'_, str> {
        self.answer.into()
    }
    fn finish_reason(&self) -> Cow<'_, str> {
        self.finish_reason.into()
    }
    fn prompt_tokens(&self) -> u64 {
        10
    }
    fn completion_tokens(&self) -> u64 {
        20
    }
    fn skills(&self) -> Vec<String> {
        Vec::new()
    }
    fn has_tokens(&self) -> bool {
        false
    }
}
