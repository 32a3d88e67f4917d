//! The hashes of a Merkle tree (RFC 6962 §2.1). A leaf and a node never hash alike, because each
//! begins with a byte of its own: else a node's two hashes could be shown as a leaf.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const LEAF: &[u8] = &[0];
const NODE: &[u8] = &[1];

/// A SHA-256 value of the tree; prints as base64 with padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; Self::BYTES]);

impl Hash {
    pub const BYTES: usize = 32;

    #[must_use]
    pub const fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Reads exactly the printed form.
    #[must_use]
    pub fn parse(base64: &str) -> Option<Self> {
        STANDARD.decode(base64).ok()?.try_into().ok().map(Self)
    }

    /// SHA-256 of the parts, one behind the other. For a leaf or a node there are functions.
    pub(super) fn plain(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        parts.iter().for_each(|part| context.update(part));
        let mut value = [0; Self::BYTES];
        value.copy_from_slice(context.finish().as_ref());
        Self(value)
    }
}

/// The hash of a leaf, from the exact bytes of its entry.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash::plain(&[LEAF, entry])
}

/// The hash of a node, from those of its two children.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash::plain(&[NODE, &left.0, &right.0])
}

/// The root of a tree without leaves: the hash of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    Hash::plain(&[])
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
