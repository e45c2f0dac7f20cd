//! The only way to the disk: folder handles, no links, nothing but plain files.
//!
//! Every name is looked at without following links, opened without following links and without blocking, and looked at
//! again: through the handle and by its name. So a link, a second hard link, a FIFO or a device is an error and never a
//! wait, and a file that is exchanged in between is noticed.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, FileExt, Metadata, MetadataExt, OpenOptions};

use crate::SkillsError;
use crate::scan::{MAX_FILE_BYTES, MAX_FOLDERS};
use crate::steps::{Step, reached};

/// A file whose last change is younger than this may change again within the clock's resolution.
const SETTLING: Duration = Duration::from_millis(100);
/// How often a file is opened anew that is replaced while we open it.
const ATTEMPTS: usize = 8;

/// A name in a folder.
pub(crate) struct Entry {
    pub(crate) name: OsString,
    pub(crate) kind: EntryKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Folder,
    File,
    Link,
    Other,
}

/// Which file or folder it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    /// File systems give the number of a removed folder to the next one. Not every one knows this time.
    born: Option<SystemTime>,
}

/// What changes when a file's content does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print {
    identity: Identity,
    pub(crate) bytes: u64,
    modified: (i64, i64),
    /// Unlike the time of modification, nobody can set this one.
    changed: (i64, i64),
}

/// Opens the root. `None` when there is none.
pub(crate) fn open_root(root: &Path) -> Result<Option<Dir>, SkillsError> {
    match Dir::open_ambient_dir(root, ambient_authority()) {
        Ok(dir) => Ok(Some(dir)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(SkillsError::io("open the folder of all agents", &e)),
    }
}

/// Opens a folder that is not a link.
pub(crate) fn open_folder(dir: &Dir, name: &Path) -> Result<Dir, SkillsError> {
    let failed = |e: io::Error| match dir.symlink_metadata(name) {
        Ok(meta) if meta.is_symlink() => SkillsError::Link,
        _ => SkillsError::io("open the folder", &e),
    };
    dir.open_dir_nofollow(name).map_err(failed)
}

/// The visible names in a folder, sorted, and whether there are more than we look at.
pub(crate) fn entries(dir: &Dir) -> Result<(Vec<Entry>, bool), SkillsError> {
    let failed = |e: io::Error| SkillsError::io("list the folder", &e);
    let mut entries = Vec::new();
    for entry in dir.entries().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if entries.len() == MAX_FOLDERS {
            return Ok((sorted(entries), true));
        }
        let kind = match entry.file_type().map_err(failed)? {
            kind if kind.is_dir() => EntryKind::Folder,
            kind if kind.is_file() => EntryKind::File,
            kind if kind.is_symlink() => EntryKind::Link,
            _ => EntryKind::Other,
        };
        entries.push(Entry { name, kind });
    }
    Ok((sorted(entries), false))
}

fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

/// Which folder a handle is of.
pub(crate) fn identity(dir: &Dir) -> Result<Identity, SkillsError> {
    let meta = dir.dir_metadata().map_err(|e| SkillsError::io("look at the folder", &e))?;
    Ok(identity_of(&meta))
}

/// What lies under `name`: `None` when nothing does, an error when it is not a plain file of bounded size.
pub(crate) fn look(dir: &Dir, name: &str) -> Result<Option<Print>, SkillsError> {
    look_plain(dir, name)?.map(|meta| print_of(&meta)).transpose()
}

/// As [`look`], whatever the size.
pub(crate) fn look_plain(dir: &Dir, name: &str) -> Result<Option<Metadata>, SkillsError> {
    match dir.symlink_metadata(name) {
        Ok(meta) => check_plain(&meta).map(|()| Some(meta)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(SkillsError::io("look at the file", &e)),
    }
}

/// That this is a regular file with one name.
pub(crate) fn check_plain(meta: &Metadata) -> Result<(), SkillsError> {
    if meta.is_symlink() {
        return Err(SkillsError::Link);
    }
    if !meta.is_file() {
        return Err(SkillsError::NotRegular);
    }
    if meta.nlink() != 1 {
        return Err(SkillsError::HardLinks(meta.nlink()));
    }
    Ok(())
}

/// Opens a plain file for reading.
///
/// The look before keeps us from opening a FIFO or a device, which other processes would notice. The one through the
/// handle says what was opened. The one after, by name, is the proof: a file from outside that was linked in, opened and
/// unlinked again has one link too, but not this name.
pub(crate) fn open_file(dir: &Dir, name: &str) -> Result<(File, Metadata), SkillsError> {
    let failed = |e: io::Error| SkillsError::io("read the file", &e);
    let gone = || failed(io::ErrorKind::NotFound.into());
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No).nonblock(true);
    for _ in 0..ATTEMPTS {
        look_plain(dir, name)?.ok_or_else(gone)?;
        reached(Step::Looked);
        let file = match dir.open_with(name, &options) {
            Ok(file) => file,
            // A link that came in between has its own word.
            Err(e) => return Err(look_plain(dir, name).err().unwrap_or_else(|| failed(e))),
        };
        reached(Step::Opened);
        let opened = file.metadata().map_err(failed)?;
        let named = look_plain(dir, name)?.ok_or_else(gone)?;
        if identity_of(&opened) == identity_of(&named) {
            check_plain(&opened)?;
            return Ok((file, opened));
        }
    }
    Err(failed(io::ErrorKind::ResourceBusy.into()))
}

/// The content of a plain file, and its print when it was opened.
pub(crate) fn read(dir: &Dir, name: &str) -> Result<(Vec<u8>, Print), SkillsError> {
    let (file, meta) = open_file(dir, name)?;
    let print = print_of(&meta)?;
    let mut bytes = Vec::with_capacity(usize::try_from(print.bytes).unwrap_or(0));
    // It may have grown meanwhile.
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|e| SkillsError::io("read the file", &e))?;
    match bytes.len() as u64 {
        read if read > MAX_FILE_BYTES => Err(SkillsError::TooLarge(read)),
        _ => Ok((bytes, print)),
    }
}

/// `length` bytes of a file from `offset` on, or as many as there are.
pub(crate) fn read_range(file: &File, offset: u64, length: usize) -> Result<Vec<u8>, SkillsError> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(SkillsError::io("read the file", &e)),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Calls `visit` with every name in a folder, hidden ones too, in the disk's order, and with what lies there. A name
/// that goes while we look is left out.
pub(crate) fn each_entry<E: From<SkillsError>>(
    dir: &Dir,
    mut visit: impl FnMut(&OsStr, &Metadata) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |e: io::Error| SkillsError::io("list the folder", &e);
    for entry in dir.entries().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        match entry.metadata() {
            Ok(meta) => visit(&entry.file_name(), &meta)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e).into()),
        }
    }
    Ok(())
}

fn print_of(meta: &Metadata) -> Result<Print, SkillsError> {
    check_plain(meta)?;
    if meta.len() > MAX_FILE_BYTES {
        return Err(SkillsError::TooLarge(meta.len()));
    }
    Ok(Print {
        identity: identity_of(meta),
        bytes: meta.len(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    })
}

fn identity_of(meta: &Metadata) -> Identity {
    let born = meta.created().ok().map(|time| time.into_std());
    Identity { device: meta.dev(), inode: meta.ino(), born }
}

impl Print {
    /// Whether the same print at a later look will mean the same content.
    pub(crate) fn is_settled(&self) -> bool {
        let (seconds, nanoseconds) = (u64::try_from(self.changed.0), u32::try_from(self.changed.1));
        let (Ok(seconds), Ok(nanoseconds)) = (seconds, nanoseconds) else { return true };
        let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        // A clock that was set back must not keep us reading for ever.
        let age = SystemTime::now().duration_since(changed).unwrap_or_else(|ahead| ahead.duration());
        age > SETTLING
    }
}
