//! What a case expects.

use std::collections::BTreeMap;

use crate::case::Case;
use crate::expect::{Expected, ExpectedGate, ExpectedRoute, ExpectedVerdict, Words};
use crate::node::{Node, Value};
use crate::section::{Report, Section};

const KEYS: [&str; 10] = ["problems", "route", "select", "render", "gate", "filter", "reward", "kv", "files", "log"];

pub(super) fn read(case_section: &Section<'_>, case: &mut Case, report: &mut Report) {
    let Some((node, path)) = case_section.get("expect") else {
        report.add(
            case_section.place,
            &case_section.path,
            "the case expects nothing; write `expect:` with what must come",
        );
        return;
    };
    let Some(section) = report.section(node, &path, &KEYS) else { return };
    let expect = &mut case.expect;
    expect.problems = section.read("problems", |node, at| report.texts(node, at));
    expect.route = section.read("route", |node, at| read_answer(node, at, report, read_route));
    expect.select = section.read("select", |node, at| read_answer(node, at, report, |n, at, r| r.texts(n, at)));
    expect.render = section.read("render", |node, at| read_answer(node, at, report, read_words));
    expect.filter = section.read("filter", |node, at| read_answer(node, at, report, read_verdict));
    expect.reward = section.read("reward", |node, at| read_answer(node, at, report, read_reward));
    if let Some((node, at)) = section.get("gate") {
        // One answer need not be a list.
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        expect.gate.extend(items.iter().filter_map(|item| read_answer(item, &at, report, read_gate)));
        if items.len() != case.calls.len() {
            let message = format!("there are {} calls, and {} answers are expected", case.calls.len(), items.len());
            report.add(node.place, &at, message);
        }
    }
    expect.kv = read_kept(&section, "kv", report);
    expect.files = read_kept(&section, "files", report);
    for (path, node) in section.get("files").and_then(|(node, at)| report.entries(node, &at)).unwrap_or_default() {
        if !["skills/", "shared/", "lora/"].iter().any(|root| path.name.starts_with(root)) {
            report.wrong(node, &section.at("files"), "under a path that begins with skills/, shared/ or lora/");
        }
    }
    expect.log = section.read("log", |node, at| report.texts(node, at)).unwrap_or_default();
    if case.asks().is_empty() && case.expect.problems.is_none() {
        report.add(
            node.place,
            &path,
            "no hook is asked; expect a `route`, `select`, `render`, `gate`, `filter` or `reward`, or `problems`",
        );
    }
}

type Read<T> = fn(&Node, &str, &mut Report) -> Option<T>;

/// An answer, or `{ fails: code }`.
fn read_answer<T>(node: &Node, path: &str, report: &mut Report, read: Read<T>) -> Option<Expected<T>> {
    match only(node) {
        Some(("fails", code)) => report.text(code, path).map(Expected::Fails),
        _ => read(node, path, report).map(Expected::Is),
    }
}

fn read_route(node: &Node, path: &str, report: &mut Report) -> Option<ExpectedRoute> {
    match (only(node), &node.value) {
        (Some(("refuse", words)), _) => read_words(words, path, report).map(ExpectedRoute::Refuse),
        (_, Value::Text(target)) => Some(ExpectedRoute::To(target.clone())),
        _ => {
            report.wrong(node, path, "`upstream/model`, `{ refuse: words }` or `{ fails: code }`");
            None
        }
    }
}

fn read_gate(node: &Node, path: &str, report: &mut Report) -> Option<ExpectedGate> {
    match (only(node), &node.value) {
        (Some(("deny", words)), _) => read_words(words, path, report).map(ExpectedGate::Deny),
        (Some(("hold", words)), _) => read_words(words, path, report).map(ExpectedGate::Hold),
        (_, Value::Text(word)) if word == "allow" => Some(ExpectedGate::Allow),
        _ => {
            report.wrong(node, path, "`allow`, `{ deny: words }`, `{ hold: words }` or `{ fails: code }`");
            None
        }
    }
}

fn read_verdict(node: &Node, path: &str, report: &mut Report) -> Option<ExpectedVerdict> {
    match (only(node), &node.value) {
        (Some(("drop", words)), _) => read_words(words, path, report).map(ExpectedVerdict::Drop),
        (Some(("keep", Node { value: Value::Bool(true), .. })), _) => Some(ExpectedVerdict::Keep(None)),
        (Some(("keep", weight)), _) => report.number(weight, path).map(Some).map(ExpectedVerdict::Keep),
        (_, Value::Text(word)) if word == "keep" => Some(ExpectedVerdict::Keep(None)),
        _ => {
            report.wrong(node, path, "`keep`, `{ keep: weight }`, `{ drop: reason }` or `{ fails: code }`");
            None
        }
    }
}

fn read_reward(node: &Node, path: &str, report: &mut Report) -> Option<Option<f32>> {
    match &node.value {
        Value::Text(word) if word == "none" => Some(None),
        Value::Integer(_) | Value::Number(_) => report.number(node, path).map(Some),
        _ => {
            report.wrong(node, path, "a number from -1 to 1, `none` or `{ fails: code }`");
            None
        }
    }
}

/// `true`: any; a text: that; `{ contains: words }`: those within.
fn read_words(node: &Node, path: &str, report: &mut Report) -> Option<Words> {
    match (only(node), &node.value) {
        (Some(("contains", words)), _) => report.text(words, path).map(Words::Contain),
        (_, Value::Text(text)) => Some(Words::Are(text.clone())),
        (_, Value::Bool(true)) => Some(Words::Any),
        _ => {
            report.wrong(node, path, "a text, `{ contains: words }`, or true for any");
            None
        }
    }
}

/// Texts by key; `null`: nothing is there.
fn read_kept(section: &Section<'_>, name: &str, report: &mut Report) -> BTreeMap<String, Option<String>> {
    let mut kept = BTreeMap::new();
    let Some((node, at)) = section.get(name) else { return kept };
    for (key, value) in report.entries(node, &at).unwrap_or_default() {
        let text = if value.is_null() { None } else { report.text(value, &format!("{at}.{}", key.name)) };
        kept.insert(key.name.clone(), text);
    }
    kept
}

/// The one entry of a section that has just one.
fn only(node: &Node) -> Option<(&str, &Node)> {
    match &node.value {
        Value::Map(entries) if entries.len() == 1 => Some((&entries[0].0.name, &entries[0].1)),
        _ => None,
    }
}
