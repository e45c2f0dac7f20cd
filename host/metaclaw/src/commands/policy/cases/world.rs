//! What a case shows to a policy. What the policy keeps and writes stays in memory, from hook to hook.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use agents::CatalogView;
use anyhow::Context;
use config::SkillsConfig;
use domain::{AgentId, Mode, RetrievalMode, SessionId, SkillScope, ToolCall, TurnKind};
use policy::{
    CatalogSource, FileSource, KvChanges, KvSource, Message, SampleSource, Scored, SkillSummary, Target, TurnSource,
};
use policy_cases::Case;
use skills::{Library, Skill};

use super::files::Folders;

/// One case, made ready: its turn, its catalog, its sample, and what is kept.
pub(in crate::commands::policy) struct World {
    pub(in crate::commands::policy) turn: Arc<CaseTurn>,
    pub(in crate::commands::policy) catalog: Arc<CaseCatalog>,
    pub(in crate::commands::policy) sample: Arc<CaseSample>,
    pub(super) kept: Arc<Kept>,
    pub(super) folders: Arc<Folders>,
}

/// The values that a policy keeps while it is tried.
#[derive(Default)]
pub(in crate::commands::policy) struct Kept(Mutex<BTreeMap<String, Vec<u8>>>);

pub(in crate::commands::policy) struct CaseTurn {
    agent: AgentId,
    session: SessionId,
    targets: Vec<Target>,
    case: policy_cases::Turn,
    kept: Arc<Kept>,
    folders: Arc<Folders>,
}

pub(in crate::commands::policy) struct CaseCatalog {
    /// The host's own index and order.
    library: CatalogView,
    case: Case,
}

pub(in crate::commands::policy) struct CaseSample {
    agent: AgentId,
    session: SessionId,
    case: policy_cases::Sample,
    kept: Arc<Kept>,
    folders: Arc<Folders>,
}

impl World {
    pub(in crate::commands::policy) fn of(case: &Case) -> anyhow::Result<Self> {
        let kept = Arc::new(Kept(Mutex::new(case.kv.clone())));
        let folders = Arc::new(Folders::of(&case.files));
        let agent = |name: &str| AgentId::from_trusted(name).with_context(|| format!("{name:?} names no agent"));
        let session = |name: &str| name.parse::<SessionId>().with_context(|| format!("{name:?} names no session"));
        let target = |t: &policy_cases::Target| Target { upstream: (*t.upstream).into(), model: (*t.model).into() };
        let skills = case.skills.iter().map(skill).collect::<anyhow::Result<_>>()?;
        Ok(World {
            turn: Arc::new(CaseTurn {
                agent: agent(&case.turn.agent)?,
                session: session(&case.turn.session)?,
                targets: case.turn.targets.iter().map(target).collect(),
                case: case.turn.clone(),
                kept: kept.clone(),
                folders: folders.clone(),
            }),
            catalog: Arc::new(CaseCatalog {
                library: CatalogView::by_words(Library::of(skills), usual()),
                case: case.clone(),
            }),
            sample: Arc::new(CaseSample {
                agent: agent(&case.sample.agent)?,
                session: session(&case.sample.session)?,
                case: case.sample.clone(),
                kept: kept.clone(),
                folders: folders.clone(),
            }),
            kept,
            folders,
        })
    }
}

/// What an agent's settings say of skills that says nothing.
fn usual() -> SkillsConfig {
    SkillsConfig {
        enabled: true,
        top_k: 6,
        token_budget: 2_000,
        min_score: 0.0,
        retrieval: RetrievalMode::Bm25,
        specific_top_k: 10,
    }
}

/// The skill as the host would have read it from a file, so that it is found as it would be.
fn skill(case: &policy_cases::Skill) -> anyhow::Result<Skill> {
    // JSON's strings are YAML's too.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let head = format!("---\nname: {}\ndescription: {}\n---\n", quoted(&case.name), quoted(&case.description));
    let scope = if case.scope == "own" { SkillScope::Own } else { SkillScope::Shared };
    let mut skill = Skill::parse(format!("{head}\n{}\n", case.body).as_bytes(), &case.name, scope)
        .with_context(|| format!("the skill {:?} of the case", case.name))?;
    skill.category.clone_from(&case.category);
    skill.tokens = case.tokens;
    Ok(skill)
}

impl TurnSource for CaseTurn {
    fn agent(&self) -> &AgentId {
        &self.agent
    }

    fn session(&self) -> &SessionId {
        &self.session
    }

    fn index(&self) -> u32 {
        self.case.index
    }

    fn kind(&self) -> TurnKind {
        if self.case.kind == "side" { TurnKind::Side } else { TurnKind::Main }
    }

    fn mode(&self) -> Mode {
        match self.case.mode.as_str() {
            "rl" => Mode::Rl,
            "auto" => Mode::Auto,
            _ => Mode::SkillsOnly,
        }
    }

    fn received_at(&self) -> SystemTime {
        time(self.case.received_at)
    }

    fn requested_model(&self) -> Cow<'_, str> {
        self.case.requested_model.as_str().into()
    }

    fn user_text(&self) -> Cow<'_, str> {
        self.case.user_text.as_str().into()
    }

    fn body_size(&self) -> u64 {
        self.case.body_size
    }

    fn message_count(&self) -> u32 {
        u32::try_from(self.case.messages.len()).unwrap_or(u32::MAX)
    }

    fn message(&self, index: u32) -> Option<Message<'_>> {
        message(&self.case.messages, index)
    }

    fn tool_names(&self) -> Vec<String> {
        self.case.tools.clone()
    }

    fn targets(&self) -> &[Target] {
        &self.targets
    }

    fn files(&self) -> Option<Arc<dyn FileSource>> {
        Some(self.folders.clone())
    }

    fn kv(&self) -> Option<Arc<dyn KvSource>> {
        Some(self.kept.clone())
    }
}

fn time(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}

fn message(messages: &[policy_cases::Message], index: u32) -> Option<Message<'_>> {
    let message = messages.get(usize::try_from(index).ok()?)?;
    Some(Message { role: message.role.as_str().into(), text: message.text.as_str().into() })
}

impl CatalogSource for CaseCatalog {
    fn len(&self) -> usize {
        self.library.len()
    }

    fn contains(&self, name: &str) -> bool {
        self.library.contains(name)
    }

    fn list(&self, offset: usize, limit: usize) -> Vec<SkillSummary> {
        self.library.list(offset, limit)
    }

    fn search(&self, query: &str, k: usize) -> Vec<Scored> {
        let Some(hits) = self.case.found(query) else { return self.library.search(query, k) };
        let tokens = |name: &str| self.case.skill(name).map_or(0, |skill| skill.tokens);
        hits.iter()
            .take(k)
            .map(|hit| Scored { name: (*hit.name).into(), score: hit.score, tokens: tokens(&hit.name) })
            .collect()
    }

    fn read(&self, name: &str) -> Option<Arc<str>> {
        self.library.read(name)
    }
}

impl SampleSource for CaseSample {
    fn agent(&self) -> &AgentId {
        &self.agent
    }

    fn session(&self) -> &SessionId {
        &self.session
    }

    fn received_at(&self) -> SystemTime {
        time(self.case.received_at)
    }

    fn model(&self) -> Cow<'_, str> {
        self.case.model.as_str().into()
    }

    fn user_text(&self) -> Cow<'_, str> {
        self.case.user_text.as_str().into()
    }

    fn message_count(&self) -> u32 {
        u32::try_from(self.case.messages.len()).unwrap_or(u32::MAX)
    }

    fn message(&self, index: u32) -> Option<Message<'_>> {
        message(&self.case.messages, index)
    }

    fn tool_calls(&self) -> Vec<ToolCall> {
        self.case.calls.iter().map(tool_call).collect()
    }

    fn answer_text(&self) -> Cow<'_, str> {
        self.case.answer.as_str().into()
    }

    fn finish_reason(&self) -> Cow<'_, str> {
        self.case.finish_reason.as_str().into()
    }

    fn prompt_tokens(&self) -> u64 {
        self.case.prompt_tokens
    }

    fn completion_tokens(&self) -> u64 {
        self.case.completion_tokens
    }

    fn skills(&self) -> Vec<String> {
        self.case.skills.clone()
    }

    fn has_tokens(&self) -> bool {
        self.case.has_tokens
    }

    fn files(&self) -> Option<Arc<dyn FileSource>> {
        Some(self.folders.clone())
    }

    fn kv(&self) -> Option<Arc<dyn KvSource>> {
        Some(self.kept.clone())
    }
}

pub(in crate::commands::policy) fn tool_call(call: &policy_cases::ToolCall) -> ToolCall {
    ToolCall { id: call.id.clone(), name: call.name.clone(), arguments: call.arguments.clone() }
}

impl Kept {
    fn values(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all(&self) -> BTreeMap<String, Vec<u8>> {
        self.values().clone()
    }
}

impl KvSource for Kept {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.values().get(key).cloned()
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        self.values().keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    fn size(&self) -> usize {
        self.values().iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    fn apply(&self, changes: KvChanges, most: usize) -> bool {
        let mut values = self.values();
        let mut after = values.clone();
        for (key, value) in changes {
            match value {
                Some(value) => after.insert(key, value),
                None => after.remove(&key),
            };
        }
        let size = |values: &BTreeMap<String, Vec<u8>>| values.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
        // As the host has it: what was allowed more before may always shrink.
        let fits = size(&after) <= most || size(&after) <= size(&values);
        if fits {
            *values = after;
        }
        fits
    }
}
