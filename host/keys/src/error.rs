use std::io;
use std::path::{Path, PathBuf};

use crate::PublicId;

/// Why keys cannot be had or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The system refused.
    #[error("cannot {what} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others could read or change it.
    #[error("`{}` is open to other users (mode {mode:04o}): `chmod {wanted:o} {}`", path.display(), path.display())]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they must be.
        wanted: u32,
    },
    /// Another user made it, or it is a link, a pipe or a folder.
    #[error("`{}` is {what}: remove it, and make keys anew with `metaclaw keys add`", path.display())]
    NotOurs {
        /// The file or folder.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It does not hold what this program writes.
    #[error(
        "the key file `{}` is damaged ({problem}): restore it from a backup, or remove it and make keys anew with `metaclaw keys add`",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, and in what way.
        problem: String,
    },
    /// The system has no random numbers.
    #[error("no key can be made: {0}")]
    Random(String),
    /// A word that is no id. It is not repeated: it may be a key.
    #[error("this is not the id of a key, which is 16 digits and small letters: see `metaclaw keys list`")]
    NotAnId,
    /// No key has this id.
    #[error("no key has the id `{0}`: see `metaclaw keys list`")]
    Unknown(PublicId),
    /// A dead key cannot be replaced.
    #[error(
        "the key `{0}` is of no use any more, so there is nothing to rotate: make another with `metaclaw keys add`"
    )]
    Dead(PublicId),
    /// The bound.
    #[error("there are {0} keys already, which is the most: revoke those that are not needed")]
    TooMany(usize),
    /// A label that would spoil a list.
    #[error("a label has at most {0} characters, none of them a control character")]
    Label(usize),
    /// A time that has no date.
    #[error("the key would end in more years than can be counted: choose a shorter time")]
    TooLong,
}

impl KeysError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| KeysError::Io { what, path: path.to_owned(), source }
    }
}
