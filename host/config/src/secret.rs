use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use domain::Secret;
use rustix::fs::{FileType, Mode, OFlags};

use crate::paths::{Environment, Paths, process_environment};
use crate::problem::{Complaint, complaint};

/// More than any key needs.
const MAX_SECRET_FILE: u64 = 64 << 10;

/// A secret as the configuration gives it: by reference, or in plain text.
#[derive(Clone, Debug)]
pub(crate) enum SecretRef {
    /// `env:NAME`.
    Environment(String),
    /// `file:PATH`, the path as written.
    File(String),
    /// The secret itself.
    Literal(Secret),
}

impl SecretRef {
    /// Reads what stands in the configuration.
    pub(crate) fn parse(text: &str) -> Result<Self, Complaint> {
        if let Some(name) = text.strip_prefix("env:") {
            let first = |c: char| c.is_ascii_alphabetic() || c == '_';
            // What is no variable name may be the secret itself, so it is not repeated.
            return match name.starts_with(first) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                true => Ok(SecretRef::Environment(name.to_owned())),
                false => Err(complaint(
                    "what follows `env:` is not the name of an environment variable",
                    "write the variable's name, as in `env:OPENAI_API_KEY`",
                )),
            };
        }
        if let Some(path) = text.strip_prefix("file:") {
            return match path.is_empty() {
                false => Ok(SecretRef::File(path.to_owned())),
                true => Err(complaint("no path follows `file:`", "write a path, as in `file:~/.metaclaw/openai.key`")),
            };
        }
        check_characters(text)?;
        Ok(SecretRef::Literal(Secret::new(text.to_owned())))
    }

    /// The file that it is in, if it is in one.
    pub(crate) fn file(&self, paths: &Paths) -> Option<PathBuf> {
        match self {
            SecretRef::File(text) => paths.expand(text).ok(),
            SecretRef::Environment(_) | SecretRef::Literal(_) => None,
        }
    }

    /// Fetches the secret.
    pub(crate) fn resolve(&self, paths: &Paths, environment: Environment<'_>) -> Result<Secret, Complaint> {
        match self {
            SecretRef::Literal(secret) => Ok(secret.clone()),
            SecretRef::Environment(name) => {
                let text = environment(name).filter(|text| !text.is_empty()).ok_or_else(|| {
                    complaint(
                        format!("the environment variable `{name}` is not set"),
                        "set it where metaclaw is started, or refer to another secret",
                    )
                })?;
                check_characters(&text)?;
                Ok(Secret::new(text))
            }
            SecretRef::File(text) => {
                let path = paths.expand(text).map_err(|message| complaint(message, "write an absolute path"))?;
                let secret = read_secret_file(&path)?;
                check_characters(secret.expose())?;
                Ok(secret)
            }
        }
    }
}

/// The reference, or dots where the secret itself would stand.
impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::Environment(name) => write!(f, "env:{name}"),
            SecretRef::File(path) => write!(f, "file:{path}"),
            SecretRef::Literal(_) => f.write_str("•••"),
        }
    }
}

/// The secret that a text on the command line refers to, by `env:NAME` or `file:PATH`. The secret itself is not taken there, where
/// every user of the machine can read it. The error says what is wrong and what to do.
pub fn referenced_secret(text: &str, paths: &Paths) -> Result<Secret, String> {
    let words = |complaint: Complaint| format!("{}: {}", complaint.message, complaint.remedy);
    match SecretRef::parse(text).map_err(words)? {
        SecretRef::Literal(_) => {
            Err("a secret does not belong on the command line: write env:NAME or file:PATH".to_owned())
        }
        reference => reference.resolve(paths, &process_environment).map_err(words),
    }
}

/// A secret travels in an HTTP header: visible ASCII, no blanks.
fn check_characters(text: &str) -> Result<(), Complaint> {
    match text.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(complaint(
            "the secret holds a blank, a line break or a character outside ASCII, which a key cannot",
            "copy the key again, without what is around it",
        )),
    }
}

/// Opened without following a link and without waiting for a pipe's other end; checked on the open file, so that nobody
/// can exchange it in between.
fn read_secret_file(path: &Path) -> Result<Secret, Complaint> {
    let shown = path.display();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::LOOP => {
            complaint(format!("`{shown}` is a symbolic link"), "name the file that the link leads to")
        }
        error => complaint(
            format!("cannot open `{shown}`: {}", std::io::Error::from(error)),
            "create the file with the key alone in it, and `chmod 600` it",
        ),
    })?;
    let stat = rustix::fs::fstat(&file)
        .map_err(|error| complaint(format!("cannot examine `{shown}`: {}", std::io::Error::from(error)), "check it"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(complaint(format!("`{shown}` is not a regular file"), "name a regular file"));
    }
    if stat.st_mode & 0o077 != 0 {
        return Err(complaint(
            format!("`{shown}` is open to other users (mode {:04o})", stat.st_mode & 0o7777),
            format!("`chmod 600 {shown}`"),
        ));
    }
    let me = rustix::process::geteuid();
    if stat.st_uid != me.as_raw() && !me.is_root() {
        return Err(complaint(format!("`{shown}` belongs to another user"), "name a file of your own"));
    }
    let mut text = String::new();
    File::from(file)
        .take(MAX_SECRET_FILE)
        .read_to_string(&mut text)
        .map_err(|error| complaint(format!("cannot read `{shown}`: {error}"), "it must hold the key, as plain text"))?;
    let secret = Secret::new(text.trim_end_matches(['\r', '\n']).to_owned());
    match secret.expose().is_empty() {
        false => Ok(secret),
        true => Err(complaint(format!("`{shown}` is empty"), "put the key into it")),
    }
}
