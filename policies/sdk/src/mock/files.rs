use std::collections::BTreeMap;

use crate::Problem;
use crate::files::Entry;
use crate::mock::{Host, with};

const MAX_READ: u32 = 512 << 10;
const MAX_FILE: usize = 256 << 10;

pub(crate) fn list(root: &str, path: &str) -> Result<Vec<Entry>, Problem> {
    let place = place(root, path, false)?;
    with(|host| {
        let found = beneath(host, &place);
        match stat_of(host, &place) {
            Some(entry) if entry.kind == "file" => Err(problem("not-a-file", "this is no folder")),
            None if !path.is_empty() => Err(not_found()),
            _ => Ok(found.into_values().collect()),
        }
    })
}

pub(crate) fn stat(root: &str, path: &str) -> Result<Entry, Problem> {
    let place = place(root, path, false)?;
    with(|host| stat_of(host, &place)).ok_or_else(not_found)
}

pub(crate) fn read(root: &str, path: &str, offset: u64, len: u32) -> Result<Vec<u8>, Problem> {
    let place = place(root, path, false)?;
    with(|host| match (host.files.get(&place), stat_of(host, &place)) {
        (Some(bytes), _) => {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let end = start.saturating_add(len.min(MAX_READ) as usize).min(bytes.len());
            Ok(bytes[start..end].to_vec())
        }
        (None, Some(_)) => Err(problem("not-a-file", "this is a folder")),
        (None, None) => Err(not_found()),
    })
}

pub(crate) fn write(root: &str, path: &str, bytes: &[u8]) -> Result<(), Problem> {
    let place = place(root, path, true)?;
    if bytes.len() > MAX_FILE {
        return Err(problem("too-large", "a file has at most 256 KiB"));
    }
    with(|host| {
        if stat_of(host, &place).is_some_and(|entry| entry.kind == "folder") {
            return Err(problem("not-a-file", "this is a folder"));
        }
        host.files.insert(place, bytes.to_vec());
        Ok(())
    })
}

pub(crate) fn remove(root: &str, path: &str) -> Result<(), Problem> {
    let place = place(root, path, true)?;
    with(|host| host.files.remove(&place).map(drop).ok_or_else(not_found))
}

/// `root/path`, if the policy may go there.
fn place(root: &str, path: &str, to_change: bool) -> Result<String, Problem> {
    let granted = with(|host| match root {
        "skills" | "shared" if host.grants.contains(&"skills:write") => Some(root == "skills"),
        "skills" | "shared" => host.grants.contains(&"skills:read").then_some(false),
        "lora" => host.grants.contains(&"lora:read").then_some(false),
        _ => None,
    });
    match granted {
        None => return Err(problem("not-granted", "the module has no grant for this folder")),
        Some(false) if to_change => return Err(problem("read-only", "this folder is only to be read")),
        Some(_) => {}
    }
    if path.is_empty() && !to_change {
        return Ok(root.to_owned());
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(problem("bad-path", "a path is relative and stays in its folder"));
    }
    Ok(format!("{root}/{path}"))
}

fn stat_of(host: &Host, place: &str) -> Option<Entry> {
    let name = place.rsplit('/').next().unwrap_or(place).to_owned();
    if let Some(bytes) = host.files.get(place) {
        return Some(Entry { name, kind: "file".to_owned(), size: bytes.len() as u64 });
    }
    let is_folder = !beneath(host, place).is_empty();
    is_folder.then(|| Entry { name, kind: "folder".to_owned(), size: 0 })
}

/// What is in a folder, by name.
fn beneath(host: &Host, folder: &str) -> BTreeMap<String, Entry> {
    let mut found = BTreeMap::new();
    for (path, bytes) in &host.files {
        let Some(rest) = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')) else { continue };
        let (name, kind, size) = match rest.split_once('/') {
            Some((name, _)) => (name, "folder", 0),
            None => (rest, "file", bytes.len() as u64),
        };
        found.insert(name.to_owned(), Entry { name: name.to_owned(), kind: kind.to_owned(), size });
    }
    found
}

fn not_found() -> Problem {
    problem("not-found", "there is no such file")
}

fn problem(code: &str, message: &str) -> Problem {
    Problem { code: code.to_owned(), message: message.to_owned() }
}
