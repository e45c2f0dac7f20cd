//! Looking at all that an agent's folder holds: to count it, to clear it of leftovers, to vouch for it.

use std::ffi::OsStr;
use std::path::Path;

use cap_std::fs::{Dir, Metadata};

use super::FileLimits;
use super::path::join;
use crate::error::shown;
use crate::plain_files::{self, check_plain};
use crate::plain_writes::DRAFT;
use crate::{FileError, SkillsError};

/// What an agent's folder holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    bytes: u64,
    names: usize,
}

impl Usage {
    pub(super) fn is_empty(self) -> bool {
        self.names == 0
    }

    /// That so many more names fit, and a file of `size` bytes in the place of one of `replaced`.
    pub(super) fn check_room(
        self,
        names: usize,
        size: u64,
        replaced: u64,
        limits: &FileLimits,
    ) -> Result<(), FileError> {
        if self.names + names > limits.max_files {
            return Err(too_many(limits));
        }
        if self.bytes.saturating_sub(replaced).saturating_add(size) > limits.quota {
            return Err(FileError::Quota { most: limits.quota, unit: "bytes" });
        }
        Ok(())
    }
}

/// Counts everything, links and devices too, and removes the drafts of writers that are gone: the caller holds the lock.
///
/// It is counted anew for every write. Others write here as well (people, learning, another host on the same disk), and
/// nothing tells of a file that grew; a remembered number would be a guess.
pub(super) fn count(base: &Dir, limits: &FileLimits) -> Result<Usage, FileError> {
    let mut usage = Usage::default();
    count_folder(base, 1, limits, &mut usage)?;
    Ok(usage)
}

fn count_folder(dir: &Dir, depth: usize, limits: &FileLimits, usage: &mut Usage) -> Result<(), FileError> {
    let mut folders = Vec::new();
    plain_files::each_entry(dir, |name, meta| {
        if is_draft(name, meta) {
            return remove_draft(dir, name);
        }
        usage.names += 1;
        if usage.names > limits.max_files {
            return Err(too_many(limits));
        }
        if meta.is_file() {
            usage.bytes = usage.bytes.saturating_add(meta.len());
        } else if meta.is_dir() {
            folders.push(name.to_owned());
        }
        Ok(())
    })?;
    for name in folders {
        // What lies too deep to be counted cannot be kept within the quota.
        if depth == limits.max_depth {
            return Err(FileError::Quota { most: limits.max_depth as u64, unit: "folders in one another" });
        }
        match plain_files::open_folder(dir, Path::new(&name)) {
            Ok(folder) => count_folder(&folder, depth + 1, limits, usage)?,
            // Gone, or exchanged, since it was seen: it was counted as a name.
            Err(e) => match FileError::from(e) {
                FileError::NotFound | FileError::NotAFolder | FileError::Link => {}
                other => return Err(other),
            },
        }
    }
    Ok(())
}

/// Removes the drafts in one folder.
pub(super) fn sweep(dir: &Dir, max_entries: usize) -> Result<(), FileError> {
    let mut seen = 0;
    plain_files::each_entry(dir, |name, meta| {
        seen += 1;
        match is_draft(name, meta) {
            true => remove_draft(dir, name),
            // So full a folder cannot be removed anyway.
            false if seen > max_entries => Err(FileError::NotEmpty),
            false => Ok(()),
        }
    })
}

fn is_draft(name: &OsStr, meta: &Metadata) -> bool {
    meta.is_file() && name.as_encoded_bytes().starts_with(DRAFT.as_bytes())
}

fn remove_draft(dir: &Dir, name: &OsStr) -> Result<(), FileError> {
    match dir.remove_file(name).map_err(|e| SkillsError::io("remove a leftover", &e).into()) {
        Err(FileError::NotFound) => Ok(()),
        removed => removed,
    }
}

fn too_many(limits: &FileLimits) -> FileError {
    FileError::Quota { most: limits.max_files as u64, unit: "files and folders" }
}

/// That the whole tree is folders and plain files, within bounds.
pub(super) fn verify(base: &Dir, limits: &FileLimits) -> Result<(), FileError> {
    let mut left = limits.max_entries;
    verify_folder(base, "", 1, limits, &mut left)
}

fn verify_folder(dir: &Dir, above: &str, depth: usize, limits: &FileLimits, left: &mut usize) -> Result<(), FileError> {
    let unfit = |name: &OsStr, reason: FileError| {
        let path = join(above, &shown(&name.to_string_lossy()));
        FileError::Unfit { path, reason: Box::new(reason) }
    };
    let too_large = |most: usize, unit| FileError::TooLarge { what: "the folder", most: most as u64, unit };
    let mut folders = Vec::new();
    plain_files::each_entry(dir, |name, meta| {
        *left = left.checked_sub(1).ok_or_else(|| too_large(limits.max_entries, "names"))?;
        if meta.is_dir() {
            folders.push(name.to_owned());
            return Ok(());
        }
        check_plain(meta).map_err(|e| unfit(name, e.into()))
    })?;
    for name in folders {
        if depth == limits.max_depth {
            return Err(unfit(&name, too_large(limits.max_depth, "folders in one another")));
        }
        let folder = plain_files::open_folder(dir, Path::new(&name)).map_err(|e| unfit(&name, e.into()))?;
        verify_folder(&folder, &join(above, &shown(&name.to_string_lossy())), depth + 1, limits, left)?;
    }
    Ok(())
}
