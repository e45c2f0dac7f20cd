//! What MetaClaw, the Python program, has left in this home.

use std::fs;

use super::Patient;
use super::finding::Finding;
use super::processes::Process;

const CHECK: &str = "leftovers";

/// Its hosts leave their process ids in `metaclaw.pid` and `metaclaw_PORT.pid`.
pub(super) fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let entries = fs::read_dir(&patient.paths.home).into_iter().flatten().flatten();
    let notes = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("metaclaw") && name.ends_with(".pid")
    });
    let mut notes: Vec<_> = notes.collect();
    notes.sort();
    let finding = |note: &std::path::PathBuf| {
        let pid = fs::read_to_string(note).ok().and_then(|text| text.trim().parse().ok());
        match pid.and_then(Process::find).filter(Process::is_python_metaclaw) {
            Some(process) => Finding::failure(
                CHECK,
                format!("MetaClaw's Python host still runs on this home (process {}, {})", process.pid, note.display()),
                format!("end it: `kill {}`", process.pid),
            ),
            None => Finding::warning(
                CHECK,
                format!("{} is MetaClaw's, and its process is gone", note.display()),
                format!("`rm {}`", note.display()),
            ),
        }
    };
    notes.iter().map(finding).collect()
}
