//! Reads a spool directory while its producer, perhaps another process, writes to it.
//!
//! Only whole records are read. A record that is being written, or that the producer cut off again
//! after a failed write, is no record yet; the reader comes back to the same place.

use super::record::{self, BODY_MAX, HEADER, Next};
use super::segment::{self, Keep};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Bytes that are read at once. Several records of the longest kind fit.
const CHUNK: usize = 1 << 19;

/// A record that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Read {
    pub sequence: u64,
    pub body: Vec<u8>,
}

/// Where the reader stands after it read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// There may be more.
    Within,
    /// Every whole record was read.
    End,
    /// Every whole record was read, and all of them come before the place where reading was to
    /// begin: the directory is older than the reader. The next record will be number `next`.
    Behind { next: u64 },
}

/// A reader of one spool directory.
pub struct Tail {
    dir: PathBuf,
    /// Records before this one were read already.
    next: u64,
    segment: Option<Open>,
    /// One more than the highest sequence that was found, wanted or not.
    found: u64,
    buffer: Vec<u8>,
    kept: Keep,
}

struct Open {
    first: u64,
    file: File,
    offset: u64,
    /// Its name is on the disk.
    named: bool,
}

impl Tail {
    /// A reader that begins with record `next`. The directory need not be there yet.
    #[must_use]
    pub fn new(dir: PathBuf, next: u64, kept: Keep) -> Self {
        Self { dir, next, segment: None, found: 0, buffer: Vec::new(), kept }
    }

    #[cfg(feature = "control-plane")]
    pub fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    /// Reads on from another record, wherever it stands.
    pub fn go_to(&mut self, next: u64) {
        *self = Self::new(std::mem::take(&mut self.dir), next, self.kept);
    }

    /// Adds at most `room` records to `into`.
    pub fn read(&mut self, room: usize, into: &mut Vec<Read>) -> io::Result<Place> {
        // Looked up before reading: what has a successor was complete before we read it.
        let successor = self.successor()?;
        let Some(open) = &self.segment else {
            return Ok(self.enter(successor)?.map_or(Place::End, |()| Place::Within));
        };
        self.buffer.resize(CHUNK, 0);
        let filled = read_at(&open.file, &mut self.buffer, open.offset)?;
        let before = into.len();
        let left = self.take_records(filled, room, into);
        if into.len() - before == room || (filled == CHUNK && left < CHUNK) {
            return Ok(Place::Within);
        }
        if filled == CHUNK {
            // A whole chunk of damage. A record may begin in its last bytes.
            self.advance(CHUNK - HEADER - BODY_MAX);
            return Ok(Place::Within);
        }
        if let Some(successor) = successor {
            self.enter(Some(successor))?;
            return Ok(Place::Within);
        }
        Ok(if self.found < self.next { Place::Behind { next: self.found } } else { Place::End })
    }

    /// Waits until everything that was read is on the disk. Otherwise a loss of power could take
    /// back from the spool what its reader already kept, and numbers would be given twice.
    pub fn sync(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.segment else { return Ok(()) };
        if !open.named {
            segment::sync_dir(&self.dir)?;
            open.named = true;
        }
        open.file.sync_data()
    }

    /// Deletes the segments that were read to their end.
    pub fn release(&self) -> io::Result<()> {
        segment::release_before(&self.dir, self.segment.as_ref().map_or(0, |open| open.first), self.kept)
    }

    /// Takes records from the first `filled` bytes of the buffer; answers how many bytes are left.
    fn take_records(&mut self, filled: usize, room: usize, into: &mut Vec<Read>) -> usize {
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.get(..filled).unwrap_or_default();
        let end = into.len() + room;
        while into.len() < end {
            let step = match record::next(rest) {
                Next::Record(record) => {
                    self.found = self.found.max(record.sequence + 1);
                    if record.sequence >= self.next {
                        into.push(Read { sequence: record.sequence, body: record.body.to_vec() });
                        self.next = record.sequence + 1;
                    }
                    record.framed_len()
                }
                Next::Damage { bytes } => {
                    tracing::error!(dir = %self.dir.display(), bytes, "a spool segment is damaged");
                    bytes
                }
                Next::Tail => break,
            };
            self.advance(step);
            rest = rest.get(step..).unwrap_or_default();
        }
        let left = rest.len();
        self.buffer = buffer;
        left
    }

    fn advance(&mut self, bytes: usize) {
        if let Some(open) = &mut self.segment {
            open.offset += bytes as u64;
        }
    }

    /// The segment to read after the open one: at first the last that may hold the wanted record.
    fn successor(&self) -> io::Result<Option<u64>> {
        let segments = match segment::list(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            segments => segments?,
        };
        let mut firsts = segments.iter().map(|segment| segment.first);
        Ok(match &self.segment {
            Some(open) => firsts.find(|first| *first > open.first),
            None => firsts.clone().rfind(|first| *first <= self.next).or_else(|| firsts.next()),
        })
    }

    fn enter(&mut self, first: Option<u64>) -> io::Result<Option<()>> {
        let Some(first) = first else { return Ok(None) };
        // What was read of the one before is still to be told.
        self.sync()?;
        let file = File::open(segment::path(&self.dir, first))?;
        self.found = self.found.max(first);
        self.segment = Some(Open { first, file, offset: 0, named: false });
        Ok(Some(()))
    }
}

/// Fills `buffer` from `offset` on, as far as the file goes.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
