use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use policy::{FileEntry, FileRoot, FileSource, Refused};

/// An agent's folders, in memory: what a case puts there, and what its policy makes of it.
pub(super) struct Folders(Mutex<BTreeMap<String, Vec<u8>>>);

impl Folders {
    pub(super) fn of(files: &policy_cases::Files) -> Self {
        let roots =
            [(FileRoot::Skills, &files.skills), (FileRoot::Shared, &files.shared), (FileRoot::Lora, &files.lora)];
        let all = roots.into_iter().flat_map(|(root, files)| {
            files.iter().map(move |(path, text)| (format!("{}/{path}", word(root)), text.clone().into_bytes()))
        });
        Folders(Mutex::new(all.collect()))
    }

    /// Everything, by `root/path`.
    pub(super) fn all(&self) -> BTreeMap<String, Vec<u8>> {
        self.files().clone()
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn word(root: FileRoot) -> &'static str {
    match root {
        FileRoot::Skills => "skills",
        FileRoot::Shared => "shared",
        FileRoot::Lora => "lora",
    }
}

/// The key of a path, which stays in its root.
fn key(root: FileRoot, path: &str) -> Result<String, Refused> {
    let is_name = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    match path.is_empty() || path.split('/').all(is_name) {
        true => Ok(format!("{}/{path}", word(root)).trim_end_matches('/').to_owned()),
        false => Err(refused("bad-path", "a path is relative and made of plain names")),
    }
}

fn refused(code: &'static str, message: &str) -> Refused {
    Refused { code, message: message.to_owned() }
}

fn entry(files: &BTreeMap<String, Vec<u8>>, key: &str) -> Option<FileEntry> {
    let name = key.rsplit('/').next().unwrap_or(key).to_owned();
    if let Some(bytes) = files.get(key) {
        return Some(FileEntry { name, folder: false, size: bytes.len() as u64 });
    }
    let within = format!("{key}/");
    let is_folder = !key.contains('/') || files.keys().any(|other| other.starts_with(&within));
    is_folder.then_some(FileEntry { name, folder: true, size: 0 })
}

impl FileSource for Folders {
    fn list(&self, root: FileRoot, path: &str) -> Result<Vec<FileEntry>, Refused> {
        let (key, files) = (key(root, path)?, self.files());
        match entry(&files, &key) {
            Some(found) if found.folder => {}
            Some(_) => return Err(refused("not-a-file", "it is no folder")),
            None => return Err(refused("not-found", "there is nothing of this name")),
        }
        let within = format!("{key}/");
        let names: std::collections::BTreeSet<&str> = files
            .keys()
            .filter_map(|other| other.strip_prefix(&within))
            .map(|rest| rest.split('/').next().unwrap_or(rest))
            .collect();
        Ok(names.into_iter().filter_map(|name| entry(&files, &format!("{within}{name}"))).collect())
    }

    fn stat(&self, root: FileRoot, path: &str) -> Result<FileEntry, Refused> {
        entry(&self.files(), &key(root, path)?).ok_or_else(|| refused("not-found", "there is nothing of this name"))
    }

    fn read(&self, root: FileRoot, path: &str, offset: u64, len: u32) -> Result<Vec<u8>, Refused> {
        let (key, files) = (key(root, path)?, self.files());
        let Some(bytes) = files.get(&key) else {
            return Err(match entry(&files, &key) {
                Some(_) => refused("not-a-file", "it is a folder"),
                None => refused("not-found", "there is nothing of this name"),
            });
        };
        let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = begin.saturating_add(usize::try_from(len).unwrap_or(usize::MAX)).min(bytes.len());
        Ok(bytes[begin..end].to_vec())
    }

    fn write(&self, root: FileRoot, path: &str, bytes: &[u8]) -> Result<(), Refused> {
        let (key, mut files) = (key(root, path)?, self.files());
        if entry(&files, &key).is_some_and(|found| found.folder) {
            return Err(refused("not-a-file", "it is a folder"));
        }
        files.insert(key, bytes.to_vec());
        Ok(())
    }

    fn remove(&self, root: FileRoot, path: &str) -> Result<(), Refused> {
        let (key, mut files) = (key(root, path)?, self.files());
        match files.remove(&key) {
            Some(_) => Ok(()),
            None => Err(refused("not-found", "there is no file of this name")),
        }
    }
}
