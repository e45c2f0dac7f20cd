//! A folder whose files nobody else can have written: this user's own, open to nobody else, and reached without a link.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat, fstat, mkdirat, openat, renameat, renameat_with,
    statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

/// Begins the name of a file that is still being written.
const UNFINISHED: &str = ".new-";
/// After this, nobody writes on at an unfinished file.
const ABANDONED: Duration = Duration::from_secs(3600);

/// See the module.
#[derive(Debug)]
pub(super) struct PrivateFolder(OwnedFd);

/// One of its files.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) used: SystemTime,
}

/// Why a file or folder is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it belongs to somebody else (user {0})")]
    Foreign(u32),
    #[error("it is open to others (mode {0:04o}): nobody but its owner may have any right to it")]
    Open(u32),
    #[error("it is a link, or not a regular file or folder")]
    Kind,
    #[error("it has a second name")]
    Links,
    #[error("it has {0} bytes")]
    Size(u64),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Errno> for Unfit {
    fn from(error: Errno) -> Self {
        match error {
            // What the system says of a link where none may be.
            Errno::LOOP | Errno::NOTDIR => Unfit::Kind,
            other => Unfit::Io(other.into()),
        }
    }
}

impl PrivateFolder {
    /// Opens the folder, or makes it. What is above it is for the caller to answer for.
    pub(super) fn open(path: &Path) -> Result<Self, Unfit> {
        make(mkdirat(CWD, path, Mode::RWXU))?;
        PrivateFolder::check(openat(CWD, path, FOLDER, Mode::empty())?)
    }

    /// As [`open`](PrivateFolder::open), for a folder in this one.
    pub(super) fn folder(&self, name: &str) -> Result<Self, Unfit> {
        make(mkdirat(&self.0, name, Mode::RWXU))?;
        PrivateFolder::check(openat(&self.0, name, FOLDER, Mode::empty())?)
    }

    fn check(folder: OwnedFd) -> Result<Self, Unfit> {
        let about = fstat(&folder)?;
        is_private(&about)?;
        Ok(PrivateFolder(folder))
    }

    /// The whole of a file of at most `limit` bytes, and the file, to mark it as used; none when there is no such file.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Option<(Vec<u8>, File)>, Unfit> {
        let file: File = match openat(&self.0, name, FILE, Mode::empty()) {
            Ok(file) => file.into(),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let about = fstat(&file)?;
        if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
            return Err(Unfit::Kind);
        }
        is_private(&about)?;
        if about.st_nlink != 1 {
            return Err(Unfit::Links);
        }
        let size = u64::try_from(about.st_size).unwrap_or(u64::MAX);
        if size > limit {
            return Err(Unfit::Size(size));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        (&file).take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(Unfit::Size(bytes.len() as u64));
        }
        Ok(Some((bytes, file)))
    }

    /// Puts a file there, whole or not at all, in place of the one that has the name. What a power cut leaves of it, its
    /// reader notices, so nothing waits for the disk.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.put(bytes, |unfinished| renameat(&self.0, unfinished, &self.0, name))
    }

    /// As [`write`](PrivateFolder::write), unless there is such a file.
    pub(super) fn write_new(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.put(bytes, |unfinished| match renameat_with(&self.0, unfinished, &self.0, name, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => unlinkat(&self.0, unfinished, AtFlags::empty()),
            renamed => renamed,
        })
    }

    fn put(&self, bytes: &[u8], finish: impl FnOnce(&str) -> rustix::io::Result<()>) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let unfinished = format!("{UNFINISHED}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut file: File = openat(&self.0, &*unfinished, NEW_FILE, Mode::RUSR | Mode::WUSR)?.into();
        let put = file.write_all(bytes).and_then(|()| Ok(finish(&unfinished)?));
        if put.is_err() {
            self.remove(&unfinished);
        }
        put
    }

    /// Its files. Those that somebody began to write long ago are removed.
    pub(super) fn entries(&self) -> io::Result<Vec<Entry>> {
        let now = SystemTime::now();
        let mut entries = Vec::new();
        for found in Dir::read_from(&self.0)? {
            let found = found?;
            let Some(name) = plain(found.file_name()) else { continue };
            // It may be gone by now.
            let Ok(about) = statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let age = u64::try_from(about.st_mtime).unwrap_or(0);
            let used = SystemTime::UNIX_EPOCH + Duration::from_secs(age);
            if name.starts_with(UNFINISHED) {
                if now.duration_since(used).is_ok_and(|age| age > ABANDONED) {
                    self.remove(name);
                }
                continue;
            }
            let size = u64::try_from(about.st_size).unwrap_or(0);
            entries.push(Entry { name: name.to_owned(), size, used });
        }
        Ok(entries)
    }

    /// Removes a file. Should that fail, it is still there, and will be found again.
    pub(super) fn remove(&self, name: &str) {
        let _ = unlinkat(&self.0, name, AtFlags::empty());
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Without waiting for the other end, should it be a pipe.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
const NEW_FILE: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::CLOEXEC);

/// A folder that is there already is as good as a new one, if it stands the check.
fn make(made: rustix::io::Result<()>) -> Result<(), Unfit> {
    match made {
        Err(Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}

fn is_private(about: &Stat) -> Result<(), Unfit> {
    if about.st_uid != geteuid().as_raw() {
        return Err(Unfit::Foreign(about.st_uid));
    }
    match about.st_mode & 0o7777 {
        mode if mode & 0o077 != 0 => Err(Unfit::Open(mode)),
        _ => Ok(()),
    }
}

/// A name that one of ours could be.
fn plain(name: &CStr) -> Option<&str> {
    name.to_str().ok().filter(|name| !matches!(*name, "." | ".."))
}
