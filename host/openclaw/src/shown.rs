//! A change as people may see it: which keys, and their values where no secret can be in them.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::plan::PLACEHOLDER;

/// Stands for a value that is not shown.
const DOTS: &str = "•••";

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It comes into being.
    Added,
    /// It gets another value.
    Changed,
    /// It goes.
    Removed,
}

/// One key that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What becomes of it.
    pub change: Change,
    /// The key, with dots.
    pub key: String,
    /// Its value before; dots where a secret may be in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Its value afterwards; dots likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { key, .. } = self;
        match (&self.before, &self.after) {
            (None, Some(after)) => write!(f, "+ {key}: {after}"),
            (Some(before), Some(after)) => write!(f, "~ {key}: {before} → {after}"),
            (before, None) => write!(f, "- {key}: {}", before.as_deref().unwrap_or_default()),
        }
    }
}

/// Every key in which two configurations differ.
pub(crate) fn differences(before: &Value, after: &Value) -> Vec<Line> {
    let mut lines = Vec::new();
    compare(&mut Vec::new(), Some(before), Some(after), &mut lines);
    lines
}

fn compare(path: &mut Vec<String>, before: Option<&Value>, after: Option<&Value>, lines: &mut Vec<Line>) {
    if before == after {
        return;
    }
    match (before, after) {
        (None | Some(Value::Object(_)), None | Some(Value::Object(_))) if !is_empty(before) || !is_empty(after) => {
            let mut keys: Vec<&String> = members(before).chain(members(after)).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                path.push(key.clone());
                compare(path, before.and_then(|v| v.get(key)), after.and_then(|v| v.get(key)), lines);
                path.pop();
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() && by_id(old) && by_id(new) => {
            for (old, new) in old.iter().zip(new) {
                let id = format!("[{}]", new.get("id").and_then(Value::as_str).unwrap_or_default());
                path.push(id);
                compare(path, Some(old), Some(new), lines);
                path.pop();
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if texts(old) && texts(new) => {
            let mut line = |change, item: &Value| {
                let text = Some(shown(path, item));
                let (before, after) = if change == Change::Added { (None, text) } else { (text, None) };
                lines.push(Line { change, key: format!("{}[]", words(path)), before, after });
            };
            old.iter().filter(|item| !new.contains(item)).for_each(|item| line(Change::Removed, item));
            new.iter().filter(|item| !old.contains(item)).for_each(|item| line(Change::Added, item));
        }
        (before, after) => {
            let change = match (before, after) {
                (None, _) => Change::Added,
                (_, None) => Change::Removed,
                _ => Change::Changed,
            };
            let text = |value: Option<&Value>| value.map(|value| shown(path, value));
            lines.push(Line { change, key: words(path), before: text(before), after: text(after) });
        }
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    value.and_then(Value::as_object).is_none_or(serde_json::Map::is_empty)
}

fn members(value: Option<&Value>) -> impl Iterator<Item = &String> {
    value.and_then(Value::as_object).into_iter().flat_map(|members| members.keys())
}

fn by_id(items: &[Value]) -> bool {
    items.iter().all(|item| item.get("id").is_some_and(Value::is_string))
}

fn texts(items: &[Value]) -> bool {
    items.iter().all(Value::is_string)
}

fn words(path: &[String]) -> String {
    path.join(".").replace(".[", "[")
}

/// A value without anything that could be a secret: a text is shown only where what stands there is known.
fn shown(path: &[String], value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) if is_harmless(path, text) => value.to_string(),
        Value::Array(items) if !items.is_empty() && by_id(items) => {
            let ids: Vec<&str> = items.iter().filter_map(|item| item.get("id")?.as_str()).collect();
            format!("[{}]", ids.join(", "))
        }
        Value::Array(items) if texts(items) => {
            let items: Vec<String> = items.iter().map(|item| shown(path, item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        _ => DOTS.to_owned(),
    }
}

fn is_harmless(path: &[String], text: &str) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let variable = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    if text == PLACEHOLDER || variable.is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')) {
        return true;
    }
    match path.as_slice() {
        ["agents", .., "model" | "primary" | "fallbacks"] | ["plugins", "load" | "allow", ..] => true,
        ["secrets", "providers", _, "source" | "path" | "mode"] => true,
        ["models", "providers", _, "apiKey", "source" | "provider" | "id"] => true,
        ["models", "providers", _, "api"] | [.., "input"] => true,
        // An address may hold a password, or a key after its `?`.
        ["models", "providers", _, "baseUrl"] => !text.contains(['@', '?', '#']),
        _ => false,
    }
}
