use std::fmt;
use std::path::Path;

use clap::ValueEnum;

/// The languages for which there is a template and a way to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// Needs rustup; the smallest and fastest after C
    Rust,
    /// Needs Python 3.10 or later with pip
    Python,
    /// Needs Node.js 18 or later with npm
    Js,
    /// Needs Python 3 with pip, from which the compiler comes
    C,
    /// Needs Python 3 with pip, from which the compiler comes
    Go,
}

impl Language {
    pub(super) const ALL: [Language; 5] = [Language::Rust, Language::Python, Language::Js, Language::C, Language::Go];

    /// The template's folder, and the word on the command line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::Python => "python",
            Language::Js => "js",
            Language::C => "c",
            Language::Go => "go",
        }
    }

    /// The file by which a policy's folder is known.
    pub(super) fn mark(self) -> &'static str {
        match self {
            Language::Rust => "Cargo.toml",
            Language::Python => "policy.py",
            Language::Js => "policy.js",
            Language::C => "policy.c",
            Language::Go => "policy.go",
        }
    }

    /// The file that its author edits.
    pub(super) fn source(self) -> &'static str {
        match self {
            Language::Rust => "src/lib.rs",
            other => other.mark(),
        }
    }

    /// The language of a policy's folder.
    pub(super) fn of(folder: &Path) -> Option<Self> {
        // Cargo's file last: a policy in C may have one beside it for something else.
        Language::ALL.into_iter().rev().find(|language| folder.join(language.mark()).is_file())
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
