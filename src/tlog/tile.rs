//! Where a log keeps what (C2SP tlog-tiles). The tree is cut into tiles of 256 hashes: level 0 holds
//! the leaves' hashes, and each hash of a level above stands for a full tile below it. Beside level 0
//! stand the entries themselves, in bundles of 256.

use std::fmt;

use super::decimal;
use super::hash::Hash;
use super::merkle::Frontier;

/// Hashes or entries in a full tile.
pub const WIDTH: u16 = 256;
/// Binary levels of the tree in one level of tiles.
pub(super) const HEIGHT: u32 = 8;
/// Levels of tiles: 256⁸ leaves are more than a `u64` counts.
const LEVELS: u32 = 8;

/// What a tile holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Kind {
    /// Hashes of this level.
    Hashes(u32),
    /// Entries: the leaves as they are.
    Entries,
}

/// One tile of a tree, full or partial.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Tile {
    kind: Kind,
    index: u64,
    width: u16,
}

impl Tile {
    /// `None` where no tree has such a tile. A `width` of [`WIDTH`] is a full one.
    #[must_use]
    pub fn new(kind: Kind, index: u64, width: u16) -> Option<Self> {
        let level = kind.level();
        let exists = level < LEVELS && index >> (HEIGHT * (LEVELS - 1 - level)) == 0;
        (exists && (1..=WIDTH).contains(&width)).then_some(Self { kind, index, width })
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its number among the tiles of its kind.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Hashes or entries in it: 1–256.
    #[must_use]
    pub fn width(&self) -> u16 {
        self.width
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        self.width == WIDTH
    }

    /// The full tile that takes this one's place when the tree has grown.
    #[must_use]
    pub fn filled(&self) -> Self {
        Self { width: WIDTH, ..*self }
    }

    /// Reads exactly the printed form.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = if kind == "entries" { Kind::Entries } else { Kind::Hashes(decimal(kind)?.try_into().ok()?) };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, decimal(width)?.try_into().ok()?),
            None => (rest, WIDTH),
        };
        let tile = Self::new(kind, parse_index(index)?, width)?;
        // An index may have had needless zeroes, and a full tile its width.
        (tile.to_string() == path).then_some(tile)
    }
}

impl Kind {
    pub(super) fn level(self) -> u32 {
        match self {
            Self::Hashes(level) => level,
            Self::Entries => 0,
        }
    }
}

/// The path below the log's own directory or address, such as `tile/0/x001/067.p/8`.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Hashes(level) => write!(f, "tile/{level}/")?,
            Kind::Entries => f.write_str("tile/entries/")?,
        }
        write_index(f, self.index / 1000)?;
        write!(f, "{:03}", self.index % 1000)?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

/// The groups of three digits that have more behind them; a `u64` has seven at most.
fn write_index(f: &mut fmt::Formatter<'_>, groups: u64) -> fmt::Result {
    if groups == 0 {
        return Ok(());
    }
    write_index(f, groups / 1000)?;
    write!(f, "x{:03}/", groups % 1000)
}

fn parse_index(path: &str) -> Option<u64> {
    path.split('/').try_fold(0_u64, |index, group| {
        let digits = group.strip_prefix('x').unwrap_or(group);
        let three = digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit());
        let group: u64 = if three { digits.parse().ok()? } else { return None };
        index.checked_mul(1000)?.checked_add(group)
    })
}

/// Every tile of a tree of `size` leaves: those with hashes from the leaves up, then the entries.
pub fn tiles(size: u64) -> impl Iterator<Item = Tile> {
    kinds(size).flat_map(move |kind| {
        let hashes = size >> (HEIGHT * kind.level());
        (0..hashes.div_ceil(WIDTH.into())).filter_map(move |index| tile_of(kind, index, size))
    })
}

/// The partial tiles of a tree of `size` leaves: at most one of each kind, the rightmost.
pub fn partial_tiles(size: u64) -> impl Iterator<Item = Tile> {
    kinds(size).filter_map(move |kind| {
        let last = size >> (HEIGHT * kind.level()) >> HEIGHT;
        tile_of(kind, last, size)
    })
}

fn kinds(size: u64) -> impl Iterator<Item = Kind> {
    let levels = (0..LEVELS).take_while(move |level| size >> (HEIGHT * level) > 0);
    levels.map(Kind::Hashes).chain((size > 0).then_some(Kind::Entries))
}

/// The tile at `index` as it is in a tree of `size` leaves; `None` where it is empty.
#[must_use]
pub fn tile_of(kind: Kind, index: u64, size: u64) -> Option<Tile> {
    let hashes = size.checked_shr(HEIGHT * kind.level())?;
    let left = hashes.checked_sub(index.checked_mul(WIDTH.into())?)?;
    Tile::new(kind, index, left.min(WIDTH.into()) as u16)
}

/// Where a complete subtree stands: in one tile, as the root over `count` of its hashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub tile: Tile,
    pub start: usize,
    pub count: usize,
}

impl Place {
    /// The root of the subtree, from the hashes of its tile.
    #[must_use]
    pub fn root(&self, hashes: &[Hash]) -> Option<Hash> {
        let mut tree = Frontier::default();
        tree.extend(hashes.get(self.start..self.start + self.count)?.iter().copied());
        Some(tree.root())
    }
}

/// The place of the subtree over the leaves `index << level .. (index + 1) << level` in a tree of
/// `size`; `None` where it is not complete.
#[must_use]
pub fn place_of(level: u32, index: u64, size: u64) -> Option<Place> {
    let last = index.checked_add(1)?.checked_shl(level)?;
    if last >> level != index + 1 || last > size {
        return None;
    }
    let within = level % HEIGHT;
    let first = index << within;
    let tile = tile_of(Kind::Hashes(level / HEIGHT), first >> HEIGHT, size)?;
    Some(Place { tile, start: (first % u64::from(WIDTH)) as usize, count: 1 << within })
}

/// The hashes in the bytes of a tile; `None` where there are fewer or more than its width.
#[must_use]
pub fn hashes_of(tile: Tile, bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks();
    let whole = rest.is_empty() && hashes.len() == usize::from(tile.width);
    whole.then(|| hashes.iter().copied().map(Hash::new).collect())
}

/// The bytes of a tile of these hashes.
#[must_use]
pub fn bytes_of(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}
