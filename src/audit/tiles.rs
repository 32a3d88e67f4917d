//! One pass over a log: its leaves hash to the tiles of level 0, those to the tiles above, and all to
//! one root. Each byte is hashed once.

use super::report::{Finding, Findings};
use super::source::Source;
use crate::tlog::entries::{self, ENTRY_MAX};
use crate::tlog::hash::{Hash, leaf_hash};
use crate::tlog::merkle::Frontier;
use crate::tlog::tile::{Kind, Tile, WIDTH, bytes_of, tile_of};

/// Largest bundle of entries.
const BUNDLE_MAX: usize = WIDTH as usize * (ENTRY_MAX + 2);
const TILE_MAX: usize = WIDTH as usize * Hash::BYTES;
/// Levels of the tree in one level of tiles.
const HEIGHT: u32 = 8;

/// The leaves of one bundle, with their hashes.
pub(super) struct Batch {
    /// Index of the first.
    pub first: u64,
    bytes: Vec<u8>,
    width: u16,
    pub hashes: Vec<Hash>,
}

impl Batch {
    /// The bytes of the leaves.
    pub fn entries(&self) -> Vec<&[u8]> {
        entries::read(&self.bytes, self.width).unwrap_or_default()
    }
}

/// The pass, as far as it has come.
pub(super) struct Pass<'s, S> {
    source: &'s S,
    size: u64,
    tree: Frontier,
    /// Hashes that belong to the next tile of each level above 0, and how many tiles were full.
    above: Vec<(Vec<Hash>, u64)>,
    /// Sizes whose roots are asked for, from large to small, and those roots.
    wanted: Vec<u64>,
    pub roots: Vec<(u64, Hash)>,
    pub findings: Findings,
}

impl<'s, S: Source> Pass<'s, S> {
    pub fn new(source: &'s S, size: u64, mut wanted: Vec<u64>) -> Self {
        wanted.sort_unstable_by(|left, right| right.cmp(left));
        let mut pass = Self {
            source,
            size,
            tree: Frontier::default(),
            above: Vec::new(),
            wanted,
            roots: Vec::new(),
            findings: Findings::default(),
        };
        pass.note_root();
        pass
    }

    pub fn is_done(&self) -> bool {
        self.tree.size() >= self.size
    }

    /// Number of leaves of the log.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Leaves that were read.
    pub fn done(&self) -> u64 {
        self.tree.size()
    }

    /// The root of all leaves, once the pass is done.
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// Takes the next bundle; `None` where it is not there or is none, and the pass cannot go on.
    pub fn next(&mut self) -> Option<Batch> {
        let first = self.tree.size();
        let tile = tile_of(Kind::Entries, first / u64::from(WIDTH), self.size)?;
        let (file, bytes) = self.read(tile, BUNDLE_MAX)?;
        let Some(entries) = entries::read(&bytes, file.width()) else {
            let what = format!("its bytes are not {} entries", file.width());
            self.findings.add(Finding::new(what).in_file(file).at_leaf(first));
            return None;
        };
        let hashes: Vec<_> = entries.into_iter().take(tile.width().into()).map(leaf_hash).collect();
        if let Some(leaves) = tile_of(Kind::Hashes(0), tile.index(), self.size) {
            self.compare(leaves, &hashes, Some(first));
        }
        hashes.iter().for_each(|leaf| self.grow(*leaf));
        Some(Batch { first, bytes, width: file.width(), hashes })
    }

    fn grow(&mut self, leaf: Hash) {
        let mut full = Vec::new();
        self.tree.append(leaf, |level, hash| {
            if level > 0 && level % HEIGHT == 0 {
                full.push((level / HEIGHT, hash));
            }
        });
        for (level, hash) in full {
            let at = level as usize - 1;
            if self.above.len() == at {
                self.above.push((Vec::with_capacity(WIDTH.into()), 0));
            }
            let Some((hashes, _)) = self.above.get_mut(at) else { continue };
            hashes.push(hash);
            if hashes.len() == usize::from(WIDTH) {
                self.close(level);
            }
        }
        self.note_root();
    }

    fn note_root(&mut self) {
        while self.wanted.last() == Some(&self.tree.size()) {
            self.roots.push((self.tree.size(), self.tree.root()));
            self.wanted.pop();
        }
    }

    /// Compares what belongs to the next tile of a level with the tile.
    fn close(&mut self, level: u32) {
        let Some((hashes, index)) = self.above.get_mut(level as usize - 1) else { return };
        let (hashes, at) = (std::mem::take(hashes), *index);
        *index += 1;
        if let Some(tile) = tile_of(Kind::Hashes(level), at, self.size) {
            self.compare(tile, &hashes, None);
        }
    }

    /// Compares the partial tiles at the right edge.
    pub fn finish(&mut self) {
        for level in 1..=self.above.len() as u32 {
            if self.above.get(level as usize - 1).is_some_and(|(hashes, _)| !hashes.is_empty()) {
                self.close(level);
            }
        }
    }

    fn compare(&mut self, tile: Tile, hashes: &[Hash], first: Option<u64>) {
        let Some((file, bytes)) = self.read(tile, TILE_MAX) else { return };
        if bytes.len() != usize::from(file.width()) * Hash::BYTES {
            self.findings.add(Finding::new(format!("it is not a tile of {} hashes", file.width())).in_file(file));
            return;
        }
        let expected = bytes_of(hashes);
        let Some(byte) = expected.iter().zip(&bytes).position(|(ours, theirs)| ours != theirs) else { return };
        let at = (byte / Hash::BYTES) as u64;
        let finding = match first {
            Some(first) => Finding::new("the leaf does not hash to what the tile says of it").at_leaf(first + at),
            None => Finding::new("the tile does not hold the hashes of the tiles below it"),
        };
        self.findings.add(finding.in_file(file).at_byte(byte));
    }

    /// The bytes of a tile, from the full one where the log has grown since.
    fn read(&mut self, tile: Tile, max: usize) -> Option<(Tile, Vec<u8>)> {
        for file in [tile, tile.filled()] {
            match self.source.read(&file.to_string(), max) {
                Ok(Some(bytes)) => return Some((file, bytes)),
                Ok(None) => {}
                Err(error) => {
                    self.findings.add(Finding::new(format!("it cannot be read: {error}")).in_file(file));
                    return None;
                }
            }
        }
        self.findings.add(Finding::new("the file is missing").in_file(tile));
        None
    }
}
