//! The home folder, and who may look into it.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Patient;
use super::finding::Finding;

const CHECK: &str = "home";
/// What in the home may hold secrets, prompts or answers.
const PRIVATE: &[&str] =
    &["secrets", "state", "openclaw", "keys", "host.log", "auth-profiles.json", "calendar_token.json"];
/// More entries of a folder are not looked at.
const MAX_ENTRIES: usize = 1000;

pub(super) fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let home = &patient.paths.home;
    let shown = home.display();
    let about = match fs::metadata(home) {
        Ok(about) if about.is_dir() => about,
        Ok(_) => {
            return vec![Finding::failure(
                CHECK,
                format!("{shown} is not a folder"),
                "move it away, or name another home with --home DIR",
            )];
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return vec![Finding::warning(CHECK, format!("there is no {shown} yet"), "`metaclaw setup` makes one")];
        }
        Err(error) => {
            return vec![Finding::failure(
                CHECK,
                format!("{shown} cannot be looked at: {error}"),
                "mend the folder's permissions",
            )];
        }
    };
    let mut findings = Vec::new();
    if let Some(finding) = owner(home, &about) {
        findings.push(finding);
    } else if rustix::fs::access(home, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_err() {
        findings.push(Finding::failure(
            CHECK,
            format!("nothing can be written into {shown}"),
            format!("`chmod u+rwx {shown}`"),
        ));
    }
    let mode = about.permissions().mode();
    if mode & 0o077 != 0 {
        findings.push(Finding::open(CHECK, home, mode, 0o700));
    }
    findings.extend(private_files(patient).into_iter().filter_map(|path| open(&path)));
    if findings.is_empty() {
        findings.push(Finding::fine(CHECK, shown.to_string()));
    }
    findings
}

fn owner(path: &Path, about: &Metadata) -> Option<Finding> {
    let me = rustix::process::geteuid();
    let shown = path.display();
    (about.uid() != me.as_raw()).then(|| {
        Finding::failure(
            CHECK,
            format!("{shown} belongs to another user (uid {}, you are {})", about.uid(), me.as_raw()),
            format!("run metaclaw as that user, or `sudo chown -R $(id -un) {shown}`"),
        )
    })
}

/// The configuration, its copies, and what lies in the private folders.
fn private_files(patient: &Patient<'_>) -> Vec<PathBuf> {
    let home = &patient.paths.home;
    let mut files = vec![patient.paths.config_file.clone()];
    files.extend(
        entries(home)
            .into_iter()
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("config.yaml.bak-"))),
    );
    for name in PRIVATE {
        let path = home.join(name);
        files.extend(entries(&path));
        files.push(path);
    }
    files
}

/// Nothing for what is no folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).into_iter().flatten().take(MAX_ENTRIES);
    read.flatten().map(|entry| entry.path()).collect()
}

/// A folder within a home that is closed can be open; what lies in it is closed by the home.
fn open(path: &Path) -> Option<Finding> {
    let about = fs::symlink_metadata(path).ok()?;
    let mode = about.permissions().mode();
    let wanted = match () {
        () if about.is_file() => 0o600,
        () if about.is_dir() => 0o700,
        () => return None,
    };
    // Plugin files are read by OpenClaw, perhaps as another user, and hold nothing private.
    let public = path.file_name().is_some_and(|name| name == "plugin");
    (mode & 0o077 != 0 && !public).then(|| Finding::open(CHECK, path, mode, wanted))
}
