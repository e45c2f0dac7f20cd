//! `metaclaw config get` and `show`: what holds, and what the file says, without the secrets.

use std::fmt;

use domain::AgentId;
use serde::Serialize;
use serde_json::Value;

use crate::ConfigError;
use crate::schema::{self, Key, Usage};
use crate::setting::suggestion;
use crate::settings::{Settings, default_setting};
use crate::yaml::join;

/// A key with the value in force. A secret is shown as its reference, or as dots.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// The key.
    pub path: String,
    /// Its value.
    pub value: Value,
    /// Whether the file says so; otherwise it is the default.
    pub in_file: bool,
}

/// Keys with their values: YAML when displayed, what the file does not say marked as a default.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Listing(pub Vec<Shown>);

impl Settings {
    /// The value in force at `key`: the file's, an inherited one, or the default; null when there is none. A section
    /// gives all of its keys as an object.
    ///
    /// Fails when there is no such key.
    pub fn get(&self, key: &str) -> Result<Value, ConfigError> {
        if let Some((schema, rest)) = schema::find_path(key) {
            let path = rest.and_then(|rest| key.strip_suffix(rest)?.strip_suffix('.')).unwrap_or(key);
            let mut value = self.effective(path, schema).unwrap_or_default();
            for part in rest.into_iter().flat_map(|rest| rest.split('.')) {
                value = value.get(part).cloned().unwrap_or_default();
            }
            return Ok(value);
        }
        let listing = self.section(key)?;
        let mut tree = Value::Null;
        for shown in listing.0 {
            insert(&mut tree, &shown.path, shown.value);
        }
        Ok(tree)
    }

    /// Every key that the file has or that has a default, in the schema's order.
    pub fn listing(&self) -> Listing {
        let mut all = Vec::new();
        for top in schema::children("") {
            let names: Vec<String> = match top {
                "trust" => {
                    let keys = schema::find("trust.*").into_iter();
                    let named =
                        keys.flat_map(|key| self.trusted.keys().map(move |name| (key, format!("trust.{name}"))));
                    all.extend(named.filter_map(|(key, path)| self.show(key, path, false)));
                    continue;
                }
                "agents" => self.agents.keys().map(ToString::to_string).collect(),
                "upstreams" => self.upstreams.keys().cloned().collect(),
                _ => {
                    let below = format!("{top}.");
                    let keys = schema::KEYS.iter().filter(|key| key.path == top || key.path.starts_with(&below));
                    all.extend(keys.filter_map(|key| self.show(key, key.path.to_owned(), true)));
                    continue;
                }
            };
            let wildcard = format!("{top}.*.");
            for name in names {
                let keys = schema::KEYS.iter().filter_map(|key| Some((key, key.path.strip_prefix(&wildcard)?)));
                all.extend(keys.filter_map(|(key, rest)| self.show(key, format!("{top}.{name}.{rest}"), false)));
            }
        }
        Listing(all)
    }

    /// As [`listing`](Settings::listing), of the keys below `section` alone, their paths beginning there.
    ///
    /// Fails when there is no such section.
    pub fn section(&self, section: &str) -> Result<Listing, ConfigError> {
        if !is_section(section) {
            return Err(unknown_key(section));
        }
        let below = format!("{section}.");
        let mut listing = self.listing();
        listing.0.retain_mut(|shown| {
            shown.path.strip_prefix(&below).map(str::to_owned).map(|rest| shown.path = rest).is_some()
        });
        Ok(listing)
    }

    fn show(&self, key: &Key, path: String, with_default: bool) -> Option<Shown> {
        if let Some(found) = self.find(&path) {
            return Some(Shown { value: found.setting.to_json(), in_file: true, path });
        }
        let acted = matches!(key.usage, Usage::Acted);
        let default = if with_default && acted { self.default_of(&path, key) } else { None };
        default.map(|value| Shown { value, in_file: false, path })
    }

    fn effective(&self, path: &str, key: &Key) -> Option<Value> {
        let inherited = || {
            let (agent, rest) = path.strip_prefix("agents.")?.split_once('.')?;
            let agent = AgentId::from_trusted(agent).ok()?;
            let top = || schema::find(rest).and_then(|key| self.default_of(rest, key));
            self.inherited(&agent, rest).map(|(_, found)| found.setting.to_json()).or_else(top)
        };
        let own = self.find(path).map(|found| found.setting.to_json());
        own.or_else(inherited).or_else(|| self.default_of(path, key))
    }

    /// The default, be it a constant or a folder below MetaClaw's own.
    fn default_of(&self, path: &str, key: &Key) -> Option<Value> {
        let below_home = |folder: String| Some(self.home.join(folder).display().to_string().into());
        let agent = path.strip_prefix("agents.").and_then(|rest| rest.strip_suffix(".rl.lora_output"));
        match (path, agent) {
            ("skills.dir", _) => below_home("skills".to_owned()),
            (_, Some(agent)) => below_home(format!("lora/{agent}")),
            _ => default_setting(key).map(|setting| setting.to_json()),
        }
    }
}

/// Whether keys may come below this path.
fn is_section(path: &str) -> bool {
    let pattern = path.split('.').fold(String::new(), |pattern, part| {
        let name = if schema::is_named_by_user(&pattern) { "*" } else { part };
        join(&pattern, name)
    });
    !schema::children(&pattern).is_empty()
}

/// The error about a key that is none, with the one that was perhaps meant.
pub(crate) fn unknown_key(key: &str) -> ConfigError {
    let remedy = match suggestion(key, schema::KEYS.iter().map(|key| key.path)) {
        Some(word) => format!("did you mean {word}?"),
        None => "`metaclaw config keys` lists all keys".to_owned(),
    };
    ConfigError::UnknownKey { key: key.to_owned(), remedy }
}

/// Puts `value` at a dotted path into a tree of JSON objects.
fn insert(tree: &mut Value, path: &str, value: Value) {
    let mut at = tree;
    for part in path.split('.') {
        if !at.is_object() {
            *at = Value::Object(serde_json::Map::new());
        }
        at = &mut at[part];
    }
    *at = value;
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut above: Vec<&str> = Vec::new();
        for shown in &self.0 {
            let mut sections: Vec<&str> = shown.path.split('.').collect();
            let name = sections.pop().unwrap_or_default();
            let common = above.iter().zip(&sections).take_while(|(a, b)| a == b).count();
            for (depth, section) in sections.iter().enumerate().skip(common) {
                writeln!(f, "{:indent$}{section}:", "", indent = 2 * depth)?;
            }
            let mark = if shown.in_file { "" } else { "  # default" };
            writeln!(f, "{:indent$}{name}: {}{mark}", "", yaml_text(&shown.value), indent = 2 * sections.len())?;
            above = sections;
        }
        Ok(())
    }
}

/// A value in one line of YAML. JSON is YAML, but plain texts read better without quotes.
fn yaml_text(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(yaml_text).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// Whether YAML, of any version, reads this as nothing but a text.
fn is_plain(text: &str) -> bool {
    const WORDS: &[&str] = &["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let inside = |c: char| c.is_ascii_alphanumeric() || "_-./:".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(inside)
        && !text.ends_with(':')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}
