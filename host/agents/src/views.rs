//! What a policy may see of a turn, of the skills and of a finished turn: nothing is decoded before it is asked for.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use config::SkillsConfig;
use domain::{AgentId, Mode, SessionId, ToolCall, TurnKind, Usage};
use policy::{CatalogSource, FileSource, KvSource, Message, SampleSource, Scored, SkillSummary, Target, TurnSource};
use protocol::ChatRequest;
use skills::{Learned, Library, Meanings, Question, Skill, TemplateSizes};

use crate::question::MAX_TEXT;
use crate::registry::Agent;

/// So many of the skills that a policy's searches find are noted as offered.
const MAX_FOUND: usize = 64;

pub(crate) struct TurnView {
    pub(crate) request: Arc<ChatRequest>,
    pub(crate) agent: Arc<Agent>,
    pub(crate) session: SessionId,
    pub(crate) index: u32,
    pub(crate) kind: TurnKind,
    pub(crate) received: SystemTime,
}

/// An agent's skills, as its policy sees them.
pub struct CatalogView {
    library: Arc<Library>,
    config: SkillsConfig,
    meaning: Meaning,
    learned: Option<Arc<Learned>>,
    /// Whatever searches have found.
    found: Mutex<Vec<Arc<str>>>,
}

/// What is known of the meaning of what a policy may search for.
pub(crate) enum Meaning {
    /// Nothing: words alone decide.
    Unknown,
    /// It takes microseconds to find out, whatever the words are.
    Quick(Arc<Meanings>),
    /// That of the user's text, which is what most policies search for, or for its beginning.
    Known {
        /// The text.
        text: String,
        /// What it means.
        vector: Vec<f32>,
    },
}

impl CatalogView {
    /// These skills, found by words as an agent with these settings finds them.
    pub fn by_words(library: Arc<Library>, config: SkillsConfig) -> Self {
        CatalogView::new(library, config, Meaning::Unknown, None)
    }

    pub(crate) fn new(
        library: Arc<Library>,
        config: SkillsConfig,
        meaning: Meaning,
        learned: Option<Arc<Learned>>,
    ) -> Self {
        CatalogView { library, config, meaning, learned, found: Mutex::default() }
    }

    /// The skills that searches have found, at most [`MAX_FOUND`].
    pub(crate) fn found(&self) -> Vec<String> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.iter().map(|name| name.to_string()).collect()
    }

    /// The scores of some skills for a query, by their names; none for what is not there, or harms.
    pub(crate) fn scores(&self, query: &str, names: &[&str]) -> Vec<Option<f32>> {
        self.ask(query, |question| self.library.scores(question, names))
    }

    fn ask<T>(&self, query: &str, rank: impl FnOnce(&Question<'_>) -> T) -> T {
        let made;
        let vector = match &self.meaning {
            Meaning::Known { text, vector } if is_beginning(query, text) => Some(vector.as_slice()),
            Meaning::Quick(meanings) => {
                made = meanings.embedder().embed(query).ok();
                made.as_deref()
            }
            _ => None,
        };
        let (mode, sizes) = (self.config.retrieval, template_sizes(&self.config));
        rank(&Question { text: query, vector, mode, sizes, learned: self.learned.as_deref() })
    }
}

/// How many skills an agent with these settings gets by MetaClaw's lists of words.
pub fn template_sizes(config: &SkillsConfig) -> TemplateSizes {
    TemplateSizes { general: config.top_k as usize, specific: config.specific_top_k as usize }
}

pub(crate) struct SampleView {
    pub(crate) request: Arc<ChatRequest>,
    pub(crate) agent: Arc<Agent>,
    pub(crate) session: SessionId,
    pub(crate) received: SystemTime,
    pub(crate) model: String,
    /// The whole answer, as a `chat.completion` object.
    pub(crate) answer: Bytes,
    pub(crate) answer_text: String,
    pub(crate) finish_reason: String,
    pub(crate) usage: Usage,
    pub(crate) skills: Vec<String>,
    pub(crate) has_tokens: bool,
}

impl TurnSource for TurnView {
    fn agent(&self) -> &AgentId {
        &self.agent.id
    }

    fn session(&self) -> &SessionId {
        &self.session
    }

    fn index(&self) -> u32 {
        self.index
    }

    fn kind(&self) -> TurnKind {
        self.kind
    }

    fn mode(&self) -> Mode {
        self.agent.config.mode
    }

    fn received_at(&self) -> SystemTime {
        self.received
    }

    fn requested_model(&self) -> Cow<'_, str> {
        self.request.model()
    }

    fn user_text(&self) -> Cow<'_, str> {
        self.request.user_text()
    }

    fn body_size(&self) -> u64 {
        self.request.body().len() as u64
    }

    fn message_count(&self) -> u32 {
        u32::try_from(self.request.message_count()).unwrap_or(u32::MAX)
    }

    fn message(&self, index: u32) -> Option<Message<'_>> {
        message(&self.request, index)
    }

    fn tool_names(&self) -> Vec<String> {
        self.request.tool_names()
    }

    fn targets(&self) -> &[Target] {
        &self.agent.targets
    }

    fn files(&self) -> Option<Arc<dyn FileSource>> {
        Some(self.agent.files.clone())
    }

    fn kv(&self) -> Option<Arc<dyn KvSource>> {
        self.agent.values.get().map(|values| values as Arc<dyn KvSource>)
    }
}

fn message(request: &ChatRequest, index: u32) -> Option<Message<'_>> {
    let message = request.message(usize::try_from(index).ok()?)?;
    Some(Message { role: message.role, text: message.text })
}

impl CatalogSource for CatalogView {
    fn len(&self) -> usize {
        self.library.len()
    }

    fn contains(&self, name: &str) -> bool {
        self.library.get(name).is_some()
    }

    fn list(&self, offset: usize, limit: usize) -> Vec<SkillSummary> {
        self.library.list().iter().skip(offset).take(limit).map(|s| summary(s)).collect()
    }

    fn search(&self, query: &str, k: usize) -> Vec<Scored> {
        let hits = self.ask(query, |question| self.library.rank(question, k));
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let scored = |hit: skills::Scored| {
            let name = hit.skill.name.shared();
            if found.len() < MAX_FOUND && !found.contains(&name) {
                found.push(name.clone());
            }
            Scored { name, score: hit.score, tokens: hit.skill.tokens }
        };
        hits.into_iter().map(scored).collect()
    }

    fn read(&self, name: &str) -> Option<Arc<str>> {
        self.library.get(name).map(|s| s.body.as_str().into())
    }
}

/// Whether a policy searches for the user's words. `text` is their beginning, which is what is looked at of long ones.
fn is_beginning(query: &str, text: &str) -> bool {
    let long = text.len() + 4 > MAX_TEXT;
    !query.is_empty() && (text.starts_with(query) || (long && query.starts_with(text)))
}

fn summary(skill: &Skill) -> SkillSummary {
    SkillSummary {
        name: skill.name.shared(),
        description: skill.description.as_str().into(),
        category: skill.category.as_str().into(),
        scope: skill.scope,
        tokens: skill.tokens,
    }
}

impl SampleSource for SampleView {
    fn agent(&self) -> &AgentId {
        &self.agent.id
    }

    fn session(&self) -> &SessionId {
        &self.session
    }

    fn received_at(&self) -> SystemTime {
        self.received
    }

    fn message_count(&self) -> u32 {
        u32::try_from(self.request.message_count()).unwrap_or(u32::MAX)
    }

    fn message(&self, index: u32) -> Option<Message<'_>> {
        message(&self.request, index)
    }

    fn tool_calls(&self) -> Vec<ToolCall> {
        protocol::tool_calls(&self.answer)
    }

    fn model(&self) -> Cow<'_, str> {
        self.model.as_str().into()
    }

    fn user_text(&self) -> Cow<'_, str> {
        self.request.user_text()
    }

    fn answer_text(&self) -> Cow<'_, str> {
        self.answer_text.as_str().into()
    }

    fn finish_reason(&self) -> Cow<'_, str> {
        self.finish_reason.as_str().into()
    }

    fn prompt_tokens(&self) -> u64 {
        self.usage.prompt
    }

    fn completion_tokens(&self) -> u64 {
        self.usage.completion
    }

    fn skills(&self) -> Vec<String> {
        self.skills.clone()
    }

    fn has_tokens(&self) -> bool {
        self.has_tokens
    }

    fn files(&self) -> Option<Arc<dyn FileSource>> {
        Some(self.agent.files.clone())
    }

    fn kv(&self) -> Option<Arc<dyn KvSource>> {
        self.agent.values.get().map(|values| values as Arc<dyn KvSource>)
    }
}
