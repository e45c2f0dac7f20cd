//! The plugin by itself: its types against the real SDK, and its own tests.

use std::fs;
use std::process::Command;

use crate::install;

fn copy() -> tempfile::TempDir {
    let (source, folder) = (tests::root().join("examples/openclaw/plugin"), tempfile::tempdir().unwrap());
    for entry in fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    std::os::unix::fs::symlink(install::installed().join("node_modules"), folder.path().join("node_modules")).unwrap();
    folder
}

fn node(words: &[&str]) {
    let folder = copy();
    let mut node = Command::new("node");
    node.env("PATH", install::path()).args(words).current_dir(folder.path());
    let out = node.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "node {words:?}: {said}");
}

#[test]
fn its_types_are_those_of_the_sdk() {
    node(&["node_modules/typescript/bin/tsc", "--project", "."]);
}

#[test]
fn its_own_tests_pass() {
    node(&["--test", "index.test.ts"]);
}
