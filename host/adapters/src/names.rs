//! What things are called in an agent's folder, and how people name a checkpoint.

use std::path::PathBuf;

use uuid::Uuid;

/// How the names of what is not yet in its place begin. No version and no file of one begins with a dot.
pub(crate) const DRAFT: &str = ".draft-";
/// Digits of a batch's id in a folder's name.
const BATCH_DIGITS: usize = 12;
/// The least number of digits of a generation in a folder's name.
const GENERATION_DIGITS: usize = 6;
/// The longest name of a file, in bytes.
const MAX_FILE_NAME: usize = 64;

/// The name of a version's folder: `g`, its generation, and what it was trained with.
///
/// A UUIDv7 begins with the time, which two batches may share, and ends with random digits: these are taken.
pub fn folder_name(generation: u64, batch: Uuid) -> String {
    let batch = batch.simple().to_string();
    format!("g{generation:0GENERATION_DIGITS$}-{}", &batch[batch.len() - BATCH_DIGITS..])
}

/// Whether a folder's name is one that [`folder_name`] makes.
pub(crate) fn is_version(name: &str) -> bool {
    let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let parts = name.strip_prefix('g').and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(generation, batch)| {
        (GENERATION_DIGITS..=20).contains(&generation.len())
            && generation.bytes().all(|b| b.is_ascii_digit())
            && batch.len() == BATCH_DIGITS
            && batch.bytes().all(hex)
    })
}

pub(crate) fn is_draft(name: &str) -> bool {
    name.starts_with(DRAFT)
}

/// Whether a file of a version may be called that. A digest's lines are made of names, so none holds a line break.
pub(crate) fn is_file_name(name: &str) -> bool {
    !name.starts_with('.')
        && (1..=MAX_FILE_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// An adapter to go on from, as `rl.resume_from_ckpt` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// A folder in PEFT's form, by its absolute path.
    Folder(PathBuf),
    /// A version of the agent's own, by its number.
    Generation(u64),
}

/// Why a text names no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCheckpoint {
    /// Neither a path nor a version.
    #[error(
        "{0:?} is neither the absolute path of a PEFT folder nor a version of the agent, like 3, researcher@3 or its folder's name"
    )]
    Form(String),
    /// Nobody goes on from another agent's adapter by its name.
    #[error("{name:?} is another agent's version; copy its folder and give the copy's path, if that is what you want")]
    Foreign {
        /// What was given.
        name: String,
    },
}

impl Checkpoint {
    /// Reads what a configuration says for `agent`.
    pub fn parse(text: &str, agent: &domain::AgentId) -> Result<Self, InvalidCheckpoint> {
        let form = || InvalidCheckpoint::Form(text.to_owned());
        let path = PathBuf::from(text);
        if path.is_absolute() {
            return Ok(Checkpoint::Folder(path));
        }
        if let Some((owner, generation)) = text.split_once('@') {
            let generation = number(generation).ok_or_else(form)?;
            return match owner == agent.as_str() {
                true => Ok(Checkpoint::Generation(generation)),
                false => Err(InvalidCheckpoint::Foreign { name: text.to_owned() }),
            };
        }
        let folder = is_version(text).then(|| &text[1..text.len() - BATCH_DIGITS - 1]);
        folder.or(Some(text)).and_then(number).map(Checkpoint::Generation).ok_or_else(form)
    }
}

/// A generation: digits alone, and not 0, which is the model without an adapter.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number > 0)
}
