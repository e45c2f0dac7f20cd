use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use rustix::fs::{CWD, FileType, makedev, mknodat};
use tempfile::TempDir;

use super::*;

mod escapes;
mod folders;
mod model;
mod quota;
mod racing;
mod steps;
mod through_the_tree;

/// What lies outside and must never be seen.
const SECRET: &str = "SECRET";
/// What is written when a test does not care.
const TEXT: &str = "written";

/// A host's folders with two agents, and things outside that nobody may reach. In memory where there is such a place, so
/// that making files durable costs nothing.
struct Disk(TempDir);

impl Disk {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap();
        let disk = Disk(dir);
        for file in ["outside/secret", "outside/dir/secret", "skills/other/secret", "lora/other/secret"] {
            disk.file(file, SECRET.as_bytes());
        }
        disk.file("skills/_default/flat-or-not", b"default's");
        disk.file("skills/_shared/plan/SKILL.md", b"shared");
        for folder in ["skills/me", "lora/me"] {
            fs::create_dir_all(disk.at(folder)).unwrap();
        }
        disk
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn file(&self, path: &str, bytes: &[u8]) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn files(&self, agent: &str, limits: FileLimits) -> AgentFiles {
        AgentFiles::open(
            &self.at("skills"),
            &self.at("lora").join(agent),
            &AgentId::from_trusted(agent).unwrap(),
            limits,
        )
    }

    fn mine(&self) -> AgentFiles {
        self.files("me", FileLimits::default())
    }

    /// Puts there what a line says, such as `symlink skills/me/x ../../outside; fifo skills/me/y`. A target that begins
    /// with `@` is absolute, below this disk.
    fn put(&self, line: &str) {
        for what in line.split(';').map(str::trim).filter(|what| !what.is_empty()) {
            let mut words = what.splitn(3, ' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            let path = self.at(name);
            let target = words.next().unwrap_or_default();
            let target = target.strip_prefix('@').map_or_else(|| PathBuf::from(target), |below| self.at(below));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match kind {
                "file" => fs::write(&path, "inside").unwrap(),
                "folder" => fs::create_dir(&path).unwrap(),
                "symlink" => symlink(target, &path).unwrap(),
                "hardlink" => fs::hard_link(target, &path).unwrap(),
                "fifo" => mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0).unwrap(),
                "socket" => drop(UnixListener::bind(&path).unwrap()),
                // `/dev/zero`, which never ends.
                "device" => mknodat(CWD, &path, FileType::CharacterDevice, 0o600.into(), makedev(1, 5)).unwrap(),
                "sparse" => fs::File::create(&path).unwrap().set_len(1 << 40).unwrap(),
                "gone" => fs::remove_dir_all(&path).unwrap(),
                other => panic!("{other}: no such thing"),
            }
        }
    }

    /// Everything below these folders that anybody could change.
    fn snapshot(&self, below: &[&str]) -> BTreeMap<PathBuf, String> {
        let mut seen = BTreeMap::new();
        let mut folders: Vec<PathBuf> = below.iter().map(|path| self.at(path)).collect();
        folders.retain(|folder| fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_dir()));
        while let Some(folder) = folders.pop() {
            let meta = fs::symlink_metadata(&folder).unwrap();
            seen.insert(folder.clone(), format!("{:o} {}", meta.mode(), meta.mtime_nsec()));
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let meta = fs::symlink_metadata(&path).unwrap();
                if meta.is_dir() {
                    folders.push(path);
                    continue;
                }
                let content = match (meta.is_file() && meta.len() < 1 << 20).then(|| fs::read(&path).unwrap()) {
                    Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                    None => format!("{:?}", fs::read_link(&path).ok()),
                };
                seen.insert(path, format!("{:o} {} {} {content}", meta.mode(), meta.len(), meta.mtime_nsec()));
            }
        }
        seen
    }
}

/// Runs `work` and fails, leaving it behind, if that takes longer: what hangs on a FIFO hangs for ever.
fn within<T: Send + 'static>(patience: Duration, what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    let worker = thread::spawn(move || tell.send(work()));
    match told.recv_timeout(patience) {
        Ok(done) => done,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("hangs: {what}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => std::panic::resume_unwind(worker.join().unwrap_err()),
    }
}

/// Does what a line says, such as `read skills a/b`, and tells what came: `= text`, `file 6`, `a, b/`, `done`, or the kind
/// of error. Whatever comes, it holds no secret and no path of the host.
fn ask(disk: &Disk, files: &AgentFiles, line: &str) -> String {
    let mut words = line.splitn(3, ' ');
    let verb = words.next().unwrap();
    let root = match words.next().unwrap() {
        "skills" => Root::Skills,
        "lora" => Root::Lora,
        "shared" => Root::Shared,
        other => panic!("{other}: no such root"),
    };
    let path = words.next().unwrap_or_default();
    let shown = |e: FileEntry| match e.kind {
        FileKind::File => e.name,
        FileKind::Folder => e.name + "/",
    };
    let outcome = match verb {
        "read" => files.read(root, path, 0, MAX_READ).map(|bytes| format!("= {}", String::from_utf8_lossy(&bytes))),
        "start" => files.read(root, path, 1 << 39, 4).map(|bytes| format!("= {bytes:?}")),
        "stat" => files.stat(root, path).map(|e| match e.kind {
            FileKind::File => format!("file {}", e.size),
            FileKind::Folder => "folder".into(),
        }),
        "list" => files.list(root, path).map(|all| all.into_iter().map(shown).collect::<Vec<_>>().join(", ")),
        "write" => files.write(root, path, TEXT.as_bytes()).map(|()| "done".into()),
        "remove" => files.remove(root, path).map(|()| "done".into()),
        "preopen" => files.preopen(root).map(|_| "done".into()),
        other => panic!("{other}: no such verb"),
    };
    let told = match &outcome {
        Ok(text) => text.clone(),
        Err(error) => error.to_string(),
    };
    assert!(!told.contains(SECRET), "{line}: tells the secret");
    assert!(!told.contains(disk.0.path().to_str().unwrap()), "{line}: tells a path of the host: {told}");
    outcome.unwrap_or_else(|error| error.kind().to_owned())
}
