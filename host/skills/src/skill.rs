use domain::{Digest, SkillScope};
use serde_json::{Map, Value};

use crate::render::render_skill;
use crate::{SkillDocument, SkillName, SkillsError};

/// One skill as it was read: immutable, shared by every library that shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Skill {
    /// Unique within a library.
    pub name: SkillName,
    /// When to use it: one line, at most 1,024 characters.
    pub description: String,
    /// Free text; `general` when the file names none.
    pub category: String,
    /// The Markdown after the front matter, `\n` line ends, trimmed.
    pub body: String,
    /// Its folder, relative to the skills root, `/` between parts.
    pub path: String,
    /// Whether it is everybody's or the agent's own.
    pub scope: SkillScope,
    /// Estimated prompt tokens of the injected text: its bytes divided by four, rounded up. That is close for English
    /// prose in common vocabularies and too low, by up to a half, for other scripts.
    pub tokens: u32,
    /// Of the file's bytes.
    pub digest: Digest,
    /// The format's `metadata:` map, for provenance and the like; never injected.
    pub metadata: Map<String, Value>,
    /// The skill's part of an injected block, made once.
    pub(crate) rendered: Box<str>,
}

impl Skill {
    /// Reads the bytes of a `SKILL.md`. `path` is the folder it lies in, relative to the skills root; its last part is
    /// the skill's name when the file has none.
    pub fn parse(bytes: &[u8], path: &str, scope: SkillScope) -> Result<Self, SkillsError> {
        let folder = path.rsplit('/').next().unwrap_or(path);
        let SkillDocument { name, description, category, metadata, body } = SkillDocument::parse(bytes, folder)?;
        let rendered = render_skill(&name, &description, &body);
        Ok(Skill {
            name,
            description,
            category,
            body,
            path: path.to_owned(),
            scope,
            tokens: u32::try_from(rendered.len().div_ceil(4)).unwrap_or(u32::MAX),
            digest: Digest::of(bytes),
            metadata,
            rendered: rendered.into(),
        })
    }
}
