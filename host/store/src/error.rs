use std::path::{Path, PathBuf};

use domain::TurnId;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder could not be made ready.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried: "create", "lock", ….
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has this state directory.
    #[error("{dir} is in use by {}: stop it, or give this host another state directory", owner(*.pid))]
    Locked {
        /// The state directory.
        dir: PathBuf,
        /// Who holds it, when the lock file says so.
        pid: Option<u32>,
    },
    /// The file is some other program's, or no database at all. It was not touched.
    #[error("{path} is not a database of this host: move it away, or name another state directory")]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of this program wrote the database. It was not touched.
    #[error("{path} has schema version {found} and this version knows {known}: upgrade metaclaw, or restore a backup")]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version that the database has.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// An older version of this program wrote the database, which was only to be read.
    #[error(
        "{path} has schema version {found} and this version knows {known}: start the host once, which brings it up to date"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// The version that the database has.
        found: i64,
        /// The version that this program reads.
        known: i64,
    },
    /// The database contradicts itself. Nothing was repaired or thrown away.
    #[error("{path} is damaged ({detail}): stop metaclaw, keep a copy of the folder, and restore a backup of it")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A write failed earlier, so nothing more is promised until the host is started again.
    #[error(
        "the store stopped keeping samples after a failed write ({reason}): free space or repair the disk, then restart"
    )]
    Poisoned {
        /// The first failure.
        reason: String,
    },
    /// [`Store::close`](crate::Store::close) was called.
    #[error("the store is closed")]
    Closed,
    /// A sample names a turn that is not in its session: never recorded, or another agent's.
    #[error("turn {0} is not recorded in the sample's session: record the turn before its sample")]
    UnknownTurn(TurnId),
    /// A verdict's weight is outside 0 to 10.
    #[error("the weight {0} of a sample is not a number from 0 to 10")]
    Weight(f32),
    /// A score is no reward.
    #[error("the score {reward} with a spread of {spread} is not a number from -1 to 1 with a spread from 0 to 2")]
    Score {
        /// The reward.
        reward: f32,
        /// How far the votes lie apart.
        spread: f32,
    },
    /// Purged content may still be readable in the log file, because something kept reading the old state.
    #[error("{agent} was removed, but its bytes are still in the log of {path}: end other readers and purge again")]
    PurgeUnfinished {
        /// Whose content.
        agent: String,
        /// The database.
        path: PathBuf,
    },
    /// A query failed for another reason.
    #[error("cannot {action}: {source}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// What the database said.
        source: sqlx::Error,
    },
}

/// SQLite's primary result codes, the low bytes of the extended ones.
const ERROR: i32 = 1;
const CORRUPT: i32 = 11;
/// SQLite's code for a file that is no database.
const NOT_A_DATABASE: i32 = 26;

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl StoreError {
    /// For `map_err` after a file operation.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| StoreError::Io { action, path, source }
    }

    /// For `map_err` after a query on the database at `path`.
    pub(crate) fn sql(action: &'static str, path: &Path) -> impl FnOnce(sqlx::Error) -> Self {
        let path = path.to_owned();
        move |source| match (&source, primary_code(&source)) {
            (sqlx::Error::PoolClosed, _) => StoreError::Closed,
            (_, Some(NOT_A_DATABASE)) => StoreError::NotOurs { path },
            (_, Some(CORRUPT)) => StoreError::Damaged { path, detail: source.to_string() },
            // No statement is made of anything but our own words, so what it does not find was there.
            (sqlx::Error::Database(said), Some(ERROR)) if said.message().starts_with("no such ") => {
                StoreError::Damaged { path, detail: source.to_string() }
            }
            (sqlx::Error::ColumnDecode { index, .. }, _) => {
                StoreError::Damaged { path, detail: format!("column {index} does not hold what it should") }
            }
            (sqlx::Error::Decode(why), _) => StoreError::Damaged { path, detail: why.to_string() },
            _ => StoreError::Database { action, source },
        }
    }
}

/// The result code of a database error without its extension, if it is one.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
