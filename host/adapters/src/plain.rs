//! The only way to the disk: folder handles, no links, nothing but plain private files.

use std::io::{self, Read, Write};
use std::path::Path;

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::ambient_authority;
use cap_std::fs::{
    Dir, DirBuilder, DirBuilderExt, File, Metadata, MetadataExt, OpenOptions, OpenOptionsExt, Permissions,
    PermissionsExt,
};

use crate::names::is_file_name;
use crate::steps::{Step, reached};
use crate::{Files, MAX_BYTES, MAX_FILES, ShelfError};

/// The most names that a folder is looked through for.
const MAX_ENTRIES: usize = 100_000;

/// A name in a folder.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) is_dir: bool,
}

/// Opens a folder that the operator has named; none if there is none. It may be reached over links: they are the operator's.
pub(crate) fn open_trusted(path: &Path) -> Result<Option<Dir>, ShelfError> {
    match Dir::open_ambient_dir(path, ambient_authority()) {
        Ok(dir) => Ok(Some(dir)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(ShelfError::io("open", path)(e)),
    }
}

/// Opens a folder that the operator has named, and makes it, and what it is in, where there is none.
pub(crate) fn create_trusted(path: &Path) -> Result<Dir, ShelfError> {
    if let Some(dir) = open_trusted(path)? {
        return Ok(dir);
    }
    match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(parent), Some(name)) => create_folder(&create_trusted(parent)?, name, path),
        _ => Err(ShelfError::io("create", path)(io::ErrorKind::NotFound.into())),
    }
}

/// Opens a folder that is not a link.
pub(crate) fn open_folder(dir: &Dir, name: &str, path: &Path) -> Result<Dir, ShelfError> {
    dir.open_dir_nofollow(name).map_err(|e| match dir.symlink_metadata(name) {
        Ok(meta) if meta.is_symlink() => ShelfError::Link { path: path.to_owned() },
        _ => ShelfError::io("open", path)(e),
    })
}

/// Opens a folder that is not a link, and makes it where there is none.
pub(crate) fn create_folder(dir: &Dir, name: &str, path: &Path) -> Result<Dir, ShelfError> {
    match make_folder(dir, name, path) {
        Err(ShelfError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            open_folder(dir, name, path)
        }
        made => made,
    }
}

/// Makes a folder that is not there.
pub(crate) fn make_folder(dir: &Dir, name: &str, path: &Path) -> Result<Dir, ShelfError> {
    let made = dir.create_dir_with(name, DirBuilder::new().mode(0o700));
    made.map_err(ShelfError::io("create", path))?;
    // The umask may have taken rights from us that we need.
    dir.set_permissions(name, Permissions::from_mode(0o700)).map_err(ShelfError::io("make private", path))?;
    sync(dir, path.parent().unwrap_or(path))?;
    open_folder(dir, name, path)
}

/// Removes a folder and all that is in it; links are removed and not followed. It need not be there.
pub(crate) fn remove_folder(dir: &Dir, name: &str, path: &Path) -> Result<(), ShelfError> {
    match dir.symlink_metadata(name) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(meta) if meta.is_symlink() => return Err(ShelfError::Link { path: path.to_owned() }),
        _ => {}
    }
    dir.remove_dir_all(name).map_err(ShelfError::io("remove", path))
}

/// The names in a folder. Those that are not text are nobody's of ours.
pub(crate) fn entries(dir: &Dir, path: &Path) -> Result<Vec<Entry>, ShelfError> {
    let mut entries = Vec::new();
    for entry in dir.entries().map_err(ShelfError::io("list", path))?.take(MAX_ENTRIES) {
        let entry = entry.map_err(ShelfError::io("list", path))?;
        let kind = entry.file_type().map_err(ShelfError::io("list", path))?;
        if let Ok(name) = entry.file_name().into_string() {
            entries.push(Entry { name, is_dir: kind.is_dir() });
        }
    }
    Ok(entries)
}

/// Writes a file that is not there, whole and durable.
pub(crate) fn write_new(dir: &Dir, name: &str, bytes: &[u8], path: &Path) -> Result<(), ShelfError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).follow(FollowSymlinks::No);
    let mut file = dir.open_with(name, &options).map_err(ShelfError::io("create", path))?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(ShelfError::io("make private", path))?;
    reached(Step::Created);
    file.write_all(bytes).map_err(ShelfError::io("write", path))?;
    reached(Step::Written);
    file.sync_all().map_err(ShelfError::io("make durable", path))?;
    reached(Step::Synced);
    Ok(())
}

/// All files of a folder that `wanted` names, sorted. Anything else than plain files among them is an error.
pub(crate) fn read_all(dir: &Dir, path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Files, ShelfError> {
    let too_large = || ShelfError::TooLarge { path: path.to_owned() };
    let mut names = Vec::new();
    for entry in dir.entries().map_err(ShelfError::io("list", path))? {
        let entry = entry.map_err(ShelfError::io("list", path))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| is_file_name(name)) else {
            let name = name.to_string_lossy().into_owned();
            if wanted(&name) {
                return Err(ShelfError::FileName { name });
            }
            continue;
        };
        if !wanted(name) {
            continue;
        }
        if names.len() == MAX_FILES {
            return Err(too_large());
        }
        names.push(name.to_owned());
    }
    names.sort();
    let (mut files, mut left) = (Vec::with_capacity(names.len()), MAX_BYTES);
    for name in names {
        let at = path.join(&name);
        let (file, size) = open_plain(dir, &name, &at)?;
        left = left.checked_sub(size).ok_or_else(too_large)?;
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        // It may grow meanwhile; then it is not what it was.
        let read = file.take(size + 1).read_to_end(&mut bytes).map_err(ShelfError::io("read", &at))?;
        if read as u64 != size {
            return Err(ShelfError::io("read", &at)(io::ErrorKind::ResourceBusy.into()));
        }
        files.push((name, bytes));
    }
    Ok(files)
}

/// A plain file's handle and size. It is looked at before it is opened, so that no pipe or device is, through the handle, and by
/// its name again: a file from elsewhere that is linked in for a moment has one name too, but not this one.
fn open_plain(dir: &Dir, name: &str, path: &Path) -> Result<(File, u64), ShelfError> {
    let look = || dir.symlink_metadata(name).map_err(ShelfError::io("read", path));
    check_plain(&look()?, path)?;
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No).nonblock(true);
    let file = dir.open_with(name, &options).map_err(ShelfError::io("read", path))?;
    let (opened, named) = (file.metadata().map_err(ShelfError::io("read", path))?, look()?);
    check_plain(&opened, path)?;
    if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
        return Err(ShelfError::io("read", path)(io::ErrorKind::ResourceBusy.into()));
    }
    Ok((file, opened.len()))
}

fn check_plain(meta: &Metadata, path: &Path) -> Result<(), ShelfError> {
    if meta.is_symlink() {
        return Err(ShelfError::Link { path: path.to_owned() });
    }
    if !meta.is_file() || meta.nlink() != 1 {
        return Err(ShelfError::NotPlain { path: path.to_owned() });
    }
    Ok(())
}

/// One small plain file's content; none where there is none.
pub(crate) fn read_small(dir: &Dir, name: &str, most: u64, path: &Path) -> Result<Option<Vec<u8>>, ShelfError> {
    let (file, size) = match open_plain(dir, name, path) {
        Ok(opened) => opened,
        Err(ShelfError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if size > most {
        return Err(ShelfError::TooLarge { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(ShelfError::io("read", path))?;
    Ok(Some(bytes))
}

/// Makes a folder's names durable.
pub(crate) fn sync(dir: &Dir, path: &Path) -> Result<(), ShelfError> {
    let synced = dir.open(".").and_then(|handle| handle.sync_all());
    synced.map_err(ShelfError::io("make durable", path))
}
