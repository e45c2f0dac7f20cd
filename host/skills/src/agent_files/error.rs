use std::io::ErrorKind;

use crate::SkillsError;

/// Why a module does not get what it asked of its files. No message names a folder of the host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Nothing has that name.
    #[error("there is no such file or folder: list the folder above it")]
    NotFound,
    /// A folder, a FIFO, a socket or a device where a file belongs.
    #[error("it is not a regular file: name one")]
    NotAFile,
    /// Something else where a folder belongs, at the end of the path or within it.
    #[error("it is not a folder: name one")]
    NotAFolder,
    /// A symbolic link, or a file with a second hard link, at the end of the path or within it.
    #[error("it is a link, or a file with a second name: links do not exist here, put a copy in its place")]
    Link,
    /// A folder that is to be removed holds something, perhaps something that is not listed.
    #[error("the folder is not empty: remove what it holds first")]
    NotEmpty,
    /// A file, a range or a folder over its limit.
    #[error("{what} has more than {most} {unit}: take less")]
    TooLarge {
        /// `the file`.
        what: &'static str,
        /// How much is allowed.
        most: u64,
        /// `bytes`.
        unit: &'static str,
    },
    /// The agent's folder over its limit.
    #[error("the agent's folder would hold more than {most} {unit}: remove something first")]
    Quota {
        /// How much is allowed.
        most: u64,
        /// `bytes`.
        unit: &'static str,
    },
    /// The path is not a plain one.
    #[error("the path cannot be used: {0}")]
    BadPath(&'static str),
    /// That cannot be changed, by whatever path.
    #[error("it cannot be changed: {0}")]
    ReadOnly(&'static str),
    /// Others are changing the same file or folder, for longer than is waited.
    #[error("others are changing it: try again later")]
    Busy,
    /// A tree that is not handed out whole.
    #[error("the folder is not given to a module while it holds `{path}`: {reason}")]
    Unfit {
        /// What is wrong in it, relative to it, control characters escaped.
        path: String,
        /// What is wrong with that.
        reason: Box<FileError>,
    },
    /// The operating system said no.
    #[error("cannot {doing}: {message}")]
    Io {
        /// `write the file`.
        doing: &'static str,
        /// The system's words.
        message: String,
    },
}

impl FileError {
    /// A word for programs, which stays the same whatever becomes of the message: `not-found`, `not-a-file`,
    /// `not-a-folder`, `link`, `not-empty`, `too-large`, `quota`, `bad-path`, `read-only`, `busy` or `io`.
    pub fn kind(&self) -> &'static str {
        match self {
            FileError::NotFound => "not-found",
            FileError::NotAFile => "not-a-file",
            FileError::NotAFolder => "not-a-folder",
            FileError::Link => "link",
            FileError::NotEmpty => "not-empty",
            FileError::TooLarge { .. } => "too-large",
            FileError::Quota { .. } => "quota",
            FileError::BadPath(_) => "bad-path",
            FileError::ReadOnly(_) => "read-only",
            FileError::Busy => "busy",
            FileError::Unfit { reason, .. } => reason.kind(),
            FileError::Io { .. } => "io",
        }
    }
}

impl From<SkillsError> for FileError {
    fn from(error: SkillsError) -> Self {
        match error {
            SkillsError::Link | SkillsError::HardLinks(_) => FileError::Link,
            SkillsError::NotRegular => FileError::NotAFile,
            SkillsError::Io { doing, kind, message } => match kind {
                ErrorKind::NotFound => FileError::NotFound,
                ErrorKind::NotADirectory => FileError::NotAFolder,
                ErrorKind::IsADirectory => FileError::NotAFile,
                ErrorKind::DirectoryNotEmpty => FileError::NotEmpty,
                ErrorKind::WouldBlock | ErrorKind::ResourceBusy => FileError::Busy,
                _ => FileError::Io { doing, message },
            },
            other => FileError::Io { doing: "use the file", message: other.to_string() },
        }
    }
}
