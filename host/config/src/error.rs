use std::io;
use std::path::PathBuf;

use crate::Problems;

/// Why a configuration could not be found, read or changed. All of these are the user's to mend (exit code 64).
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no home directory to look into.
    #[error("neither HOME nor METACLAW_HOME is set: say where MetaClaw's folder is with --home DIR")]
    NoHome,
    /// A path on the command line cannot be made absolute.
    #[error("cannot resolve the path `{}`: {source}", path.display())]
    Path {
        /// As it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds errors.
    #[error(transparent)]
    Invalid(#[from] Problems),
    /// The file holds errors, and they have been shown already.
    #[error("the configuration `{}` has {errors} error{}", file.display(), if *errors == 1 { "" } else { "s" })]
    Reported {
        /// The file.
        file: PathBuf,
        /// How many.
        errors: usize,
    },
    /// No such key.
    #[error("`{key}` is not a configuration key: {remedy}")]
    UnknownKey {
        /// As it was given.
        key: String,
        /// A suggestion.
        remedy: String,
    },
    /// The value does not fit the key. The message never repeats a secret.
    #[error("`{key}`: {message}")]
    Value {
        /// The key.
        key: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// A change that would leave the file broken.
    #[error("`{key}` was not changed, because the configuration would then be wrong\n{problems}")]
    WouldBreak {
        /// The key.
        key: String,
        /// What would be wrong.
        problems: Problems,
    },
    /// The file's shape does not allow the change to be made by a program.
    #[error("`{key}` cannot be changed in place ({reason}): edit `{}` by hand", file.display())]
    Edit {
        /// The key.
        key: String,
        /// The file.
        file: PathBuf,
        /// What stands in the way.
        reason: String,
    },
    /// The file could not be written.
    #[error("cannot write `{}`: {source}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
