//! Opening the database: ours or refused, made whole or not at all, its schema brought up to date.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::ByteSize;
use sqlx::migrate::{Migrate as _, MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, SqlStr, SqliteConnection};

use crate::dir::StateDir;
use crate::error::StoreError;
use crate::uses;

/// Marks the file as this host's ("mclw"), so that another program's database is never touched.
const APPLICATION_ID: i32 = 0x6d63_6c77;
/// What every SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Where the header holds the application id, big-endian.
const APPLICATION_ID_AT: usize = 68;
/// The header's length in bytes.
const HEADER: usize = 100;
/// The largest database whose whole structure is checked when it is opened, in bytes; about 50 ms.
const CHECKED_AT_OPEN: u64 = 16 << 20;
/// How long a statement waits for a lock that somebody else holds, such as a backup. A write that waits longer has
/// failed, and poisons the store.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Reads at once. SQLite readers never wait for the writer.
const READERS: u32 = 2;

/// The open database.
pub(crate) struct Database {
    pub(crate) path: PathBuf,
    pub(crate) writer: SqliteConnection,
    pub(crate) readers: SqlitePool,
}

/// Every schema version of this program, in order. PostgreSQL runs the same files.
pub(crate) fn migrations() -> Vec<Migration> {
    [
        (1, "turns", include_str!("../migrations/0001_turns.sql")),
        (2, "session_key", include_str!("../migrations/0002_session_key.sql")),
        (3, "values", include_str!("../migrations/0003_values.sql")),
        (4, "reward", include_str!("../migrations/0004_reward.sql")),
        (5, "learning", include_str!("../migrations/0005_learning.sql")),
        (6, "uses", include_str!("../migrations/0006_uses.sql")),
        (7, "training", include_str!("../migrations/0007_training.sql")),
        (8, "tryouts", include_str!("../migrations/0008_tryouts.sql")),
    ]
    .into_iter()
    .map(|(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, SqlStr::from_static(sql), false)
    })
    .collect()
}

/// Opens the database of `dir`, or makes one. `limit` bounds the file's size. The few file operations here block, once,
/// before anything is served.
pub(crate) async fn open(
    dir: &StateDir,
    migrations: Vec<Migration>,
    limit: Option<ByteSize>,
) -> Result<Database, StoreError> {
    let path = dir.database();
    let known = migrations.last().map_or(0, |migration| migration.version);
    let migrator = Migrator::with_migrations(migrations);
    let size = match path.symlink_metadata() {
        Ok(meta) if meta.is_file() => meta.len(),
        Ok(_) => return Err(StoreError::NotOurs { path }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            create(dir, &migrator).await?;
            0
        }
        Err(e) => return Err(StoreError::io("inspect", &path)(e)),
    };
    check_header(&path)?;
    dir.tighten()?;

    let sql = StoreError::sql;
    let mut writer = writable(&path).connect().await.map_err(sql("open the database", &path))?;
    if size <= CHECKED_AT_OPEN {
        check_structure(&mut writer, &path).await?;
    }
    check_version(&mut writer, &migrator, &path, known).await?;
    migrator.run_direct(None, &mut writer, false).await.map_err(|e| migration_error(e, &path, known))?;
    if let Some(ByteSize(bytes)) = limit {
        limit_size(&mut writer, bytes).await.map_err(sql("limit the database's size", &path))?;
    }
    if known >= uses::SINCE {
        uses::write::tidy(&mut writer).await.map_err(sql("forget what came of skills long ago", &path))?;
    }
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        // Neither timeout: each would start a task of the pool's own.
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(quiet(SqliteConnectOptions::new().filename(&path).read_only(true)));
    Ok(Database { path, writer, readers })
}

/// Makes the database under another name, so that whatever bears its real name is whole.
async fn create(dir: &StateDir, migrator: &Migrator) -> Result<(), StoreError> {
    if let Some(path) = dir.orphaned_log() {
        let detail = "a log without its database; the database was removed or renamed".to_owned();
        return Err(StoreError::Damaged { path, detail });
    }
    let path = dir.unfinished()?;
    let sql = StoreError::sql;
    // No write-ahead log yet: everything must be in the one file that is renamed.
    let options = SqliteConnectOptions::new().filename(&path).synchronous(SqliteSynchronous::Full);
    let mut new = quiet(options).connect().await.map_err(sql("create a database", &path))?;
    let mark = format!("PRAGMA application_id = {APPLICATION_ID}");
    new.execute(AssertSqlSafe(mark)).await.map_err(sql("mark a database", &path))?;
    migrator.run_direct(None, &mut new, false).await.map_err(|e| migration_error(e, &path, 0))?;
    new.close().await.map_err(sql("close a database", &path))?;
    dir.finish(&path)
}

/// The writer's connection. `FULL` syncs the log at each commit: that is what an acknowledgement rests on.
fn writable(path: &Path) -> SqliteConnectOptions {
    quiet(SqliteConnectOptions::new().filename(path))
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // Only macOS has this stronger sync; elsewhere it means nothing.
        .pragma("fullfsync", "ON")
        .pragma("checkpoint_fullfsync", "ON")
        // What is purged is overwritten, not only unlinked.
        .pragma("secure_delete", "ON")
        // In pages (16 MiB) and bytes: fewer, larger checkpoints, and a log that shrinks again after a burst.
        .pragma("wal_autocheckpoint", "4096")
        .pragma("journal_size_limit", "67108864")
        // In KiB.
        .pragma("cache_size", "-16384")
}

/// Settings for every connection. Statements are not logged: nothing here may carry a prompt into a log.
pub(crate) fn quiet(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options.busy_timeout(BUSY_TIMEOUT).thread_name(|id| format!("store-sqlite-{id}")).disable_statement_logging()
}

/// Reads the header as plain bytes: SQLite itself may change a file that it opens.
pub(crate) fn check_header(path: &Path) -> Result<(), StoreError> {
    let mut header = Vec::with_capacity(HEADER);
    let file = File::open(path).map_err(StoreError::io("open", path))?;
    file.take(HEADER as u64).read_to_end(&mut header).map_err(StoreError::io("read", path))?;
    if header.is_empty() {
        return Err(StoreError::Damaged { path: path.to_owned(), detail: "the file is empty".to_owned() });
    }
    let id = header.get(APPLICATION_ID_AT..APPLICATION_ID_AT + 4);
    if !header.starts_with(MAGIC) || id != Some(APPLICATION_ID.to_be_bytes().as_slice()) {
        return Err(StoreError::NotOurs { path: path.to_owned() });
    }
    Ok(())
}

/// Looks for pages that contradict each other.
pub(crate) async fn check_structure(writer: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(writer)
        .await
        .map_err(StoreError::sql("check the database", path))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::Damaged { path: path.to_owned(), detail: found }) }
}

/// Refuses a newer schema before anything is written.
async fn check_version(
    writer: &mut SqliteConnection,
    migrator: &Migrator,
    path: &Path,
    known: i64,
) -> Result<(), StoreError> {
    let applied = writer.list_applied_migrations(&migrator.table_name).await;
    let applied = applied.map_err(|e| migration_error(e, path, known))?;
    match applied.last() {
        Some(last) if last.version > known => {
            Err(StoreError::Newer { path: path.to_owned(), found: last.version, known })
        }
        _ => Ok(()),
    }
}

fn migration_error(error: MigrateError, path: &Path, known: i64) -> StoreError {
    let damaged = |detail: String| StoreError::Damaged { path: path.to_owned(), detail };
    match error {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
            StoreError::sql("bring the schema up to date", path)(source)
        }
        MigrateError::VersionMissing(found) => StoreError::Newer { path: path.to_owned(), found, known },
        other => damaged(other.to_string()),
    }
}

/// Lets the file grow to `bytes` and no further; a write beyond that fails as on a full disk.
async fn limit_size(writer: &mut SqliteConnection, bytes: u64) -> Result<(), sqlx::Error> {
    let page: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut *writer).await?;
    let pages = bytes / u64::try_from(page.max(1)).unwrap_or(1);
    writer.execute(AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"))).await?;
    Ok(())
}
