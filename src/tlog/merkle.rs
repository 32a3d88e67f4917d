//! Roots and proofs. A tree is kept as its right edge; proofs are computed from its complete
//! subtrees (RFC 6962 §2.1.1, §2.1.2) and verified as RFC 9162 §2.1.3.2 and §2.1.4.2 say.
//!
//! A proof alone says nothing of the size: a path that fits a tree of three leaves may fit one of
//! four. Size and root belong together, so a verifier takes both from one verified checkpoint.

use super::hash::{Hash, empty_root, node_hash};

/// Longest path: one hash for each level of the largest tree that a `u64` can count.
pub const PATH_MAX: usize = 64;

/// Why a proof proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    #[error("leaf {index} is not in a tree of {size}")]
    NoSuchLeaf { index: u64, size: u64 },
    #[error("a tree of {new} leaves cannot continue one of {old}")]
    Shrunk { old: u64, new: u64 },
    #[error("the proof has too few or too many hashes for a tree of this size")]
    Length,
    #[error("the proof leads to another root")]
    OtherRoot,
}

/// Where the hashes of complete subtrees come from.
pub trait Nodes {
    type Error;

    /// The hash over the leaves `index << level .. (index + 1) << level`, all of which are there.
    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// A tree as far as growing needs it: the roots of its complete subtrees, from left to right. There
/// is one for each bit that is set in the size, so at most 64.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The frontier of a tree of `size` leaves that is kept elsewhere, or of its beginning.
    pub fn read<N: Nodes>(size: u64, nodes: &mut N) -> Result<Self, N::Error> {
        let peaks = subtrees(0, size).map(|(level, index)| nodes.node(level, index)).collect::<Result<_, _>>()?;
        Ok(Self { size, peaks })
    }

    /// The frontier of a tree whose levels of tiles end in these hashes, the leaves' level first:
    /// each level has fewer than 256, and all stand to the right of those above it.
    pub(super) fn of_levels(levels: &[Vec<Hash>]) -> Self {
        let mut tree = Self::default();
        for (level, hashes) in levels.iter().enumerate().rev() {
            let mut part = Self::default();
            part.extend(hashes.iter().copied());
            tree.size += part.size << (8 * level);
            tree.peaks.extend(part.peaks);
        }
        tree
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    #[must_use]
    pub fn root(&self) -> Hash {
        root_of(&self.peaks)
    }

    /// Adds the hash of a leaf. `made` gets every subtree that it completes, with its level: the
    /// leaf itself, which is level 0, and then those above it. On average there are two.
    pub fn append(&mut self, leaf: Hash, mut made: impl FnMut(u32, Hash)) {
        let mut node = leaf;
        made(0, node);
        for level in 1..=self.size.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            node = node_hash(&left, &node);
            made(level, node);
        }
        self.peaks.push(node);
        self.size += 1;
    }
}

impl Extend<Hash> for Frontier {
    fn extend<T: IntoIterator<Item = Hash>>(&mut self, leaves: T) {
        leaves.into_iter().for_each(|leaf| self.append(leaf, |_, _| {}));
    }
}

/// Joins neighbouring subtrees, the smallest first.
fn root_of(peaks: &[Hash]) -> Hash {
    let joined = peaks.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
    joined.unwrap_or_else(empty_root)
}

/// The complete subtrees, as level and index, of the leaves `from..to`, from left to right. `from`
/// is a multiple of the largest power of two that fits, as everywhere in the recursion of RFC 6962.
fn subtrees(from: u64, to: u64) -> impl Iterator<Item = (u32, u64)> {
    let length = to - from;
    let levels = (0..u64::BITS).rev().filter(move |level| length >> level & 1 == 1);
    levels.scan(from, |at, level| {
        let index = *at >> level;
        *at += 1 << level;
        Some((level, index))
    })
}

/// `MTH(D[from:to])` of RFC 6962.
fn range<N: Nodes>(from: u64, to: u64, nodes: &mut N) -> Result<Hash, N::Error> {
    let peaks: Vec<_> = subtrees(from, to).map(|(level, index)| nodes.node(level, index)).collect::<Result<_, _>>()?;
    Ok(root_of(&peaks))
}

/// The largest power of two below `length`, where RFC 6962 parts a tree; `length` is above 1.
fn split(length: u64) -> u64 {
    1 << (length - 1).ilog2()
}

/// The path from a leaf to the root: what is beside it, the leaf's sibling first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inclusion(pub Vec<Hash>);

impl Inclusion {
    /// The path of the leaf at `index` in a tree of `size`; `None` where there is no such leaf.
    pub fn compute<N: Nodes>(index: u64, size: u64, nodes: &mut N) -> Result<Option<Self>, N::Error> {
        if index >= size {
            return Ok(None);
        }
        let (mut from, mut to) = (0, size);
        let mut path = Vec::new();
        while to - from > 1 {
            let middle = from + split(to - from);
            if index < middle {
                path.push(range(middle, to, nodes)?);
                to = middle;
            } else {
                path.push(range(from, middle, nodes)?);
                from = middle;
            }
        }
        path.reverse();
        Ok(Some(Self(path)))
    }

    /// Proves that the leaf with this hash stands at `index` of the tree with this size and root.
    /// RFC 9162 §2.1.3.2, in whose words `at` is *fn* and `last` is *sn*.
    pub fn verify(&self, leaf: Hash, index: u64, size: u64, root: &Hash) -> Result<(), Refusal> {
        if index >= size {
            return Err(Refusal::NoSuchLeaf { index, size });
        }
        let (mut at, mut last) = (index, size - 1);
        let mut node = leaf;
        for beside in &self.0 {
            if last == 0 {
                return Err(Refusal::Length);
            }
            if at & 1 == 1 || at == last {
                node = node_hash(beside, &node);
                skip_to_right_child(&mut at, &mut last);
            } else {
                node = node_hash(&node, beside);
            }
            (at, last) = (at >> 1, last >> 1);
        }
        match last {
            0 if node == *root => Ok(()),
            0 => Err(Refusal::OtherRoot),
            _ => Err(Refusal::Length),
        }
    }
}

/// Climbs the levels on which a last node has no sibling and goes up unchanged.
fn skip_to_right_child(at: &mut u64, last: &mut u64) {
    while *at & 1 == 0 && *at != 0 {
        (*at, *last) = (*at >> 1, *last >> 1);
    }
}

/// What leads from the root of an older tree to that of a newer one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Consistency(pub Vec<Hash>);

impl Consistency {
    /// The proof that the tree of `new` leaves continues the one of `old`; `None` where it is
    /// smaller. It is empty where both are the same, and where the old one was empty.
    pub fn compute<N: Nodes>(old: u64, new: u64, nodes: &mut N) -> Result<Option<Self>, N::Error> {
        if old > new {
            return Ok(None);
        }
        let (mut from, mut to) = (0, new);
        let mut path = Vec::new();
        while old != 0 && old != to {
            let middle = from + split(to - from);
            if old <= middle {
                path.push(range(middle, to, nodes)?);
                to = middle;
            } else {
                path.push(range(from, middle, nodes)?);
                from = middle;
            }
        }
        // A verifier has the old root already: what is left of it is told only if it is a part.
        if from != 0 {
            path.push(range(from, to, nodes)?);
        }
        path.reverse();
        Ok(Some(Self(path)))
    }

    /// Proves that the new tree begins with all leaves of the old one, in their order.
    /// RFC 9162 §2.1.4.2; every tree continues the empty one, which has one root and needs no proof.
    pub fn verify(&self, (old, old_root): (u64, &Hash), (new, new_root): (u64, &Hash)) -> Result<(), Refusal> {
        if old > new {
            return Err(Refusal::Shrunk { old, new });
        }
        if old == 0 || old == new {
            let known = if old == new { new_root } else { &empty_root() };
            return match self.0.as_slice() {
                [] if old_root == known => Ok(()),
                [] => Err(Refusal::OtherRoot),
                _ => Err(Refusal::Length),
            };
        }
        let (of_old, of_new) = self.roots(old, new, old_root)?;
        if of_old == *old_root && of_new == *new_root { Ok(()) } else { Err(Refusal::OtherRoot) }
    }

    /// The two roots that the path leads to, where `0 < old < new`.
    fn roots(&self, old: u64, new: u64, old_root: &Hash) -> Result<(Hash, Hash), Refusal> {
        let (mut at, mut last) = (old - 1, new - 1);
        let below = at.trailing_ones();
        (at, last) = (at >> below, last >> below);
        // A complete old tree is a node of the new one: the path starts from its root.
        let mut path = old.is_power_of_two().then_some(old_root).into_iter().chain(&self.0);
        let first = if self.0.is_empty() { None } else { path.next() };
        let first = *first.ok_or(Refusal::Length)?;
        let (mut of_old, mut of_new) = (first, first);
        for beside in path {
            if last == 0 {
                return Err(Refusal::Length);
            }
            if at & 1 == 1 || at == last {
                of_old = node_hash(beside, &of_old);
                of_new = node_hash(beside, &of_new);
                skip_to_right_child(&mut at, &mut last);
            } else {
                of_new = node_hash(&of_new, beside);
            }
            (at, last) = (at >> 1, last >> 1);
        }
        if last == 0 { Ok((of_old, of_new)) } else { Err(Refusal::Length) }
    }
}
