//! Skills from elsewhere: a folder or an archive of Agent Skills. All of it is checked before anything is written, and of each skill only its `SKILL.md` is
//! taken: nothing that comes along with it is unpacked, let alone run.

mod archive;
mod folder;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use crate::error::shown;
use crate::scan::{MAX_FILE_BYTES, SKILL_FILE};
use crate::{SkillDocument, SkillName, SkillsError};

/// The largest archive, in bytes.
pub(crate) const MAX_ARCHIVE: u64 = 16 << 20;
/// What an archive or a folder may hold, unpacked.
pub(crate) const MAX_UNPACKED: u64 = 64 << 20;
/// How many times its own size an archive may hold.
pub(crate) const MAX_RATIO: u64 = 100;
/// The most files and folders.
pub(crate) const MAX_ENTRIES: usize = 1_000;
/// How deep they may lie.
pub(crate) const MAX_DEPTH: usize = 8;
/// The longest path, in bytes.
const MAX_PATH: usize = 512;

/// Skills that were read and are good, but are nowhere yet.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    /// In the order of their paths.
    pub skills: Vec<Bundled>,
    /// How many files beside the `SKILL.md` were left where they are.
    pub left_out: usize,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Bundled {
    /// The name that it gives itself, or its folder's.
    pub name: SkillName,
    /// Where it lay.
    pub path: String,
    /// The bytes of its `SKILL.md`.
    pub bytes: Vec<u8>,
}

/// Why skills are not taken over: none of them is.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It cannot be read.
    #[error("{0} cannot be read")]
    Read(String, #[source] std::io::Error),
    /// It is something else.
    #[error("{0} is neither a folder nor a zip, tar or tar.gz archive: name one of these")]
    Format(String),
    /// What lies in it is not what skills consist of.
    #[error("`{path}` {why}: nothing is taken over from it")]
    Entry {
        /// Which entry, control characters escaped.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// More than anybody's skills.
    #[error("there are more than {MAX_ENTRIES} files and folders: take over fewer at once")]
    TooMany,
    /// Likewise.
    #[error("it holds more than {} MiB, or more than {MAX_RATIO} times its own size: this is no bundle of skills", MAX_UNPACKED >> 20)]
    TooLarge,
    /// Likewise.
    #[error("the archive has {0} bytes, at most {MAX_ARCHIVE} are read: take over fewer skills at once")]
    TooLargeArchive(u64),
    /// A skill that would not be served.
    #[error("the skill `{path}` cannot be taken over: {source}")]
    Skill {
        /// Which.
        path: String,
        /// Why.
        source: SkillsError,
    },
    /// Two of one name.
    #[error("the skills `{first}` and `{second}` are both called `{name}`: rename one")]
    Twice {
        /// What they are called.
        name: SkillName,
        /// One of them.
        first: String,
        /// The other one.
        second: String,
    },
    /// Nothing to take over.
    #[error("{0} holds no SKILL.md (the name is case-sensitive)")]
    Empty(String),
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    File,
    Link,
    Other,
}

/// Takes entries one after another, within the bounds.
pub(crate) struct Collector {
    /// What the skill is called whose `SKILL.md` lies at the top.
    stem: String,
    entries: usize,
    bytes: u64,
    most: u64,
    paths: BTreeSet<String>,
    bundle: Bundle,
}

impl Bundle {
    /// Reads a folder, or an archive: zip, tar or tar.gz, whatever it is called. Blocks on the disk.
    pub fn read(path: &Path) -> Result<Self, BundleError> {
        let shown_path = path.display().to_string();
        let metadata = std::fs::metadata(path).map_err(|e| BundleError::Read(shown_path.clone(), e))?;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let collector = Collector::new(stem);
        let mut bundle = match metadata.is_dir() {
            true => folder::read(path, collector)?,
            false if metadata.is_file() => archive::read(path, collector)?,
            false => return Err(BundleError::Format(shown_path)),
        };
        if bundle.skills.is_empty() {
            return Err(BundleError::Empty(shown_path));
        }
        bundle.skills.sort_by(|a, b| a.name.cmp(&b.name));
        match bundle.skills.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some([a, b]) => {
                Err(BundleError::Twice { name: a.name.clone(), first: a.path.clone(), second: b.path.clone() })
            }
            _ => Ok(bundle),
        }
    }
}

impl Collector {
    fn new(stem: String) -> Self {
        let (paths, bundle) = (BTreeSet::new(), Bundle::default());
        Collector { stem, entries: 0, bytes: 0, most: MAX_UNPACKED, paths, bundle }
    }

    /// An archive of so many bytes may not hold many times as much. A small one may hold a few files all the same.
    pub(crate) fn packed_in(&mut self, bytes: u64) {
        self.most = bytes.saturating_mul(MAX_RATIO).clamp(4 * MAX_FILE_BYTES, MAX_UNPACKED);
    }

    pub(crate) fn most(&self) -> u64 {
        self.most
    }

    /// Looks at an entry of so many bytes; says whether its content is wanted.
    pub(crate) fn meets(&mut self, path: &str, kind: Kind, bytes: u64) -> Result<bool, BundleError> {
        let wrong = |why| Err(BundleError::Entry { path: shown(path), why });
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(BundleError::TooMany);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.most {
            return Err(BundleError::TooLarge);
        }
        match kind {
            Kind::Link => return wrong("is a link"),
            Kind::Other => return wrong("is neither a file nor a folder"),
            Kind::Folder | Kind::File => {}
        }
        let plain = path.strip_suffix('/').unwrap_or(path);
        let parts: Vec<&str> = plain.split('/').filter(|part| *part != ".").collect();
        if plain.len() > MAX_PATH || parts.len() > MAX_DEPTH {
            return wrong("lies too deep");
        }
        let bad = |part: &&str| {
            part.is_empty() || *part == ".." || part.contains(['\\', ':']) || part.contains(char::is_control)
        };
        if plain != "." && parts.iter().any(bad) {
            return wrong("has a path that leads elsewhere");
        }
        if kind == Kind::Folder {
            return Ok(false);
        }
        // Where names differ in case only, one of the two would be lost on some disks.
        if !self.paths.insert(parts.join("/").to_lowercase()) {
            return wrong("is there twice");
        }
        let wanted = parts.last() == Some(&SKILL_FILE);
        if wanted && bytes > MAX_FILE_BYTES {
            let (path, source) = (shown(path), SkillsError::TooLarge(bytes));
            return Err(BundleError::Skill { path, source });
        }
        self.bundle.left_out += usize::from(!wanted);
        Ok(wanted)
    }

    /// Reads a `SKILL.md` that is wanted.
    pub(crate) fn takes(&mut self, path: &str, content: impl Read) -> Result<(), BundleError> {
        let mut bytes = Vec::new();
        let read = content.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|e| BundleError::Read(shown(path), e))?;
        let failed = |source| BundleError::Skill { path: shown(path), source };
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(failed(SkillsError::TooLarge(bytes.len() as u64)));
        }
        let folder = path.rsplit('/').nth(1).filter(|folder| *folder != ".").unwrap_or(&self.stem);
        let document = SkillDocument::parse(&bytes, folder).map_err(failed)?;
        self.bundle.skills.push(Bundled { name: document.name, path: shown(path), bytes });
        Ok(())
    }

    pub(crate) fn finish(self) -> Bundle {
        self.bundle
    }
}

#[cfg(test)]
mod tests;
