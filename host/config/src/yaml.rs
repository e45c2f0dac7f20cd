use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::budget::BudgetBreach;
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy, Options};
use serde_yaml::{Error, Location, MessageFormatter, Spanned, UserMessageFormatter};

use crate::problem::{Place, Report};

/// No configuration is deeper than this; a file that is cannot be one.
const MAX_DEPTH: usize = 32;
/// Sections, lists and values together.
const MAX_NODES: usize = 100_000;
/// What aliases may unfold to, so that a short file cannot become a huge tree.
const MAX_ALIASED: usize = 20_000;

/// A YAML node and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file. Names are unique once [`parse`] has returned without an error.
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) place: Place,
}

/// Two nodes are equal when they mean the same, wherever they stand.
impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.value == other.value
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.name == other.name
    }
}

/// The tree of a YAML text; `None`, and errors in the report, when it is not YAML. An empty text is `Null`.
pub(crate) fn parse(text: &str, report: &mut Report) -> Option<Node> {
    let error = match read(text, DuplicateKeyPolicy::Error) {
        Ok(node) => return Some(node),
        Err(error) => error,
    };
    // A second reading that tolerates duplicates finds all of them, and lets the rest of the file be checked too.
    if let Error::DuplicateMappingKey { .. } = error.without_snippet()
        && let Ok(node) = read(text, DuplicateKeyPolicy::LastWins)
    {
        let before = report.has_errors();
        report_duplicates(&node, "", report);
        if before || report.has_errors() {
            return Some(node);
        }
    }
    let (message, remedy) = explain(error.without_snippet());
    report.error("", error.location().map(place), message, remedy);
    None
}

fn explain(error: &Error) -> (String, &'static str) {
    let (message, remedy) = match error {
        // What goes wrong where an alias unfolds.
        Error::AliasError { error, .. } => return explain(error),
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().map_or_else(|| "the key".to_owned(), quote);
            return (format!("{key} is here already, in the same section"), "keep one of the two");
        }
        Error::Budget { breach: BudgetBreach::Documents { .. }, .. } | Error::MultipleDocuments { .. } => {
            ("the file holds several documents", "keep what is before the second `---`")
        }
        Error::Budget { .. } => ("the file is too large or too deep for a configuration", "make it simpler"),
        Error::AliasReplayLimitExceeded { .. } => ("the aliases (`*name`) unfold to far too much", "write it out"),
        Error::UnknownAnchor { .. } => {
            ("the alias (`*name`) has no anchor (`&name`) before it", "write it in quotes, if it is no alias")
        }
        Error::UnsupportedTag { .. } => ("the tag (`!name`) means nothing here", "remove it, or write it in quotes"),
        other => {
            let message = format!("this is not YAML: {}", UserMessageFormatter.format_message(other));
            return (message, "mend the file; a value that holds `: ` or begins with one of *&!|>%@` needs quotes");
        }
    };
    (message.to_owned(), remedy)
}

fn read(text: &str, duplicates: DuplicateKeyPolicy) -> Result<Node, Error> {
    let mut options = Options::default();
    options.duplicate_keys = duplicates;
    options.reject_unsupported_tags = true;
    // `yes` and `no` are texts, unless the key wants a boolean.
    options.strict_booleans = true;
    options.non_finite_float_policy = NonFiniteFloatPolicy::PassThrough;
    // A snippet would show the lines around the mistake, and with them perhaps a key.
    options.with_snippet = false;
    options.alias_limits.max_total_replayed_events = MAX_ALIASED;
    let mut budget = options.budget.take().unwrap_or_default();
    budget.max_depth = MAX_DEPTH;
    budget.max_nodes = MAX_NODES;
    budget.max_documents = 1;
    options.budget = Some(budget);
    serde_yaml::from_str_with_options::<Option<Node>>(text, options)
        .map(|node| node.unwrap_or(Node { place: Place { line: 1, column: 1 }, value: Value::Null }))
}

fn report_duplicates(node: &Node, path: &str, report: &mut Report) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| report_duplicates(item, path, report)),
        Value::Map(entries) => {
            let mut lines = HashMap::new();
            for (key, value) in entries {
                let path = join(path, &key.name);
                if let Some(first) = lines.insert(&key.name, key.place.line) {
                    let message = format!("this key is here already, in line {first}");
                    report.error(&path, Some(key.place), message, "keep one of the two");
                }
                report_duplicates(value, &path, report);
            }
        }
        _ => {}
    }
}

/// `path.name`, or `name` at the top.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl Node {
    /// The node in words, for a message; never call this on a secret.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Integer(value) => value.to_string(),
            Value::Number(value) => value.to_string(),
            Value::Text(text) => quote(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a section".to_owned(),
        }
    }

    /// The node as JSON. `None` when a number is not finite.
    pub(crate) fn to_json(&self) -> Option<serde_json::Value> {
        Some(match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Integer(value) => (*value).into(),
            Value::Number(value) => serde_json::Number::from_f64(*value)?.into(),
            Value::Text(text) => text.clone().into(),
            Value::List(items) => items.iter().map(Node::to_json).collect::<Option<Vec<_>>>()?.into(),
            Value::Map(entries) => {
                let pairs = entries.iter().map(|(key, node)| Some((key.name.clone(), node.to_json()?)));
                serde_json::Value::Object(pairs.collect::<Option<_>>()?)
            }
        })
    }
}

/// A text in quotes, escaped, and cut when it is long.
pub(crate) fn quote(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
        None => format!("{text:?}"),
    }
}

fn place(location: Location) -> Place {
    Place { line: location.line(), column: location.column() }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Node { place: place(spanned.referenced), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<String>::deserialize(deserializer)?;
        Ok(Key { place: place(spanned.referenced), name: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    /// What is too large for an integer is kept as a number: no key takes it, and the message will say so.
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Number(value as f64), Value::Integer))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Number(value as f64), Value::Integer))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Number(value as f64), Value::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Key>()? {
            map.push((key, entries.next_value()?));
        }
        Ok(Value::Map(map))
    }
}
