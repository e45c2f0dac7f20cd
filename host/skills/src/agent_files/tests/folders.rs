//! Which folders an agent has, and how they and what is in them look from outside.

use super::*;

#[test]
fn the_default_agent_has_its_own_folder_and_not_the_flat_layout() {
    let disk = Disk::new();
    disk.put("file skills/flat/SKILL.md; file skills/_default/own/SKILL.md");
    let files = disk.files("_default", FileLimits::default());
    let lines = [
        ("list skills", "flat-or-not, own/"),
        ("read skills own/SKILL.md", "= inside"),
        ("read skills flat/SKILL.md", "not-found"),
        ("write skills flat/SKILL.md", "done"),
        ("read skills flat/SKILL.md", "= written"),
        ("list lora", ""),
        ("list shared", "plan/"),
    ];
    for (line, comes) in lines {
        assert_eq!(ask(&disk, &files, line), comes, "{line}");
    }
    assert_eq!(fs::read(disk.at("skills/flat/SKILL.md")).unwrap(), b"inside");
}

#[test]
fn a_name_that_is_no_text_is_not_listed() {
    use std::os::unix::ffi::OsStrExt;
    let disk = Disk::new();
    disk.put("file skills/me/a/b");
    fs::write(disk.at("skills/me/a").join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), "x").unwrap();
    assert_eq!(ask(&disk, &disk.mine(), "list skills a"), "b");
    assert_eq!(ask(&disk, &disk.mine(), "remove skills a/b"), "done");
    assert_eq!(ask(&disk, &disk.mine(), "remove skills a"), "not-empty");
}

#[test]
fn a_preopened_folder_is_the_one_that_was_verified() {
    let disk = Disk::new();
    disk.put("file lora/me/v1/adapter");
    let dir = disk.mine().preopen(Root::Lora).unwrap();
    assert_eq!(dir.read_to_string("v1/adapter").unwrap(), "inside");
    assert!(dir.read_to_string("../other/secret").is_err());
    // Where only a path is taken, this one leads to that very folder.
    let by_path = format!("/proc/self/fd/{}/v1/adapter", std::os::fd::AsRawFd::as_raw_fd(&dir));
    assert_eq!(fs::read_to_string(by_path).unwrap(), "inside");
    disk.put("hardlink lora/me/v1/more @outside/secret");
    let refused = disk.mine().preopen(Root::Lora).unwrap_err();
    assert_eq!(refused, FileError::Unfit { path: "v1/more".into(), reason: Box::new(FileError::Link) });
}

#[test]
fn a_written_file_and_its_folders_are_their_owners_alone() {
    let disk = Disk::new();
    disk.put("gone skills");
    disk.mine().write(Root::Skills, "a/b", b"x").unwrap();
    let mode = |path: &str| fs::metadata(disk.at(path)).unwrap().mode() & 0o777;
    assert_eq!(mode("skills/me/a/b"), 0o600);
    for folder in ["skills", "skills/me", "skills/me/a"] {
        assert_eq!(mode(folder), 0o700, "{folder}");
    }
}
