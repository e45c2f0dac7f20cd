//! What another process does between two steps of one call, step by step, and what a crash there leaves.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::*;
use crate::plain_writes::DRAFT;
use crate::steps::{Step, meanwhile};

/// Puts what a line says in the place of `skills/me/x` at each reaching of `when`.
fn swapping(disk: &Disk, when: Step, line: &'static str) -> impl FnMut(Step) + 'static {
    let root = disk.0.path().to_owned();
    move |step| {
        if step == when {
            replace(&root, line);
        }
    }
}

/// `symlink @outside/secret` in the place of `skills/me/x`.
fn replace(root: &Path, line: &str) {
    let x = root.join("skills/me/x");
    let _ = fs::remove_dir_all(&x);
    let _ = fs::remove_file(&x);
    let (kind, target) = line.split_once(' ').unwrap_or((line, ""));
    let target = target.strip_prefix('@').map_or_else(|| PathBuf::from(target), |below| root.join(below));
    match kind {
        "symlink" => symlink(target, x).unwrap(),
        "hardlink" => fs::hard_link(target, x).unwrap(),
        "fifo" => mknodat(CWD, x, FileType::Fifo, 0o600.into(), 0).unwrap(),
        "folder" => fs::create_dir(x).unwrap(),
        "file" => fs::write(x, "another").unwrap(),
        "nothing" => {}
        other => panic!("{other}: no such thing"),
    }
}

/// The names of all drafts on the disk.
fn drafts(disk: &Disk) -> Vec<PathBuf> {
    let all = disk.snapshot(&["skills"]);
    all.into_keys().filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(DRAFT)).collect()
}

#[test]
fn what_is_put_in_a_files_place_while_it_is_read_is_not_read() {
    let lines = [
        (Step::Looked, "symlink @outside/secret", "link"),
        (Step::Looked, "hardlink @outside/secret", "link"),
        (Step::Looked, "fifo", "not-a-file"),
        (Step::Looked, "folder", "not-a-file"),
        (Step::Looked, "nothing", "not-found"),
        (Step::Looked, "file", "= another"),
        (Step::Opened, "symlink @outside/secret", "link"),
        (Step::Opened, "hardlink @outside/secret", "link"),
        (Step::Opened, "fifo", "not-a-file"),
        (Step::Opened, "nothing", "not-found"),
        // Exchanged whenever we look: we give up.
        (Step::Opened, "file", "busy"),
    ];
    for (when, line, comes) in lines {
        within(Duration::from_secs(1), &format!("{when:?} {line}"), move || {
            let disk = Disk::new();
            disk.put("file skills/me/x");
            let came = meanwhile(swapping(&disk, when, line), || ask(&disk, &disk.mine(), "read skills x"));
            assert_eq!(came, comes, "{when:?} {line}");
        });
    }
}

#[test]
fn a_file_that_is_linked_in_opened_and_unlinked_again_is_not_read() {
    let disk = Disk::new();
    disk.put("file skills/me/x");
    let root = disk.0.path().to_owned();
    let act = move |step| match step {
        Step::Looked => replace(&root, "hardlink @outside/secret"),
        // Now what was opened has one link: the one outside.
        Step::Opened => replace(&root, "file"),
        _ => {}
    };
    let came = meanwhile(act, || ask(&disk, &disk.mine(), "read skills x"));
    assert_eq!(came, "busy");
}

#[test]
fn what_is_put_in_a_files_place_while_it_is_written_is_not_followed() {
    let lines = [
        (Step::Drafting, "symlink @outside/secret", "link"),
        (Step::Drafted, "symlink @outside/secret", "link"),
        (Step::Drafted, "symlink @outside/nothing", "link"),
        (Step::Drafted, "hardlink @outside/secret", "link"),
        (Step::Drafted, "folder", "not-a-file"),
        (Step::Drafted, "fifo", "not-a-file"),
        (Step::Drafted, "nothing", "done"),
        // Too late to be seen: the name is replaced, and nothing else.
        (Step::Checked, "symlink @outside/secret", "done"),
        (Step::Checked, "symlink @outside/nothing", "done"),
        (Step::Checked, "hardlink @outside/secret", "done"),
        (Step::Checked, "fifo", "done"),
        (Step::Checked, "folder", "not-a-file"),
    ];
    for (when, line, comes) in lines {
        let disk = Disk::new();
        disk.put("file skills/me/x");
        let others = disk.snapshot(&["outside", "skills/other", "skills/_shared"]);
        let came = meanwhile(swapping(&disk, when, line), || ask(&disk, &disk.mine(), "write skills x"));
        assert_eq!(came, comes, "{when:?} {line}");
        assert_eq!(disk.snapshot(&["outside", "skills/other", "skills/_shared"]), others, "{when:?} {line}");
        assert_eq!(drafts(&disk), Vec::<PathBuf>::new(), "{when:?} {line}");
        assert_eq!(
            fs::metadata(disk.at("outside/secret")).unwrap().nlink(),
            if came == "link" && line.starts_with("hard") { 2 } else { 1 }
        );
    }
}

#[test]
fn a_link_that_takes_a_new_folders_place_is_not_entered() {
    for (line, comes) in [
        ("symlink @outside/dir", "link"),
        ("symlink @outside/nothing", "link"),
        ("file", "not-a-folder"),
        ("fifo", "not-a-folder"),
        ("folder", "done"),
    ] {
        let disk = Disk::new();
        let outside = disk.snapshot(&["outside"]);
        let act = swapping(&disk, Step::Counted, line);
        let came = meanwhile(act, || ask(&disk, &disk.mine(), "write skills x/y/z"));
        assert_eq!(came, comes, "{line}");
        assert_eq!(disk.snapshot(&["outside"]), outside, "{line}");
    }
}

#[test]
fn a_crash_at_any_step_leaves_the_old_file_or_the_new_one() {
    for (crash, found) in [
        (Step::Counted, "= inside"),
        (Step::Drafting, "= inside"),
        (Step::Drafted, "= inside"),
        (Step::Checked, "= inside"),
        (Step::Renamed, "= written"),
    ] {
        let disk = Disk::new();
        disk.put("file skills/me/a/x");
        let dying = move |step| {
            if step == crash {
                resume_unwind(Box::new("the process dies"));
            }
        };
        let files = disk.mine();
        let died =
            catch_unwind(AssertUnwindSafe(|| meanwhile(dying, || files.write(Root::Skills, "a/x", TEXT.as_bytes()))));
        assert!(died.is_err(), "{crash:?}");
        let left = usize::from([Step::Drafting, Step::Drafted, Step::Checked].contains(&crash));
        assert_eq!(drafts(&disk).len(), left, "{crash:?}");

        assert_eq!(ask(&disk, &files, "list skills a"), "x", "{crash:?}");
        assert_eq!(ask(&disk, &files, "read skills a/x"), found, "{crash:?}");
        // Any write of this agent clears up, wherever it is.
        assert_eq!(ask(&disk, &files, "write skills elsewhere"), "done", "{crash:?}");
        assert_eq!(drafts(&disk), Vec::<PathBuf>::new(), "{crash:?}");
    }
}

#[test]
fn a_leftover_does_not_keep_its_folder() {
    let disk = Disk::new();
    disk.file(&format!("skills/me/a/{DRAFT}1-0"), b"half");
    assert_eq!(ask(&disk, &disk.mine(), "list skills a"), "");
    assert_eq!(ask(&disk, &disk.mine(), "remove skills a"), "done");
}

#[test]
fn a_file_that_shrinks_or_grows_while_it_is_read_gives_what_was_there() {
    let disk = Disk::new();
    for (to, comes) in [(3, "ins"), (1 << 30, "inside"), (0, "")] {
        disk.file("skills/me/x", b"inside");
        let path = disk.at("skills/me/x");
        let act = move |step| {
            if step == Step::Opened {
                fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(to).unwrap();
            }
        };
        let bytes = meanwhile(act, || disk.mine().read(Root::Skills, "x", 0, 6)).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), comes, "{to}");
    }
}
