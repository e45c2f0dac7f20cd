use std::io;
use std::path::{Path, PathBuf};

use domain::Digest;

use crate::{MAX_BYTES, MAX_FILES};

/// Why an adapter's files could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The disk says no.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A link, which may lead anywhere.
    #[error("{path} is a link, and these are not followed: put a copy there (`cp -rL`)")]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A folder, a device, a pipe where a file should be, or a file with another name elsewhere.
    #[error("{path} is not a plain file with one name: put a copy there")]
    NotPlain {
        /// What it is instead.
        path: PathBuf,
    },
    /// Not a version of this host.
    #[error("{name:?} is not the name of an adapter's folder, which is like g000003-5f2a90c4d1be")]
    Name {
        /// What was given.
        name: String,
    },
    /// A file that no adapter has.
    #[error("{name:?} is not the name of an adapter's file: letters, digits, dots, dashes and underlines, 64 at most")]
    FileName {
        /// What was given.
        name: String,
    },
    /// More than an adapter has.
    #[error("{path} is too large for an adapter: at most {MAX_FILES} files with {MAX_BYTES} bytes together")]
    TooLarge {
        /// The folder.
        path: PathBuf,
    },
    /// A version's files are not those that were published.
    #[error(
        "{path} was changed since it was made: its digest is {found} and not {expected}; roll back to another adapter"
    )]
    Changed {
        /// The folder.
        path: PathBuf,
        /// What the database says.
        expected: Digest,
        /// What is there.
        found: Digest,
    },
    /// Something else has the name already. Versions never change.
    #[error("{path} is there already, with other content: remove it, or choose another place")]
    Occupied {
        /// What is there.
        path: PathBuf,
    },
    /// A folder that was to be imported lacks a file.
    #[error("{path} is not a PEFT adapter: {missing} is missing")]
    Incomplete {
        /// The folder.
        path: PathBuf,
        /// The file.
        missing: &'static str,
    },
    /// The work broke off, at an error of our own.
    #[error("the work on an adapter's files broke off: the log says more; it can be done again")]
    Failed,
    /// A path that depends on where the host was started.
    #[error("{path} is not an absolute path: write it from the root on")]
    Relative {
        /// The path.
        path: PathBuf,
    },
}

impl ShelfError {
    /// For `map_err` after a file operation.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| ShelfError::Io { action, path, source }
    }
}
