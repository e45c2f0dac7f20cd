use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use domain::AgentId;
use policy::{FileEntry, FileRoot, FileSource, Preopened, Refused};
use skills::{AgentFiles, FileError, FileKind, FileLimits, Root};

use crate::adapters::{Adapters, Slot};
use crate::experience::AgentExperience;
use crate::values::AgentValues;

/// What is each agent's own beside its settings: its folders and the values it keeps, for its policy, its adapter, and what came of
/// its skills. They outlive every reload.
pub(crate) struct Possessions {
    skills: PathBuf,
    lora: PathBuf,
    values: Mutex<HashMap<AgentId, Arc<AgentValues>>>,
    experiences: Mutex<HashMap<AgentId, Arc<AgentExperience>>>,
    pub(crate) adapters: Adapters,
}

/// One agent's folders, as its policy sees them.
struct Folders(AgentFiles);

impl Possessions {
    /// For agents with skill folders below `skills`, and adapter folders below `lora` unless config names another.
    pub(crate) fn new(skills: PathBuf, lora: PathBuf) -> Self {
        let (values, experiences) = (Mutex::default(), Mutex::default());
        Possessions { skills, lora, values, experiences, adapters: Adapters::new() }
    }

    /// The folders of an agent that is not configured.
    pub(crate) fn usual_files(&self, agent: &AgentId) -> Arc<dyn FileSource> {
        self.files(agent, &self.usual_lora(agent))
    }

    /// Where the adapters are of an agent that is not configured.
    pub(crate) fn usual_lora(&self, agent: &AgentId) -> PathBuf {
        self.lora.join(agent.as_str())
    }

    /// The folders of an agent whose adapters are in `lora`.
    pub(crate) fn files(&self, agent: &AgentId, lora: &Path) -> Arc<dyn FileSource> {
        agent_files(&self.skills, lora, agent)
    }

    /// The place of an agent's adapter.
    pub(crate) fn adapter(&self, agent: &AgentId) -> Arc<Slot> {
        self.adapters.slot(agent)
    }

    /// The values of an agent. The caller has seen to it that there are not too many agents.
    pub(crate) fn values(&self, agent: &AgentId) -> Arc<AgentValues> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.entry(agent.clone()).or_default().clone()
    }

    /// What came of an agent's skills. As for values.
    pub(crate) fn experience(&self, agent: &AgentId) -> Arc<AgentExperience> {
        let mut experiences = self.experiences.lock().unwrap_or_else(PoisonError::into_inner);
        experiences.entry(agent.clone()).or_default().clone()
    }
}

/// The folders of an agent, as its policy has them: below `skills` those of all agents, and `lora`, which is its own.
pub fn agent_files(skills: &Path, lora: &Path, agent: &AgentId) -> Arc<dyn FileSource> {
    Arc::new(Folders(AgentFiles::open(skills, lora, agent, FileLimits::default())))
}

impl FileSource for Folders {
    fn list(&self, root: FileRoot, path: &str) -> Result<Vec<FileEntry>, Refused> {
        Ok(self.0.list(place(root), path).map_err(refused)?.into_iter().map(entry).collect())
    }

    fn stat(&self, root: FileRoot, path: &str) -> Result<FileEntry, Refused> {
        self.0.stat(place(root), path).map(entry).map_err(refused)
    }

    fn read(&self, root: FileRoot, path: &str, offset: u64, len: u32) -> Result<Vec<u8>, Refused> {
        self.0.read(place(root), path, offset, len).map_err(refused)
    }

    fn write(&self, root: FileRoot, path: &str, bytes: &[u8]) -> Result<(), Refused> {
        self.0.write(place(root), path, bytes).map_err(refused)
    }

    fn remove(&self, root: FileRoot, path: &str) -> Result<(), Refused> {
        self.0.remove(place(root), path).map_err(refused)
    }

    fn preopen(&self, root: FileRoot) -> Result<Option<Preopened>, Refused> {
        self.0.preopen(place(root)).map(|folder| Some(Preopened::new(folder.into_std_file().into()))).map_err(refused)
    }
}

fn place(root: FileRoot) -> Root {
    match root {
        FileRoot::Skills => Root::Skills,
        FileRoot::Shared => Root::Shared,
        FileRoot::Lora => Root::Lora,
    }
}

fn entry(entry: skills::FileEntry) -> FileEntry {
    FileEntry { folder: entry.kind == FileKind::Folder, name: entry.name, size: entry.size }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn refused(error: FileError) -> Refused {
    Refused { code: error.kind(), message: error.to_string() }
}
