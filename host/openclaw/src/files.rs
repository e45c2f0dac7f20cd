//! Reading and writing whole files, so that there is always one whole file and nobody reads it who could not before.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::OpenclawError;

/// The mode of a file that is its owner's alone.
pub(crate) const PRIVATE: u32 = 0o600;
/// Far more than any configuration.
const MAX_FILE: u64 = 8 << 20;

/// OpenClaw's file as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The file itself, where a link leads to it.
    pub(crate) file: PathBuf,
    /// What it holds; none: it does not exist.
    pub(crate) text: Option<String>,
    /// Its permission bits.
    pub(crate) mode: u32,
    owner: Option<(u32, u32)>,
}

impl Snapshot {
    /// Reads the file. One that does not exist is no error while its folder does.
    pub(crate) fn take(path: &Path) -> Result<Snapshot, OpenclawError> {
        let file = match fs::canonicalize(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Snapshot::absent(path),
            Err(error) => return Err(OpenclawError::io("read", path)(error)),
        };
        let io = |error| OpenclawError::io("read", &file)(error);
        let opened = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(&file).map_err(io)?;
        let about = opened.metadata().map_err(io)?;
        let unreadable = |problem: &str| OpenclawError::Unreadable {
            file: file.clone(),
            problem: problem.to_owned(),
            remedy: "name OpenClaw's configuration with --openclaw-config FILE".to_owned(),
        };
        if !about.is_file() {
            return Err(unreadable("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        opened.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(unreadable("it is larger than 8 MiB"));
        }
        let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8"))?;
        let owner = Some((about.uid(), about.gid()));
        Ok(Snapshot { file, text: Some(text), mode: about.permissions().mode() & 0o7777, owner })
    }

    fn absent(path: &Path) -> Result<Snapshot, OpenclawError> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(OpenclawError::Unreadable {
                file: path.to_owned(),
                problem: "it is a link that leads nowhere".to_owned(),
                remedy: "remove it, or restore what it led to".to_owned(),
            });
        }
        let folder = path.parent().and_then(|folder| fs::canonicalize(folder).ok()).filter(|folder| folder.is_dir());
        let Some((folder, name)) = folder.zip(path.file_name()) else {
            return Err(OpenclawError::NotFound(path.to_owned()));
        };
        Ok(Snapshot { file: folder.join(name), text: None, mode: PRIVATE, owner: None })
    }

    /// Whether the file is still as it was found.
    pub(crate) fn is_current(&self) -> bool {
        match (fs::read(&self.file), &self.text) {
            (Ok(bytes), Some(text)) => bytes == text.as_bytes(),
            (Err(error), None) => error.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// Puts another text in its place, with its mode and owner.
    pub(crate) fn replace(&self, text: &str) -> Result<(), OpenclawError> {
        self.write_as(&self.file, text)
    }

    /// Writes a text elsewhere, with the mode and owner of this file.
    pub(crate) fn write_as(&self, file: &Path, text: &str) -> Result<(), OpenclawError> {
        write(file, text.as_bytes(), self.mode, self.owner)
    }
}

/// `O_NONBLOCK`: opening a pipe that somebody put there must not wait for its other end.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// Writes beside the file and renames.
pub(crate) fn write(file: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> Result<(), OpenclawError> {
    let io = |error| OpenclawError::io("write", file)(error);
    let folder = file.parent().unwrap_or(Path::new("/"));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    // A name of its own, so that what a crash left behind is overwritten by the next run.
    let beside = format!(".{name}.metaclaw-new");
    remove_file(&folder.join(&beside))?;
    let write = || {
        let mut beside = tempfile::Builder::new().prefix(&beside).rand_bytes(0).tempfile_in(folder)?;
        beside.write_all(bytes)?;
        let about = beside.as_file().metadata()?;
        if let Some((user, group)) = owner.filter(|owner| *owner != (about.uid(), about.gid())) {
            let (user, group) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group));
            rustix::fs::fchown(beside.as_file(), Some(user), Some(group))?;
        }
        beside.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        beside.as_file().sync_all()?;
        beside.persist(file)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(io)
}

/// A folder that is its owner's alone, and those above it.
pub(crate) fn private_folder(folder: &Path) -> Result<(), OpenclawError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(OpenclawError::io("make", folder))
}

/// Removes a file that may be gone already.
pub(crate) fn remove_file(file: &Path) -> Result<(), OpenclawError> {
    gone(fs::remove_file(file)).map_err(OpenclawError::io("remove", file))
}

/// Removes a folder that may be gone already, with what is in it.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), OpenclawError> {
    gone(fs::remove_dir_all(folder)).map_err(OpenclawError::io("remove", folder))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
