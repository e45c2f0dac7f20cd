//! The imports `files` and `kv`: whether the guest may, and then what the [sources](crate::source) say.

use std::sync::Arc;

use domain::FileGrant;

use crate::bindings::metaclaw::policy::{files, kv, types};
use crate::source::{FileEntry, FileRoot, FileSource, KvSource, MAX_READ, Refused};
use crate::state::{State, Subject};

type Result<T> = wasmtime::Result<T>;
type Answer<T> = std::result::Result<T, types::Problem>;

/// The largest file that a guest may write, in bytes.
const MAX_WRITE: usize = 256 << 10;
/// The longest key, in bytes.
const MAX_KEY: usize = 128;
/// The largest value, in bytes.
const MAX_VALUE: usize = 64 << 10;
/// The most keys that are listed, and that one call may change.
const MAX_KEYS: usize = 1024;

fn problem(code: &str, message: impl Into<String>) -> types::Problem {
    types::Problem { code: code.into(), message: message.into() }
}

fn refused(refused: Refused) -> types::Problem {
    problem(refused.code, refused.message)
}

/// A grant that is missing, by the key that gives it and the word that asks for it.
fn not_granted(key: &str, word: &str) -> types::Problem {
    problem("not-granted", format!("the operator has to add `grants: {{ {key} }}`, and `describe` to ask for `{word}`"))
}

impl State {
    /// The agent's files, if the guest may read, or write, in this root.
    fn files_in(&self, root: &str, to: FileGrant) -> Answer<(Arc<dyn FileSource>, FileRoot)> {
        let root = match root {
            "skills" => FileRoot::Skills,
            "shared" => FileRoot::Shared,
            "lora" => FileRoot::Lora,
            other => {
                return Err(problem("bad-path", format!("there is no root {other:?}: use skills, shared or lora")));
            }
        };
        match (root, to) {
            (FileRoot::Shared | FileRoot::Lora, FileGrant::Write) => {
                return Err(problem("read-only", "only the root `skills` can be written"));
            }
            (FileRoot::Lora, FileGrant::Read) if !self.grants.lora => {
                return Err(not_granted("lora: read", "lora:read"));
            }
            (FileRoot::Lora, FileGrant::Read) => {}
            (_, FileGrant::Write) if self.grants.skills < Some(FileGrant::Write) => {
                return Err(not_granted("skills: write", "skills:write"));
            }
            (_, FileGrant::Read) if self.grants.skills.is_none() => {
                return Err(not_granted("skills: read", "skills:read"));
            }
            _ => {}
        }
        self.files().map(|files| (files, root)).ok_or_else(|| problem("not-found", "there are no files at the moment"))
    }

    /// The agent's files.
    pub(crate) fn files(&self) -> Option<Arc<dyn FileSource>> {
        match &self.subject {
            Subject::Turn(turn) => turn.files(),
            Subject::Sample(sample) => sample.files(),
            Subject::Probe => None,
        }
    }

    pub(crate) fn kv_source(&self) -> Option<Arc<dyn KvSource>> {
        match &self.subject {
            Subject::Turn(turn) => turn.kv(),
            Subject::Sample(sample) => sample.kv(),
            Subject::Probe => None,
        }
    }

    /// The agent's values, if the guest may keep any, and how many bytes.
    fn kv_granted(&self) -> Answer<(Arc<dyn KvSource>, usize)> {
        let most = self.grants.kv.ok_or_else(|| not_granted("kv: 64KiB", "kv"))?;
        let source = self.kv_source().ok_or_else(|| problem("not-found", "there are no values at the moment"))?;
        Ok((source, usize::try_from(most.0).unwrap_or(usize::MAX)))
    }

    /// Notes a change for the end of the call.
    fn stage(&mut self, key: String, value: Option<Vec<u8>>) -> Answer<()> {
        let (source, most) = self.kv_granted()?;
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(problem("bad-key", format!("a key has 1 to {MAX_KEY} bytes, this one {}", key.len())));
        }
        if value.as_ref().is_some_and(|value| value.len() > MAX_VALUE) {
            return Err(problem("quota", format!("a value has at most {MAX_VALUE} bytes")));
        }
        if self.staged.len() >= MAX_KEYS && !self.staged.contains_key(&key) {
            return Err(problem("quota", format!("one call changes at most {MAX_KEYS} keys")));
        }
        let before = self.staged.insert(key.clone(), value);
        let size = |key: &str, value: &Option<Vec<u8>>| value.as_ref().map_or(0, |value| key.len() + value.len());
        let (mut gone, mut come) = (0, 0);
        for (key, value) in &self.staged {
            gone += size(key, &source.get(key));
            come += size(key, value);
        }
        if source.size() + come > most + gone {
            match before {
                Some(before) => self.staged.insert(key, before),
                None => self.staged.remove(&key),
            };
            return Err(problem("quota", format!("all keys and values together may have {most} bytes")));
        }
        Ok(())
    }
}

/// Does file work where it may block.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> std::result::Result<T, Refused> + Send + 'static,
) -> Answer<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(refused),
        Err(_) => Err(problem("io", "the work was given up")),
    }
}

fn entry(entry: FileEntry) -> files::Entry {
    let kind = if entry.folder { "folder" } else { "file" };
    files::Entry { name: entry.name, kind: kind.to_owned(), size: entry.size }
}

impl files::Host for State {
    async fn list(&mut self, root: String, path: String) -> Result<Answer<Vec<files::Entry>>> {
        self.passed(root.len() + path.len())?;
        let (files, root) = match self.files_in(&root, FileGrant::Read) {
            Ok(found) => found,
            Err(problem) => return Ok(Err(problem)),
        };
        let listed = off_the_runtime(move || files.list(root, &path)).await;
        Ok(listed.map(|entries| entries.into_iter().map(entry).collect()))
    }

    async fn stat(&mut self, root: String, path: String) -> Result<Answer<files::Entry>> {
        self.passed(root.len() + path.len())?;
        let (files, root) = match self.files_in(&root, FileGrant::Read) {
            Ok(found) => found,
            Err(problem) => return Ok(Err(problem)),
        };
        Ok(off_the_runtime(move || files.stat(root, &path)).await.map(entry))
    }

    async fn read(&mut self, root: String, path: String, offset: u64, len: u32) -> Result<Answer<Vec<u8>>> {
        self.passed(root.len() + path.len())?;
        let (files, root) = match self.files_in(&root, FileGrant::Read) {
            Ok(found) => found,
            Err(problem) => return Ok(Err(problem)),
        };
        Ok(off_the_runtime(move || files.read(root, &path, offset, len.min(MAX_READ))).await)
    }

    async fn write(&mut self, root: String, path: String, bytes: Vec<u8>) -> Result<Answer<()>> {
        self.passed(root.len() + path.len() + bytes.len())?;
        let (files, root) = match self.files_in(&root, FileGrant::Write) {
            Ok(found) => found,
            Err(problem) => return Ok(Err(problem)),
        };
        if bytes.len() > MAX_WRITE {
            return Ok(Err(problem("too-large", format!("a file has at most {MAX_WRITE} bytes"))));
        }
        Ok(off_the_runtime(move || files.write(root, &path, &bytes)).await)
    }

    async fn remove(&mut self, root: String, path: String) -> Result<Answer<()>> {
        self.passed(root.len() + path.len())?;
        let (files, root) = match self.files_in(&root, FileGrant::Write) {
            Ok(found) => found,
            Err(problem) => return Ok(Err(problem)),
        };
        Ok(off_the_runtime(move || files.remove(root, &path)).await)
    }
}

impl kv::Host for State {
    fn get(&mut self, key: String) -> Result<Answer<Option<Vec<u8>>>> {
        self.passed(key.len())?;
        Ok(self.kv_granted().map(|(source, _)| match self.staged.get(&key) {
            Some(staged) => staged.clone(),
            None => source.get(&key),
        }))
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> Result<Answer<()>> {
        self.passed(key.len() + value.len())?;
        Ok(self.stage(key, Some(value)))
    }

    fn delete(&mut self, key: String) -> Result<Answer<()>> {
        self.passed(key.len())?;
        Ok(self.stage(key, None))
    }

    fn keys(&mut self, prefix: String) -> Result<Answer<Vec<String>>> {
        self.passed(prefix.len())?;
        Ok(self.kv_granted().map(|(source, _)| {
            let mut keys: std::collections::BTreeSet<String> = source.keys(&prefix).into_iter().collect();
            for (key, value) in self.staged.iter().filter(|(key, _)| key.starts_with(&prefix)) {
                match value {
                    Some(_) => keys.insert(key.clone()),
                    None => keys.remove(key),
                };
            }
            keys.into_iter().take(MAX_KEYS).collect()
        }))
    }
}
