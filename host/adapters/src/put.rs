//! Putting a version on the shelf: whole, durable, and never over one that is the same.

use domain::Digest;

use crate::names::{DRAFT, is_file_name, is_version};
use crate::steps::{Step, reached};
use crate::{MAX_BYTES, MAX_FILES, Shelf, ShelfError, digest_of, plain};

/// How the names begin of what was in a version's place.
const MOVED: &str = ".draft-old-";

impl Shelf {
    /// Writes a version and returns its digest when it is durable. The same files under the same name again change nothing. Other
    /// files that are there are what a host left that died before anything named them, and are replaced: no name that counts is
    /// ever put twice, for it holds the batch's.
    pub fn put(&self, name: &str, files: &[(String, Vec<u8>)]) -> Result<Digest, ShelfError> {
        if !is_version(name) {
            return Err(ShelfError::Name { name: name.to_owned() });
        }
        let path = self.path(name);
        check(files, || ShelfError::TooLarge { path: path.clone() })?;
        let digest = digest_of(files);
        let dir = self.make()?;
        let there = dir.symlink_metadata(name).is_ok();
        if there && self.read_any(&dir, name).is_ok_and(|found| digest_of(&found) == digest) {
            // Whoever wrote it may have died before its name was durable.
            plain::sync(&dir, &self.folder)?;
            return Ok(digest);
        }
        let draft = format!("{DRAFT}{name}");
        let draft_path = self.path(&draft);
        // What is left of an attempt that died.
        plain::remove_folder(&dir, &draft, &draft_path)?;
        reached(Step::Cleared);
        let draft_dir = plain::make_folder(&dir, &draft, &draft_path)?;
        reached(Step::Drafting);
        for (file, bytes) in files {
            plain::write_new(&draft_dir, file, bytes, &draft_path.join(file))?;
        }
        plain::sync(&draft_dir, &draft_path)?;
        reached(Step::Drafted);
        let moved = format!("{MOVED}{name}");
        if there {
            plain::remove_folder(&dir, &moved, &self.path(&moved))?;
            dir.rename(name, &dir, &moved).map_err(ShelfError::io("move", &path))?;
            reached(Step::Moved);
        }
        dir.rename(&draft, &dir, name).map_err(ShelfError::io("name", &path))?;
        reached(Step::Renamed);
        plain::sync(&dir, &self.folder)?;
        reached(Step::Published);
        if there {
            plain::remove_folder(&dir, &moved, &self.path(&moved))?;
        }
        Ok(digest)
    }
}

/// That the files may be an adapter's.
fn check(files: &[(String, Vec<u8>)], too_large: impl Fn() -> ShelfError) -> Result<(), ShelfError> {
    if let Some((name, _)) = files.iter().find(|(name, _)| !is_file_name(name)) {
        return Err(ShelfError::FileName { name: name.clone() });
    }
    let bytes: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    if files.len() > MAX_FILES || bytes > MAX_BYTES { Err(too_large()) } else { Ok(()) }
}
