//! What the host shows to a policy. The engine asks for a value when the guest does, so what no policy reads is never
//! put together. These methods run inside a guest's time limits: they must be quick, must not block and must not panic.

use std::borrow::Cow;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use domain::{AgentId, Mode, SessionId, SkillScope, ToolCall, TurnKind};

/// A place where an agent's turn may be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The upstream's name in config.
    pub upstream: Arc<str>,
    /// The model id, as that upstream knows it.
    pub model: Arc<str>,
}

/// One message of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `system`, `user`, `assistant`, `tool`, or whatever the client wrote.
    pub role: Cow<'a, str>,
    /// The text parts joined.
    pub text: Cow<'a, str>,
}

/// A skill as the catalog lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct SkillSummary {
    /// Unique in the catalog.
    pub name: Arc<str>,
    /// One or two sentences.
    pub description: Arc<str>,
    /// Free text; empty when the skill names none.
    pub category: Arc<str>,
    /// Whose folder it is in.
    pub scope: SkillScope,
    /// Estimated prompt tokens of the injected skill.
    pub tokens: u32,
}

/// A skill that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Unique in the catalog.
    pub name: Arc<str>,
    /// Relevance, greater than 0; larger is better.
    pub score: f32,
    /// Estimated prompt tokens of the injected skill.
    pub tokens: u32,
}

/// The turn that a policy decides on.
pub trait TurnSource: Send + Sync {
    /// Whose turn it is.
    fn agent(&self) -> &AgentId;
    /// In which conversation.
    fn session(&self) -> &SessionId;
    /// How many turns this session has had before.
    fn index(&self) -> u32;
    /// A person's turn, or the client's housekeeping.
    fn kind(&self) -> TurnKind;
    /// What the turn is used for.
    fn mode(&self) -> Mode;
    /// When the host had the whole request.
    fn received_at(&self) -> SystemTime;
    /// The model that the client asked for; may be empty.
    fn requested_model(&self) -> Cow<'_, str>;
    /// The text of the last user message. A policy sees at most its first [`MAX_TEXT`] bytes.
    fn user_text(&self) -> Cow<'_, str>;
    /// Size of the request body in bytes.
    fn body_size(&self) -> u64;
    /// How many messages the request has.
    fn message_count(&self) -> u32;
    /// The message at `index`, none past the end. A policy sees at most the first [`MAX_TEXT`] bytes of its text.
    fn message(&self, index: u32) -> Option<Message<'_>>;
    /// Names of the tools that the client offers.
    fn tool_names(&self) -> Vec<String>;
    /// Where this agent's turn may go; the first is the configured choice. Not empty.
    fn targets(&self) -> &[Target];
    /// Anything else; no names are defined yet.
    fn attr(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }
    /// The agent's files, for a module that has the grant.
    fn files(&self) -> Option<Arc<dyn FileSource>> {
        None
    }
    /// The agent's values, likewise.
    fn kv(&self) -> Option<Arc<dyn KvSource>> {
        None
    }
}

/// Which of an agent's folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileRoot {
    /// Its own skills.
    Skills,
    /// The skills that all agents have.
    Shared,
    /// Its adapters.
    Lora,
}

/// A file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// The last component of its path.
    pub name: String,
    /// Whether it is a folder.
    pub folder: bool,
    /// In bytes; 0 for a folder.
    pub size: u64,
}

/// Why something cannot be done for a guest, in words that it may hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// A stable kebab-case word.
    pub code: &'static str,
    /// One sentence, without paths of the host.
    pub message: String,
}

/// The files of one agent. These methods may block: the engine calls them off the runtime's threads. Which of them the guest may use is
/// decided before they are called; that a path stays in its folder is theirs to see to.
pub trait FileSource: Send + Sync {
    /// What is in a folder.
    fn list(&self, root: FileRoot, path: &str) -> Result<Vec<FileEntry>, Refused>;
    /// What a path names.
    fn stat(&self, root: FileRoot, path: &str) -> Result<FileEntry, Refused>;
    /// A part of a file; `len` is at most [`MAX_READ`].
    fn read(&self, root: FileRoot, path: &str, offset: u64, len: u32) -> Result<Vec<u8>, Refused>;
    /// Puts a file in place. Only ever called for [`FileRoot::Skills`].
    fn write(&self, root: FileRoot, path: &str, bytes: &[u8]) -> Result<(), Refused>;
    /// Removes a file or an empty folder. Only ever called for [`FileRoot::Skills`].
    fn remove(&self, root: FileRoot, path: &str) -> Result<(), Refused>;
    /// The whole of a root, after it was looked through and found to hold nothing but folders and regular files with one name; none when
    /// this source cannot.
    fn preopen(&self, root: FileRoot) -> Result<Option<Preopened>, Refused> {
        let _ = root;
        Ok(None)
    }
}

/// A folder that was looked through, held open so that it stays the one that was looked through.
#[derive(Debug)]
pub struct Preopened(OwnedFd);

impl Preopened {
    /// From a handle of the folder.
    pub fn new(folder: OwnedFd) -> Self {
        Preopened(folder)
    }

    /// A path that leads to this very folder.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

/// The values that one agent's policy keeps, in memory. What a call writes is applied when it has succeeded.
pub trait KvSource: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &str) -> Option<Vec<u8>>;
    /// The keys that begin so, in order.
    fn keys(&self, prefix: &str) -> Vec<String>;
    /// The size of all keys and values together, in bytes.
    fn size(&self) -> usize;
    /// Sets keys, or deletes those without a value, all or none: none when more than `most` bytes would be kept.
    fn apply(&self, changes: KvChanges, most: usize) -> bool;
}

/// Keys with their new values; none: deleted.
pub type KvChanges = std::collections::BTreeMap<String, Option<Vec<u8>>>;

/// The skills that an agent may be given.
pub trait CatalogSource: Send + Sync {
    /// How many there are.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether there is a skill of this name.
    fn contains(&self, name: &str) -> bool;
    /// A page of summaries, ordered by name; `limit` is at most [`MAX_LIST`].
    fn list(&self, offset: usize, limit: usize) -> Vec<SkillSummary>;
    /// The best `k` for these words, best first; `k` is at most [`MAX_HITS`].
    fn search(&self, query: &str, k: usize) -> Vec<Scored>;
    /// The body of a skill.
    fn read(&self, name: &str) -> Option<Arc<str>>;
}

/// A finished turn that may become a training sample.
pub trait SampleSource: Send + Sync {
    /// Whose turn it was.
    fn agent(&self) -> &AgentId;
    /// In which conversation.
    fn session(&self) -> &SessionId;
    /// When the host had the whole request.
    fn received_at(&self) -> SystemTime;
    /// The model that answered.
    fn model(&self) -> Cow<'_, str>;
    /// The user's last words. A policy sees at most the first [`MAX_TEXT`] bytes.
    fn user_text(&self) -> Cow<'_, str>;
    /// How many messages the request has.
    fn message_count(&self) -> u32;
    /// A message of the request, as [`TurnSource::message`].
    fn message(&self, index: u32) -> Option<Message<'_>>;
    /// The tools that the answer calls.
    fn tool_calls(&self) -> Vec<ToolCall>;
    /// The assistant's words. A policy sees at most the first [`MAX_TEXT`] bytes.
    fn answer_text(&self) -> Cow<'_, str>;
    /// As the upstream said it: `stop`, `length`, `tool_calls`, …
    fn finish_reason(&self) -> Cow<'_, str>;
    /// As the upstream counted them.
    fn prompt_tokens(&self) -> u64;
    /// As the upstream counted them.
    fn completion_tokens(&self) -> u64;
    /// Names of the skills that were injected.
    fn skills(&self) -> Vec<String>;
    /// Whether token ids and log-probabilities were captured.
    fn has_tokens(&self) -> bool;
    /// Anything else; no names are defined yet.
    fn attr(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }
    /// The agent's files, for a module that has the grant.
    fn files(&self) -> Option<Arc<dyn FileSource>> {
        None
    }
    /// The agent's values, likewise.
    fn kv(&self) -> Option<Arc<dyn KvSource>> {
        None
    }
}

/// The most that one [`FileSource::read`] gives, in bytes: what passes between guest and host in one call is bounded, too.
pub const MAX_READ: u32 = 512 << 10;
/// The most of one text (user text, message, answer, skill body) that a policy is shown, in bytes.
pub const MAX_TEXT: usize = 1 << 20;
/// The most summaries on one page of [`CatalogSource::list`].
pub const MAX_LIST: usize = 256;
/// The most hits of one [`CatalogSource::search`].
pub const MAX_HITS: usize = 64;
