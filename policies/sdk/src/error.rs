use std::fmt;

use crate::Problem;

/// Why a hook cannot decide: the operator's rule for this hook (`policy.on_failure`) decides instead. Whatever is an error converts, so `?` works on
/// everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    code: String,
    message: String,
}

/// What a hook answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The code of errors that have none of their own.
const FAILED: &str = "failed";

impl Error {
    /// A short kebab-case word for programs, and one sentence for a person.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Error { code: code.into(), message: message.into() }
    }

    /// The kebab-case word.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn of(problem: Problem) -> Self {
        Error { code: problem.code, message: problem.message }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

// Not an error itself in the eyes of the standard library: else it could not be made of every other one.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Error { code: FAILED.to_owned(), message: error.to_string() }
    }
}

impl Error {
    #[doc(hidden)]
    pub fn into_problem(self) -> Problem {
        Problem { code: self.code, message: self.message }
    }
}
