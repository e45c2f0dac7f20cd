use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::{Keyring, KeysError, format};

/// Ten thousand keys take a quarter of this.
const MAX_FILE: u64 = 16 << 20;
/// What is to take the file's place. The name is always the same, so that no crash leaves more than one behind.
const BESIDE: &str = "keys.json.new";
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;

/// Where a home keeps its keys: `keys/keys.json`, in a folder of its own because a home may be older than our care for its mode.
#[derive(Clone, Debug)]
pub struct KeyFile {
    folder: PathBuf,
    file: PathBuf,
}

/// What tells one version of the file from another; nothing for a file that is not there. Changes with its mode too.
pub type Stamp = Option<(u64, i64, i64, u64)>;

impl KeyFile {
    /// Of this home, which need not exist.
    pub fn of(home: &Path) -> Self {
        let folder = home.join("keys");
        KeyFile { file: folder.join("keys.json"), folder }
    }

    /// The file itself.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Which version of it is there now.
    pub fn stamp(&self) -> Stamp {
        let about = fs::symlink_metadata(&self.file).ok()?;
        Some((about.ino(), about.ctime(), about.ctime_nsec(), about.size()))
    }

    /// The keys; none when there is no file. A file that others could have read or written, or that is not whole, is an error:
    /// to go on with the part that can be read could bring back a revoked key.
    pub fn read(&self) -> Result<Option<Keyring>, KeysError> {
        if !self.folder_is_private()? {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match rustix::fs::open(&self.file, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP) => {
                return Err(KeysError::NotOurs { path: self.file.clone(), what: "a symbolic link" });
            }
            Err(error) => return Err(KeysError::io("open", &self.file)(error.into())),
        };
        // Of the open file, so that nobody can exchange it in between.
        let about = opened.metadata().map_err(KeysError::io("inspect", &self.file))?;
        if !about.is_file() {
            return Err(KeysError::NotOurs { path: self.file.clone(), what: "not a regular file" });
        }
        check_private(&self.file, &about, PRIVATE_FILE)?;
        let mut text = Vec::new();
        opened.take(MAX_FILE + 1).read_to_end(&mut text).map_err(KeysError::io("read", &self.file))?;
        if text.len() as u64 > MAX_FILE {
            return Err(self.damaged(format!("it is larger than {} MiB", MAX_FILE >> 20)));
        }
        format::read(&text).map(Some).map_err(|problem| self.damaged(problem))
    }

    /// Changes the keys while nobody else does. Nothing is written when `edit` fails, and a reader finds the old file or the new.
    pub(crate) fn change<T>(&self, edit: impl FnOnce(&mut Keyring) -> Result<T, KeysError>) -> Result<T, KeysError> {
        self.make_folder()?;
        let _lock = self.lock()?;
        let mut ring = self.read()?.unwrap_or_default();
        let done = edit(&mut ring)?;
        // By the clock, so that a file that was removed and made anew counts as younger too.
        let now = u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or_default();
        ring.revision = now.max(ring.revision + 1);
        let text = format::write(&ring).map_err(|problem| self.damaged(problem))?;
        self.replace(&text).map_err(KeysError::io("write", &self.file))?;
        Ok(done)
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        // What a crash left behind; nobody else writes here, for we hold the lock.
        match fs::remove_file(self.folder.join(BESIDE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut beside = tempfile::Builder::new().prefix(BESIDE).rand_bytes(0).tempfile_in(&self.folder)?;
        beside.as_file().set_permissions(Permissions::from_mode(PRIVATE_FILE))?;
        beside.write_all(text)?;
        beside.as_file().sync_all()?;
        beside.persist(&self.file)?;
        File::open(&self.folder)?.sync_all()
    }

    fn lock(&self) -> Result<File, KeysError> {
        let path = self.folder.join("lock");
        let nofollow = OFlags::NOFOLLOW.bits().cast_signed();
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(PRIVATE_FILE)
            .custom_flags(nofollow)
            .open(&path);
        let file = opened.map_err(KeysError::io("open", &path))?;
        file.set_permissions(Permissions::from_mode(PRIVATE_FILE)).map_err(KeysError::io("make private", &path))?;
        file.lock().map_err(KeysError::io("lock", &path))?;
        Ok(file)
    }

    fn make_folder(&self) -> Result<(), KeysError> {
        if fs::symlink_metadata(&self.folder).is_ok() {
            return Ok(());
        }
        let made = DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER).create(&self.folder);
        made.map_err(KeysError::io("make", &self.folder))?;
        let private = fs::set_permissions(&self.folder, Permissions::from_mode(PRIVATE_FOLDER));
        private.map_err(KeysError::io("make private", &self.folder))
    }

    /// Whether the folder is there. Who can write in it can put another file in ours' place.
    fn folder_is_private(&self) -> Result<bool, KeysError> {
        let about = match fs::symlink_metadata(&self.folder) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(KeysError::io("inspect", &self.folder)(error)),
        };
        if !about.is_dir() {
            return Err(KeysError::NotOurs { path: self.folder.clone(), what: "not a folder" });
        }
        check_private(&self.folder, &about, PRIVATE_FOLDER)?;
        Ok(true)
    }

    fn damaged(&self, problem: String) -> KeysError {
        KeysError::Damaged { path: self.file.clone(), problem }
    }
}

fn check_private(path: &Path, about: &fs::Metadata, wanted: u32) -> Result<(), KeysError> {
    let mode = about.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeysError::Open { path: path.to_owned(), mode, wanted });
    }
    let me = rustix::process::geteuid();
    if about.uid() != me.as_raw() && !me.is_root() {
        return Err(KeysError::NotOurs { path: path.to_owned(), what: "another user's" });
    }
    Ok(())
}
