use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is not used.
    Error,
    /// It is used; somebody should look.
    Warning,
}

/// Where in the file, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

/// One thing that is wrong, or questionable. It never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// The key, such as `agents.coder.mode`; empty when it is about the whole file.
    pub path: String,
    /// Where the key's value is, unless it is missing.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// What is wrong, on which value.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// Everything found in one configuration file: at least one error when it comes as an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problems {
    /// The file.
    pub file: PathBuf,
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

/// What is wrong with a value, and what to do. Never any part of a secret.
#[derive(Debug)]
pub(crate) struct Complaint {
    pub(crate) message: String,
    pub(crate) remedy: String,
}

pub(crate) fn complaint(message: impl Into<String>, remedy: impl Into<String>) -> Complaint {
    Complaint { message: message.into(), remedy: remedy.into() }
}

/// Collects problems while a configuration is read.
#[derive(Debug, Default)]
pub(crate) struct Report {
    problems: Vec<Problem>,
}

impl Problems {
    /// The problems because of which the file is not used.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|p| p.severity == Severity::Error)
    }

    /// The others.
    pub fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|p| p.severity == Severity::Warning)
    }
}

impl Report {
    pub(crate) fn error(
        &mut self,
        path: impl Into<String>,
        place: Option<Place>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(Severity::Error, path.into(), place, message.into(), remedy.into());
    }

    pub(crate) fn warning(
        &mut self,
        path: impl Into<String>,
        place: Option<Place>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(Severity::Warning, path.into(), place, message.into(), remedy.into());
    }

    fn push(&mut self, severity: Severity, path: String, place: Option<Place>, message: String, remedy: String) {
        self.problems.push(Problem { severity, path, place, message, remedy });
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.problems.iter().any(|p| p.severity == Severity::Error)
    }

    /// The problems in the order of the file; those about what is missing come last.
    pub(crate) fn finish(mut self, file: &Path) -> Problems {
        self.problems.sort_by_key(|p| p.place.unwrap_or(Place { line: u64::MAX, column: 0 }));
        Problems { file: file.to_owned(), problems: self.problems }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

impl Problem {
    /// `proxy.port (line 9): "x" is not a whole number`: all but severity and remedy.
    fn statement(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(place) = self.place {
            let space = if self.path.is_empty() { "" } else { " " };
            write!(f, "{space}(line {}, column {})", place.line, place.column)?;
        }
        if !self.path.is_empty() || self.place.is_some() {
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

/// One line, without the severity: for a log.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.statement(f)?;
        write!(f, "; {}", self.remedy)
    }
}

/// The whole report: for a person at a terminal.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        counted(f, self.errors().count(), "error")?;
        f.write_str(", ")?;
        counted(f, self.warnings().count(), "warning")?;
        for problem in &self.problems {
            write!(f, "\n{}: ", problem.severity)?;
            problem.statement(f)?;
            write!(f, "\n    {}", problem.remedy)?;
        }
        Ok(())
    }
}

fn counted(f: &mut fmt::Formatter<'_>, count: usize, what: &str) -> fmt::Result {
    write!(f, "{count} {what}{}", if count == 1 { "" } else { "s" })
}

impl std::error::Error for Problems {}
