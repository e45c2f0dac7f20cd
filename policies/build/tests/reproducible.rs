//! The same sources give the same bytes, wherever they are, and those bytes want nothing of the system.
#![cfg(test)]

use std::path::{Path, PathBuf};

/// A checkout of the built-in policy and the contract, in a directory of its own.
fn checkout(root: &Path) -> PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for file in [
        "wit/1.0.0/policy.wit",
        "policies/default/Cargo.toml",
        "policies/default/Cargo.lock",
        "policies/default/src/bump.rs",
        "policies/default/src/lib.rs",
        "policies/default/src/settings.rs",
    ] {
        let copy = root.join(file);
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(project.join(file), copy).unwrap();
    }
    root.join("policies/default")
}

fn guests() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests")
}

#[test]
fn the_place_of_the_checkout_does_not_matter() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = policy_build::build(&checkout(here.path()), &guests()).unwrap();
    let second = policy_build::build(&checkout(&there.path().join("a/longer/path")), &guests()).unwrap();
    assert!(first == second, "{} and {} bytes, which differ", first.len(), second.len());
    let text = String::from_utf8_lossy(&first);
    assert!(!text.contains("wasi:"), "it imports WASI");
    assert!(!text.contains(&*here.path().to_string_lossy()), "it holds the path of its sources");
}

#[test]
fn what_cannot_be_built_is_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let error = policy_build::build(&missing, &guests()).unwrap_err().to_string();
    assert!(error.contains("missing"), "{error}");
    let guest = checkout(dir.path());
    std::fs::remove_file(guest.join("Cargo.lock")).unwrap();
    let error = policy_build::build(&guest, &guests()).unwrap_err().to_string();
    assert!(error.contains("does not compile"), "{error}");
}
