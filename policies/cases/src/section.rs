//! Reading a section key by key, with every problem noted and none stopping the rest.

use crate::node::{Key, Node, Place, Value, quote};
use crate::problem::Problem;

/// Collects what is wrong.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) problems: Vec<Problem>,
}

/// A mapping whose keys are all known.
pub(crate) struct Section<'n> {
    pub(crate) path: String,
    pub(crate) place: Place,
    entries: &'n [(Key, Node)],
}

impl Report {
    pub(crate) fn add(&mut self, place: Place, path: &str, message: impl Into<String>) {
        let Place { line, column } = place;
        self.problems.push(Problem { line, column, path: path.to_owned(), message: message.into() });
    }

    /// Says that a node is not what it should be.
    pub(crate) fn wrong(&mut self, node: &Node, path: &str, want: &str) {
        self.add(node.place, path, format!("{} is not {want}", node.describe()));
    }

    /// The node as a section, when it is one. Keys that are not among `known` are problems.
    pub(crate) fn section<'n>(&mut self, node: &'n Node, path: &str, known: &[&str]) -> Option<Section<'n>> {
        let entries = self.entries(node, path)?;
        for (key, _) in entries {
            if !known.contains(&key.name.as_str()) {
                let message = format!("there is no key {}; there are {}", quote(&key.name), known.join(", "));
                self.add(key.place, path, message);
            }
        }
        Some(Section { path: path.to_owned(), place: node.place, entries })
    }

    /// The entries of a section whose keys are the author's.
    pub(crate) fn entries<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n [(Key, Node)]> {
        match &node.value {
            Value::Map(entries) => Some(entries),
            Value::Null => Some(&[]),
            _ => {
                self.wrong(node, path, "a section of `key: value`");
                None
            }
        }
    }

    pub(crate) fn list<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) => Some(items),
            _ => {
                self.wrong(node, path, "a list");
                None
            }
        }
    }

    pub(crate) fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Bool(_) | Value::Integer(_) | Value::Number(_) => {
                self.wrong(node, path, "a text; write it in quotes");
                None
            }
            _ => {
                self.wrong(node, path, "a text");
                None
            }
        }
    }

    pub(crate) fn texts(&mut self, node: &Node, path: &str) -> Option<Vec<String>> {
        let items = self.list(node, path)?;
        items.iter().map(|item| self.text(item, path)).collect()
    }

    pub(crate) fn choice(&mut self, node: &Node, path: &str, words: &[&str]) -> Option<String> {
        match &node.value {
            Value::Text(text) if words.contains(&text.as_str()) => Some(text.clone()),
            _ => {
                self.wrong(node, path, &format!("one of {}", words.join(", ")));
                None
            }
        }
    }

    pub(crate) fn whole<N: TryFrom<i64>>(&mut self, node: &Node, path: &str) -> Option<N> {
        let number = match node.value {
            Value::Integer(number) => N::try_from(number).ok(),
            _ => None,
        };
        if number.is_none() {
            self.wrong(node, path, "a whole number that is not negative and not too large");
        }
        number
    }

    #[expect(clippy::cast_possible_truncation, reason = "no weight or score is told apart beyond a float's digits")]
    pub(crate) fn number(&mut self, node: &Node, path: &str) -> Option<f32> {
        match node.value {
            Value::Integer(number) => Some(number as f32),
            Value::Number(number) => Some(number as f32),
            _ => {
                self.wrong(node, path, "a number");
                None
            }
        }
    }

    pub(crate) fn yes(&mut self, node: &Node, path: &str) -> Option<bool> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => {
                self.wrong(node, path, "true or false");
                None
            }
        }
    }

    /// A text, or a section or list, which becomes JSON.
    pub(crate) fn json_text(&mut self, node: &Node, path: &str) -> Option<String> {
        if let Value::Text(text) = &node.value {
            return Some(text.clone());
        }
        let json = node.to_json().map(|value| value.to_string());
        if json.is_none() {
            self.wrong(node, path, "JSON: a number in it is not finite");
        }
        json
    }
}

impl<'n> Section<'n> {
    /// The value of a key that is there and not empty, and its path.
    pub(crate) fn get(&self, name: &str) -> Option<(&'n Node, String)> {
        let (_, node) = self.entries.iter().find(|(key, node)| key.name == name && !node.is_null())?;
        Some((node, self.at(name)))
    }

    /// Reads the value of a key, when it is there.
    pub(crate) fn read<T>(&self, name: &str, read: impl FnOnce(&'n Node, &str) -> Option<T>) -> Option<T> {
        let (node, path) = self.get(name)?;
        read(node, &path)
    }

    pub(crate) fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

impl Node {
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }
}
