//! Another process renames and links as fast as it can while a module reads and writes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustix::fs::{RenameFlags, renameat_with};

use super::*;

/// Calls of the reader and of the writer.
const ROUNDS: usize = 20_000;

/// What takes the place of `x` and of the folder `d`, in turns.
const IMPOSTORS: &[(&str, &str)] = &[
    ("skills/me/d/x", "skills/me/.symlink"),
    ("skills/me/d/x", "skills/me/.hardlink"),
    ("skills/me/d/x", "skills/me/.symlink-within"),
    ("skills/me/d", "skills/me/.folder"),
    ("skills/me/d", "skills/me/.folder-within"),
    ("skills/me/d/x", "skills/me/.fifo"),
    ("skills/me/d", "skills/me/.fifo"),
];

/// Makes the impostors, anew where the writer replaced one.
fn arm(disk: &Disk) {
    for name in [".symlink", ".symlink-within", ".hardlink", ".folder", ".folder-within", ".fifo"] {
        let _ = fs::remove_file(disk.at("skills/me").join(name));
    }
    let _ = symlink(disk.at("outside/dir/secret"), disk.at("skills/me/.symlink"));
    let _ = fs::hard_link(disk.at("outside/dir/secret"), disk.at("skills/me/.hardlink"));
    let _ = symlink(disk.at("outside/dir"), disk.at("skills/me/.folder"));
    // What is hidden is outside as well, though no sandbox of the system's would know.
    let _ = symlink("../.vault/x", disk.at("skills/me/.symlink-within"));
    let _ = symlink(".vault", disk.at("skills/me/.folder-within"));
    let _ = mknodat(CWD, disk.at("skills/me/.fifo"), FileType::Fifo, 0o600.into(), 0);
}

/// Both names at one moment, there and back.
fn exchange(disk: &Disk, one: &str, other: &str) -> bool {
    renameat_with(CWD, disk.at(one), CWD, disk.at(other), RenameFlags::EXCHANGE).is_ok()
}

/// Exchanges, and links in and out, until told to stop. Returns how often it did.
fn swap(disk: &Disk, stop: &AtomicBool) -> u64 {
    let mut swaps = 0;
    while !stop.load(Ordering::Relaxed) {
        for (real, impostor) in IMPOSTORS {
            if exchange(disk, real, impostor) {
                swaps += 1;
                // Back by the same way, unless the writer has put something new there.
                exchange(disk, real, impostor);
            }
        }
        // A link to the secret that comes and goes: while it is gone, what was opened by it has one name.
        let passing = disk.at("skills/me/passing");
        let _ = fs::hard_link(disk.at("outside/secret"), &passing);
        let _ = fs::remove_file(&passing);
        let _ = fs::write(&passing, "inside");
        let _ = fs::remove_file(&passing);
        arm(disk);
        // The writer may have removed these for good.
        let _ = fs::create_dir(disk.at("skills/me/d"));
        let _ = fs::OpenOptions::new().create_new(true).write(true).open(disk.at("skills/me/d/x"));
    }
    swaps
}

/// How often each outcome came; contents count as `=`.
fn tally(disk: &Disk, lines: &[&str], rounds: usize) -> BTreeMap<String, usize> {
    let files = disk.mine();
    let mut outcomes = BTreeMap::new();
    for round in 0..rounds {
        let line = lines[round % lines.len()];
        let came = ask(disk, &files, line);
        let came = came.split(' ').next().unwrap_or_default();
        *outcomes.entry(format!("{} {came}", line.split(' ').next().unwrap())).or_default() += 1;
    }
    outcomes
}

#[test]
fn a_racing_renamer_never_gets_a_module_outside() {
    within(Duration::from_secs(300), "a module that races with a renamer", race);
}

fn race() {
    let disk = Disk::new();
    disk.file("skills/me/d/x", b"inside");
    disk.file("skills/me/.vault/x", SECRET.as_bytes());
    arm(&disk);
    let outside = ["outside", "skills/other", "skills/_shared", "skills/_default", "lora", "skills/me/.vault"];
    let before = disk.snapshot(&outside);
    let reading =
        ["read skills d/x", "stat skills d/x", "read skills passing", "list skills d", "read skills d/secret"];
    let writing =
        ["write skills d/x", "write skills d/new", "remove skills d/new", "remove skills d/secret", "write skills d/x"];
    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let (read, written) = thread::scope(|scope| {
        scope.spawn(|| swaps.store(swap(&disk, &stop), Ordering::Relaxed));
        let reader = scope.spawn(|| tally(&disk, &reading, ROUNDS));
        let writer = scope.spawn(|| tally(&disk, &writing, ROUNDS));
        let done = (reader.join(), writer.join());
        stop.store(true, Ordering::Relaxed);
        (done.0.unwrap(), done.1.unwrap())
    });
    assert_eq!(disk.snapshot(&outside), before);
    // Else nothing was tried: both sides of the race were seen, often.
    let swaps = swaps.into_inner();
    assert!(swaps > 1000, "{swaps} swaps");
    for (outcomes, often) in
        [(&read, ["read =", "read link", "stat file"]), (&written, ["write done", "write link", "remove link"])]
    {
        for outcome in often {
            assert!(outcomes.get(outcome).is_some_and(|n| *n > 20), "{outcome}: {read:?} {written:?} {swaps} swaps");
        }
    }
}
