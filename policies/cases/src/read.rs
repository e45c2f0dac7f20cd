//! A case, from its section.

use std::collections::BTreeMap;
use std::path::Path;

use crate::case::{Case, Files, Hit, Message, Sample, Target, ToolCall, Turn};
use crate::expect::Expect;
use crate::node::{Node, Value, quote};
use crate::section::{Report, Section};
use crate::units;
use crate::within::Within;

mod expectation;

/// Every key of a case.
pub(crate) const CASE_KEYS: [&str; 13] = [
    "name", "config", "turn", "targets", "skills", "search", "selected", "kv", "files", "calls", "sample", "expect",
    "within",
];
const TURN_KEYS: [&str; 12] = [
    "agent",
    "session",
    "index",
    "kind",
    "mode",
    "received",
    "model",
    "user",
    "messages",
    "tools",
    "targets",
    "body_size",
];
const SAMPLE_KEYS: [&str; 10] = [
    "model",
    "user",
    "messages",
    "answer",
    "finish",
    "prompt_tokens",
    "completion_tokens",
    "skills",
    "calls",
    "has_tokens",
];
/// 2026-01-01T00:00:00Z.
const USUAL_TIME: u64 = 1_767_225_600_000;
const USUAL_WORDS: &str = "Hello.";

pub(crate) fn read_case(node: &Node, path: &str, folder: &Path, report: &mut Report) -> Option<Case> {
    let section = report.section(node, path, &CASE_KEYS)?;
    let name = section.read("name", |node, at| report.text(node, at));
    if section.get("name").is_none() {
        report.add(section.place, path, "the case has no name; write `name: what it shows`");
    }
    let turn = read_turn(&section, report);
    let skills = section.read("skills", |node, at| crate::skills::read_skills(node, at, folder, report));
    let sample = read_sample(&section, &turn, report);
    let calls = section.read("calls", |node, at| read_calls(node, at, report)).unwrap_or_default();
    let mut case = Case {
        name: name.unwrap_or_default(),
        line: node.place.line,
        config: serde_json::Map::new(),
        turn,
        skills: skills.unwrap_or_default(),
        search: BTreeMap::new(),
        selected: section.read("selected", |node, at| report.texts(node, at)),
        kv: BTreeMap::new(),
        files: section.read("files", |node, at| read_files(node, at, report)).unwrap_or_default(),
        calls,
        sample,
        expect: Expect::default(),
        within: section.read("within", |node, at| read_within(node, at, report)).unwrap_or_default(),
    };
    if let Some((node, at)) = section.get("config") {
        match node.to_json() {
            Some(serde_json::Value::Object(config)) => case.config = config,
            _ => report.wrong(node, &at, "a section of finite values"),
        }
    }
    if let Some((node, at)) = section.get("kv") {
        for (key, value) in report.entries(node, &at)? {
            let text = report.text(value, &format!("{at}.{}", key.name)).unwrap_or_default();
            case.kv.insert(key.name.clone(), text.into_bytes());
        }
    }
    read_search(&section, &mut case, report);
    expectation::read(&section, &mut case, report);
    Some(case)
}

fn read_turn(case: &Section<'_>, report: &mut Report) -> Turn {
    let mut turn = Turn {
        agent: "_default".to_owned(),
        session: "session-1".to_owned(),
        index: 0,
        kind: "main".to_owned(),
        mode: "skills_only".to_owned(),
        received_at: USUAL_TIME,
        requested_model: String::new(),
        user_text: String::new(),
        body_size: 0,
        messages: Vec::new(),
        tools: Vec::new(),
        targets: Vec::new(),
    };
    let mut size = None;
    let mut targets = case.read("targets", |node, at| read_targets(node, at, report));
    if let Some(section) = case.get("turn").and_then(|(node, at)| report.section(node, &at, &TURN_KEYS)) {
        let mut text = |key: &str, place: &mut String| {
            if let Some(text) = section.read(key, |node, at| report.text(node, at)) {
                *place = text;
            }
        };
        text("agent", &mut turn.agent);
        text("session", &mut turn.session);
        text("model", &mut turn.requested_model);
        let kind = section.read("kind", |node, at| report.choice(node, at, &["main", "side"]));
        let mode = section.read("mode", |node, at| report.choice(node, at, &["skills_only", "rl", "auto"]));
        turn.kind = kind.unwrap_or(turn.kind);
        turn.mode = mode.unwrap_or(turn.mode);
        turn.index = section.read("index", |node, at| report.whole(node, at)).unwrap_or_default();
        turn.received_at = section.read("received", |node, at| read_time(node, at, report)).unwrap_or(USUAL_TIME);
        turn.tools = section.read("tools", |node, at| report.texts(node, at)).unwrap_or_default();
        targets = section.read("targets", |node, at| read_targets(node, at, report)).or(targets);
        turn.messages = read_words(&section, report).unwrap_or_default();
        size = section.read("body_size", |node, at| report.whole(node, at));
    }
    if turn.messages.is_empty() {
        turn.messages = vec![message("user", USUAL_WORDS)];
    }
    turn.user_text = last_user_text(&turn.messages);
    turn.body_size = size.unwrap_or_else(|| turn.messages.iter().map(|message| message.text.len() as u64).sum());
    turn.targets = targets.unwrap_or_else(|| vec![target("local/small"), target("cloud/large")]);
    turn
}

fn read_sample(case: &Section<'_>, turn: &Turn, report: &mut Report) -> Sample {
    let mut sample = Sample {
        agent: turn.agent.clone(),
        session: turn.session.clone(),
        received_at: turn.received_at,
        model: turn.targets.first().map(|target| target.model.clone()).unwrap_or_default(),
        user_text: turn.user_text.clone(),
        messages: turn.messages.clone(),
        answer: "An answer.".to_owned(),
        finish_reason: "stop".to_owned(),
        prompt_tokens: 0,
        completion_tokens: 0,
        skills: Vec::new(),
        calls: Vec::new(),
        has_tokens: false,
    };
    let Some(section) = case.get("sample").and_then(|(node, at)| report.section(node, &at, &SAMPLE_KEYS)) else {
        return sample;
    };
    let mut text = |key: &str, place: &mut String| {
        if let Some(text) = section.read(key, |node, at| report.text(node, at)) {
            *place = text;
        }
    };
    text("model", &mut sample.model);
    text("answer", &mut sample.answer);
    text("finish", &mut sample.finish_reason);
    if let Some(messages) = read_words(&section, report) {
        sample.user_text = last_user_text(&messages);
        sample.messages = messages;
    }
    sample.prompt_tokens = section.read("prompt_tokens", |node, at| report.whole(node, at)).unwrap_or_default();
    sample.completion_tokens = section.read("completion_tokens", |node, at| report.whole(node, at)).unwrap_or_default();
    sample.skills = section.read("skills", |node, at| report.texts(node, at)).unwrap_or_default();
    sample.calls = section.read("calls", |node, at| read_calls(node, at, report)).unwrap_or_default();
    sample.has_tokens = section.read("has_tokens", |node, at| report.yes(node, at)).unwrap_or_default();
    sample
}

/// `user: words`, or `messages:`.
fn read_words(section: &Section<'_>, report: &mut Report) -> Option<Vec<Message>> {
    let messages = section.read("messages", |node, at| {
        let mut messages = Vec::new();
        for item in report.list(node, at)? {
            match &item.value {
                Value::Map(entries) if entries.len() == 1 => {
                    let (role, words) = &entries[0];
                    let text = report.text(words, at).unwrap_or_default();
                    messages.push(message(&role.name, &text));
                }
                _ => report.wrong(item, at, "a message: write `{ user: words }`"),
            }
        }
        Some(messages)
    });
    let user = section.read("user", |node, at| report.text(node, at));
    match (messages, user) {
        (Some(_), Some(_)) => {
            report.add(section.place, &section.at("user"), "`user` is short for `messages`: write one of them");
            None
        }
        (Some(messages), None) => Some(messages),
        (None, Some(words)) => Some(vec![message("user", &words)]),
        (None, None) => None,
    }
}

fn read_time(node: &Node, path: &str, report: &mut Report) -> Option<u64> {
    let time = match &node.value {
        Value::Integer(milliseconds) => u64::try_from(*milliseconds).ok(),
        Value::Text(text) => units::time(text),
        _ => None,
    };
    if time.is_none() {
        report.wrong(node, path, "a time such as 2026-11-20T12:00:00Z");
    }
    time
}

fn read_targets(node: &Node, path: &str, report: &mut Report) -> Option<Vec<Target>> {
    let targets: Vec<Target> = report.texts(node, path)?.iter().map(|text| target(text)).collect();
    if targets.is_empty() || targets.iter().any(|target| target.upstream.is_empty()) {
        report.wrong(node, path, "a list of `upstream/model` with one at least");
        return None;
    }
    Some(targets)
}

fn read_calls(node: &Node, path: &str, report: &mut Report) -> Option<Vec<ToolCall>> {
    let mut calls = Vec::new();
    for (at, item) in report.list(node, path)?.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let section = report.section(item, &path, &["id", "name", "arguments"])?;
        let id = section.read("id", |node, at| report.text(node, at)).unwrap_or_else(|| format!("call-{}", at + 1));
        let arguments = section.read("arguments", |node, at| report.json_text(node, at));
        let Some(name) = section.read("name", |node, at| report.text(node, at)) else {
            report.add(item.place, &path, "the call has no tool; write `name: …`");
            continue;
        };
        calls.push(ToolCall { id, name, arguments: arguments.unwrap_or_else(|| "{}".to_owned()) });
    }
    Some(calls)
}

fn read_files(node: &Node, path: &str, report: &mut Report) -> Option<Files> {
    let section = report.section(node, path, &["skills", "shared", "lora"])?;
    let mut root = |name: &str| {
        let mut texts = BTreeMap::new();
        let Some((node, at)) = section.get(name) else { return texts };
        for (key, value) in report.entries(node, &at).unwrap_or_default() {
            if key.name.split('/').any(|part| matches!(part, "" | "." | "..")) {
                let message = format!("{} is not a path in the folder, such as notes/today.txt", quote(&key.name));
                report.add(key.place, &at, message);
            }
            let text = report.text(value, &at).unwrap_or_default();
            texts.insert(key.name.clone(), text);
        }
        texts
    };
    Some(Files { skills: root("skills"), shared: root("shared"), lora: root("lora") })
}

fn read_search(section: &Section<'_>, case: &mut Case, report: &mut Report) {
    let Some((node, path)) = section.get("search") else { return };
    for (query, found) in report.entries(node, &path).unwrap_or_default() {
        let items = report.list(found, &path).unwrap_or_default();
        let mut hits = Vec::new();
        for (at, item) in items.iter().enumerate() {
            // The first of three names has the score 3, so that scores fall where only an order is meant.
            let usual = f32::from(u16::try_from(items.len() - at).unwrap_or(u16::MAX));
            let hit = match &item.value {
                Value::Map(_) => report.section(item, &path, &["name", "score"]).and_then(|section| {
                    let name = section.read("name", |node, at| report.text(node, at))?;
                    let score = section.read("score", |node, at| report.number(node, at)).unwrap_or(usual);
                    Some(Hit { name, score })
                }),
                _ => report.text(item, &path).map(|name| Hit { name, score: usual }),
            };
            let Some(hit) = hit else { continue };
            if case.skill(&hit.name).is_none() {
                report.wrong(item, &path, "a skill of this case");
            }
            if hit.score <= 0.0 || hit.score.is_nan() {
                report.wrong(item, &path, "a hit: its score must be greater than 0");
            }
            hits.push(hit);
        }
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        case.search.insert(query.name.clone(), hits);
    }
}

fn read_within(node: &Node, path: &str, report: &mut Report) -> Option<Within> {
    let section = report.section(node, path, &["fuel", "memory"])?;
    let fuel = section.read("fuel", |node, at| report.whole(node, at));
    let memory = section.read("memory", |node, at| {
        let size = match &node.value {
            Value::Integer(bytes) => u64::try_from(*bytes).ok(),
            Value::Text(text) => units::size(text),
            _ => None,
        };
        if size.is_none() {
            report.wrong(node, at, "a size such as 2MiB");
        }
        size
    });
    Some(Within { fuel, memory })
}

fn message(role: &str, text: &str) -> Message {
    Message { role: role.to_owned(), text: text.to_owned() }
}

fn last_user_text(messages: &[Message]) -> String {
    let last = messages.iter().rev().find(|message| message.role == "user");
    last.map(|message| message.text.clone()).unwrap_or_default()
}

fn target(text: &str) -> Target {
    let (upstream, model) = text.split_once('/').unwrap_or((text, ""));
    Target { upstream: upstream.to_owned(), model: model.to_owned() }
}
