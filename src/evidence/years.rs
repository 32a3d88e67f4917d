//! Which event is in which log. Every event is: the store decides it once, when a year's log begins.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::store::{Store, StoreError, Writer, signed};
use super::take::tell_own;
use crate::model::event::{Event, EventKind, Text};
use crate::model::ids::TraceId;
use crate::model::time::Timestamp;

/// The log of one year: the events from `first` on, up to the next one's first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct YearLog {
    pub year: u16,
    /// Index in the store of its first leaf.
    pub first: u64,
}

impl YearLog {
    /// Where an event of this log stands in the log's tree; the first leaf is 0.
    #[must_use]
    pub fn leaf_of(self, index: u64) -> Option<u64> {
        index.checked_sub(self.first)
    }
}

impl Writer {
    /// The log that events go into now.
    pub fn current_log(&self) -> Result<Option<YearLog>, StoreError> {
        Ok(current(&self.0)?)
    }

    /// Begins the log of a year with the next event. `previous` is the last checkpoint of the log
    /// before, which becomes the first leaf; where there was none, all events of before are in it.
    pub fn begin_log(&mut self, year: u16, previous: Option<Text>, now: Timestamp) -> Result<YearLog, StoreError> {
        let transaction = self.begin()?;
        let newest: i64 = transaction.query_row("SELECT coalesce(max(idx), 0) FROM events", [], |row| row.get(0))?;
        let first = if previous.is_some() { newest.unsigned_abs() + 1 } else { 1 };
        transaction.execute("INSERT INTO logs VALUES (?1, ?2)", params![year, signed(first)])?;
        if let Some(checkpoint) = previous {
            let mut event = Event::new(EventKind::EvidenceLogOpened, now, TraceId::random());
            event.data.checkpoint = Some(checkpoint);
            tell_own(&transaction, &[event], now)?;
        }
        transaction.commit()?;
        Ok(YearLog { year, first })
    }
}

impl Store {
    /// The log that holds the event with this index.
    pub fn log_of(&self, index: u64) -> Result<Option<YearLog>, StoreError> {
        let newest = "SELECT year, first_idx FROM logs WHERE first_idx <= ?1 ORDER BY year DESC LIMIT 1";
        self.read(|at| at.query_row(newest, [signed(index)], log).optional())
    }

    /// Every log, the oldest first.
    pub fn logs(&self) -> Result<Vec<YearLog>, StoreError> {
        self.read(all)
    }

    /// The bytes of at most `limit` events of a log from the leaf `from` on, up to the first index
    /// that is missing. One statement sees one state of the store, so a log that begins meanwhile
    /// takes none of its events into this one.
    pub fn leaves(&self, log: YearLog, from: u64, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let select = "SELECT idx, body FROM events WHERE idx >= ?1 AND idx < coalesce(
                      (SELECT min(first_idx) FROM logs WHERE year > ?2), 9223372036854775807) ORDER BY idx LIMIT ?3";
        let from = log.first + from;
        self.read(|at| {
            let mut statement = at.prepare(select)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![signed(from), log.year, limit])?;
            let mut leaves = Vec::new();
            while let Some(row) = rows.next()? {
                if row.get::<_, i64>(0)?.unsigned_abs() != from + leaves.len() as u64 {
                    break;
                }
                leaves.push(row.get(1)?);
            }
            Ok(leaves)
        })
    }
}

pub(super) fn all(at: &Connection) -> rusqlite::Result<Vec<YearLog>> {
    at.prepare("SELECT year, first_idx FROM logs ORDER BY year")?.query_map([], log)?.collect()
}

fn current(at: &Connection) -> rusqlite::Result<Option<YearLog>> {
    at.query_row("SELECT year, first_idx FROM logs ORDER BY year DESC LIMIT 1", [], log).optional()
}

fn log(row: &Row<'_>) -> rusqlite::Result<YearLog> {
    Ok(YearLog { year: row.get(0)?, first: row.get::<_, i64>(1)?.unsigned_abs() })
}
