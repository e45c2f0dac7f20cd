//! The one place that writes to the terminal.

use std::fmt::Display;
use std::io::Write;

use serde::Serialize;

/// Writes a line for people to standard output. A reader that has gone away is not an error worth dying of.
pub(crate) fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes text without a line end, at once: for answers that come in pieces.
pub(crate) fn piece(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}

/// Writes a value for programs to standard output, indented.
pub(crate) fn json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|e| format!("{{\"error\": {:?}}}", e.to_string()));
    line(text);
}

/// Writes a line to standard error: hints and warnings, which must not mix with results.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Words of a model or an upstream as a terminal may show them: without the characters that would make it act.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}
