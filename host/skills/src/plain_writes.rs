//! The only way onto the disk: whole files in folders of ours, or nothing.
//!
//! Whoever writes below a folder of skills holds its lock, in this process and in others, so that what one counted the
//! other does not change, and so that a draft nobody holds the lock for is a crash's leftover.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, OpenOptions, OpenOptionsExt};

use crate::SkillsError;
use crate::plain_files;
use crate::steps::{Step, reached};

/// How the names of files begin that are not yet in their place. The dot hides them from scans.
pub(crate) const DRAFT: &str = ".metaclaw-draft-";
/// How often a lock is tried that somebody else holds. A write takes milliseconds.
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// Keeps every other writer out of a folder and what is below, until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _held: File,
}

impl FolderLock {
    /// Waits for others for `patience` at most, then fails with `ResourceBusy`.
    pub(crate) fn take(dir: &Dir, patience: Duration) -> Result<Self, SkillsError> {
        let failed = |e: io::Error| SkillsError::io("lock the folder", &e);
        // A handle of its own: a duplicated one would share the lock instead of waiting for it.
        let handle = dir.open(".").map_err(failed)?.into_std();
        let until = Instant::now() + patience;
        loop {
            match handle.try_lock() {
                Ok(()) => return Ok(FolderLock { _held: handle }),
                Err(TryLockError::Error(e)) => return Err(failed(e)),
                Err(TryLockError::WouldBlock) if Instant::now() < until => pause(),
                Err(TryLockError::WouldBlock) => return Err(failed(io::ErrorKind::ResourceBusy.into())),
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a lock between processes wakes nobody within a bounded time")]
fn pause() {
    thread::sleep(LOCK_PAUSE);
}

/// Opens the root and makes it where there is none.
pub(crate) fn create_root(root: &Path) -> Result<Dir, SkillsError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
    created.map_err(|e| SkillsError::io("create the skills folder", &e))?;
    let gone = || SkillsError::io("open the skills folder", &io::ErrorKind::NotFound.into());
    plain_files::open_root(root)?.ok_or_else(gone)
}

/// Opens a folder and makes it where there is none.
pub(crate) fn create_folder(dir: &Dir, name: &str) -> Result<Dir, SkillsError> {
    match dir.create_dir_with(name, DirBuilder::new().mode(0o700)) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(SkillsError::io("create the folder", &e)),
        _ => plain_files::open_folder(dir, Path::new(name)),
    }
}

/// Writes beside the target, then renames over it. What is there and is not a plain file stays and is an error; should it
/// come in the last instant, its name is replaced and what it leads to is not touched.
pub(crate) fn write_whole(dir: &Dir, name: &str, bytes: &[u8]) -> Result<(), SkillsError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let failed = |e: io::Error| SkillsError::io("write the file", &e);
    // Process ids come again, in containers at once; times do not.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let draft = format!("{DRAFT}{now:x}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).follow(FollowSymlinks::No);
    let mut file = dir.open_with(&draft, &options).map_err(failed)?;
    let written = (|| {
        reached(Step::Drafting);
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        reached(Step::Drafted);
        plain_files::look_plain(dir, name)?;
        reached(Step::Checked);
        dir.rename(&draft, dir, name).map_err(failed)
    })();
    if written.is_err() {
        // A draft that cannot be removed either is hidden, and the next write's business.
        let _ = dir.remove_file(&draft);
    }
    reached(Step::Renamed);
    written
}

/// Makes a folder's names durable.
pub(crate) fn sync(dir: &Dir) -> Result<(), SkillsError> {
    let synced = dir.open(".").and_then(|handle| handle.sync_all());
    synced.map_err(|e| SkillsError::io("make the folder durable", &e))
}
