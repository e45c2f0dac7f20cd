//! JSON5 as text and as a value at once. Reading is strict: what OpenClaw might understand in another way than this
//! program (a key given twice, a number that JSON cannot hold) is refused with its place.

use std::path::Path;

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstContainerNode, CstInputValue, CstLeafNode, CstNode, CstObject, CstRootNode};
use serde_json::{Map, Number, Value};

use crate::OpenclawError;

/// What some editors put before a file's first character.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// Deeper than any configuration.
const MAX_DEPTH: usize = 64;

/// The keys that a reader looks for first.
const FIRST: &[&str] = &["id", "name", "enabled", "source", "baseUrl", "apiKey", "api"];

/// A JSON5 object that can be edited without losing comments, order or spelling.
pub(crate) struct Document {
    mark: bool,
    /// Whether the text held no value.
    empty: bool,
    root: CstRootNode,
}

impl Document {
    /// Reads a text; an empty one counts as `{}`.
    pub(crate) fn read(text: &str, file: &Path) -> Result<(Document, Value), OpenclawError> {
        let unreadable = |problem: String, remedy: &str| OpenclawError::Unreadable {
            file: file.to_owned(),
            problem,
            remedy: remedy.to_owned(),
        };
        let bare = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        // In JSON5 these end a line, and with it a comment; the library thinks otherwise.
        if let Some(line) = bare.lines().position(|line| line.contains(['\u{2028}', '\u{2029}'])) {
            let problem = format!("it holds a Unicode line separator (line {})", line + 1);
            return Err(unreadable(problem, "write it as \\u2028, or as an ordinary line break"));
        }
        // JSON5 demands commas between members.
        let options = ParseOptions { allow_missing_commas: false, ..ParseOptions::default() };
        let root = CstRootNode::parse(bare, &options).map_err(|error| {
            let place = format!("line {}, column {}", error.line_display(), error.column_display());
            unreadable(format!("{} ({place})", error.kind()), "correct it (`openclaw config validate` says more)")
        })?;
        let value = match root.value() {
            None => Value::Object(Map::new()),
            Some(node) => to_value(&node, "", 0).map_err(|p| unreadable(p, "correct it"))?,
        };
        if !value.is_object() {
            return Err(unreadable("it holds something other than an object".into(), "write `{}` or remove the file"));
        }
        Ok((Document { mark: bare.len() < text.len(), empty: root.value().is_none(), root }, value))
    }

    /// The outermost object.
    pub(crate) fn object(&self) -> CstObject {
        self.root.object_value_or_set()
    }

    pub(crate) fn text(&self) -> String {
        let text = self.root.to_string();
        let end = if self.empty && !text.ends_with('\n') { "\n" } else { "" };
        let mark = if self.mark { "\u{feff}" } else { "" };
        format!("{mark}{text}{end}")
    }
}

/// What an object's member or a list's element means. The error names the place by its keys.
fn to_value(node: &CstNode, path: &str, depth: usize) -> Result<Value, String> {
    let at = || if path.is_empty() { "the file".to_owned() } else { format!("`{path}`") };
    if depth > MAX_DEPTH {
        return Err(format!("{} is nested more than {MAX_DEPTH} deep", at()));
    }
    let strange = || format!("{} holds something that is not a JSON5 value", at());
    match node {
        CstNode::Container(CstContainerNode::Object(object)) => {
            let mut map = Map::new();
            for property in object.properties() {
                let key = property.decoded_name().ok_or_else(strange)?;
                let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let value = to_value(&property.value().ok_or_else(strange)?, &inner, depth + 1)?;
                if map.insert(key, value).is_some() {
                    return Err(format!("`{inner}` stands there twice, and only one of the two can be meant"));
                }
            }
            Ok(Value::Object(map))
        }
        CstNode::Container(CstContainerNode::Array(array)) => {
            let elements = array.elements();
            let values = elements.iter().enumerate().map(|(i, e)| to_value(e, &format!("{path}[{i}]"), depth + 1));
            values.collect::<Result<_, _>>().map(Value::Array)
        }
        CstNode::Leaf(CstLeafNode::BooleanLit(literal)) => Ok(Value::Bool(literal.value())),
        CstNode::Leaf(CstLeafNode::NullKeyword(_)) => Ok(Value::Null),
        CstNode::Leaf(CstLeafNode::StringLit(literal)) => {
            literal.decoded_value().map(Value::String).map_err(|error| format!("the text at {}: {error}", at()))
        }
        CstNode::Leaf(CstLeafNode::NumberLit(literal)) => match literal.to_serde_value() {
            Some(Value::Number(number)) => Ok(Value::Number(canonical(number))),
            _ => Err(format!("the number at {} is none that JSON can hold", at())),
        },
        _ => Err(strange()),
    }
}

/// `1.0` and `1` are one number to OpenClaw, which writes the file anew in its own spelling.
fn canonical(number: Number) -> Number {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        #[expect(clippy::cast_possible_truncation, reason = "a whole number within the bounds in which f64 is exact")]
        Some(float) if !number.is_i64() && float.fract() == 0.0 && float.abs() < EXACT => Number::from(float as i64),
        _ => number,
    }
}

/// Makes `object.key` say `value`, touching no more of the text than must change.
pub(crate) fn put(object: &CstObject, key: &str, value: &Value) {
    let Some(property) = object.get(key) else {
        object.append(key, input(value));
        return;
    };
    let current = property.value().and_then(|node| to_value(&node, "", 0).ok());
    match (property.object_value(), current, value) {
        (_, Some(current), wanted) if current == *wanted => {}
        (Some(inner), Some(Value::Object(current)), Value::Object(wanted)) => {
            for gone in current.keys().filter(|k| !wanted.contains_key(*k)) {
                remove(&inner, gone);
            }
            wanted.iter().for_each(|(key, value)| put(&inner, key, value));
        }
        _ => property.set_value(input(value)),
    }
}

/// Takes a member out.
pub(crate) fn remove(object: &CstObject, key: &str) {
    if let Some(property) = object.get(key) {
        property.remove();
    }
}

/// A value in the library's own terms.
pub(crate) fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(bool) => CstInputValue::Bool(*bool),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().map(|(key, value)| (key.clone(), input(value))).collect();
            members.sort_by_key(|(key, _)| FIRST.iter().position(|first| key == first).unwrap_or(FIRST.len()));
            CstInputValue::Object(members)
        }
    }
}
