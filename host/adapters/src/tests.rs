//! Adapters on real disks: whole or not there, whenever the host dies, and nothing but plain files.

mod crashes;
mod strange;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use domain::AgentId;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

const BATCH: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_5f2a_90c4_d1be);

fn files(seed: u8) -> Files {
    let file = |name: &str, length| (name.to_owned(), vec![seed; length]);
    vec![file(CONFIG_FILE, 20), file(WEIGHTS_FILE, 100_000), file(TRAINER_FILE, 5000)]
}

/// As they come back.
fn sorted(mut files: Files) -> Files {
    files.sort();
    files
}

fn shelf() -> (TempDir, Shelf) {
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(dir.path().join("lora/researcher"));
    (dir, shelf)
}

fn name(generation: u64) -> String {
    folder_name(generation, BATCH)
}

fn kept(names: &[String]) -> BTreeSet<String> {
    names.iter().cloned().collect()
}

/// All paths below `dir`, relative to it, with their modes, sorted.
fn paths(dir: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            found.push((name, meta.permissions().mode() & 0o777));
            if meta.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_version_comes_back_and_others_stay_as_they_are() {
    let (_dir, shelf) = shelf();
    assert_eq!((shelf.list().unwrap(), shelf.current().unwrap()), (vec![], None), "nothing is made by looking");
    assert!(!shelf.folder.exists());
    assert_eq!(name(3), "g000003-5f2a90c4d1be");
    let first = shelf.put(&name(3), &files(1)).unwrap();
    let second = shelf.put(&name(12_345_678), &files(2)).unwrap();
    assert_ne!(first, second);
    assert_eq!(shelf.list().unwrap(), [name(3), name(12_345_678)]);
    assert_eq!(shelf.read(&name(3), &first).unwrap(), sorted(files(1)));
    let wrong = shelf.read(&name(3), &second).unwrap_err();
    assert!(matches!(wrong, ShelfError::Changed { expected, found, .. } if (expected, found) == (second, first)));

    // The digest does not depend on the order, and is what the usual tool says.
    let backwards: Files = files(1).into_iter().rev().collect();
    assert_eq!((digest_of(&backwards), shelf.put(&name(3), &backwards).unwrap()), (first, first));
    let script = "sha256sum * | sha256sum";
    let said =
        std::process::Command::new("sh").arg("-c").arg(script).current_dir(shelf.path(&name(3))).output().unwrap();
    assert_eq!(String::from_utf8(said.stdout).unwrap(), format!("{first}  -\n"));

    shelf.set_current(Some(&name(3))).unwrap();
    assert_eq!(shelf.current().unwrap(), Some(name(3)));
    assert_eq!(fs::read_to_string(shelf.path("current")).unwrap(), format!("{}\n", name(3)));
    shelf.set_current(Some(&name(4))).unwrap();
    assert_eq!(shelf.current().unwrap(), Some(name(4)));
    for _ in 0..2 {
        shelf.set_current(None).unwrap();
        assert_eq!(shelf.current().unwrap(), None);
    }
    assert_eq!(shelf.list().unwrap().len(), 2);
}

#[test]
fn what_nothing_names_goes_and_what_is_not_ours_stays() {
    let (_dir, shelf) = shelf();
    for generation in 1..=4 {
        shelf.put(&name(generation), &files(1)).unwrap();
    }
    shelf.set_current(Some(&name(4))).unwrap();
    fs::create_dir(shelf.path("notes of mine")).unwrap();
    fs::create_dir(shelf.path(".draft-g000009-5f2a90c4d1be")).unwrap();
    fs::write(shelf.path(".draft-current"), "").unwrap();
    fs::create_dir(shelf.path("G000001-5f2a90c4d1be")).unwrap();
    let gone = shelf.keep_only(&kept(&[name(4), name(2), name(77)])).unwrap();
    assert_eq!(gone, [name(1), name(3)]);
    assert_eq!(shelf.list().unwrap(), [name(2), name(4)]);
    let mut left: Vec<_> = fs::read_dir(&shelf.folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    let want = ["G000001-5f2a90c4d1be", "current", &name(2), &name(4), "notes of mine"];
    assert_eq!(left, want);
    assert!(shelf.keep_only(&kept(&[name(4), name(2)])).unwrap().is_empty());
    shelf.purge().unwrap();
    assert!(!shelf.folder.exists() && shelf.folder.parent().unwrap().exists());
    shelf.purge().unwrap();
}

#[test]
fn everything_is_private_whatever_the_umask() {
    // The umask is the whole process's, so a process of its own has each.
    for umask in ["000", "022", "077", "777"] {
        let dir = tempfile::tempdir().unwrap();
        let script = format!("umask {umask}; exec \"$0\" --exact tests::private_child --ignored --nocapture");
        let mut command = std::process::Command::new("sh");
        command.arg("-c").arg(script).arg(std::env::current_exe().unwrap()).env("SHELF", dir.path());
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "umask {umask}: {}", String::from_utf8_lossy(&ran.stdout));
        let found = paths(dir.path());
        assert_eq!(found.len(), 12, "{found:?}");
        for (path, mode) in found {
            let wanted = if dir.path().join(&path).is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, wanted, "umask {umask}: {path}");
        }
    }
}

#[test]
#[ignore = "the child of `everything_is_private_whatever_the_umask`"]
fn private_child() {
    let Some(dir) = std::env::var_os("SHELF").map(PathBuf::from) else { return };
    let shelf = Shelf::new(dir.join("lora/deep/researcher"));
    let digest = shelf.put(&name(1), &files(1)).unwrap();
    shelf.set_current(Some(&name(1))).unwrap();
    shelf.export(&name(1), &digest, &dir.join("exported")).unwrap();
    shelf.export(&name(1), &digest, &dir.join("exported.tar.gz")).unwrap();
    // lora, deep, researcher, the version with its three files, current, the exported folder with its two, the archive.
}

#[test]
fn an_export_is_a_peft_folder_and_comes_back() {
    let (dir, shelf) = shelf();
    let digest = shelf.put(&name(1), &files(1)).unwrap();
    let wanted: Files = sorted(files(1)).into_iter().filter(|(name, _)| name != TRAINER_FILE).collect();
    let to = dir.path().join("out");
    shelf.export(&name(1), &digest, &to).unwrap();
    assert_eq!(read_folder(&to).unwrap(), wanted);
    for archive in ["out.tar.gz", "out.tgz"].map(|name| dir.path().join(name)) {
        shelf.export(&name(1), &digest, &archive).unwrap();
        let unpacked = tempfile::tempdir().unwrap();
        let tar = std::process::Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(unpacked.path()).status();
        assert!(tar.unwrap().success());
        assert_eq!(read_folder(&unpacked.path().join(name(1))).unwrap(), wanted);
        assert!(matches!(shelf.export(&name(1), &digest, &archive), Err(ShelfError::Occupied { .. })));
    }
    assert!(matches!(shelf.export(&name(1), &digest, &to), Err(ShelfError::Occupied { .. })));
    assert_eq!(read_folder(&to).unwrap(), wanted, "and it is as it was");
    let relative = shelf.export(&name(1), &digest, Path::new("out"));
    assert!(matches!(relative, Err(ShelfError::Relative { .. })));
    let nowhere = dir.path().join("no/such/folder.tar.gz");
    assert!(matches!(shelf.export(&name(1), &digest, &nowhere), Err(ShelfError::Io { action: "create", .. })));
    // What training goes on from may have the moments, and other files that it does not need.
    fs::write(to.join(TRAINER_FILE), "moments").unwrap();
    fs::write(to.join("README.md"), "of the hub").unwrap();
    fs::create_dir(to.join(".cache")).unwrap();
    assert_eq!(read_folder(&to).unwrap().len(), 3);
    fs::remove_file(to.join(CONFIG_FILE)).unwrap();
    let error = read_folder(&to).unwrap_err();
    assert!(error.to_string().ends_with("adapter_config.json is missing"), "{error}");
    assert!(matches!(read_folder(Path::new("out")), Err(ShelfError::Relative { .. })));
}

#[test]
fn a_checkpoint_is_a_path_or_a_version_of_the_agents_own() {
    let agent = AgentId::from_trusted("researcher").unwrap();
    let parse = |text: &str| Checkpoint::parse(text, &agent);
    for own in ["3", "researcher@3", "g000003-5f2a90c4d1be"] {
        assert_eq!(parse(own), Ok(Checkpoint::Generation(3)), "{own}");
    }
    assert_eq!(parse("/some/where"), Ok(Checkpoint::Folder("/some/where".into())));
    let foreign = InvalidCheckpoint::Foreign { name: "reviewer@3".into() };
    assert_eq!(parse("reviewer@3"), Err(foreign));
    for neither in ["", "0", "some/where", "./x", "+3", "3 ", "researcher@", "researcher@0", "g3-5f2a", "latest", "-1"]
    {
        assert_eq!(parse(neither), Err(InvalidCheckpoint::Form(neither.to_owned())), "{neither}");
    }
}
