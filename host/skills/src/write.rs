//! The only way into the tree: checked first, then written whole or not at all.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, OpenOptions, OpenOptionsExt};
use domain::{AgentId, SkillScope};

use crate::plain_files;
use crate::scan::{DEFAULT_FOLDER, MAX_FILE_BYTES, SHARED_FOLDER, SKILL_FILE};
use crate::{Skill, SkillDocument, SkillName, SkillsError};

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
    fn folder(&self) -> &str {
        match self {
            Shelf::Shared => SHARED_FOLDER,
            Shelf::Agent(AgentId::Default) => DEFAULT_FOLDER,
            Shelf::Agent(AgentId::Named(name)) => name.as_str(),
        }
    }
}

fn create_root(root: &Path) -> Result<Dir, SkillsError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
    created.map_err(|e| SkillsError::io("create the skills folder", &e))?;
    let gone = || SkillsError::io("open the skills folder", &io::ErrorKind::NotFound.into());
    plain_files::open_root(root)?.ok_or_else(gone)
}

fn create_folder(dir: &Dir, name: &str) -> Result<Dir, SkillsError> {
    match dir.create_dir_with(name, DirBuilder::new().mode(0o700)) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(SkillsError::io("create the folder", &e)),
        _ => plain_files::open_folder(dir, Path::new(name)),
    }
}

/// Writes beside the target, then renames over it. A leading dot hides the first from scans.
fn write_whole(dir: &Dir, name: &str, bytes: &[u8]) -> Result<(), SkillsError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let draft = format!(".{name}.{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).follow(FollowSymlinks::No);
    let written = (|| {
        let mut file = dir.open_with(&draft, &options)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        dir.rename(&draft, dir, name)
    })();
    written.map_err(|e| {
        // A draft that cannot be removed either is hidden, small, and the next error's business.
        let _ = dir.remove_file(&draft);
        SkillsError::io("write the file", &e)
    })
}

/// Makes a folder's names durable.
fn sync(dir: &Dir) -> Result<(), SkillsError> {
    let synced = dir.open(".").and_then(|handle| handle.sync_all());
    synced.map_err(|e| SkillsError::io("make the folder durable", &e))
}

#[cfg(test)]
mod tests;
