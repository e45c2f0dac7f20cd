use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

/// What a check has to say.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// Which check.
    pub(super) check: &'static str,
    pub(super) level: Level,
    /// What was found, on which value.
    pub(super) what: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
    /// What `--fix` does.
    #[serde(skip)]
    pub(super) fix: Option<Fix>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// It is as it should be.
    Fine,
    /// It works; somebody should look.
    Warning,
    /// It does not work.
    Failure,
}

/// A change that takes nothing away from its owner.
#[derive(Debug)]
pub(super) struct Fix {
    path: PathBuf,
    mode: u32,
}

impl Finding {
    pub(super) fn fine(check: &'static str, what: impl Into<String>) -> Finding {
        Finding { check, level: Level::Fine, what: what.into(), remedy: None, fix: None }
    }

    pub(super) fn warning(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { level: Level::Warning, remedy: Some(remedy.into()), ..Finding::fine(check, what) }
    }

    pub(super) fn failure(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { level: Level::Failure, ..Finding::warning(check, what, remedy) }
    }

    /// For what is open to other users, and how it is closed.
    pub(super) fn open(check: &'static str, path: &Path, present: u32, mode: u32) -> Finding {
        let (shown, present) = (path.display(), present & 0o7777);
        let what = format!("{shown} is open to other users (mode {present:04o})");
        let remedy = format!("`chmod {mode:o} {shown}`, or `metaclaw doctor --fix`");
        let fix = Some(Fix { path: path.to_owned(), mode });
        Finding { fix, ..Finding::warning(check, what, remedy) }
    }
}

impl Fix {
    /// Does it, and says what was done.
    pub(super) fn apply(&self) -> anyhow::Result<String> {
        let done = format!("chmod {:o} {}", self.mode, self.path.display());
        fs::set_permissions(&self.path, fs::Permissions::from_mode(self.mode)).with_context(|| done.clone())?;
        Ok(done)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.level {
            Level::Fine => '✓',
            Level::Warning => '!',
            Level::Failure => '✗',
        };
        write!(f, "{sign} {:<10} {}", self.check, self.what)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n             → {remedy}"),
            None => Ok(()),
        }
    }
}
