//! What does not belong on a shelf is not followed, not read and not written.

use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, mknodat};

use super::*;

#[test]
fn a_file_that_was_changed_is_not_read() {
    let (_dir, shelf) = shelf();
    let digest = shelf.put(&name(1), &files(1)).unwrap();
    let weights = shelf.path(&name(1)).join(WEIGHTS_FILE);
    let whole = fs::read(&weights).unwrap();
    let changed = |what: &str| {
        let error = shelf.read(&name(1), &digest).unwrap_err();
        assert!(matches!(error, ShelfError::Changed { .. }), "{what}: {error}");
    };
    for at in [0, 50_000, 99_999] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&weights, bytes).unwrap();
        changed("one bit");
    }
    fs::write(&weights, &whole[..99_999]).unwrap();
    changed("cut");
    fs::remove_file(&weights).unwrap();
    changed("gone");
    fs::write(&weights, &whole).unwrap();
    assert!(shelf.read(&name(1), &digest).is_ok());
    fs::write(shelf.path(&name(1)).join("more"), "").unwrap();
    changed("one more");
}

#[test]
fn links_pipes_and_second_names_are_refused_where_a_file_should_be() {
    let (dir, shelf) = shelf();
    let digest = shelf.put(&name(1), &files(1)).unwrap();
    let outside = dir.path().join("outside");
    fs::write(&outside, vec![1; 100_000]).unwrap();
    let folder = shelf.path(&name(1));
    let weights = folder.join(WEIGHTS_FILE);
    let refused = |what: &str| {
        // Of both ways to read, neither waits for a pipe nor follows.
        let one = shelf.read(&name(1), &digest).unwrap_err();
        let other = read_folder(&folder).unwrap_err();
        for error in [one, other] {
            assert!(matches!(error, ShelfError::Link { .. } | ShelfError::NotPlain { .. }), "{what}: {error}");
        }
        fs::remove_file(&weights).or_else(|_| fs::remove_dir(&weights)).unwrap();
    };
    fs::remove_file(&weights).unwrap();
    symlink(&outside, &weights).unwrap();
    refused("a link");
    symlink("/no/where", &weights).unwrap();
    refused("a link to nothing");
    fs::hard_link(&outside, &weights).unwrap();
    refused("a second name");
    mknodat(CWD, &weights, FileType::Fifo, 0o600.into(), 0).unwrap();
    refused("a pipe");
    fs::create_dir(&weights).unwrap();
    refused("a folder");
    assert_eq!(fs::read(&outside).unwrap(), vec![1; 100_000]);
}

#[test]
fn folders_that_are_links_are_refused_and_nothing_is_written_through_them() {
    let (dir, shelf) = shelf();
    let digest = shelf.put(&name(1), &files(1)).unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("mine"), "precious").unwrap();
    // A version's folder.
    fs::rename(shelf.path(&name(1)), dir.path().join("elsewhere")).unwrap();
    symlink(dir.path().join("elsewhere"), shelf.path(&name(1))).unwrap();
    assert!(matches!(shelf.read(&name(1), &digest), Err(ShelfError::Link { .. })));
    assert!(matches!(read_folder(&shelf.path(&name(1))), Err(ShelfError::Link { .. })));
    assert!(shelf.list().unwrap().is_empty(), "it is no version");
    shelf.keep_only(&kept(&[])).unwrap();
    assert!(shelf.path(&name(1)).symlink_metadata().is_ok(), "nor ours to remove");
    // A draft's.
    symlink(&outside, shelf.path(&format!(".draft-{}", name(2)))).unwrap();
    assert!(matches!(shelf.put(&name(2), &files(2)), Err(ShelfError::Link { .. })));
    shelf.keep_only(&kept(&[])).unwrap();
    assert!(shelf.put(&name(2), &files(2)).is_ok(), "the link is gone, and not what it led to");
    // `current`.
    symlink(outside.join("mine"), shelf.path("current")).unwrap();
    assert!(matches!(shelf.current(), Err(ShelfError::Link { .. })));
    symlink(outside.join("mine"), shelf.path(".draft-current")).unwrap();
    shelf.set_current(Some(&name(2))).unwrap();
    assert_eq!(shelf.current().unwrap(), Some(name(2)));
    // The shelf itself.
    let linked = Shelf::new(dir.path().join("lora/linked"));
    symlink(&outside, &linked.folder).unwrap();
    assert!(matches!(linked.put(&name(1), &files(1)), Err(ShelfError::Link { .. })));
    assert!(matches!(linked.keep_only(&kept(&[])), Err(ShelfError::Link { .. })));
    assert!(matches!(linked.purge(), Err(ShelfError::Link { .. })));
    let left: Vec<_> = fs::read_dir(&outside).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!((left.len(), fs::read_to_string(outside.join("mine")).unwrap().as_str()), (1, "precious"));
    // An export goes to no place that is taken, be it by a link.
    symlink(dir.path().join("new"), dir.path().join("out.tgz")).unwrap();
    let digest = digest_of(&files(2));
    assert!(shelf.export(&name(2), &digest, &dir.path().join("out.tgz")).is_err());
    symlink(dir.path().join("new"), dir.path().join("out")).unwrap();
    assert!(shelf.export(&name(2), &digest, &dir.path().join("out")).is_err());
    assert!(!dir.path().join("new").exists());
}

#[test]
fn names_and_sizes_are_bounded() {
    let (dir, shelf) = shelf();
    for bad in
        ["", "..", "x", "g000001", "../g000001-5f2a90c4d1be", "g000001-5F2A90C4D1BE", "g1-5f2a90c4d1be", "current"]
    {
        assert!(matches!(shelf.put(bad, &files(1)), Err(ShelfError::Name { .. })), "{bad}");
        assert!(matches!(shelf.set_current(Some(bad)), Err(ShelfError::Name { .. })), "{bad}");
    }
    let digest = shelf.put(&name(1), &files(1)).unwrap();
    assert!(matches!(shelf.read("..", &digest), Err(ShelfError::Name { .. })));
    let long = "x".repeat(65);
    for bad in ["", ".", "..", ".hidden", "a/b", "a\nb", "ü", &long] {
        let refused = shelf.put(&name(2), &[(bad.to_owned(), vec![])]);
        assert!(matches!(refused, Err(ShelfError::FileName { .. })), "{bad:?}");
    }
    let many = |number: usize| (0..number).map(|at| (format!("f{at}"), vec![1])).collect::<Files>();
    let digest = shelf.put(&name(2), &many(MAX_FILES)).unwrap();
    assert!(matches!(shelf.put(&name(3), &many(MAX_FILES + 1)), Err(ShelfError::TooLarge { .. })));
    fs::write(shelf.path(&name(2)).join("more"), "").unwrap();
    assert!(matches!(shelf.read(&name(2), &digest), Err(ShelfError::TooLarge { .. })));
    // A file full of holes takes no room on the disk, and none in memory either.
    let huge = dir.path().join("huge");
    fs::create_dir(&huge).unwrap();
    fs::write(huge.join(CONFIG_FILE), "{}").unwrap();
    fs::File::create(huge.join(WEIGHTS_FILE)).unwrap().set_len(MAX_BYTES).unwrap();
    assert!(matches!(read_folder(&huge), Err(ShelfError::TooLarge { .. })));
    assert!(matches!(Shelf::new("relative".into()).put(&name(1), &files(1)), Err(ShelfError::Relative { .. })));
}
