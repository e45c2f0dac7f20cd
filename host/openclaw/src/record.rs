//! What is remembered of a connection: `connection.json`, 0600, beside the plugin.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::OpenclawError;
use crate::edit::Undo;
use crate::files;

/// A connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// OpenClaw's file; where it is a link, what the link leads to.
    pub(crate) config: PathBuf,
    /// The copy of it from before the connection; none: there was no file.
    pub(crate) backup: Option<PathBuf>,
    /// SHA-256 of what the copy holds, in hexadecimal; empty when there was no file.
    pub(crate) before: String,
    /// Whether the copy is what the connection started from. It is not when a connection was brought up to date after
    /// somebody else had changed the file: then the edits are taken back one by one.
    pub(crate) exact: bool,
    /// What is written, or about to be.
    pub(crate) now: Written,
    /// What was written until then, while the new text is not known to be in place.
    pub(crate) earlier: Option<Written>,
}

/// A text of ours, and the way back from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// SHA-256 of the whole text, in hexadecimal.
    pub(crate) after: String,
    /// The edits in it, in the order in which they were made.
    pub(crate) undo: Vec<Undo>,
}

impl Record {
    /// Reads it; none when there is none.
    pub(crate) fn read(file: &Path) -> Result<Option<(Record, Vec<u8>)>, OpenclawError> {
        let bytes = match fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenclawError::io("read", file)(error)),
        };
        let record = serde_json::from_slice(&bytes)
            .map_err(|error| OpenclawError::Record { file: file.to_owned(), problem: error.to_string() })?;
        Ok(Some((record, bytes)))
    }

    pub(crate) fn write(&self, file: &Path) -> Result<(), OpenclawError> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| OpenclawError::io("write", file)(error.into()))?;
        files::write(file, &text, files::PRIVATE, None)
    }
}
