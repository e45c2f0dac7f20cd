//! Reading what a host has recorded, while it runs or not.

use std::path::Path;
use std::time::SystemTime;

use domain::{AgentId, TurnId};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::database::{check_header, migrations, quiet};
use crate::dir::database_in;
use crate::error::StoreError;
use crate::read::Reader;
use crate::{StoredSample, StoredTurn};

/// The state directory of some host, to read: nothing is written, and nobody is kept from it. Each call sees what is committed
/// at that moment.
pub struct Archive {
    pub(crate) reader: Reader,
}

impl Archive {
    /// Opens the database in `dir`. Fails when there is none, and when another version of this program has made it.
    pub async fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = database_in(dir);
        check_header(&path)?;
        let options = quiet(SqliteConnectOptions::new().filename(&path).read_only(true));
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options);
        let archive = Archive { reader: Reader { pool, path: path.into() } };
        archive.check_version().await?;
        Ok(archive)
    }

    /// The last `limit` turns of an agent that began at `since` or later, the oldest first.
    pub async fn turns(&self, agent: &AgentId, since: SystemTime, limit: usize) -> Result<Vec<TurnId>, StoreError> {
        self.reader.turns_since(agent, since, limit).await
    }

    /// One turn.
    pub async fn turn(&self, id: TurnId) -> Result<Option<StoredTurn>, StoreError> {
        self.reader.turn(id).await
    }

    /// A turn's sample.
    pub async fn sample_of(&self, turn: TurnId) -> Result<Option<StoredSample>, StoreError> {
        self.reader.sample(turn).await
    }

    /// Gives the database up.
    pub async fn close(self) {
        self.reader.pool.close().await;
    }

    /// An older database lacks columns, and only the host that owns it may bring it up to date.
    async fn check_version(&self) -> Result<(), StoreError> {
        let known = migrations().last().map_or(0, |migration| migration.version);
        let path = self.reader.path.to_path_buf();
        match self.reader.version().await? {
            found if found > known => Err(StoreError::Newer { path, found, known }),
            found if found < known => Err(StoreError::Older { path, found, known }),
            _ => Ok(()),
        }
    }
}
