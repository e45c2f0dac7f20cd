//! What hostile guests may have left behind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use domain::Digest;
use tests::Host;

/// Every name below some folders, with what it is and what is in it.
pub(crate) type Snapshot = BTreeMap<PathBuf, String>;

/// All that is below these folders, but for what is below `without`.
pub(crate) fn snapshot(folders: &[&Path], without: &[PathBuf]) -> Snapshot {
    let mut found = Snapshot::new();
    let mut left: Vec<PathBuf> = folders.iter().map(|folder| folder.to_path_buf()).collect();
    while let Some(path) = left.pop() {
        if without.contains(&path) {
            continue;
        }
        let about = fs::symlink_metadata(&path).unwrap();
        let content = match about.file_type() {
            kind if kind.is_dir() => {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                "folder".to_owned()
            }
            kind if kind.is_symlink() => format!("link to {}", fs::read_link(&path).unwrap().display()),
            kind if kind.is_file() && about.blocks() > 0 => Digest::of(&fs::read(&path).unwrap()).to_string(),
            _ => format!("{} bytes", about.len()),
        };
        found.insert(path, format!("{:o} {} {content}", about.mode(), about.nlink()));
    }
    found
}

/// What the host's process holds, beside its database, which opens more files when there is more to do.
#[derive(Clone, Debug)]
pub(crate) struct Holds {
    pub(crate) files: Vec<String>,
    pub(crate) mebibytes: u64,
}

impl Holds {
    pub(crate) fn of(host: &Host) -> Self {
        let files = host.open_files().into_iter().filter(|name| !name.contains("/state/")).collect();
        Holds { files, mebibytes: host.resident() }
    }
}
