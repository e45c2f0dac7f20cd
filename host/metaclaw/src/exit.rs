use std::process::ExitCode;

use crate::output;

/// When the configuration is wrong.
pub(crate) const CONFIG: u8 = 64;
/// When no host is running.
const UNAVAILABLE: u8 = 69;
/// When another process has the state directory.
pub(crate) const LOCKED: u8 = 75;

/// A failure that has a number of its own, from `sysexits.h`; every other failure is 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Exit {
    /// The configuration is wrong. The report has been printed.
    #[error("the configuration cannot be used")]
    Config,
    /// No host is running.
    #[error("{0}")]
    Unavailable(String),
    /// Another process has the state directory.
    #[error("{0}")]
    Locked(String),
}

/// Prints an error with its causes and gives the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let known = error.downcast_ref::<Exit>();
    if !matches!(known, Some(Exit::Config)) {
        output::note(format_args!("metaclaw: {error:#}"));
    }
    ExitCode::from(match known {
        Some(Exit::Config) => CONFIG,
        Some(Exit::Unavailable(_)) => UNAVAILABLE,
        Some(Exit::Locked(_)) => LOCKED,
        None => 1,
    })
}
