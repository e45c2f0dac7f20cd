//! How learned skills reach an agent's folder: a file is written, replaced or removed only when it is one of the versions that
//! were written here, so that what a person has put there, or changed, stays as it is.

use std::io;
use std::path::Path;

use cap_std::fs::Dir;
use domain::{AgentId, Digest};

use crate::plain_files::{look, open_folder, open_root, read};
use crate::plain_writes::{FolderLock, create_folder, create_root, sync, write_whole};
use crate::scan::{MAX_FILE_BYTES, SKILL_FILE};
use crate::write::{PATIENCE, Shelf};
use crate::{SkillDocument, SkillName, SkillsError};

/// What came of writing or removing a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// The folder is as it was wanted.
    Done,
    /// It was so already.
    Same,
    /// The file there is nobody's version: it was not touched.
    Foreign(Digest),
}

/// Makes `text`, a whole `SKILL.md`, the agent's skill of its name, durably. What is there must be among `known`, or nothing.
///
/// Blocks on the disk: not for an async thread.
pub fn put_version(root: &Path, agent: &AgentId, text: &str, known: &[Digest]) -> Result<Placed, SkillsError> {
    let size = text.len() as u64;
    if size > MAX_FILE_BYTES {
        return Err(SkillsError::TooLarge(size));
    }
    let name = SkillDocument::parse(text.as_bytes(), "")?.name;
    let root = create_root(root)?;
    let shelf = create_folder(&root, Shelf::Agent(agent.clone()).folder())?;
    if shelf.symlink_metadata(SKILL_FILE).is_ok() {
        return Err(SkillsError::ShelfIsSkill(agent.clone()));
    }
    let _lock = lock(&shelf)?;
    let folder = create_folder(&shelf, name.as_str())?;
    match present(&folder)? {
        Some(digest) if digest == Digest::of(text.as_bytes()) => return Ok(Placed::Same),
        Some(digest) if !known.contains(&digest) => return Ok(Placed::Foreign(digest)),
        _ => {}
    }
    write_whole(&folder, SKILL_FILE, text.as_bytes())?;
    for dir in [&folder, &shelf, &root] {
        sync(dir)?;
    }
    Ok(Placed::Done)
}

/// Takes the agent's skill `name` away, durably, if it is among `known`. Its folder goes too when nothing else is in it.
///
/// Blocks on the disk: not for an async thread.
pub fn remove_version(root: &Path, agent: &AgentId, name: &SkillName, known: &[Digest]) -> Result<Placed, SkillsError> {
    let Some(root) = open_root(root)? else { return Ok(Placed::Same) };
    let Some(shelf) = below(&root, Shelf::Agent(agent.clone()).folder())? else { return Ok(Placed::Same) };
    let _lock = lock(&shelf)?;
    let Some(folder) = below(&shelf, name.as_str())? else { return Ok(Placed::Same) };
    match present(&folder)? {
        None => return Ok(Placed::Same),
        Some(digest) if !known.contains(&digest) => return Ok(Placed::Foreign(digest)),
        Some(_) => {}
    }
    folder.remove_file(SKILL_FILE).map_err(|e| SkillsError::io("remove the skill", &e))?;
    sync(&folder)?;
    // Somebody may keep files beside the skill; then the folder stays.
    let _ = shelf.remove_dir(name.as_str());
    sync(&shelf)?;
    Ok(Placed::Done)
}

/// The digest of the skill in a folder, if there is one.
fn present(folder: &Dir) -> Result<Option<Digest>, SkillsError> {
    match look(folder, SKILL_FILE)? {
        None => Ok(None),
        Some(_) => Ok(Some(Digest::of(&read(folder, SKILL_FILE)?.0))),
    }
}

fn below(dir: &Dir, name: &str) -> Result<Option<Dir>, SkillsError> {
    match open_folder(dir, Path::new(name)) {
        Err(SkillsError::Io { kind: io::ErrorKind::NotFound, .. }) => Ok(None),
        opened => opened.map(Some),
    }
}

/// Where folders cannot be locked no policy writes.
fn lock(shelf: &Dir) -> Result<Option<FolderLock>, SkillsError> {
    match FolderLock::take(shelf, PATIENCE) {
        Err(SkillsError::Io { kind, .. }) if kind != io::ErrorKind::ResourceBusy => Ok(None),
        taken => taken.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn text(body: &str) -> String {
        format!("---\nname: tidy\ndescription: Use when tidying\n---\n\n{body}\n")
    }

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    #[test]
    fn only_what_is_known_is_replaced_or_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("skills");
        let agent = AgentId::from_trusted("a").unwrap();
        let name: SkillName = "tidy".parse().unwrap();
        let file = root.join("a/tidy/SKILL.md");
        let (one, two, persons) = (text("one"), text("two"), text("mine"));
        let put = |text: &str, known: &[Digest]| put_version(&root, &agent, text, known).unwrap();
        let remove = |known: &[Digest]| remove_version(&root, &agent, &name, known).unwrap();

        assert_eq!(remove(&[]), Placed::Same, "there is nothing yet, not even the folder");
        assert_eq!(put(&one, &[]), Placed::Done);
        assert_eq!(put(&one, &[]), Placed::Same, "as after a crash");
        assert_eq!(put(&two, &[]), Placed::Foreign(digest(&one)));
        assert_eq!(put(&two, &[digest(&one)]), Placed::Done);
        assert_eq!(fs::read_to_string(&file).unwrap(), two);

        fs::write(&file, &persons).unwrap();
        assert_eq!(put(&one, &[digest(&one), digest(&two)]), Placed::Foreign(digest(&persons)));
        assert_eq!(remove(&[digest(&one), digest(&two)]), Placed::Foreign(digest(&persons)));
        assert_eq!(fs::read_to_string(&file).unwrap(), persons, "a person's words stay");

        fs::write(&file, &two).unwrap();
        assert_eq!(remove(&[digest(&two)]), Placed::Done);
        assert!(!root.join("a/tidy").exists());
        assert_eq!(remove(&[digest(&two)]), Placed::Same, "as after a crash");
    }

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("skills");
        let agent = AgentId::from_trusted("a").unwrap();
        fs::create_dir_all(root.join("a")).unwrap();
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), root.join("a/tidy")).unwrap();
        assert_eq!(put_version(&root, &agent, &text("one"), &[]), Err(SkillsError::Link));
        assert_eq!(fs::read_dir(dir.path().join("elsewhere")).unwrap().count(), 0);
    }
}
