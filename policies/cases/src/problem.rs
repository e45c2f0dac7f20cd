use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// One thing that is wrong with a file of cases.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Counted from 1; 0 when it is about the whole file.
    pub line: u64,
    /// Counted from 1, in characters.
    pub column: u64,
    /// The key, such as `cases[2].turn.mode`; empty when it is about the whole file.
    pub path: String,
    /// What is wrong, on which value, and what to do.
    pub message: String,
}

/// Everything that is wrong with a file of cases: at least one problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problems {
    /// The file.
    pub file: PathBuf,
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

impl Problems {
    /// In the order of the file. What a default gets wrong is wrong in every case and said once.
    pub(crate) fn new(file: PathBuf, mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup_by(|a, b| (a.line, a.column, &a.message) == (b.line, b.column, &b.message));
        Problems { file, problems }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// A line for each problem: `cases.yaml:12: cases[2].turn.mode: "x" is no mode; …`.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let end = if at == 0 { "" } else { "\n" };
            write!(f, "{end}{}:", self.file.display())?;
            if problem.line > 0 {
                write!(f, "{}:", problem.line)?;
            }
            write!(f, " {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
