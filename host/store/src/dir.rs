//! The state directory: private whatever the umask, and held by one process at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// The database's file name in the state directory.
const DATABASE: &str = "metaclaw.db";
/// Where a new database is made; it gets its name only when it is whole.
const UNFINISHED: &str = "metaclaw.db.new";
/// The lock's file name. The file stays when the lock goes: removing it would let two processes hold "the" lock.
const LOCK: &str = "lock";
/// How SQLite names its companion files.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A state directory that this process holds until the value is dropped.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes the directory if need be, tightens its mode, and locks it. Blocks on the file system.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(StoreError::io("create", path))?;
        tighten(path, 0o700)?;
        let lock = lock(path)?;
        Ok(StateDir { path: path.to_owned(), _lock: lock })
    }

    /// Where the database is, or will be.
    pub(crate) fn database(&self) -> PathBuf {
        database_in(&self.path)
    }

    /// An empty private file in which to make a database. What a crash left of an earlier attempt is removed: no
    /// database has ever had that name.
    pub(crate) fn unfinished(&self) -> Result<PathBuf, StoreError> {
        let path = self.path.join(UNFINISHED);
        for suffix in [""].iter().chain(&COMPANIONS) {
            let stale = companion(&path, suffix);
            match std::fs::remove_file(&stale) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(StoreError::io("remove", &stale)(e)),
                _ => {}
            }
        }
        private(&path, OpenOptions::new().write(true).create_new(true))?;
        Ok(path)
    }

    /// Gives a finished database its name, and makes the name durable.
    pub(crate) fn finish(&self, unfinished: &Path) -> Result<(), StoreError> {
        let path = self.database();
        std::fs::rename(unfinished, &path).map_err(StoreError::io("rename", unfinished))?;
        let synced = File::open(&self.path).and_then(|dir| dir.sync_all());
        synced.map_err(StoreError::io("sync", &self.path))
    }

    /// Makes the database and its companions private. SQLite gives new companions the database's mode.
    pub(crate) fn tighten(&self) -> Result<(), StoreError> {
        let path = self.database();
        for suffix in [""].iter().chain(&COMPANIONS) {
            let file = companion(&path, suffix);
            if file.exists() {
                tighten(&file, 0o600)?;
            }
        }
        Ok(())
    }

    /// A log that holds frames although its database is gone. Another database must never be put beside it: SQLite
    /// would replay the frames into it.
    pub(crate) fn orphaned_log(&self) -> Option<PathBuf> {
        COMPANIONS
            .iter()
            .filter(|suffix| **suffix != "-shm")
            .map(|suffix| companion(&self.database(), suffix))
            .find(|path| path.metadata().is_ok_and(|meta| meta.len() > 0))
    }
}

/// Where the database of a state directory is.
pub(crate) fn database_in(dir: &Path) -> PathBuf {
    dir.join(DATABASE)
}

fn companion(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Takes the lock, and leaves our process id in it for whoever is refused.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK);
    let mut file = private(&path, OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // A lock file that cannot be read still is a lock.
            let _ = file.take(32).read_to_string(&mut text);
            return Err(StoreError::Locked { dir: dir.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(e)) => return Err(StoreError::io("lock", &path)(e)),
    }
    file.set_len(0).map_err(StoreError::io("write", &path))?;
    writeln!(file, "{}", std::process::id()).map_err(StoreError::io("write", &path))?;
    Ok(file)
}

/// Opens an ordinary file that only its owner can read. A link is refused: what it points at is not ours to write.
fn private(path: &Path, options: &mut OpenOptions) -> Result<File, StoreError> {
    if path.symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
        return Err(StoreError::NotOurs { path: path.to_owned() });
    }
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    let file = options.open(path).map_err(StoreError::io("open", path))?;
    tighten(path, 0o600)?;
    Ok(file)
}

/// Takes every right from group and others. Elsewhere than on Unix a folder inherits its owner's access list.
#[cfg(unix)]
fn tighten(path: &Path, mode: u32) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;

    let meta = path.metadata().map_err(StoreError::io("inspect", path))?;
    if meta.permissions().mode() & 0o777 == mode {
        return Ok(());
    }
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).map_err(StoreError::io("make private", path))
}

#[cfg(not(unix))]
fn tighten(_path: &Path, _mode: u32) -> Result<(), StoreError> {
    Ok(())
}
