//! The table of promises names tests that exist.

use std::fs;
use std::path::{Path, PathBuf};

/// A test's path as the table writes it: `…` ends a name that goes on, `{a, b}` are several.
fn is_there(name: &str, sources: &[(PathBuf, String)]) -> bool {
    let parts: Vec<&str> = name.split("::").collect();
    let (home, rest) = parts.split_first().unwrap();
    // A crate, or else a file of this one.
    let own = sources.iter().filter(|(path, _)| path.components().any(|part| part.as_os_str() == *home));
    let own: Vec<_> =
        own.chain(sources.iter().filter(|(path, _)| path.file_stem().is_some_and(|s| s == *home))).collect();
    let defines = |part: &str| match part.strip_suffix('…') {
        Some("") => true,
        Some(begins) => own.iter().any(|(_, text)| text.contains(&format!("fn {begins}"))),
        None => own.iter().any(|(path, text)| {
            let is_file = path.file_stem().is_some_and(|stem| stem == part) || path.iter().any(|p| p == part);
            is_file
                || [format!("fn {part}("), format!("mod {part}"), format!("{part}: {{")]
                    .iter()
                    .any(|d| text.contains(d))
        }),
    };
    let each = |part: &&str| {
        let inner = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        inner.map_or(defines(part), |inner| inner.split(',').all(|one| defines(one.trim())))
    };
    !own.is_empty() && rest.iter().all(each)
}

fn sources(folder: &Path, into: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        if entry.is_dir() && name != "target" && name != "node_modules" {
            sources(&entry, into);
        } else if name.ends_with(".rs") {
            let inner = entry.strip_prefix(tests::root()).unwrap().to_owned();
            into.push((inner, fs::read_to_string(&entry).unwrap()));
        }
    }
}

/// What stands in backticks and is the name of a test, or of a file of tests.
fn named(table: &str) -> Vec<&str> {
    let code = table.lines().filter(|line| line.starts_with("| ")).flat_map(|line| line.split('`').skip(1).step_by(2));
    code.filter(|code| !code.contains(' ') || code.contains('{')).collect()
}

#[test]
fn what_is_named_here_is_there() {
    let root = tests::root();
    let table = fs::read_to_string(root.join("tests/PROMISES.md")).unwrap();
    let mut all = Vec::new();
    for folder in ["host", "tests"] {
        sources(&root.join(folder), &mut all);
    }
    let (mut tests, mut missing) = (0, Vec::new());
    for name in named(&table) {
        let found = if name.contains("::") {
            is_there(name, &all)
        } else if name.ends_with(".rs") {
            ["", "host", "tests"].iter().any(|folder| root.join(folder).join(name).is_file())
        } else {
            continue;
        };
        tests += 1;
        if !found {
            missing.push(name);
        }
    }
    assert!(tests > 90, "{tests} names were found in the table");
    assert!(missing.is_empty(), "the table names what is not there: {missing:#?}");
    for id in ["T1", "T2", "T3", "T4", "T5", "E1", "E2", "E3", "H1", "H2", "H3", "H4", "S1", "S2", "S3"] {
        assert!(table.contains(&format!("\n| {id} |")), "{id} has no row");
    }
    assert!(!is_there("admin::no_such_test", &all) && !is_there("nowhere::…", &all), "it can tell");
}
