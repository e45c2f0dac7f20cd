//! OpenClaw's `$include`: read, so that nothing is asked for that an included file says already; never written.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::OpenclawError;
use crate::document::Document;
use crate::edit::{Edit, KeyPath, Step};

pub(crate) const INCLUDE: &str = "$include";
/// OpenClaw's own limit.
const MAX_DEPTH: usize = 10;
/// Far more than any configuration.
const MAX_FILE: u64 = 4 << 20;

/// The value with everything included in its place, as OpenClaw sees it: several files are merged in order, and what
/// stands beside the `$include` is merged over them.
pub(crate) fn resolve(root: &Value, file: &Path) -> Result<Value, OpenclawError> {
    resolve_in(root, file, file, 0)
}

fn resolve_in(value: &Value, within: &Path, top: &Path, depth: usize) -> Result<Value, OpenclawError> {
    match value {
        Value::Array(items) => items.iter().map(|item| resolve_in(item, within, top, depth)).collect(),
        Value::Object(members) => {
            let mut merged: Option<Value> = None;
            for name in members.get(INCLUDE).map(names).unwrap_or_default() {
                let included = load(&name, within, top, depth)?;
                merged = Some(merged.map_or(included.clone(), |before| merge(before, included)));
            }
            let mut beside = Map::new();
            for (key, member) in members.iter().filter(|(key, _)| *key != INCLUDE) {
                beside.insert(key.clone(), resolve_in(member, within, top, depth)?);
            }
            Ok(match merged {
                Some(included) if beside.is_empty() => included,
                Some(included) => merge(included, Value::Object(beside)),
                None => Value::Object(beside),
            })
        }
        value => Ok(value.clone()),
    }
}

fn names(include: &Value) -> Vec<String> {
    let one = |value: &Value| value.as_str().map(str::to_owned);
    match include {
        Value::Array(items) => items.iter().filter_map(one).collect(),
        value => one(value).into_iter().collect(),
    }
}

fn load(name: &str, within: &Path, top: &Path, depth: usize) -> Result<Value, OpenclawError> {
    let unreadable = |problem: String| OpenclawError::Unreadable {
        file: top.to_owned(),
        problem: format!("the included file {name:?} {problem}"),
        remedy: "write what it holds into the file itself, or correct it".to_owned(),
    };
    if depth >= MAX_DEPTH {
        return Err(unreadable(format!("is included {MAX_DEPTH} deep")));
    }
    let folder = |file: &Path| file.parent().map(Path::to_owned).unwrap_or_default();
    let path = fs::canonicalize(folder(within).join(name)).map_err(|e| unreadable(format!("cannot be read: {e}")))?;
    if !path.starts_with(folder(top)) {
        return Err(unreadable("is outside the configuration's folder".to_owned()));
    }
    if fs::metadata(&path).is_ok_and(|about| !about.is_file() || about.len() > MAX_FILE) {
        return Err(unreadable("is no file of a usual size".to_owned()));
    }
    let text = fs::read_to_string(&path).map_err(|e| unreadable(format!("cannot be read: {e}")))?;
    let (_, value) = Document::read(&text, &path)?;
    resolve_in(&value, &path, top, depth + 1)
}

/// OpenClaw's merge: objects by key, lists one after the other, else the later one.
fn merge(before: Value, over: Value) -> Value {
    match (before, over) {
        (Value::Object(mut members), Value::Object(more)) => {
            for (key, value) in more {
                let merged = match members.remove(&key) {
                    Some(present) => merge(present, value),
                    None => value,
                };
                members.insert(key, merged);
            }
            Value::Object(members)
        }
        (Value::Array(mut items), Value::Array(more)) => {
            items.extend(more);
            Value::Array(items)
        }
        (_, over) => over,
    }
}

/// The first of the edit's containers that another file has a say in: its name, and what it includes.
pub(crate) fn blocking(root: &Value, edit: &Edit) -> Option<(String, String)> {
    let containers = edit.containers();
    (0..=containers.len()).find_map(|length| {
        let steps = containers.get(..length)?;
        let holder = crate::edit::get(root, steps)?;
        let section = if steps.is_empty() { "the whole file".to_owned() } else { KeyPath::words(steps) };
        let found = |value: &Value, section| Some((section, names(value.get(INCLUDE)?).join("`, `")));
        // Between `agents` and one agent there is the roster, which is no step of the path.
        let rosters: &[&str] =
            if matches!(containers.get(length), Some(Step::Agent { .. })) { &["entries", "list"] } else { &[] };
        let within = rosters.iter().find_map(|name| {
            let (roster, section) = (holder.get(name)?, || format!("{section}.{name}"));
            let item = || roster.as_array()?.iter().find_map(|item| found(item, section()));
            found(roster, section()).or_else(item)
        });
        found(holder, section).or(within)
    })
}
