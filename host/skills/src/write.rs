//! An operator's way into the tree: checked first, then written whole or not at all.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use domain::{AgentId, SkillScope};

use crate::plain_files;
use crate::plain_writes::{FolderLock, create_folder, create_root, sync, write_whole};
use crate::scan::{DEFAULT_FOLDER, MAX_FILE_BYTES, SHARED_FOLDER, SKILL_FILE};
use crate::{Skill, SkillDocument, SkillName, SkillsError};

/// How long adding waits for a policy that is writing in the same folder.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Where a skill is put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shelf {
    /// `_shared/`: every agent sees it.
    Shared,
    /// The agent's own folder.
    Agent(AgentId),
}

/// A skill that was written.
#[derive(Clone, Debug)]
pub struct Added {
    /// As it will be served.
    pub skill: Skill,
    /// Whether it took another's place.
    pub replaced: bool,
}

/// Checks `bytes` as a `SKILL.md` and puts it on `shelf`, in a folder of the skill's name. The file appears whole or not
/// at all, is durable when this returns, and is readable by its owner only (0600, folders 0700).
///
/// `name` gives the skill another name; its front matter is then written anew, keeping the keys that this crate reads.
/// An existing skill of that name is an error unless `replace` is set.
///
/// Blocks on the disk: not for an async thread.
pub fn add_skill(
    root: &Path,
    shelf: &Shelf,
    bytes: &[u8],
    name: Option<&SkillName>,
    replace: bool,
) -> Result<Added, SkillsError> {
    let size = bytes.len() as u64;
    if size > MAX_FILE_BYTES {
        return Err(SkillsError::TooLarge(size));
    }
    let mut document = SkillDocument::parse(bytes, name.map_or("", SkillName::as_str))?;
    let renamed = match name.filter(|name| **name != document.name) {
        Some(name) => {
            document.name = name.clone();
            document.to_text()?.into_bytes()
        }
        None => bytes.to_owned(),
    };
    let scope = if *shelf == Shelf::Shared { SkillScope::Shared } else { SkillScope::Own };
    let path = format!("{}/{}", shelf.folder(), document.name);
    let skill = Skill::parse(&renamed, &path, scope)?;

    let root = create_root(root)?;
    let shelf_dir = create_folder(&root, shelf.folder())?;
    if let (Shelf::Agent(agent), true) = (shelf, shelf_dir.symlink_metadata(SKILL_FILE).is_ok()) {
        return Err(SkillsError::ShelfIsSkill(agent.clone()));
    }
    // Without it a policy's next write would take our draft for a leftover. Where folders cannot be locked no policy writes.
    let _lock = match FolderLock::take(&shelf_dir, PATIENCE) {
        Err(SkillsError::Io { kind, .. }) if kind != ErrorKind::ResourceBusy => None,
        taken => Some(taken?),
    };
    let folder = create_folder(&shelf_dir, skill.name.as_str())?;
    let replaced = plain_files::look(&folder, SKILL_FILE)?.is_some();
    if replaced && !replace {
        return Err(SkillsError::Exists { name: skill.name, shelf: shelf.folder().to_owned() });
    }
    write_whole(&folder, SKILL_FILE, &renamed)?;
    for dir in [&folder, &shelf_dir, &root] {
        sync(dir)?;
    }
    Ok(Added { skill, replaced })
}

impl Shelf {
    pub(crate) fn folder(&self) -> &str {
        match self {
            Shelf::Shared => SHARED_FOLDER,
            Shelf::Agent(AgentId::Default) => DEFAULT_FOLDER,
            Shelf::Agent(AgentId::Named(name)) => name.as_str(),
        }
    }
}

#[cfg(test)]
mod tests;
