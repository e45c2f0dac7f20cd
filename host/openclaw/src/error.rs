use std::io;
use std::path::PathBuf;

/// Why OpenClaw's configuration was left as it is.
#[derive(Debug, thiserror::Error)]
pub enum OpenclawError {
    /// There is neither a file nor a folder for one.
    #[error(
        "OpenClaw was not found: there is no {}; install OpenClaw, or name its file with --openclaw-config FILE", .0.display()
    )]
    NotFound(PathBuf),
    /// HOME is not set, and nothing else says where to look.
    #[error("OpenClaw was not found: HOME is not set; name its file with --openclaw-config FILE")]
    NoHome,
    /// The file holds something that this program cannot edit safely.
    #[error("{} cannot be edited: {problem}; {remedy}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong, with its line and column where there is one.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A part that would have to change stands in another file.
    #[error(
        "{} takes `{section}` from {included}, and included files are not changed: write this there, and connect again:\n{}",
        .file.display(), .lines.join("\n")
    )]
    Included {
        /// The configuration.
        file: PathBuf,
        /// The section that holds the `$include`; `the whole file` at the top.
        section: String,
        /// What it includes, as written.
        included: String,
        /// What would have to stand there.
        lines: Vec<String>,
    },
    /// The file says that we are not wanted, or something else that must be decided by a person.
    #[error("{file}: {problem}; {remedy}", file = .file.display())]
    Refused {
        /// The file.
        file: PathBuf,
        /// What stands against it.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// `--agents` names somebody that OpenClaw does not have.
    #[error("OpenClaw has no agent `{agent}`: it has {}", list(.known))]
    NoSuchAgent {
        /// The name.
        agent: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// What the edited text says is not what was wanted.
    #[error(
        "{} was left alone: the edited text would not say what it should ({problem}); this is a fault in metaclaw, please report it",
        .file.display()
    )]
    Mangled {
        /// The file.
        file: PathBuf,
        /// Where the two differ.
        problem: String,
    },
    /// Somebody wrote the file in the meantime.
    #[error("{} was changed while this command ran, and was left alone: run the command again", .0.display())]
    Changed(PathBuf),
    /// This home is connected to another file.
    #[error("this home is connected to {} already: `metaclaw openclaw disconnect` first", .0.display())]
    Elsewhere(PathBuf),
    /// Nothing is connected.
    #[error("nothing is connected: there is no {}", .0.display())]
    NotConnected(PathBuf),
    /// The record of the connection cannot be understood.
    #[error("{} cannot be understood ({problem}): bring back OpenClaw's file by hand from `openclaw.json.before-metaclaw` beside it, then delete this file", .file.display())]
    Record {
        /// The record.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Another `metaclaw openclaw` is at work on this home.
    #[error("another `metaclaw openclaw` is at work on {}: wait for it", .0.display())]
    Busy(PathBuf),
    /// A file could not be read or written.
    #[error("cannot {what} {}: {source}", .file.display())]
    Io {
        /// What was tried: `read`, `write`, …
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn list(agents: &[String]) -> String {
    if agents.is_empty() {
        "none of its own, only its defaults (leave --agents out)".to_owned()
    } else {
        agents.join(", ")
    }
}

impl OpenclawError {
    pub(crate) fn io(what: &'static str, file: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> OpenclawError {
        let file = file.into();
        move |source| OpenclawError::Io { what, file, source }
    }
}
