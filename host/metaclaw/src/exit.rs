use std::process::ExitCode;

use crate::output;

/// A failure that has a number of its own, from `sysexits.h`; every other failure is 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Exit {
    /// 64: the configuration is wrong. The report has been printed.
    #[error("the configuration cannot be used")]
    Config,
    /// 69: no host is running.
    #[error("{0}")]
    Unavailable(String),
    /// 75: another process has the state directory.
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
        Some(Exit::Config) => 64,
        Some(Exit::Unavailable(_)) => 69,
        Some(Exit::Locked(_)) => 75,
        None => 1,
    })
}
