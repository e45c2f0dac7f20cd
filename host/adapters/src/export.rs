//! Adapters that leave, as PEFT's own folders or archives of them, and those that come.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use domain::Digest;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::{CONFIG_FILE, Files, Shelf, ShelfError, TRAINER_FILE, WEIGHTS_FILE, plain};

impl Shelf {
    /// Writes a version in PEFT's form to a new folder, or, where the name ends in `.tar.gz` or `.tgz`, to a new archive of a
    /// folder of the version's name. It is verified before, and private; what only training needs is left out.
    pub fn export(&self, name: &str, digest: &Digest, to: &Path) -> Result<(), ShelfError> {
        let folder = name;
        let mut files = self.read(name, digest)?;
        files.retain(|(name, _)| name != TRAINER_FILE);
        if !to.is_absolute() {
            return Err(ShelfError::Relative { path: to.to_owned() });
        }
        let name = to.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let packed = [".tar.gz", ".tgz"].iter().any(|ending| name.ends_with(ending));
        let written = if packed { write_archive(folder, &files, to) } else { write_folder(&files, to) };
        written.map_err(|error| match error {
            ShelfError::Io { action: "create", source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                ShelfError::Occupied { path: to.to_owned() }
            }
            other => other,
        })
    }
}

fn write_folder(files: &Files, to: &Path) -> Result<(), ShelfError> {
    let (Some(parent), Some(name)) = (to.parent(), to.file_name().and_then(|name| name.to_str())) else {
        return Err(ShelfError::io("create", to)(io::ErrorKind::InvalidFilename.into()));
    };
    let parent_dir = Dir::open_ambient_dir(parent, ambient_authority()).map_err(ShelfError::io("open", parent))?;
    let dir = plain::make_folder(&parent_dir, name, to)?;
    let write = || {
        files.iter().try_for_each(|(name, bytes)| plain::write_new(&dir, name, bytes, &to.join(name)))?;
        plain::sync(&dir, to)
    };
    // Half an adapter is none.
    write().inspect_err(|_| drop(parent_dir.remove_dir_all(name)))
}

fn write_archive(folder: &str, files: &Files, to: &Path) -> Result<(), ShelfError> {
    let failed = || ShelfError::io("write", to);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let file = file.map_err(ShelfError::io("create", to))?;
    let write = || {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        file.set_permissions(private)?;
        let mut archive = tar::Builder::new(GzEncoder::new(&file, Compression::default()));
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            archive.append_data(&mut header, format!("{folder}/{name}"), bytes.as_slice())?;
        }
        archive.into_inner()?.finish()?.flush()?;
        file.sync_all()
    };
    write().map_err(failed()).inspect_err(|_| drop(std::fs::remove_file(to)))
}

/// Reads an adapter in PEFT's form from a folder, by its absolute path: its configuration, its matrices and, where they are
/// there, the optimizer's moments. Other files of the folder are left out.
pub fn read_folder(from: &Path) -> Result<Files, ShelfError> {
    if !from.is_absolute() {
        return Err(ShelfError::Relative { path: from.to_owned() });
    }
    let parent = from.parent().unwrap_or(from);
    let dir = match from.file_name().and_then(|name| name.to_str()) {
        Some(name) => {
            let parent_dir = Dir::open_ambient_dir(parent, ambient_authority());
            plain::open_folder(&parent_dir.map_err(ShelfError::io("open", parent))?, name, from)?
        }
        None => Dir::open_ambient_dir(from, ambient_authority()).map_err(ShelfError::io("open", from))?,
    };
    let files = plain::read_all(&dir, from, |name| [CONFIG_FILE, WEIGHTS_FILE, TRAINER_FILE].contains(&name))?;
    for missing in [CONFIG_FILE, WEIGHTS_FILE] {
        if !files.iter().any(|(name, _)| name == missing) {
            return Err(ShelfError::Incomplete { path: from.to_owned(), missing });
        }
    }
    Ok(files)
}
