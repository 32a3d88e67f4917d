//! The evidence store: an SQLite file with one writer. The exact bytes of every event are kept,
//! each event once, and the place up to which a spool was read moves in the same transaction.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Statement, Transaction, TransactionBehavior, params};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::stored::Body;
use super::tail::Read;
use crate::model::time::Timestamp;

const SCHEMA: &str = include_str!("schema.sql");
const SCHEMA_VERSION: i64 = 1;
/// How long a statement waits for another process that holds the file.
const BUSY: Duration = Duration::from_secs(2);
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
    #[error("too many queries of the evidence store at once")]
    Busy,
    #[error("a query of the evidence store died")]
    Died,
}

/// The readers' side. Each query sees one state of the log.
pub struct Store {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    turns: Arc<Semaphore>,
}

/// The one writer.
pub struct Writer(Connection);

/// How far a stream was taken into the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stream {
    id: i64,
    /// The next sequence that the store wants.
    pub next: u64,
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
}

impl HoleCause {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
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
        let found = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match found {
            0 => transaction.execute_batch(SCHEMA)?,
            SCHEMA_VERSION => {}
            found => return Err(StoreError::Newer { path: path.to_owned(), found }),
        }
        Ok(transaction.commit()?)
    }

    fn begin(&mut self) -> rusqlite::Result<Transaction<'_>> {
        self.0.transaction_with_behavior(TransactionBehavior::Immediate)
    }

    /// How far the stream with this identity was taken; a new one begins with 1.
    pub fn stream(&mut self, identity: Uuid) -> Result<Stream, StoreError> {
        let known = self.0.query_row(
            "SELECT id, next_seq FROM streams WHERE identity = ?1 ORDER BY generation DESC LIMIT 1",
            [identity.to_string()],
            |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)),
        );
        match known.optional()? {
            Some((id, next)) => Ok(Stream { id, next: next.unsigned_abs() }),
            None => self.restart(identity, 1),
        }
    }

    /// Begins the next generation of a stream, whose first event will have the sequence `next`.
    pub fn restart(&mut self, identity: Uuid, next: u64) -> Result<Stream, StoreError> {
        self.0.execute(
            "INSERT INTO streams(identity, generation, next_seq)
             SELECT ?1, 1 + coalesce(max(generation), 0), ?2 FROM streams WHERE identity = ?1",
            params![identity.to_string(), signed(next)],
        )?;
        Ok(Stream { id: self.0.last_insert_rowid(), next })
    }

    /// Takes records of one stream, in one transaction with the new place in it. Answers what is
    /// missing before and between them.
    pub fn commit(&mut self, stream: &mut Stream, records: &[Read]) -> Result<Vec<Hole>, StoreError> {
        let transaction = self.begin()?;
        let mut holes = Vec::new();
        let mut next = stream.next;
        {
            let mut insert = transaction.prepare(INSERT)?;
            for record in records {
                if record.sequence > next {
                    holes.push(Hole { from: next, to: record.sequence - 1, cause: HoleCause::Missing });
                }
                if !insert_event(&mut insert, stream.id, record)? {
                    let cause = HoleCause::Unreadable;
                    holes.push(Hole { from: record.sequence, to: record.sequence, cause });
                }
                next = record.sequence + 1;
            }
        }
        for Hole { from, to, cause } in &holes {
            let values = params![stream.id, signed(*from), signed(*to), cause.as_str()];
            transaction.execute("INSERT INTO gaps VALUES (?1, ?2, ?3, ?4)", values)?;
        }
        let moved = transaction.execute(
            "UPDATE streams SET next_seq = ?3 WHERE id = ?1 AND next_seq = ?2",
            params![stream.id, signed(stream.next), signed(next)],
        )?;
        if moved != 1 {
            return Err(StoreError::SecondWriter);
        }
        transaction.commit()?;
        stream.next = next;
        Ok(holes)
    }
}

const INSERT: &str = "INSERT INTO events(stream, seq, id, type, corr, store, trace, agent, jti, decision, reason, \
                      order_id, t_ms, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";

/// False when the record is no event.
fn insert_event(insert: &mut Statement<'_>, stream: i64, record: &Read) -> rusqlite::Result<bool> {
    let Some(body) = Body::read(&record.body) else { return Ok(false) };
    let Some(time) = Timestamp::parse(body.time) else { return Ok(false) };
    let data = &body.data;
    insert.execute(params![
        stream,
        signed(record.sequence),
        body.id,
        body.name(),
        body.correlation,
        data.store_id,
        data.trace_id,
        data.agent_id,
        data.token_id,
        data.decision,
        data.reason_code,
        data.order_id,
        time.millis(),
        record.body,
    ])?;
    Ok(true)
}

/// SQLite's integers are signed. Sequences are counted from 1 and never come near the limit.
fn signed(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}
