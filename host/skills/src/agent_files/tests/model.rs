//! Whatever is written and removed, in whatever order, the folder is what a map would be.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const LIMITS: (u64, usize, usize) = (40, 7, 3);

#[derive(Clone, Debug)]
enum Change {
    Write(String, usize),
    Remove(String),
}

/// Files with their sizes, and folders as `None`.
#[derive(Default)]
struct Model(BTreeMap<String, Option<usize>>);

impl Model {
    fn apply(&mut self, change: &Change) -> &'static str {
        match change {
            Change::Write(path, size) => self.write(path, *size),
            Change::Remove(path) => self.remove(path),
        }
    }

    fn write(&mut self, path: &str, size: usize) -> &'static str {
        let parents: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
        if parents.iter().any(|parent| matches!(self.0.get(*parent), Some(Some(_)))) {
            return "not-a-folder";
        }
        let old = match self.0.get(path) {
            Some(None) => return "not-a-file",
            Some(Some(old)) => Some(*old),
            None => None,
        };
        let made = parents.iter().filter(|parent| !self.0.contains_key(**parent)).count() + usize::from(old.is_none());
        let bytes = self.0.values().flatten().sum::<usize>() - old.unwrap_or(0) + size;
        if self.0.len() + made > LIMITS.1 || bytes as u64 > LIMITS.0 {
            return "quota";
        }
        self.0.extend(parents.into_iter().map(|parent| (parent.to_owned(), None)));
        self.0.insert(path.to_owned(), Some(size));
        "done"
    }

    fn remove(&mut self, path: &str) -> &'static str {
        let above = path.match_indices('/').any(|(at, _)| matches!(self.0.get(&path[..at]), Some(Some(_))));
        match self.0.get(path) {
            _ if above => "not-a-folder",
            None => "not-found",
            Some(None) if self.below(path).next().is_some() => "not-empty",
            Some(_) => {
                self.0.remove(path);
                "done"
            }
        }
    }

    /// The names directly below a folder.
    fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, Option<usize>)> {
        let name = move |path: &'a str| match folder {
            "" => Some(path),
            _ => path.strip_prefix(folder)?.strip_prefix('/'),
        };
        let direct = self.0.iter().filter_map(move |(path, size)| Some((name(path)?, *size)));
        direct.filter(|(name, _)| !name.contains('/'))
    }
}

/// The whole of what a module sees.
fn seen(files: &AgentFiles) -> BTreeMap<String, Option<usize>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in files.list(Root::Skills, &folder).unwrap() {
            let path = path::join(&folder, &entry.name);
            assert_eq!(files.stat(Root::Skills, &path).unwrap(), entry);
            all.insert(path.clone(), (entry.kind == FileKind::File).then(|| usize::try_from(entry.size).unwrap()));
            if entry.kind == FileKind::Folder {
                folders.push(path);
            } else {
                let bytes = files.read(Root::Skills, &path, 0, 100).unwrap();
                assert_eq!(bytes, content(&path, usize::try_from(entry.size).unwrap()));
            }
        }
    }
    all
}

/// Other bytes for every path and size.
fn content(path: &str, size: usize) -> Vec<u8> {
    path.bytes().cycle().take(size).map(|byte| byte.wrapping_add(size.to_le_bytes()[0])).collect()
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let path = vec(prop_oneof!["a", "b", "c"], 1..=LIMITS.2).prop_map(|parts| parts.join("/"));
    let write = (path.clone(), 0..=20_usize).prop_map(|(path, size)| Change::Write(path, size));
    vec(prop_oneof![3 => write, 2 => path.prop_map(Change::Remove)], 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_folder_is_what_was_written_into_it(changes in changes()) {
        let disk = Disk::new();
        let limits = FileLimits { quota: LIMITS.0, max_files: LIMITS.1, max_depth: LIMITS.2, ..FileLimits::default() };
        let files = disk.files("me", limits);
        let mut model = Model::default();
        for change in &changes {
            let outcome = match change {
                Change::Write(path, size) => files.write(Root::Skills, path, &content(path, *size)),
                Change::Remove(path) => files.remove(Root::Skills, path),
            };
            let came = outcome.as_ref().map_or_else(FileError::kind, |()| "done");
            prop_assert_eq!(came, model.apply(change), "{:?}", change);
            prop_assert_eq!(&seen(&files), &model.0, "{:?}", change);
        }
    }
}
