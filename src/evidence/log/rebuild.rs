//! Making the tiles anew from the events, where files are lost or damaged. The same leaves make the
//! same bytes; other leaves are found out before anything is replaced.

use std::path::PathBuf;

use super::files::{self, Batch};
use super::{Appender, LogDir, LogError, LogKeys};
use crate::durable;
use crate::model::time::Timestamp;
use crate::tlog::checkpoint::VerifiedCheckpoint;

/// A log that is being made anew beside the old one.
pub struct Rebuild {
    log: Appender,
    scratch: PathBuf,
}

impl Rebuild {
    /// Begins without a leaf. The old tiles stay until [`Rebuild::finish`].
    pub fn begin(dir: LogDir, keys: &LogKeys, now: Timestamp) -> Result<Self, LogError> {
        let scratch = dir.root.join(".rebuild");
        let mut log = Appender::empty(dir, keys, now)?;
        files::remove_dir(&scratch)?;
        durable::make_dir(&scratch)?;
        log.batch = Batch::below(&scratch);
        Ok(Self { log, scratch })
    }

    /// Takes the next leaf, from index 0 on. Where the leaves are not those that were signed, that
    /// is the end of it.
    pub fn push(mut self, leaf: &[u8]) -> Result<Self, LogError> {
        self.log.append(leaf)?;
        if self.log.size() == self.signed() {
            self.compare()?;
        }
        Ok(self)
    }

    /// Puts the new tiles in the place of the old ones, and the log as it goes on from here.
    pub fn finish(mut self) -> Result<Appender, LogError> {
        let (signed, found) = (self.signed(), self.log.size());
        if found < signed {
            return Err(LogError::Shrunk { signed, found });
        }
        let (root, scratch) = (self.log.dir.root.clone(), self.scratch);
        self.log.batch.flush()?;
        let (old, new) = (root.join("tile"), scratch.join("tile"));
        files::remove_dir(&old)?;
        if new.exists() {
            std::fs::rename(&new, &old).map_err(|source| LogError::Io { doing: "rename", path: new, source })?;
        }
        files::remove_dir(&scratch)?;
        files::flush_dir(&root)?;
        self.log.batch = Batch::below(&root);
        self.log.stand_by_it()?;
        Ok(self.log)
    }

    fn signed(&self) -> u64 {
        self.log.published.as_ref().map_or(0, VerifiedCheckpoint::size)
    }

    /// The tree of the last checkpoint: its root must be the one that was signed, and its partial
    /// tiles are part of what is made anew.
    fn compare(&mut self) -> Result<(), LogError> {
        let Some(last) = &self.log.published else { return Ok(()) };
        let (signed, found) = (*last.root(), self.log.edge.root());
        if signed != found {
            return Err(LogError::Diverged { size: last.size(), signed, found });
        }
        self.log.edge.partial().try_for_each(|(tile, bytes)| self.log.batch.write(tile, &bytes))
    }
}
