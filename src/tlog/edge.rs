//! The right edge of a log that grows: what is in no full tile yet. It takes entries and gives the
//! tiles that are to be written.

use super::entries::{self, TooLong};
use super::hash::{Hash, leaf_hash};
use super::merkle::Frontier;
use super::tile::{HEIGHT, Kind, Tile, WIDTH, bytes_of, hashes_of, partial_tiles, tile_of};

/// What keeping the edge of a tree takes: fewer than 256 hashes for each level of tiles, and fewer
/// than 256 entries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Edge {
    tree: Frontier,
    levels: Vec<Vec<Hash>>,
    bundle: Vec<u8>,
}

impl Edge {
    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    #[must_use]
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// Adds an entry. Returns the tiles that it fills, each with its bytes: mostly none.
    pub fn push(&mut self, entry: &[u8]) -> Result<Vec<(Tile, Vec<u8>)>, TooLong> {
        entries::push(&mut self.bundle, entry)?;
        let mut full = Vec::new();
        let (levels, size) = (&mut self.levels, self.tree.size() + 1);
        self.tree.append(leaf_hash(entry), |level, hash| {
            if level % HEIGHT == 0 {
                full.extend(add(levels, level / HEIGHT, hash, size));
            }
        });
        if let Some(tile) = filled(Kind::Entries, size) {
            full.push((tile, std::mem::take(&mut self.bundle)));
        }
        Ok(full)
    }

    /// The partial tiles of the tree as it is now, each with its bytes.
    pub fn partial(&self) -> impl Iterator<Item = (Tile, Vec<u8>)> {
        partial_tiles(self.size()).map(|tile| match tile.kind() {
            Kind::Hashes(level) => {
                (tile, self.levels.get(level as usize).map_or_else(Vec::new, |level| bytes_of(level)))
            }
            Kind::Entries => (tile, self.bundle.clone()),
        })
    }

    /// Reads the edge back from the [partial tiles](partial_tiles) of a tree, which come in their
    /// order. `Err` names one that is damaged: it is not as long as it has to be, or the entries are
    /// not those that were hashed.
    pub fn of_tiles(tiles: Vec<(Tile, Vec<u8>)>) -> Result<Self, Tile> {
        let mut edge = Self::default();
        for (tile, bytes) in tiles {
            match tile.kind() {
                Kind::Hashes(level) => {
                    edge.levels.resize_with(level as usize, Vec::new);
                    edge.levels.push(hashes_of(tile, &bytes).ok_or(tile)?);
                }
                Kind::Entries => {
                    let entries = entries::read(&bytes, tile.width()).ok_or(tile)?;
                    let hashed = edge.levels.first().map_or(&[][..], Vec::as_slice);
                    let same = entries.into_iter().map(leaf_hash).eq(hashed.iter().copied());
                    edge.bundle = if same { bytes } else { return Err(tile) };
                }
            }
        }
        edge.tree = Frontier::of_levels(&edge.levels);
        Ok(edge)
    }
}

/// Adds a hash to a level; the tile, if that fills it.
fn add(levels: &mut Vec<Vec<Hash>>, level: u32, hash: Hash, size: u64) -> Option<(Tile, Vec<u8>)> {
    if levels.len() <= level as usize {
        levels.resize_with(level as usize + 1, Vec::new);
    }
    let hashes = levels.get_mut(level as usize)?;
    hashes.push(hash);
    let tile = filled(Kind::Hashes(level), size)?;
    Some((tile, bytes_of(&std::mem::take(hashes))))
}

/// The last tile of its kind, where the leaf that made the tree `size` large filled it.
fn filled(kind: Kind, size: u64) -> Option<Tile> {
    let hashes = size >> (HEIGHT * kind.level());
    let last = (hashes / u64::from(WIDTH)).checked_sub(1)?;
    tile_of(kind, last, size).filter(|_| hashes.is_multiple_of(WIDTH.into()))
}
