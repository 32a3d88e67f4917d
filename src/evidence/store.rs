//! The evidence store: an SQLite file with one writer. The exact bytes of every event are kept,
//! each event once, and the place up to which a spool was read moves in the same transaction.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::Semaphore;

use super::orders;
use crate::model::ids::AgentId;
use crate::model::intent::Sha256;

/// What makes the store, version by version: a new one takes all steps, an older one the rest.
const STEPS: [&str; 4] =
    [include_str!("schema.sql"), orders::SCHEMA, include_str!("schema_streams.sql"), include_str!("schema_logs.sql")];
pub(super) const SCHEMA_VERSION: i64 = STEPS.len() as i64;
/// How long a statement waits for another process that holds the file.
pub(super) const BUSY: Duration = Duration::from_secs(2);
/// Queries that run at once; each has a connection.
const READERS: usize = 4;
/// How long a query waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(2);

/// Why the store did not answer or did not take events.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the evidence store failed")]
    Sqlite(#[from] rusqlite::Error),
    #[error("`{}` was written by a newer version (schema {found}, this is {SCHEMA_VERSION})", .path.display())]
    Newer { path: PathBuf, found: i64 },
    #[error("another process writes to this evidence store")]
    SecondWriter,
    #[error("the stream is read on this host, and not delivered")]
    Local,
    #[error("the stream has another source")]
    OtherSource,
    #[error("the stream belongs to the key {0}")]
    Foreign(AgentId),
    #[error("too many queries of the evidence store at once")]
    Busy,
    #[error("a query of the evidence store died")]
    Died,
    #[error("`{}` is damaged: {what}", .path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("the evidence store is held by another process; try again when it is done")]
    Held,
}

/// The readers' side. Each query sees one state of the log.
pub struct Store {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    turns: Arc<Semaphore>,
}

/// The one writer.
pub struct Writer(pub(super) Connection);

/// How far a stream was taken into the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stream {
    pub(super) id: i64,
    /// The next sequence that the store wants.
    pub next: u64,
    /// The source of its events, as far as one is here.
    pub(super) source: Option<String>,
    /// Leaf hash of its last event; none at its beginning and behind a hole.
    pub(super) last: Option<Sha256>,
}

/// Who may add to streams that are delivered: the key that began one, until that key is revoked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Producer {
    pub key: AgentId,
    /// The key of the stream is gone, and this one goes on.
    pub inherits: bool,
}

/// Records that are not in the store and never will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hole {
    pub from: u64,
    pub to: u64,
    pub cause: HoleCause,
}

/// Why records are not in the store. A closed set: it is a metric's label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoleCause {
    /// The sequence jumped over them.
    Missing,
    /// Their checksum held, but they are no events.
    Unreadable,
    /// It is there, and does not name the event before it: one of the two was changed or made up.
    BrokenChain,
    /// The stream was set back, and its numbers are given again from here on.
    WentBack,
}

impl HoleCause {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::BrokenChain => "broken_chain",
            Self::WentBack => "went_back",
        }
    }
}

/// Opens the store at `path` and makes it if it is not there.
pub fn open(path: &Path) -> Result<(Store, Writer), StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Half of the indexes are read and written at random places: 32 MiB keep the inner pages.
    connection.pragma_update(None, "cache_size", -32_768)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    let mut writer = Writer(connection);
    writer.migrate(path)?;
    let turns = Arc::new(Semaphore::new(READERS));
    Ok((Store { path: path.to_owned(), idle: Mutex::default(), turns }, writer))
}

impl Store {
    /// Asks from asynchronous code: on a blocking thread, a few at once; the others wait in line
    /// for two seconds.
    pub async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = tokio::time::timeout(TURN_WITHIN, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(StoreError::Busy) };
        let store = Arc::clone(self);
        // The turn goes along: a caller that leaves does not make room for a fifth thread.
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            query(&store)
        });
        asked.await.unwrap_or(Err(StoreError::Died))
    }

    /// Runs one query on a read-only connection.
    pub(super) fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let kept = self.idle.lock().pop();
        let connection = kept.map_or_else(|| self.connect(), Ok)?;
        let answer = query(&connection)?;
        let mut idle = self.idle.lock();
        if idle.len() < READERS {
            idle.push(connection);
        }
        Ok(answer)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn connect(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY)?;
        Ok(connection)
    }
}

impl Writer {
    fn migrate(&mut self, path: &Path) -> Result<(), StoreError> {
        let transaction = self.begin()?;
        let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let Some(rest) = usize::try_from(found).ok().and_then(|found| STEPS.get(found..)) else {
            return Err(StoreError::Newer { path: path.to_owned(), found });
        };
        for step in rest {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        Ok(transaction.commit()?)
    }

    pub(super) fn begin(&mut self) -> rusqlite::Result<Transaction<'_>> {
        self.0.transaction_with_behavior(TransactionBehavior::Immediate)
    }
}

/// SQLite's integers are signed. Sequences are counted from 1 and never come near the limit.
pub(super) fn signed(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}
