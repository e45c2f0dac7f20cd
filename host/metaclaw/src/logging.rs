//! Where the host's log goes: to standard error, or to a file that is put aside when it is full.

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use config::LogConfig;
use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// How many lines may wait to be written. More are dropped: a full disk must not stop turns.
const WAITING_LINES: usize = 16_384;

/// Writes what still waits when it is dropped, and ends the thread that writes.
#[must_use = "without it nothing is written"]
pub(crate) struct Logging {
    _writer: Option<WorkerGuard>,
}

/// Logs what passes `filter` to `file`, or to standard error, from now to the end of the process.
pub(crate) fn begin(filter: &str, file: Option<&Path>, limits: LogConfig) -> anyhow::Result<Logging> {
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("--log {filter:?} is not a filter such as `info` or `agents=debug`"))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter);
    let Some(file) = file else {
        let on_terminal = std::io::stderr().is_terminal();
        let begun = subscriber.with_writer(std::io::stderr).with_ansi(on_terminal).try_init();
        return begun.map(|()| Logging { _writer: None }).map_err(|e| anyhow::anyhow!(e));
    };
    let (writer, guard) = to_file(file, limits)?;
    let begun = subscriber.with_writer(writer).with_ansi(false).try_init();
    begun.map(|()| Logging { _writer: Some(guard) }).map_err(|e| anyhow::anyhow!(e))
}

fn to_file(file: &Path, limits: LogConfig) -> anyhow::Result<(NonBlocking, WorkerGuard)> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    // The library below would keep trouble with the file to itself.
    options.open(file).with_context(|| format!("the log {} cannot be opened", file.display()))?;
    let full = ContentLimit::BytesSurpassed(usize::try_from(limits.max_size.0).unwrap_or(usize::MAX).max(1));
    let rotating =
        FileRotate::new(file, AppendCount::new(limits.keep as usize), full, Compression::None, Some(options));
    Ok(NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .thread_name("log")
        .lossy(true)
        .finish(rotating))
}
