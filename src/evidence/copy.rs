//! A copy of the store while its writer writes: all of one moment.

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::store::{BUSY, SCHEMA_VERSION, Store, StoreError};
use super::years::{self, YearLog};

/// Pages that are copied between two words about how far it is: 4 MiB.
const PAGES: i32 = 1024;
/// How often, and after which pause, a step is tried that another process is in the way of.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

/// One moment of the store, held until it is copied. What is written meanwhile is not in it.
pub struct Snapshot(Connection);

impl Snapshot {
    pub fn hold(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        // A transaction sees the moment of its first read. While it is open, steps of a copy belong to it: without it
        // a copy would begin anew with every event that comes.
        connection.execute_batch("BEGIN")?;
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found > SCHEMA_VERSION {
            return Err(StoreError::Newer { path: path.to_owned(), found });
        }
        Ok(Self(connection))
    }

    /// The logs of that moment, the oldest first.
    pub fn logs(&self) -> Result<Vec<YearLog>, StoreError> {
        Ok(years::all(&self.0)?)
    }

    /// Writes it to a new file. `tell` hears how many bytes of how many are there.
    pub fn copy_to(self, path: &Path, tell: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
        let mut copy = Connection::open(path)?;
        let page: i64 = self.0.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let bytes = |pages: i32| u64::from(pages.unsigned_abs()) * page.unsigned_abs();
        let backup = Backup::new(&self.0, &mut copy)?;
        let mut tries = 0;
        loop {
            match backup.step(PAGES)? {
                StepResult::Done => break,
                StepResult::More => {
                    tries = 0;
                    let far = backup.progress();
                    tell(bytes(far.pagecount - far.remaining), bytes(far.pagecount));
                }
                _ if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
                _ => return Err(StoreError::Held),
            }
        }
        drop(backup);
        copy.close().map_err(|(_, error)| error.into())
    }
}

impl Store {
    /// Looks at every page: what is wrong with the file is an error.
    pub fn look_through(&self) -> Result<(), StoreError> {
        let found: String = self.read(|at| at.pragma_query_value(None, "quick_check", |row| row.get(0)))?;
        if found == "ok" { Ok(()) } else { Err(StoreError::Damaged { path: self.path().to_owned(), what: found }) }
    }
}
