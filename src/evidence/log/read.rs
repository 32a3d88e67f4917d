//! Proving from the files. A reader trusts its keys and no file: what it gives out was verified
//! against the signed checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use super::keys::read_checkpoint;
use super::{LogDir, LogError, files};
use crate::tlog::checkpoint::{Trusted, VerifiedCheckpoint};
use crate::tlog::entries;
use crate::tlog::hash::{Hash, leaf_hash};
use crate::tlog::merkle::{Consistency, Frontier, Inclusion, Nodes};
use crate::tlog::proof::Proof;
use crate::tlog::tile::{Kind, Tile, WIDTH, place_of, tile_of};

/// The reading side of a log, for any number of readers beside the writer.
#[derive(Clone, Debug)]
pub struct LogReader {
    dir: LogDir,
    trusted: Trusted,
}

/// The log as one checkpoint names it. Its files stay until the log was published twice more; a
/// reader that finds one missing then takes the tree anew.
#[derive(Debug)]
pub struct Tree<'a> {
    root: &'a Path,
    checkpoint: VerifiedCheckpoint,
}

impl LogReader {
    #[must_use]
    pub fn new(dir: LogDir, trusted: Trusted) -> Self {
        Self { dir, trusted }
    }

    /// The log as it is published now; `None` before the first checkpoint.
    pub fn tree(&self) -> Result<Option<Tree<'_>>, LogError> {
        let checkpoint = read_checkpoint(&self.dir.checkpoint(), &self.trusted)?;
        Ok(checkpoint.map(|checkpoint| Tree { root: &self.dir.root, checkpoint }))
    }
}

impl Tree<'_> {
    #[must_use]
    pub fn checkpoint(&self) -> &VerifiedCheckpoint {
        &self.checkpoint
    }

    /// The bytes of a leaf; `None` where there is no such leaf. They are not held against the
    /// checkpoint: [`Tree::proof`] does that.
    pub fn leaf(&self, index: u64) -> Result<Option<Vec<u8>>, LogError> {
        let (bundle, at) = (index / u64::from(WIDTH), index % u64::from(WIDTH));
        if index >= self.checkpoint.size() {
            return Ok(None);
        }
        let Some(tile) = tile_of(Kind::Entries, bundle, self.checkpoint.size()) else { return Ok(None) };
        let bytes = files::read(self.root, tile)?;
        let entries = entries::read(&bytes, tile.width()).ok_or_else(|| self.damaged(tile))?;
        Ok(entries.get(at as usize).map(|entry| entry.to_vec()))
    }

    /// The path of a leaf in the tree of `size`, which may be an older one; `None` where there is no
    /// such leaf or no such tree.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Option<Inclusion>, LogError> {
        if size > self.checkpoint.size() {
            return Ok(None);
        }
        Inclusion::compute(index, size, &mut self.nodes())
    }

    /// The proof that the tree of `new` leaves continues that of `old`; `None` where it does not or
    /// where the log is smaller.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Option<Consistency>, LogError> {
        if new > self.checkpoint.size() {
            return Ok(None);
        }
        Consistency::compute(old, new, &mut self.nodes())
    }

    /// The root that the log had with `size` leaves; `None` where it is smaller.
    pub fn root_at(&self, size: u64) -> Result<Option<Hash>, LogError> {
        if size > self.checkpoint.size() {
            return Ok(None);
        }
        Ok(Some(Frontier::read(size, &mut self.nodes())?.root()))
    }

    /// A leaf and its `.tlog-proof`, which holds; `None` where there is no such leaf. Files that
    /// prove nothing are an error here and not a surprise at the auditor's.
    pub fn proof(&self, index: u64) -> Result<Option<(Vec<u8>, Proof)>, LogError> {
        let size = self.checkpoint.size();
        let (Some(leaf), Some(path)) = (self.leaf(index)?, self.inclusion(index, size)?) else { return Ok(None) };
        let holds = path.verify(leaf_hash(&leaf), index, size, self.checkpoint.root());
        holds.map_err(|_| LogError::Damaged(self.root.join("tile")))?;
        Ok(Some((leaf, Proof::new(index, path, &self.checkpoint))))
    }

    fn damaged(&self, tile: Tile) -> LogError {
        LogError::Damaged(self.root.join(tile.to_string()))
    }

    fn nodes(&self) -> Tiles<'_> {
        Tiles { root: self.root, size: self.checkpoint.size(), read: BTreeMap::new() }
    }
}

/// The tiles of a tree, each read once: a proof takes a few from each.
struct Tiles<'a> {
    root: &'a Path,
    size: u64,
    read: BTreeMap<Tile, Vec<Hash>>,
}

impl Nodes for Tiles<'_> {
    type Error = LogError;

    fn node(&mut self, level: u32, index: u64) -> Result<Hash, LogError> {
        let place = place_of(level, index, self.size).ok_or_else(|| LogError::Missing(self.root.join("tile")))?;
        if !self.read.contains_key(&place.tile) {
            self.read.insert(place.tile, files::hashes(self.root, place.tile)?);
        }
        let root = self.read.get(&place.tile).and_then(|hashes| place.root(hashes));
        root.ok_or_else(|| LogError::Damaged(self.root.join(place.tile.to_string())))
    }
}
