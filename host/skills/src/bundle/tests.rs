//! Bundles as strangers may make them.

use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

fn skill(name: &str) -> Vec<u8> {
    format!("---\nname: {name}\ndescription: Use for {name}\n---\n\nDo it.\n").into_bytes()
}

/// A zip archive of these files; a path that ends with `/` is a folder.
fn zip(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, bytes) in files {
        if path.ends_with('/') {
            zip.add_directory(*path, SimpleFileOptions::default()).unwrap();
        } else {
            zip.start_file(*path, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
    }
    zip.finish().unwrap().into_inner()
}

/// A tar archive of one entry of this kind, its path written as it is, behind a good skill.
fn tar_with(kind: EntryType, path: &str, bytes: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (kind, path, bytes) in [(EntryType::Regular, "good/SKILL.md", &skill("good")[..]), (kind, path, bytes)] {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        if matches!(kind, EntryType::Link | EntryType::Symlink) {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// What comes of these bytes as a file: names of the skills and how much was left out, or the error's words.
fn read(bytes: &[u8]) -> Result<(Vec<String>, usize), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle.skill");
    fs::write(&path, bytes).unwrap();
    outcome(Bundle::read(&path))
}

fn outcome(read: Result<Bundle, BundleError>) -> Result<(Vec<String>, usize), String> {
    let bundle = read.map_err(|error| error.to_string())?;
    Ok((bundle.skills.iter().map(|skill| skill.name.to_string()).collect(), bundle.left_out))
}

fn two() -> Result<(Vec<String>, usize), String> {
    Ok((vec!["tides".into(), "wind".into()], 1))
}

#[test]
fn skills_come_from_zip_tar_and_folders_and_what_is_beside_them_stays_there() {
    let files = [
        ("pack/", vec![]),
        ("pack/wind/SKILL.md", skill("wind")),
        ("pack/tides/SKILL.md", b"---\ndescription: named by its folder\n---\n\nDo it.\n".to_vec()),
        ("pack/tides/scripts/run.sh", b"rm -rf ~".to_vec()),
    ];
    assert_eq!(read(&zip(&files)), two());
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files.iter().filter(|(path, _)| !path.ends_with('/')) {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append_data(&mut header, path, &bytes[..]).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    assert_eq!(read(&tar), two());
    assert_eq!(read(&gzip(&tar)), two());
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in &files[1..] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(outcome(Bundle::read(folder.path())), two());
    // One skill alone is called as its archive, when it does not say its name.
    assert_eq!(read(&zip(&[("SKILL.md", skill("wind"))])), Ok((vec!["wind".into()], 0)));
    assert_eq!(read(&zip(&[("SKILL.md", files[2].1.clone())])), Ok((vec!["bundle".into()], 0)));
}

#[test]
fn what_is_not_what_skills_consist_of_is_refused_whole() {
    let entry = |path: &str| zip(&[("good/SKILL.md", skill("good")), (path, skill("bad"))]);
    let linked = |target: &str| {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.add_symlink("link/SKILL.md", target, SimpleFileOptions::default()).unwrap();
        zip.finish().unwrap().into_inner()
    };
    let elsewhere = "has a path that leads elsewhere";
    let device = "is neither a file nor a folder";
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (entry("../bad/SKILL.md"), elsewhere),
        (entry("bad/../../SKILL.md"), elsewhere),
        (entry("/bad/SKILL.md"), elsewhere),
        (entry("bad//SKILL.md"), elsewhere),
        (entry("bad\\..\\SKILL.md"), elsewhere),
        (entry("C:/bad/SKILL.md"), elsewhere),
        (entry("bad\u{1b}[2J/SKILL.md"), "bad\\u{1b}[2J"),
        (entry("GOOD/skill.MD"), "is there twice"),
        (linked("/etc/passwd"), "is a link"),
        (linked("../good/SKILL.md"), "is a link"),
        (tar_with(EntryType::Symlink, "bad/SKILL.md", b""), "is a link"),
        (tar_with(EntryType::Link, "bad/SKILL.md", b""), "is a link"),
        (tar_with(EntryType::Char, "bad/SKILL.md", b""), device),
        (tar_with(EntryType::Block, "bad/SKILL.md", b""), device),
        (tar_with(EntryType::Fifo, "bad/SKILL.md", b""), device),
        (tar_with(EntryType::GNUSparse, "bad/SKILL.md", b""), "cannot be read"),
        (tar_with(EntryType::Regular, "../bad/SKILL.md", b"x"), elsewhere),
        (tar_with(EntryType::Regular, "/bad/SKILL.md", b"x"), elsewhere),
        (tar_with(EntryType::Regular, "bad/SKILL.md", b"no front matter"), "does not begin with `---`"),
        (zip(&[("a/SKILL.md", skill("same")), ("b/SKILL.md", skill("same"))]), "are both called `same`"),
        (zip(&[("a/README.md", vec![])]), "holds no SKILL.md"),
        (b"PK\x03\x04 and no more".to_vec(), "cannot be read"),
        (gzip(b"no tar at all, but long enough for a header of one"), "cannot be read"),
        (b"#!/bin/sh".to_vec(), "is neither a folder nor"),
        (vec![], "is neither a folder nor"),
    ];
    for (at, (bytes, words)) in cases.iter().enumerate() {
        let error = read(bytes).unwrap_err();
        assert!(error.contains(words) && !error.contains(char::is_control), "{at}: {error}");
    }
}

#[test]
fn every_bound_holds_at_its_number() {
    let many = |n: usize| {
        let mut files = vec![("s/SKILL.md".to_owned(), skill("s"))];
        files.extend((1..n).map(|at| (format!("s/{at}"), vec![])));
        zip(&files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect::<Vec<_>>())
    };
    assert_eq!(read(&many(MAX_ENTRIES)), Ok((vec!["s".into()], MAX_ENTRIES - 1)));
    assert!(read(&many(MAX_ENTRIES + 1)).unwrap_err().contains("more than 1000"));

    let deep = |n: usize| zip(&[(&format!("{}SKILL.md", "d/".repeat(n - 1)), skill("s"))]);
    assert!(read(&deep(MAX_DEPTH)).is_ok());
    assert!(read(&deep(MAX_DEPTH + 1)).unwrap_err().contains("lies too deep"));

    let long = |n: usize| {
        let mut bytes = skill("s");
        bytes.resize(n, b'x');
        bytes
    };
    let most = usize::try_from(MAX_FILE_BYTES).unwrap();
    assert!(read(&zip(&[("s/SKILL.md", long(most))])).is_ok());
    assert!(read(&zip(&[("s/SKILL.md", long(most + 1))])).unwrap_err().contains("at most 262144"));
    assert!(read(&gzip(&tar_with(EntryType::Regular, "s/SKILL.md", &long(most + 1)))).unwrap_err().contains("262144"));

    // Zeros pack a thousand times smaller.
    let zeros = vec![0; 8 << 20];
    assert!(
        read(&zip(&[("s/SKILL.md", skill("s")), ("s/bomb", zeros.clone())]))
            .unwrap_err()
            .contains("times its own size")
    );
    let bomb = gzip(&tar_with(EntryType::Regular, "s/bomb", &zeros));
    assert!(read(&bomb).unwrap_err().contains("times its own size"));
    let mut large = tar_with(EntryType::Regular, "s/data", &[7; 100]);
    large.resize(usize::try_from(MAX_ARCHIVE).unwrap(), 0);
    assert_eq!(read(&large), Ok((vec!["good".into()], 1)));
    large.push(0);
    assert!(read(&large).unwrap_err().contains("at most 16777216"));
}

#[test]
fn no_link_and_no_device_in_a_folder_is_opened() {
    let make = |what: &dyn Fn(&PathBuf)| {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("bad");
        fs::create_dir_all(&inner).unwrap();
        what(&inner);
        outcome(Bundle::read(folder.path())).unwrap_err()
    };
    assert!(make(&|dir| symlink("/etc/passwd", dir.join("SKILL.md")).unwrap()).contains("is a link"));
    assert!(make(&|dir| symlink("/etc", dir.join("more")).unwrap()).contains("is a link"));
    let fifo = |dir: &PathBuf| {
        let path = dir.join("SKILL.md");
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    assert!(make(&fifo).contains("is neither a file nor a folder"));
    let hard = |dir: &PathBuf| {
        fs::write(dir.join("other.md"), skill("x")).unwrap();
        fs::hard_link(dir.join("other.md"), dir.join("SKILL.md")).unwrap();
    };
    assert!(make(&hard).contains("hard links"));
}
