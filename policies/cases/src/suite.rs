//! A file of cases: reading it, and laying what its `defaults:` say beneath each case.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::case::Suite;
use crate::node::{self, Key, Node, Value, quote};
use crate::problem::{Problem, Problems};
use crate::read::{CASE_KEYS, read_case};
use crate::section::Report;

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// Sections in which a case's keys are laid over those of the defaults; every other key replaces the default's whole.
const MERGED: [&str; 3] = ["turn", "sample", "within"];
/// Two ways to say one thing: a case that says it one way does not inherit the other.
const ALTERNATIVES: [&str; 2] = ["user", "messages"];
/// What only a case can have.
const NOT_DEFAULTS: [&str; 2] = ["name", "expect"];

impl Suite {
    /// Reads a file; `skills: ./folder` in it is relative to its own folder.
    pub fn read(file: &Path) -> Result<Suite, Problems> {
        let mut text = String::new();
        let opened = File::open(file).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
        let about_the_file = |message: String| {
            let problem = Problem { line: 0, column: 0, path: String::new(), message };
            Problems::new(file.to_owned(), vec![problem])
        };
        match opened {
            Ok(length) if length as u64 > MAX_BYTES => {
                Err(about_the_file(format!("the file has more than {} MiB; split it", MAX_BYTES >> 20)))
            }
            Ok(_) => Suite::parse(&text, file),
            Err(error) => Err(about_the_file(format!("the file cannot be read: {error}"))),
        }
    }

    /// Reads the text of `file`, which itself need not exist.
    pub fn parse(text: &str, file: &Path) -> Result<Suite, Problems> {
        let mut report = Report::default();
        let suite = match node::parse(text) {
            Ok(root) => read_suite(&root, file.parent().unwrap_or(Path::new("")), &mut report),
            Err(problem) => {
                report.problems.push(problem);
                None
            }
        };
        match suite.filter(|_| report.problems.is_empty()) {
            Some(suite) => Ok(suite),
            None => Err(Problems::new(file.to_owned(), report.problems)),
        }
    }
}

fn read_suite(root: &Node, folder: &Path, report: &mut Report) -> Option<Suite> {
    let section = report.section(root, "", &["defaults", "cases"])?;
    let defaults = section.get("defaults").and_then(|(node, path)| {
        let known: Vec<&str> = CASE_KEYS.into_iter().filter(|key| !NOT_DEFAULTS.contains(key)).collect();
        report.section(node, &path, &known)?;
        Some(node)
    });
    let Some((node, path)) = section.get("cases") else {
        report.add(root.place, "cases", "there are no cases; write a list of them");
        return None;
    };
    let items = report.list(node, &path)?;
    if items.is_empty() {
        report.wrong(node, &path, "a list with a case in it");
    }
    let mut suite = Suite { cases: Vec::with_capacity(items.len()) };
    for (at, item) in items.iter().enumerate() {
        let path = format!("cases[{at}]");
        let whole = match defaults {
            Some(defaults) => over(item, defaults),
            None => item.clone(),
        };
        let Some(case) = read_case(&whole, &path, folder, report) else { continue };
        if let Some(first) = suite.cases.iter().find(|other| other.name == case.name) {
            let message = format!("the name {} is that of line {} already", quote(&case.name), first.line);
            report.add(item.place, &path, message);
        }
        suite.cases.push(case);
    }
    Some(suite)
}

/// A case with the defaults beneath it.
fn over(case: &Node, defaults: &Node) -> Node {
    let (Value::Map(own), Value::Map(default)) = (&case.value, &defaults.value) else { return case.clone() };
    // The last of these is what the case itself says of the targets.
    let says_targets = find(own, "targets").or_else(|| entries_of(find(own, "turn")?).and_then(|t| find(t, "targets")));
    let mut merged: Vec<(Key, Node)> = own.clone();
    for (key, beneath) in default {
        let name = key.name.as_str();
        match merged.iter_mut().find(|(own, _)| own.name == name) {
            Some((_, node)) if MERGED.contains(&name) => *node = beside(node, beneath),
            Some(_) => {}
            None if name == "targets" && says_targets.is_some() => {}
            None => merged.push((key.clone(), beneath.clone())),
        }
    }
    Node { place: case.place, value: Value::Map(merged) }
}

/// The keys of `own`, and those of `beneath` that it does not have.
fn beside(own: &Node, beneath: &Node) -> Node {
    let (Some(own_entries), Some(default)) = (entries_of(own), entries_of(beneath)) else { return own.clone() };
    let speaks = own_entries.iter().any(|(key, _)| ALTERNATIVES.contains(&key.name.as_str()));
    let mut merged = own_entries.to_vec();
    for (key, node) in default {
        let says_otherwise = speaks && ALTERNATIVES.contains(&key.name.as_str());
        if find(own_entries, &key.name).is_none() && !says_otherwise {
            merged.push((key.clone(), node.clone()));
        }
    }
    Node { place: own.place, value: Value::Map(merged) }
}

fn entries_of(node: &Node) -> Option<&[(Key, Node)]> {
    match &node.value {
        Value::Map(entries) => Some(entries),
        _ => None,
    }
}

fn find<'n>(entries: &'n [(Key, Node)], name: &str) -> Option<&'n Node> {
    entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
}
