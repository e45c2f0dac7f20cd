//! K5 and L1: what an agent's policy may keep, to the byte and to the name, whoever else writes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::steps::meanwhile;

fn limits() -> FileLimits {
    FileLimits { max_file: 60, max_entries: 20, max_depth: 3, quota: 100, max_files: 6, ..FileLimits::default() }
}

fn bytes_below(disk: &Disk) -> (u64, usize) {
    let mut held = (0, 0);
    let mut folders = vec![disk.at("skills/me")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            held = (held.0 + if meta.is_file() { meta.len() } else { 0 }, held.1 + 1);
            if meta.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    held
}

#[test]
fn each_limit_holds_at_n_and_not_at_one_more() {
    // What lies there with how many bytes, what is written, what must come.
    type Sized = (&'static str, usize);
    let lines: &[(&[Sized], Sized, &str)] = &[
        (&[], ("a", 60), "done"),
        (&[], ("a", 61), "too-large"),
        (&[("a", 60)], ("b", 40), "done"),
        (&[("a", 60)], ("b", 41), "quota"),
        // Replacing gives back what was there.
        (&[("a", 60), ("b", 40)], ("b", 40), "done"),
        (&[("a", 60), ("b", 40)], ("b", 41), "quota"),
        (&[("a", 60), ("b", 40)], ("b", 1), "done"),
        // Hidden files and those too large for us count.
        (&[(".hidden", 100)], ("a", 0), "done"),
        (&[(".hidden", 100)], ("a", 1), "quota"),
        (&[("huge", 1000)], ("a", 1), "quota"),
        (&[("huge", 1000)], ("huge", 60), "done"),
        // Names: of files and of folders, present and to be made.
        (&[("1", 1), ("2", 1), ("3", 1), ("4", 1), ("5", 1)], ("6", 1), "done"),
        (&[("1", 1), ("2", 1), ("3", 1), ("4", 1), ("5", 1), ("6", 1)], ("7", 1), "quota"),
        (&[("1", 1), ("2", 1), ("3", 1), ("4", 1), ("5", 1), ("6", 1)], ("6", 2), "done"),
        (&[("1", 1), ("2", 1), ("3", 1)], ("4/5/6", 1), "done"),
        (&[("1", 1), ("2", 1), ("3", 1), ("4", 1)], ("5/6/7", 1), "quota"),
        (&[("1/2/3", 1), ("4", 1), ("5", 1)], ("1/2/6", 1), "done"),
        (&[("1/2/3", 1), ("4", 1), ("5", 1)], ("1/6/7", 1), "quota"),
        // Depth: of the path, and of what is there.
        (&[], ("1/2/3", 1), "done"),
        (&[], ("1/2/3/4", 1), "bad-path"),
        (&[("1/2/3/4", 1)], ("a", 1), "quota"),
    ];
    for (lies, (path, size), comes) in lines {
        let disk = Disk::new();
        for (path, size) in *lies {
            disk.file(&format!("skills/me/{path}"), &vec![b'x'; *size]);
        }
        let before = disk.snapshot(&["skills"]);
        let outcome = disk.files("me", limits()).write(Root::Skills, path, &vec![b'y'; *size]);
        let came = outcome.as_ref().map_or_else(FileError::kind, |()| "done");
        assert_eq!(came, *comes, "{lies:?}, then {size} bytes of {path}");
        assert!(came == "done" || disk.snapshot(&["skills"]) == before, "{lies:?}, then {path}: something changed");
    }
}

#[test]
fn a_folder_is_listed_and_handed_out_up_to_its_limit() {
    let disk = Disk::new();
    let files = disk.files("me", limits());
    for name in 0..20 {
        disk.file(&format!("lora/me/{name:02}"), b"");
    }
    assert_eq!(files.list(Root::Lora, "").unwrap().len(), 20);
    assert!(files.preopen(Root::Lora).is_ok());
    // What is not shown is looked at as well.
    disk.put("symlink lora/me/.more nothing");
    assert_eq!(files.list(Root::Lora, "").unwrap_err().kind(), "too-large");
    disk.put("gone lora/me; folder lora/me/all");
    for name in 0..20 {
        disk.file(&format!("lora/me/all/{name:02}"), b"");
    }
    assert_eq!(files.list(Root::Lora, "all").unwrap().len(), 20);
    assert_eq!(files.preopen(Root::Lora).unwrap_err().kind(), "too-large");
}

#[test]
fn a_range_is_what_the_file_has_of_it() {
    let disk = Disk::new();
    disk.file("lora/me/big", &(0..=255).collect::<Vec<u8>>());
    let files = disk.mine();
    for (offset, len, want) in [(0, 256, 0..=255), (10, 3, 10..=12), (250, 100, 250..=255), (255, MAX_READ, 255..=255)]
    {
        assert_eq!(files.read(Root::Lora, "big", offset, len).unwrap(), want.collect::<Vec<u8>>(), "{offset} {len}");
    }
    for (offset, len) in [(0, 0), (256, 1), (u64::MAX, MAX_READ)] {
        assert!(files.read(Root::Lora, "big", offset, len).unwrap().is_empty(), "{offset} {len}");
    }
    assert_eq!(files.read(Root::Lora, "big", 0, MAX_READ + 1).unwrap_err().kind(), "too-large");
    disk.put("sparse lora/me/sparse");
    assert_eq!(files.read(Root::Lora, "sparse", 0, MAX_READ).unwrap().len(), 1 << 20);
}

#[test]
fn writers_at_the_same_time_never_exceed_the_quota_together() {
    // (bytes of each, how many fit): by bytes, then by names.
    for (size, fit) in [(30, 3), (1, 6)] {
        let disk = Disk::new();
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            for writer in 0..8 {
                let (disk, done) = (&disk, &done);
                scope.spawn(move || {
                    // Each its own: nothing in this process is shared, as between two processes.
                    let files = disk.files("me", FileLimits { patience: Duration::from_secs(60), ..limits() });
                    for file in 0..20 {
                        let name = format!("{writer}-{file}");
                        // The others come in when they could do most harm.
                        let others_first = |step| {
                            if step == Step::Counted {
                                thread::yield_now()
                            }
                        };
                        match meanwhile(others_first, || files.write(Root::Skills, &name, &vec![b'x'; size])) {
                            Ok(()) => drop(done.fetch_add(1, Ordering::Relaxed)),
                            Err(error) => assert_eq!(error.kind(), "quota"),
                        }
                        let (bytes, names) = bytes_below(disk);
                        assert!(bytes <= 100 && names <= 6, "{bytes} bytes, {names} names");
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), fit);
    }
}

#[test]
fn nobody_changes_what_was_counted_before_the_write_is_done() {
    let disk = Disk::new();
    disk.put("file skills/me/a");
    let hasty = FileLimits { patience: Duration::ZERO, ..limits() };
    let (mine, other) = (disk.files("me", hasty), disk.files("me", hasty));
    for step in [Step::Counted, Step::Drafting, Step::Drafted, Step::Checked, Step::Renamed] {
        let other = other.clone();
        let busy = move |now| {
            if now == step {
                assert_eq!(other.write(Root::Skills, "b", b"x"), Err(FileError::Busy));
                assert_eq!(other.remove(Root::Skills, "a"), Err(FileError::Busy));
            }
        };
        meanwhile(busy, || mine.write(Root::Skills, "c", b"x")).unwrap();
    }
    assert_eq!(ask(&disk, &mine, "list skills"), "a, c");
}

#[test]
fn a_change_waits_for_another_one_but_not_for_ever() {
    let disk = Disk::new();
    disk.put("file skills/me/a");
    let files = disk.files("me", FileLimits { patience: Duration::from_millis(20), ..limits() });
    let held = fs::File::open(disk.at("skills/me")).unwrap();
    held.lock().unwrap();
    for (line, comes) in
        [("write skills b", "busy"), ("remove skills a", "busy"), ("read skills a", "= inside"), ("list skills", "a")]
    {
        assert_eq!(ask(&disk, &files, line), comes, "{line}");
    }
    // The lock is the agent's alone.
    assert_eq!(ask(&disk, &disk.files("other", limits()), "write skills b"), "done");
    held.unlock().unwrap();
    assert_eq!(ask(&disk, &files, "write skills b"), "done");
}
