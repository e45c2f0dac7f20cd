//! What one edit does to a value and to its text, and how it is taken back.

use std::fmt;

use jsonc_parser::cst::{CstArray, CstObject};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::document::{self, Document, input};
use crate::roster;

/// One step from an object to what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Step {
    /// A member.
    Key(String),
    /// From `agents` to one agent, in whichever of the two rosters has it: OpenClaw turns `agents.list` into
    /// `agents.entries` when it pleases.
    Agent {
        /// Its id.
        agent: String,
    },
}

/// From the outermost object to a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct KeyPath(pub(crate) Vec<Step>);

/// A change that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Edit {
    /// Where.
    pub(crate) path: KeyPath,
    /// What.
    pub(crate) action: Action,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// The value at the path becomes this one.
    Put(Value),
    /// The list at the path gets this text at its end.
    Add(String),
}

/// How an edit is taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Undo {
    pub(crate) path: KeyPath,
    /// How many of the path's containers, the innermost ones, the edit had to make.
    made: usize,
    pub(crate) back: Back,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Back {
    /// While the value is still the one with this digest, it becomes what it was.
    Restore {
        /// SHA-256 of what we wrote: the value may hold a key, and equality is all that is asked.
        ours: String,
        /// What it was; none: it was not there.
        before: Before,
    },
    /// This text is taken out of the list.
    Remove(String),
}

/// A value, or none: serde would read an absent value and `null` as the same thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Before {
    Absent,
    Value(Value),
}

/// What became of an edit when it was to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is as before now.
    Undone,
    /// It was so already.
    Already,
    /// Somebody has changed it since; it stays.
    Kept,
}

impl Edit {
    pub(crate) fn put(path: KeyPath, value: Value) -> Edit {
        Edit { path, action: Action::Put(value) }
    }

    /// Whether the value says so already.
    pub(crate) fn is_done(&self, root: &Value) -> bool {
        match (&self.action, get(root, &self.path.0)) {
            (Action::Put(wanted), Some(current)) => wanted == current,
            (Action::Add(item), Some(Value::Array(items))) => items.iter().any(|i| i == item),
            _ => false,
        }
    }

    /// The containers that have to be there.
    pub(crate) fn containers(&self) -> &[Step] {
        match (&self.action, self.path.0.split_last()) {
            (Action::Put(_), Some((_, containers))) => containers,
            _ => &self.path.0,
        }
    }

    /// Makes the edit in both forms of a document, and says how to take it back. None: something that is no container
    /// stands in the way.
    pub(crate) fn apply(&self, document: &Document, root: &mut Value) -> Option<Undo> {
        let containers = self.containers();
        let there =
            (0..=containers.len()).rev().find(|n| get(root, containers.get(..*n).unwrap_or_default()).is_some());
        let made = containers.len() - there.unwrap_or(0);
        let back = match &self.action {
            Action::Put(value) => {
                let before = get(root, &self.path.0).cloned().map_or(Before::Absent, Before::Value);
                let Some((Step::Key(key), _)) = self.path.0.split_last() else { return None };
                object_mut(root, containers)?.insert(key.clone(), value.clone());
                document::put(&object(document.object(), containers)?, key, value);
                Back::Restore { ours: digest(value), before }
            }
            Action::Add(item) => {
                let (Step::Key(key), outer) = containers.split_last()? else { return None };
                let members = object_mut(root, outer)?;
                let list = members.entry(key.clone()).or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut()?.push(Value::String(item.clone()));
                let list = object(document.object(), outer)?.array_value_or_create(key)?;
                list.append(input(&Value::String(item.clone())));
                Back::Remove(item.clone())
            }
        };
        Some(Undo { path: self.path.clone(), made, back })
    }
}

impl Undo {
    /// Takes the edit back, in both forms of a document, where it still holds.
    pub(crate) fn apply(&self, document: &Document, root: &mut Value) -> Outcome {
        let outcome = match &self.back {
            Back::Restore { ours, before } => self.restore(ours, before, document, root),
            Back::Remove(item) => self.remove(item, document, root),
        };
        if outcome != Outcome::Kept {
            self.prune(document, root);
        }
        outcome
    }

    /// This way back, from the value that another edit has put there since.
    pub(crate) fn with_value_of(&self, newer: Undo) -> Undo {
        match (&self.back, newer.back) {
            (Back::Restore { before, .. }, Back::Restore { ours, .. }) => {
                Undo { back: Back::Restore { ours, before: before.clone() }, ..self.clone() }
            }
            (_, back) => Undo { back, ..newer },
        }
    }

    /// Whether our value stands there.
    pub(crate) fn holds(&self, root: &Value) -> bool {
        match (&self.back, get(root, &self.path.0)) {
            (Back::Restore { ours, .. }, Some(current)) => digest(current) == *ours,
            (Back::Remove(item), Some(Value::Array(items))) => items.iter().any(|i| i == item),
            _ => false,
        }
    }

    fn restore(&self, ours: &str, before: &Before, document: &Document, root: &mut Value) -> Outcome {
        let was = match before {
            Before::Absent => None,
            Before::Value(value) => Some(value),
        };
        let current = get(root, &self.path.0);
        if current == was {
            return Outcome::Already;
        }
        if current.is_none_or(|current| digest(current) != ours) {
            return Outcome::Kept;
        }
        let Some((Step::Key(key), containers)) = self.path.0.split_last() else { return Outcome::Kept };
        let (Some(members), Some(text)) = (object_mut(root, containers), object(document.object(), containers)) else {
            return Outcome::Kept;
        };
        match was {
            Some(value) => {
                members.insert(key.clone(), value.clone());
                document::put(&text, key, value);
            }
            None => {
                members.remove(key);
                document::remove(&text, key);
            }
        }
        Outcome::Undone
    }

    fn remove(&self, item: &str, document: &Document, root: &mut Value) -> Outcome {
        let Some((Step::Key(key), outer)) = self.path.0.split_last() else { return Outcome::Already };
        let list = object_mut(root, outer).and_then(|members| members.get_mut(key)).and_then(Value::as_array_mut);
        let Some((items, at)) = list.and_then(|items| items.iter().position(|i| i == item).map(|at| (items, at)))
        else {
            return Outcome::Already;
        };
        items.remove(at);
        let text: Option<CstArray> = object(document.object(), outer).and_then(|o| o.array_value(key));
        if let Some(element) = text.and_then(|list| list.elements().into_iter().nth(at)) {
            element.remove();
        }
        Outcome::Undone
    }

    /// Takes out the containers that the edit made, as far as they are empty.
    fn prune(&self, document: &Document, root: &mut Value) {
        let containers = match self.back {
            Back::Restore { .. } => self.path.0.len().saturating_sub(1),
            Back::Remove(_) => self.path.0.len(),
        };
        for length in (1..=containers).rev().take(self.made) {
            let path = self.path.0.get(..length).unwrap_or_default();
            let empty = match get(root, path) {
                Some(Value::Object(members)) => members.is_empty(),
                Some(Value::Array(items)) => items.is_empty(),
                _ => false,
            };
            let Some((Step::Key(key), outer)) = path.split_last().filter(|_| empty) else { return };
            if let (Some(members), Some(text)) = (object_mut(root, outer), object(document.object(), outer)) {
                members.remove(key);
                document::remove(&text, key);
            }
        }
    }
}

/// What stands at a path.
pub(crate) fn get<'a>(root: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(root, |value, step| match step {
        Step::Key(key) => value.as_object()?.get(key),
        Step::Agent { agent } => roster::get(value, agent),
    })
}

/// The object at a path, made where it is missing.
fn object_mut<'a>(root: &'a mut Value, path: &[Step]) -> Option<&'a mut Map<String, Value>> {
    let at = path.iter().try_fold(root, |value, step| match step {
        Step::Key(key) => Some(value.as_object_mut()?.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()))),
        Step::Agent { agent } => roster::get_mut(value, agent),
    });
    at?.as_object_mut()
}

/// The same in the text.
fn object(root: CstObject, path: &[Step]) -> Option<CstObject> {
    path.iter().try_fold(root, |object, step| match step {
        Step::Key(key) => object.object_value_or_create(key),
        Step::Agent { agent } => roster::object(&object, agent),
    })
}

/// SHA-256, in hexadecimal, of a value: the order of its keys makes no difference.
pub(crate) fn digest(value: &Value) -> String {
    hex(&canonical(value).to_string().into_bytes())
}

/// SHA-256 in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn canonical(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(canonical).collect(),
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            sorted.into_iter().map(|(key, value)| (key.clone(), canonical(value))).collect()
        }
        value => value.clone(),
    }
}

impl KeyPath {
    /// A path of members.
    pub(crate) fn of(keys: &[&str]) -> KeyPath {
        KeyPath(keys.iter().map(|key| Step::Key((*key).to_owned())).collect())
    }

    pub(crate) fn then(mut self, step: Step) -> KeyPath {
        self.0.push(step);
        self
    }

    pub(crate) fn key(self, key: &str) -> KeyPath {
        self.then(Step::Key(key.to_owned()))
    }

    /// As people write it.
    pub(crate) fn words(steps: &[Step]) -> String {
        let words: Vec<&str> = steps
            .iter()
            .map(|step| match step {
                Step::Key(key) => key.as_str(),
                Step::Agent { agent } => agent.as_str(),
            })
            .collect();
        words.join(".")
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&KeyPath::words(&self.0))
    }
}
