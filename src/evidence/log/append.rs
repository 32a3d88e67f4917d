//! Growing the log. A leaf is taken into memory and full tiles are written; [`Appender::publish`]
//! writes the rest, flushes, and signs: in that order, so that a checkpoint never names a leaf that
//! is not on the disk.

use std::path::Path;

use super::files::{self, Batch};
use super::keys::read_checkpoint;
use super::{LogDir, LogError, LogKeys};
use crate::durable::{self, Lock, Readers};
use crate::model::time::Timestamp;
use crate::tlog::checkpoint::{Checkpoint, SIZE_MAX, Trusted, VerifiedCheckpoint};
use crate::tlog::edge::Edge;
use crate::tlog::key::Signer;
use crate::tlog::tile::{Tile, partial_tiles};

/// The one writer of a log.
pub struct Appender {
    pub(super) dir: LogDir,
    keys: LogKeys,
    trusted: Trusted,
    signers: Vec<Signer>,
    pub(super) edge: Edge,
    pub(super) batch: Batch,
    pub(super) published: Option<VerifiedCheckpoint>,
    /// Size of the checkpoint before: its partial tiles stay, for those who still read it.
    before: u64,
    broken: bool,
    lock: Lock,
}

impl Appender {
    /// Opens the log of a year. Where it is new, `previous` is the last checkpoint of an earlier
    /// year's, which its first leaf is to tell of.
    pub fn open_year(
        data: &Path,
        (name, year): (&str, u16),
        previous: Option<&VerifiedCheckpoint>,
        keys: &LogKeys,
        now: Timestamp,
    ) -> Result<Self, LogError> {
        let dir = LogDir::of(data, name, year)?;
        match previous.map(VerifiedCheckpoint::origin) {
            Some(found) if !dir.follows(found) => Err(LogError::NotBefore { found: found.clone(), this: dir.origin }),
            _ => Self::open(dir, keys, now),
        }
    }

    /// Continues a log behind the last checkpoint that was signed. What was appended after that is
    /// not in it: the caller appends from [`Appender::size`] on.
    pub fn open(dir: LogDir, keys: &LogKeys, now: Timestamp) -> Result<Self, LogError> {
        let mut appender = Self::empty(dir, keys, now)?;
        if let Some(last) = &appender.published {
            appender.edge = read_edge(&appender.dir, last)?;
            appender.stand_by_it()?;
        }
        Ok(appender)
    }

    /// Takes the lock and what was signed last, and no leaf.
    pub(super) fn empty(dir: LogDir, keys: &LogKeys, now: Timestamp) -> Result<Self, LogError> {
        durable::make_dir(&dir.root)?;
        dir.root.ancestors().skip(1).take(2).try_for_each(files::flush_dir)?;
        let lock = durable::lock(&dir.root.join(".lock"))?;
        keys.unless_held(dir.year, &dir.origin)?;
        let (trusted, signers) = (keys.trusted(&dir.origin)?, keys.signers(&dir.origin, now)?);
        let remembered = keys.last_signed(dir.year, &trusted)?;
        let shown = read_checkpoint(&dir.checkpoint(), &trusted)?;
        let published = last_of(remembered, shown)?;
        let before = published.as_ref().map_or(0, VerifiedCheckpoint::size);
        let batch = Batch::below(&dir.root);
        let (keys, edge) = (keys.clone(), Edge::default());
        Ok(Self { dir, keys, trusted, signers, edge, batch, published, before, broken: false, lock })
    }

    /// Number of leaves, published or not.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The last checkpoint that was signed.
    #[must_use]
    pub fn published(&self) -> Option<&VerifiedCheckpoint> {
        self.published.as_ref()
    }

    /// Takes the exact bytes of an event as the next leaf.
    pub fn append(&mut self, leaf: &[u8]) -> Result<(), LogError> {
        self.unless_broken(|log| {
            if log.size() >= SIZE_MAX {
                return Err(LogError::Full);
            }
            log.edge.push(leaf)?.iter().try_for_each(|(tile, bytes)| log.batch.write(*tile, bytes))
        })
    }

    /// Signs the log as it is now, and returns the checkpoint when it is on the disk with all that
    /// it names. Does nothing where the log and its keys are those of the last checkpoint.
    pub fn publish(&mut self) -> Result<&VerifiedCheckpoint, LogError> {
        self.unless_broken(|log| if log.is_published() { Ok(()) } else { log.sign() })?;
        self.published.as_ref().ok_or(LogError::Broken)
    }

    /// Signs with other keys from the next checkpoint on, after a rotation or when one retired.
    pub fn renew_keys(&mut self, now: Timestamp) -> Result<(), LogError> {
        self.trusted = self.keys.trusted(&self.dir.origin)?;
        self.signers = self.keys.signers(&self.dir.origin, now)?;
        Ok(())
    }

    fn is_published(&self) -> bool {
        let signers = || self.signers.iter().map(Signer::verifier);
        self.published.as_ref().is_some_and(|last| last.size() == self.size() && last.signers().iter().eq(signers()))
    }

    /// After a failed write nobody knows what is on the disk: only opening the log again tells. A
    /// leaf that is too long, or one too many, was not taken and changes nothing.
    fn unless_broken(&mut self, act: impl FnOnce(&mut Self) -> Result<(), LogError>) -> Result<(), LogError> {
        if self.broken {
            return Err(LogError::Broken);
        }
        let done = act(self);
        self.broken = !matches!(done, Ok(()) | Err(LogError::TooLong(_) | LogError::Full));
        done
    }

    fn sign(&mut self) -> Result<(), LogError> {
        let last = self.published.as_ref().map_or(0, VerifiedCheckpoint::size);
        // A tile that the last checkpoint names is on the disk and is not touched again.
        let old: Vec<Tile> = partial_tiles(last).collect();
        let new: Vec<_> = self.edge.partial().filter(|(tile, _)| !old.contains(tile)).collect();
        new.into_iter().try_for_each(|(tile, bytes)| self.batch.write(tile, &bytes))?;
        self.batch.flush()?;
        self.continues_what_was_signed()?;
        let checkpoint = Checkpoint { origin: self.dir.origin.clone(), size: self.size(), root: self.edge.root() };
        let failed = |source| LogError::Checkpoint { path: self.dir.checkpoint(), source };
        let note = checkpoint.sign(&self.signers).map_err(failed)?.to_string();
        let signed = Checkpoint::open(note.as_bytes(), &self.trusted).map_err(failed)?;
        self.keys.remember(self.dir.year, &signed)?;
        self.published = Some(signed);
        self.show()?;
        self.tidy(last)
    }

    /// Somebody may have restored a backup of the keys or of the log while it was open.
    fn continues_what_was_signed(&self) -> Result<(), LogError> {
        let remembered = self.keys.last_signed(self.dir.year, &self.trusted)?;
        let signed = |checkpoint: &VerifiedCheckpoint| (checkpoint.size(), *checkpoint.root());
        let same = remembered.as_ref().map(signed) == self.published.as_ref().map(signed);
        if same { Ok(()) } else { Err(LogError::Changed) }
    }

    /// A crash, or a restored backup of one of the two, may have left only one of them up to date.
    pub(super) fn stand_by_it(&self) -> Result<(), LogError> {
        if let Some(last) = &self.published {
            self.keys.remember(self.dir.year, last)?;
        }
        self.show()
    }

    /// Puts the last checkpoint where everybody sees it.
    fn show(&self) -> Result<(), LogError> {
        let Some(last) = &self.published else { return Ok(()) };
        let note = last.note().to_string();
        Ok(durable::replace(&self.dir.checkpoint(), note.as_bytes(), Readers::Everyone, &self.lock)?)
    }

    /// Removes the partial tiles that neither the new nor the last checkpoint needs.
    fn tidy(&mut self, last: u64) -> Result<(), LogError> {
        let needed: Vec<Tile> = partial_tiles(last).chain(partial_tiles(self.size())).collect();
        for tile in partial_tiles(self.before).filter(|tile| !needed.contains(tile)) {
            let is_full = !needed.iter().any(|other| other.filled() == tile.filled());
            let remove = if is_full { files::remove_forerunners } else { files::remove };
            remove(&self.dir.root, tile)?;
        }
        self.before = last;
        Ok(())
    }
}

/// What was signed last: as the keys remember it, or as it is shown.
fn last_of(
    remembered: Option<VerifiedCheckpoint>,
    shown: Option<VerifiedCheckpoint>,
) -> Result<Option<VerifiedCheckpoint>, LogError> {
    match (&remembered, &shown) {
        (Some(one), Some(other)) if one.size() == other.size() && one.root() != other.root() => Err(LogError::Changed),
        _ => Ok(shown.into_iter().chain(remembered).max_by_key(VerifiedCheckpoint::size)),
    }
}

/// Reads the right edge from the tiles and holds it against the checkpoint.
fn read_edge(dir: &LogDir, last: &VerifiedCheckpoint) -> Result<Edge, LogError> {
    let read = |tile| Ok((tile, files::read(&dir.root, tile)?));
    let tiles = partial_tiles(last.size()).map(read).collect::<Result<_, LogError>>()?;
    let edge = Edge::of_tiles(tiles).map_err(|tile| LogError::Damaged(dir.root.join(tile.to_string())))?;
    if edge.root() == *last.root() { Ok(edge) } else { Err(LogError::Damaged(dir.root.join("tile"))) }
}
