//! What a policy may reach of its own agent's folders. Whoever calls may be hostile, and so may be what lies there.
//!
//! ```text
//! Root::Skills   skills/<agent>/     read and write      _default: skills/_default/ alone, not the flat layout beside it
//! Root::Lora     lora/<agent>/       read                or wherever the agent keeps its adapters
//! Root::Shared   skills/_shared/     read
//! ```
//!
//! A module sees folders and regular files with exactly one name; for it nothing else exists. Paths are checked, never
//! corrected, and walked part by part through handles of folders that are no links. Whatever it asks, the answer comes
//! from below that folder, in bounded time and size, and says nothing of where the folder lies.
//!
//! What is promised against other processes that rename and link at the same time: every byte read came from a file whose
//! one name was the one asked for, and nothing that a link leads to is ever opened for writing, replaced or removed.

mod error;
mod path;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem};

use cap_std::fs::Dir;
use domain::AgentId;

pub use error::FileError;

use crate::plain_files::{self, check_plain};
use crate::plain_writes::{FolderLock, create_folder, create_root, sync, write_whole};
use crate::scan::{DEFAULT_FOLDER, MAX_FILE_BYTES, MAX_FOLDER_BYTES, MAX_FOLDERS, SHARED_FOLDER, SKILL_FILE};
use crate::steps::{Step, reached};
use crate::{SkillsError, agent_files::path::FilePath};

/// The most bytes of one [`read`](AgentFiles::read).
pub const MAX_READ: u32 = 1 << 20;

/// Which of the folders that an agent's policy may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Root {
    /// `skills/<agent>/`: the agent's own skills. The only one that can be written.
    Skills,
    /// `lora/<agent>/`: the agent's own adapters.
    Lora,
    /// `skills/_shared/`: what every agent sees.
    Shared,
}

/// A file or a folder, as a module sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// The last part of its path; empty for the folder that a [`Root`] is.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// In bytes; 0 for a folder. What a sparse file claims, not what it takes.
    pub size: u64,
}

/// What there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file with one name.
    File,
    /// A folder.
    Folder,
}

/// How much one agent's policy may read and keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLimits {
    /// The largest file that is written, in bytes. Larger ones are read in ranges.
    pub max_file: u64,
    /// The most names in a folder that is listed, and in a whole tree that is handed out by
    /// [`preopen`](AgentFiles::preopen).
    pub max_entries: usize,
    /// The most parts of a path.
    pub max_depth: usize,
    /// The most bytes below `skills/<agent>`, whoever wrote them.
    pub quota: u64,
    /// The most names below `skills/<agent>`, folders included, whoever made them.
    pub max_files: usize,
    /// How long a change waits for another one of the same agent.
    pub patience: Duration,
}

/// The folders of one agent. Opens nothing until it is asked something, and holds nothing open afterwards. Cheap to clone.
///
/// Every call blocks on the disk (a write on the disk's cache flush): not for an async thread.
#[derive(Clone, Debug)]
pub struct AgentFiles {
    places: Arc<Places>,
    limits: FileLimits,
}

#[derive(Debug)]
struct Places {
    skills: PathBuf,
    /// The folder that the agent's adapter folder is in, and its name there.
    lora: (PathBuf, String),
    agent: AgentId,
}

impl Default for FileLimits {
    fn default() -> Self {
        FileLimits {
            max_file: MAX_FILE_BYTES,
            max_entries: MAX_FOLDERS,
            max_depth: 8,
            quota: MAX_FOLDER_BYTES,
            max_files: 2048,
            patience: Duration::from_millis(500),
        }
    }
}

impl AgentFiles {
    /// The folders of `agent`: its skills below the folder of all agents' skills, its adapters in `lora`, which is its own. None of them
    /// need exist: one that does not is empty, and the one for skills is made by the first write.
    pub fn open(skills_dir: &Path, lora: &Path, agent: &AgentId, limits: FileLimits) -> Self {
        let name = lora.file_name().and_then(|name| name.to_str()).unwrap_or(agent.as_str());
        let lora = (lora.parent().unwrap_or(lora).to_owned(), name.to_owned());
        let places = Places { skills: skills_dir.to_owned(), lora, agent: agent.clone() };
        AgentFiles { places: Arc::new(places), limits }
    }

    /// What lies in a folder, sorted by name: exactly what can be asked for by that name. The empty path is the root.
    pub fn list(&self, root: Root, path: &str) -> Result<Vec<FileEntry>, FileError> {
        let path = FilePath::parse(path, self.limits.max_depth)?;
        let Some(base) = self.base(root)? else {
            return if path.is_root() { Ok(Vec::new()) } else { Err(FileError::NotFound) };
        };
        let folder = descend(base, path.parts())?;
        let (mut entries, mut seen) = (Vec::new(), 0);
        plain_files::each_entry(&folder, |name, meta| {
            seen += 1;
            if seen > self.limits.max_entries {
                let most = self.limits.max_entries as u64;
                return Err(FileError::TooLarge { what: "the folder's list", most, unit: "names" });
            }
            let name = name.to_str().filter(|name| path.has_room_for(name, self.limits.max_depth));
            entries.extend(name.and_then(|name| entry(name, meta).ok()));
            Ok(())
        })?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// What lies under a path. The root is always a folder.
    pub fn stat(&self, root: Root, path: &str) -> Result<FileEntry, FileError> {
        let path = FilePath::parse(path, self.limits.max_depth)?;
        let Some((dir, name)) = self.parent(root, &path)? else {
            return Ok(FileEntry { name: String::new(), kind: FileKind::Folder, size: 0 });
        };
        let meta = dir.symlink_metadata(name).map_err(|e| SkillsError::io("look at the file", &e))?;
        Ok(entry(name, &meta)?)
    }

    /// Up to `len` bytes of a file from `offset` on: fewer where it ends, none after its end. More than [`MAX_READ`] at
    /// once are refused. Of a file that changes meanwhile, what was there.
    pub fn read(&self, root: Root, path: &str, offset: u64, len: u32) -> Result<Vec<u8>, FileError> {
        let path = FilePath::parse(path, self.limits.max_depth)?;
        if len > MAX_READ {
            return Err(FileError::TooLarge { what: "the range", most: MAX_READ.into(), unit: "bytes" });
        }
        let (dir, name) = self.parent(root, &path)?.ok_or(FileError::NotAFile)?;
        let (file, meta) = plain_files::open_file(&dir, name)?;
        let length = meta.len().saturating_sub(offset).min(len.into());
        Ok(plain_files::read_range(&file, offset, usize::try_from(length).unwrap_or(0))?)
    }

    /// Puts a file in place, whole or not at all, durable when this returns, and makes the folders above it. Only below
    /// [`Root::Skills`]. What the agent's folder would hold then is counted first, under a lock that all writers share.
    pub fn write(&self, root: Root, path: &str, bytes: &[u8]) -> Result<(), FileError> {
        let path = FilePath::parse(path, self.limits.max_depth)?;
        check_writable(root)?;
        let (parents, name) = path.split().ok_or(FileError::NotAFile)?;
        path.check_not_a_skill()?;
        let size = bytes.len() as u64;
        if size > self.limits.max_file {
            return Err(FileError::TooLarge { what: "the file", most: self.limits.max_file, unit: "bytes" });
        }

        let (above, place) = self.place(root);
        let above = create_root(above)?;
        let base = create_folder(&above, place)?;
        let _lock = FolderLock::take(&base, self.limits.patience)?;
        if self.is_flat_skill(root, &base) {
            return Err(FileError::ReadOnly("the folder is a skill of the flat layout, and not this agent's"));
        }
        let usage = tree::count(&base, &self.limits)?;

        let (mut dir, mut above, mut missing) = (base, vec![above], Vec::new());
        for part in parents {
            let next = if missing.is_empty() { folder(&dir, part)? } else { None };
            match next {
                Some(next) => above.push(mem::replace(&mut dir, next)),
                None => missing.push(part),
            }
        }
        let replaced = if missing.is_empty() { plain_files::look_plain(&dir, name)? } else { None };
        let names = missing.len() + usize::from(replaced.is_none());
        usage.check_room(names, size, replaced.map_or(0, |meta| meta.len()), &self.limits)?;
        reached(Step::Counted);

        let fresh = usage.is_empty() || !missing.is_empty();
        for part in missing {
            let next = create_folder(&dir, part)?;
            above.push(mem::replace(&mut dir, next));
        }
        write_whole(&dir, name, bytes)?;
        sync(&dir)?;
        if fresh {
            above.iter().rev().try_for_each(sync)?;
        }
        Ok(())
    }

    /// Takes away a file, or a folder with nothing in it. Only below [`Root::Skills`].
    pub fn remove(&self, root: Root, path: &str) -> Result<(), FileError> {
        let path = FilePath::parse(path, self.limits.max_depth)?;
        check_writable(root)?;
        let (parents, name) = path.split().ok_or(FileError::ReadOnly("the folder itself stays"))?;
        let base = self.base(root)?.ok_or(FileError::NotFound)?;
        let _lock = FolderLock::take(&base, self.limits.patience)?;
        let dir = descend(base, parents)?;
        let failed = |e: io::Error| SkillsError::io("remove it", &e);
        let meta = dir.symlink_metadata(name).map_err(failed)?;
        match entry(name, &meta)?.kind {
            FileKind::File => dir.remove_file(name).map_err(failed)?,
            FileKind::Folder => {
                tree::sweep(&plain_files::open_folder(&dir, Path::new(name))?, self.limits.max_entries)?;
                dir.remove_dir(name).map_err(failed)?;
            }
        }
        Ok(sync(&dir)?)
    }

    /// A handle of a whole folder, for a WASI preopen that must be read-only. The tree was walked just now: it holds only
    /// folders and regular files with one link, hidden ones included, not too many and not too deep; else it is refused,
    /// as is a folder that does not exist. Unlike every other call this proves nothing of what other processes put there
    /// later: prefer this type's own calls.
    pub fn preopen(&self, root: Root) -> Result<Dir, FileError> {
        let base = self.base(root)?.ok_or(FileError::NotFound)?;
        tree::verify(&base, &self.limits)?;
        Ok(base)
    }

    /// The folder above a root, and the root's name in it.
    fn place(&self, root: Root) -> (&Path, &str) {
        let own = match &self.places.agent {
            AgentId::Default => DEFAULT_FOLDER,
            AgentId::Named(name) => name.as_str(),
        };
        match root {
            Root::Skills => (&self.places.skills, own),
            Root::Lora => (&self.places.lora.0, &self.places.lora.1),
            Root::Shared => (&self.places.skills, SHARED_FOLDER),
        }
    }

    /// A root's folder. `None` when there is none, or when what has its name is somebody else's.
    fn base(&self, root: Root) -> Result<Option<Dir>, FileError> {
        let (above, place) = self.place(root);
        let Some(above) = plain_files::open_root(above)? else { return Ok(None) };
        Ok(folder(&above, place)?.filter(|base| !self.is_flat_skill(root, base)))
    }

    /// Whether the folder with a named agent's name holds a `SKILL.md`: then it is a skill of `_default`.
    fn is_flat_skill(&self, root: Root, base: &Dir) -> bool {
        let absent = |e: io::Error| e.kind() == io::ErrorKind::NotFound;
        let may_be = root == Root::Skills && matches!(self.places.agent, AgentId::Named(_));
        may_be && !base.symlink_metadata(SKILL_FILE).is_err_and(absent)
    }

    /// The folder that a path's last part lies in, and that part. `None` for the root itself.
    fn parent<'p>(&self, root: Root, path: &FilePath<'p>) -> Result<Option<(Dir, &'p str)>, FileError> {
        let Some((parents, name)) = path.split() else { return Ok(None) };
        let base = self.base(root)?.ok_or(FileError::NotFound)?;
        Ok(Some((descend(base, parents)?, name)))
    }
}

fn check_writable(root: Root) -> Result<(), FileError> {
    match root {
        Root::Skills => Ok(()),
        Root::Lora => Err(FileError::ReadOnly("adapters are written by training")),
        Root::Shared => Err(FileError::ReadOnly("shared skills are written by the operator")),
    }
}

/// Opens folder after folder, none of them a link.
fn descend<'p>(base: Dir, parts: impl Iterator<Item = &'p str>) -> Result<Dir, SkillsError> {
    let mut dir = base;
    for part in parts {
        dir = plain_files::open_folder(&dir, Path::new(part))?;
    }
    Ok(dir)
}

/// A folder, `None` when nothing has that name.
fn folder(dir: &Dir, name: &str) -> Result<Option<Dir>, SkillsError> {
    match plain_files::open_folder(dir, Path::new(name)) {
        Err(SkillsError::Io { kind: io::ErrorKind::NotFound, .. }) => Ok(None),
        opened => opened.map(Some),
    }
}

/// What was looked at, when it is something that exists for a module.
fn entry(name: &str, meta: &cap_std::fs::Metadata) -> Result<FileEntry, SkillsError> {
    let (kind, size) = match meta.is_dir() {
        true => (FileKind::Folder, 0),
        false => check_plain(meta).map(|()| (FileKind::File, meta.len()))?,
    };
    Ok(FileEntry { name: name.to_owned(), kind, size })
}

#[cfg(test)]
mod tests;
