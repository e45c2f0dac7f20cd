//! Adapters on disk: for each agent a folder of versions that never change.
//!
//! ```text
//! lora/researcher/g000003-5f2a90c4d1be/adapter_config.json
//!                                      adapter_model.safetensors
//!                                      trainer.safetensors
//! lora/researcher/current                a text file: the name of the version that is live
//! ```
//!
//! A version is written beside its place, made durable, and renamed: it is there whole or not at all, whenever the host dies. Which
//! versions count, and what their files' digest is, the database says: what it does not name is removed by
//! [`Shelf::keep_only`], and what is not as it says is not read. `current` is for other programs, and is repaired by setting
//! it again.
//!
//! Everything here blocks on the disk: call it where that is allowed.

mod current;
mod error;
mod export;
mod names;
mod plain;
mod put;
mod steps;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use domain::Digest;

pub use error::ShelfError;
pub use export::read_folder;
pub use names::{Checkpoint, InvalidCheckpoint, folder_name};

use steps::{Step, reached};

/// The PEFT configuration of an adapter.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// The matrices of an adapter, as PEFT has them.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// What training needs beside them to go on: the optimizer's moments.
pub const TRAINER_FILE: &str = "trainer.safetensors";
/// The most files that a version has.
pub const MAX_FILES: usize = 16;
/// The most bytes that a version's files have together.
pub const MAX_BYTES: u64 = 1 << 30;

/// Names and contents of a version's files.
pub type Files = Vec<(String, Vec<u8>)>;

/// The versions of one agent.
#[derive(Clone, Debug)]
pub struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    /// The shelf that is, or will be, in this folder, which is one agent's own. It is made when something is put there: private,
    /// whatever the umask.
    pub fn new(folder: PathBuf) -> Self {
        Shelf { folder }
    }

    /// Where a version is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The names of the versions that are there, sorted. What else is in the folder is no version.
    pub fn list(&self) -> Result<Vec<String>, ShelfError> {
        let Some(dir) = self.find()? else { return Ok(Vec::new()) };
        let entries = plain::entries(&dir, &self.folder)?;
        let versions = entries.into_iter().filter(|entry| entry.is_dir && names::is_version(&entry.name));
        let mut names: Vec<_> = versions.map(|entry| entry.name).collect();
        names.sort();
        Ok(names)
    }

    /// A version's files, sorted by name. Fails when they are not those that the digest is of.
    pub fn read(&self, name: &str, digest: &Digest) -> Result<Files, ShelfError> {
        let Some(dir) = self.find()? else { return Err(self.missing()) };
        let files = self.read_any(&dir, name)?;
        let found = digest_of(&files);
        if found != *digest {
            return Err(ShelfError::Changed { path: self.path(name), expected: *digest, found });
        }
        Ok(files)
    }

    fn read_any(&self, dir: &Dir, name: &str) -> Result<Files, ShelfError> {
        if !names::is_version(name) {
            return Err(ShelfError::Name { name: name.to_owned() });
        }
        let path = self.path(name);
        plain::read_all(&plain::open_folder(dir, name, &path)?, &path, |_| true)
    }

    /// Removes the versions that are not in `names`, and what interrupted writes have left. Returns their names. What is neither
    /// is not touched.
    pub fn keep_only(&self, names: &BTreeSet<String>) -> Result<Vec<String>, ShelfError> {
        let Some(dir) = self.find()? else { return Ok(Vec::new()) };
        let mut removed = Vec::new();
        for entry in plain::entries(&dir, &self.folder)? {
            let stale = entry.is_dir && names::is_version(&entry.name) && !names.contains(&entry.name);
            if !stale && !names::is_draft(&entry.name) {
                continue;
            }
            let path = self.path(&entry.name);
            if entry.is_dir {
                plain::remove_folder(&dir, &entry.name, &path)?;
            } else {
                dir.remove_file(&entry.name).map_err(ShelfError::io("remove", &path))?;
            }
            reached(Step::Removed);
            if stale {
                removed.push(entry.name);
            }
        }
        plain::sync(&dir, &self.folder)?;
        removed.sort();
        Ok(removed)
    }

    /// Removes the folder with everything in it.
    pub fn purge(&self) -> Result<(), ShelfError> {
        let (parent, name) = self.place()?;
        let Some(dir) = plain::open_trusted(parent)? else { return Ok(()) };
        plain::remove_folder(&dir, name, &self.folder)?;
        plain::sync(&dir, parent)
    }

    /// The folder, if there is one. It is no link; what it lies in may be one.
    fn find(&self) -> Result<Option<Dir>, ShelfError> {
        let (parent, name) = self.place()?;
        let Some(parent) = plain::open_trusted(parent)? else { return Ok(None) };
        match plain::open_folder(&parent, name, &self.folder) {
            Err(ShelfError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// The folder, made where there is none.
    fn make(&self) -> Result<Dir, ShelfError> {
        let (parent, name) = self.place()?;
        plain::create_folder(&plain::create_trusted(parent)?, name, &self.folder)
    }

    fn place(&self) -> Result<(&Path, &str), ShelfError> {
        let place = self.folder.parent().zip(self.folder.file_name().and_then(|name| name.to_str()));
        place.filter(|_| self.folder.is_absolute()).ok_or_else(|| ShelfError::Relative { path: self.folder.clone() })
    }

    fn missing(&self) -> ShelfError {
        ShelfError::io("open", &self.folder)(io::ErrorKind::NotFound.into())
    }
}

/// What names a version by its content: the SHA-256 of the lines `SHA-256  NAME` of its files, sorted by name. In the folder,
/// `sha256sum * | sha256sum` says the same.
pub fn digest_of(files: &[(String, Vec<u8>)]) -> Digest {
    let mut lines: Vec<_> = files.iter().map(|(name, bytes)| (name, Digest::of(bytes))).collect();
    lines.sort();
    let text: String = lines.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect();
    Digest::of(text.as_bytes())
}
