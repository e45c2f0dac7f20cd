use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use domain::{AgentId, Mode, SessionId, ToolCall, TurnKind, TurnRecord, Usage};
use policy::{
    FileEntry, FileRoot, FileSource, KvSource, Message, Preopened, Refused, SampleSource, Target, TurnSource,
};
use protocol::{Answer, ChatRequest};
use store::{StoredSample, StoredTurn};

use super::Scene;
use crate::commands::policy::cases::Kept;

/// A turn as it was recorded, for a policy to look at: before its answer, and finished.
pub(super) struct Recorded {
    pub(super) record: Arc<TurnRecord>,
    pub(super) request: Arc<ChatRequest>,
    position: u64,
    answer: Arc<Answer>,
    has_tokens: bool,
    mode: Mode,
    targets: Arc<[Target]>,
    files: Arc<dyn FileSource>,
    kept: Arc<Kept>,
}

impl Recorded {
    /// None when the record is not a request that this version reads.
    pub(super) fn of(stored: StoredTurn, sample: Option<&StoredSample>, scene: &Scene) -> Option<Arc<Self>> {
        let request = Arc::new(ChatRequest::parse(stored.record.request.clone()).ok()?);
        let nothing = || Answer {
            json: stored.record.answer.clone(),
            text: String::new(),
            finish_reason: String::new(),
            usage: None,
        };
        let answer = Arc::new(Answer::from_json(&stored.record.answer).unwrap_or_else(nothing));
        Some(Arc::new(Recorded {
            request,
            position: stored.position,
            answer,
            has_tokens: sample.is_some_and(|sample| sample.sample.tokens.is_some()),
            mode: scene.config.mode,
            targets: scene.targets.clone(),
            files: scene.files.clone(),
            kept: Arc::default(),
            record: Arc::new(stored.record),
        }))
    }

    /// The same turn for who keeps these values.
    pub(super) fn with_values(&self, kept: Arc<Kept>) -> Self {
        Recorded {
            record: self.record.clone(),
            request: self.request.clone(),
            position: self.position,
            answer: self.answer.clone(),
            has_tokens: self.has_tokens,
            mode: self.mode,
            targets: self.targets.clone(),
            files: self.files.clone(),
            kept,
        }
    }

    fn read_message(&self, index: u32) -> Option<Message<'_>> {
        let message = self.request.message(usize::try_from(index).ok()?)?;
        Some(Message { role: message.role, text: message.text })
    }

    fn usage(&self) -> Usage {
        self.record.usage.unwrap_or_default()
    }
}

impl TurnSource for Recorded {
    fn agent(&self) -> &AgentId {
        &self.record.agent
    }

    fn session(&self) -> &SessionId {
        &self.record.session
    }

    fn index(&self) -> u32 {
        u32::try_from(self.position).unwrap_or(u32::MAX)
    }

    fn kind(&self) -> TurnKind {
        self.record.kind
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn received_at(&self) -> SystemTime {
        self.record.started
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
        self.read_message(index)
    }

    fn tool_names(&self) -> Vec<String> {
        self.request.tool_names()
    }

    fn targets(&self) -> &[Target] {
        &self.targets
    }

    fn files(&self) -> Option<Arc<dyn FileSource>> {
        Some(self.files.clone())
    }

    fn kv(&self) -> Option<Arc<dyn KvSource>> {
        Some(self.kept.clone())
    }
}

impl SampleSource for Recorded {
    fn agent(&self) -> &AgentId {
        &self.record.agent
    }

    fn session(&self) -> &SessionId {
        &self.record.session
    }

    fn received_at(&self) -> SystemTime {
        self.record.started
    }

    fn model(&self) -> Cow<'_, str> {
        self.record.model.as_str().into()
    }

    fn user_text(&self) -> Cow<'_, str> {
        self.request.user_text()
    }

    fn message_count(&self) -> u32 {
        u32::try_from(self.request.message_count()).unwrap_or(u32::MAX)
    }

    fn message(&self, index: u32) -> Option<Message<'_>> {
        self.read_message(index)
    }

    fn tool_calls(&self) -> Vec<ToolCall> {
        protocol::tool_calls(&self.answer.json)
    }

    fn answer_text(&self) -> Cow<'_, str> {
        self.answer.text.as_str().into()
    }

    fn finish_reason(&self) -> Cow<'_, str> {
        self.answer.finish_reason.as_str().into()
    }

    fn prompt_tokens(&self) -> u64 {
        self.usage().prompt
    }

    fn completion_tokens(&self) -> u64 {
        self.usage().completion
    }

    fn skills(&self) -> Vec<String> {
        self.record.skills.clone()
    }

    fn has_tokens(&self) -> bool {
        self.has_tokens
    }

    fn files(&self) -> Option<Arc<dyn FileSource>> {
        Some(self.files.clone())
    }

    fn kv(&self) -> Option<Arc<dyn KvSource>> {
        Some(self.kept.clone())
    }
}

/// An agent's folders, which nobody changes.
pub(super) struct ReadOnly(pub(super) Arc<dyn FileSource>);

fn refused() -> Refused {
    Refused { code: "read-only", message: "a replay changes nothing".to_owned() }
}

impl FileSource for ReadOnly {
    fn list(&self, root: FileRoot, path: &str) -> Result<Vec<FileEntry>, Refused> {
        self.0.list(root, path)
    }

    fn stat(&self, root: FileRoot, path: &str) -> Result<FileEntry, Refused> {
        self.0.stat(root, path)
    }

    fn read(&self, root: FileRoot, path: &str, offset: u64, len: u32) -> Result<Vec<u8>, Refused> {
        self.0.read(root, path, offset, len)
    }

    fn write(&self, _: FileRoot, _: &str, _: &[u8]) -> Result<(), Refused> {
        Err(refused())
    }

    fn remove(&self, _: FileRoot, _: &str) -> Result<(), Refused> {
        Err(refused())
    }

    fn preopen(&self, root: FileRoot) -> Result<Option<Preopened>, Refused> {
        self.0.preopen(root)
    }
}
