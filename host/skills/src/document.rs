//! `SKILL.md`: YAML between two `---` lines, then Markdown. Front matter that is no YAML but plain `key: value` lines,
//! which MetaClaw's often is, is read line by line.

mod plain_lines;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::shown;
use crate::{SkillName, SkillsError};

/// The category of a skill that names none.
const DEFAULT_CATEGORY: &str = "general";
/// The format's limit.
const MAX_DESCRIPTION: usize = 1024;
/// Ours: a category is a word or two.
const MAX_CATEGORY: usize = 64;
/// What front matter may hold at most. The format needs depth 2 and a few dozen nodes.
const MAX_DEPTH: usize = 16;
const MAX_NODES: usize = 4096;

/// The content of a `SKILL.md`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct SkillDocument {
    /// `name:`, or the folder's name.
    pub name: SkillName,
    /// `description:` on one line.
    pub description: String,
    /// `category:`, at the top or in `metadata:`.
    pub category: String,
    /// `metadata:`.
    pub metadata: Map<String, Value>,
    /// The Markdown, `\n` line ends, trimmed.
    pub body: String,
}

/// The keys we read. Others (`license`, `allowed-tools`, …) belong to other readers of the same file.
#[derive(Default, Deserialize)]
struct FrontMatter {
    name: Option<String>,
    description: Option<String>,
    category: Option<String>,
    metadata: Option<Map<String, Value>>,
}

/// The keys we write, in this order.
#[derive(Serialize)]
struct Written<'a> {
    name: &'a str,
    description: &'a str,
    category: &'a str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    metadata: &'a Map<String, Value>,
}

impl SkillDocument {
    /// Reads the bytes of a file. `folder` is the name of the folder it lies in.
    ///
    /// YAML decides. Only what YAML refuses, or where it takes a description that begins with `#` for a comment, is read
    /// line by line; if that is no skill either, the error is YAML's.
    pub fn parse(bytes: &[u8], folder: &str) -> Result<Self, SkillsError> {
        let text = std::str::from_utf8(bytes).map_err(|e| SkillsError::NotUtf8(e.valid_up_to()))?;
        let (front, body) = split(text)?;
        let yaml = serde_yaml::from_str_with_options::<FrontMatter>(front, yaml_options())
            .map_err(|e| SkillsError::FrontMatter(one_line(&e.without_snippet().to_string())))
            .and_then(|front| Self::check(front, body, folder));
        yaml.or_else(|error| {
            let lines = plain_lines::read(front).filter(|lines| match error {
                SkillsError::FrontMatter(_) => true,
                SkillsError::NoDescription => lines.description.as_ref().is_some_and(|text| text.starts_with('#')),
                _ => false,
            });
            lines.and_then(|lines| Self::check(lines, body, folder).ok()).ok_or(error)
        })
    }

    fn check(front: FrontMatter, body: &str, folder: &str) -> Result<Self, SkillsError> {
        let written = front.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let name = written.unwrap_or(folder);
        let name = name.parse().map_err(|why| SkillsError::Name { text: shown(name), why })?;
        let description = one_line(&front.description.unwrap_or_default());
        let metadata = front.metadata.unwrap_or_default();
        let nested = || metadata.get("category").and_then(Value::as_str).map(one_line);
        let category = front.category.as_deref().map(one_line).or_else(nested).filter(|text| !text.is_empty());
        let category = category.unwrap_or_else(|| DEFAULT_CATEGORY.to_owned());
        let body = plain_text(body);

        if description.is_empty() {
            return Err(SkillsError::NoDescription);
        }
        let (long, wide) = (description.chars().count(), category.chars().count());
        if long > MAX_DESCRIPTION {
            return Err(SkillsError::LongDescription(long));
        }
        if wide > MAX_CATEGORY {
            return Err(SkillsError::LongCategory(wide));
        }
        if body.trim().is_empty() {
            return Err(SkillsError::NoBody);
        }
        Ok(SkillDocument { name, description, category, metadata, body })
    }

    /// The file's text. Every value is quoted and escaped, so no text can add a key or end the front matter.
    pub fn to_text(&self) -> Result<String, SkillsError> {
        let written = Written {
            name: self.name.as_str(),
            description: &self.description,
            category: &self.category,
            metadata: &self.metadata,
        };
        let options = serde_yaml::ser_options! { quote_all: true, prefer_block_scalars: false };
        let yaml = serde_yaml::to_string_with_options(&written, options)
            .map_err(|e| SkillsError::FrontMatter(one_line(&e.to_string())))?;
        Ok(format!("---\n{}\n---\n\n{}\n", yaml.trim_end(), self.body))
    }
}

/// Front matter and body.
fn split(text: &str) -> Result<(&str, &str), SkillsError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.split_inclusive('\n');
    let marker = |line: &str| line.trim_end() == "---";
    let first = lines.next().filter(|line| marker(line)).ok_or(SkillsError::NoFrontMatter)?;
    let mut end = first.len();
    for line in lines {
        if marker(line) {
            return Ok((&text[first.len()..end], &text[end + line.len()..]));
        }
        end += line.len();
    }
    Err(SkillsError::UnclosedFrontMatter)
}

/// Aliases and anchors are refused: the format has no use for them, and they let a small file become a large value.
fn yaml_options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_documents: 1,
            max_aliases: 0,
            max_anchors: 0,
            max_merge_keys: 0,
            max_inclusion_depth: 0,
        },
        strict_booleans: true,
    }
}

/// Words with one space between them: no line end survives, and no other control character.
fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// Text with `\n` line ends and no other control characters but tabs: nothing that a terminal would obey.
fn plain_text(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let text: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    text.trim_matches('\n').trim_end().to_owned()
}

#[cfg(test)]
mod tests;
