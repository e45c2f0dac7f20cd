//! Every key that a configuration may have.

mod table;

use serde::Serialize;

use crate::setting::Kind;

pub(crate) use table::KEYS;

/// Stands for a name that the user gives, of an agent, say, in a key's path.
const ANY: &str = "*";

/// One key.
pub(crate) struct Key {
    /// Where it is; `*` stands for a name.
    pub(crate) path: &'static str,
    pub(crate) kind: Kind,
    /// What holds when it is missing, as one would write it; empty when nothing does, or when the agent inherits it.
    pub(crate) default: &'static str,
    pub(crate) usage: Usage,
    pub(crate) about: &'static str,
}

/// What the host makes of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Usage {
    /// It does as the key says.
    Acted,
    /// It accepts the key and warns, unless the value is among `idle`, which ask for nothing that the host does not
    /// do, or the gate is shut.
    Later { idle: &'static [&'static str], gate: Gate },
}

/// When a key would matter at all.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gate {
    Always,
    /// When this boolean key is true.
    Switch(&'static str),
    /// When some agent trains.
    Rl,
}

/// A key, for documentation and completion.
#[derive(Clone, Debug, Serialize)]
pub struct KeyInfo {
    /// Where it is; `*` stands for the name of an agent, an upstream or a key.
    pub path: &'static str,
    /// What its value must be, as the end of the sentence "this must be …".
    pub kind: String,
    /// What holds when it is missing; empty when nothing does, or when an agent inherits it.
    pub default: &'static str,
    /// Whether the host acts on it; otherwise it is accepted with a warning.
    pub acted_on: bool,
    /// What it is for.
    pub about: &'static str,
}

/// All keys, in the order in which a file should have them.
pub fn keys() -> impl Iterator<Item = KeyInfo> {
    KEYS.iter().map(|key| KeyInfo {
        path: key.path,
        kind: key.kind.to_string(),
        default: key.default,
        acted_on: matches!(key.usage, Usage::Acted),
        about: key.about,
    })
}

/// The key with this pattern.
pub(crate) fn find(pattern: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == pattern)
}

/// The key that a real path such as `agents.coder.mode` belongs to, and the path's rest below it, which only an
/// `Object` may have.
pub(crate) fn find_path(path: &str) -> Option<(&'static Key, Option<&str>)> {
    KEYS.iter()
        .find_map(|key| matches(key.path, path).filter(|rest| rest.is_none() || is_object(key)).map(|rest| (key, rest)))
}

fn is_object(key: &Key) -> bool {
    matches!(key.kind, Kind::Object)
}

/// `Some(None)` when the path is the pattern, `Some(Some(rest))` when it goes on below it.
fn matches<'a>(pattern: &str, path: &'a str) -> Option<Option<&'a str>> {
    let mut rest = Some(path);
    for part in pattern.split('.') {
        let (head, tail) = match rest?.split_once('.') {
            Some((head, tail)) => (head, Some(tail)),
            None => (rest?, None),
        };
        if part != head && (part != ANY || head.is_empty()) {
            return None;
        }
        rest = tail;
    }
    Some(rest)
}

/// The names that may come directly below a section (`""` is the whole file), each once.
pub(crate) fn children(section: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    for key in KEYS {
        let below = if section.is_empty() {
            Some(key.path)
        } else {
            key.path.strip_prefix(section).and_then(|rest| rest.strip_prefix('.'))
        };
        let Some(name) = below.and_then(|below| below.split('.').next()) else { continue };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Whether keys are named by the user directly below this section.
pub(crate) fn is_named_by_user(section: &str) -> bool {
    children(section) == [ANY]
}

/// Keys elsewhere whose last part is `name`, for who has put one into the wrong section.
pub(crate) fn elsewhere(name: &str) -> Option<&'static str> {
    KEYS.iter().map(|key| key.path).find(|path| path.rsplit('.').next() == Some(name) && !path.contains(ANY))
}
