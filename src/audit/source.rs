//! Where the bytes come from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::{NOTE_MAX, Note};
use crate::tlog::tile::partial_tiles;

/// The file that is signed.
pub(super) const CHECKPOINT: &str = "checkpoint";
/// How often a log that is published just now is read anew.
const TRIES: usize = 5;
/// Largest file of an edge: 255 entries.
const EDGE_MAX: usize = 255 * (2 + 0xFFFF);

/// The files of a log, by the names that tlog-tiles gives them.
pub trait Source: Sync {
    /// The bytes of a file; `None` where there is none. One of more than `max` bytes is an error.
    fn read(&self, name: &str, max: usize) -> io::Result<Option<Vec<u8>>>;
}

/// A log directory.
#[derive(Clone, Debug)]
pub struct Directory(pub PathBuf);

impl Source for Directory {
    fn read(&self, name: &str, max: usize) -> io::Result<Option<Vec<u8>>> {
        match File::open(self.0.join(name)) {
            Ok(file) => bounded(file, max).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A log that may grow while it is read: its checkpoint and its right edge, as they were at one moment.
/// What else a checkpoint names never changes.
pub struct Moment<'s, S> {
    source: &'s S,
    held: BTreeMap<String, Vec<u8>>,
}

impl<'s, S: Source> Moment<'s, S> {
    /// Reads the edge. Where a file of it is gone by then, the log was published meanwhile, and a newer
    /// checkpoint is read; after some tries the file is missing.
    pub fn of(source: &'s S) -> Self {
        let mut moment = Self { source, held: BTreeMap::new() };
        for _ in 0..TRIES {
            moment.held.clear();
            if moment.hold() {
                break;
            }
        }
        moment
    }

    /// False where a file is missing.
    fn hold(&mut self) -> bool {
        let Ok(Some(bytes)) = self.source.read(CHECKPOINT, NOTE_MAX) else { return true };
        let claimed = Note::parse(&bytes).ok().and_then(|note| Checkpoint::claimed(&note));
        self.held.insert(CHECKPOINT.to_owned(), bytes);
        let Some(claimed) = claimed else { return true };
        partial_tiles(claimed.size).all(|tile| match self.source.read(&tile.to_string(), EDGE_MAX) {
            Ok(Some(bytes)) => {
                self.held.insert(tile.to_string(), bytes);
                true
            }
            Ok(None) => false,
            // Told where it is needed.
            Err(_) => true,
        })
    }
}

impl<S: Source> Source for Moment<'_, S> {
    fn read(&self, name: &str, max: usize) -> io::Result<Option<Vec<u8>>> {
        match self.held.get(name) {
            Some(bytes) if bytes.len() <= max => Ok(Some(bytes.clone())),
            _ => self.source.read(name, max),
        }
    }
}

/// The bytes of a file that must not be longer than `max`.
pub fn bounded(file: File, max: usize) -> io::Result<Vec<u8>> {
    let expected = file.metadata().map_or(0, |meta| meta.len().min(max as u64));
    let mut bytes = Vec::with_capacity(expected as usize + 1);
    file.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {max} bytes")));
    }
    Ok(bytes)
}
