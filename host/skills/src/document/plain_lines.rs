//! Front matter as MetaClaw reads it: a key, a colon, and the rest of the line as it stands.
//!
//! Its skills are mostly written by models, who do not quote: `description: Use when the task is: fix it`. That is no
//! YAML, and yet nobody doubts what it says as long as every line is one key and one value.

use super::{FrontMatter, yaml_options};

/// The most lines of such front matter, and the most bytes. MetaClaw writes three lines.
const MAX_LINES: usize = 64;
const MAX_BYTES: usize = 16 << 10;

/// Reads `text` line by line; nothing unless every line that is not blank is `key: value` without indentation, and every
/// key is there once: what could be meant as structure is left to YAML.
///
/// Of the keys only `name`, `description` and `category` count.
pub(super) fn read(text: &str) -> Option<FrontMatter> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let mut front = FrontMatter::default();
    let mut keys = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (key, value) = line.split_once(':').filter(|(key, _)| is_key(key))?;
        if keys.contains(&key) || keys.len() == MAX_LINES {
            return None;
        }
        keys.push(key);
        match key {
            "name" => front.name = Some(unquoted(value)),
            "description" => front.description = Some(unquoted(value)),
            "category" => front.category = Some(unquoted(value)),
            _ => {}
        }
    }
    Some(front)
}

/// A letter, then letters, digits, `-` and `_`: no list, no quote, no comment, no indentation.
fn is_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// A value that is one quoted string loses its quotes; any other stays as it is, quotes included, as with MetaClaw.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let whole = |quote| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
    if !whole('"') && !whole('\'') {
        return value.to_owned();
    }
    // `"one" or "two"` begins and ends with a quote too: YAML itself says whether it is one string.
    serde_yaml::from_str_with_options(value, yaml_options()).unwrap_or_else(|_| value.to_owned())
}
