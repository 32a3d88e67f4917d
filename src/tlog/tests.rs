//! What a log promises, and what a verifier must never accept.

mod formats;
mod merkle;
mod mistakes;
mod peers;

use std::convert::Infallible;
use std::sync::Arc;

use super::checkpoint::{Checkpoint, Trusted, VerifiedCheckpoint};
use super::hash::{Hash, leaf_hash};
use super::key::{KeyName, SecretKey, Signer};
use super::merkle::{Consistency, Frontier, Inclusion, Nodes};

const ORIGIN: &str = "evidence.shop.example/permyx/acme/2026";

/// A whole tree in memory, as the hashes of its leaves.
#[derive(Clone)]
struct Leaves(Vec<Hash>);

impl Leaves {
    /// A tree whose leaves all differ.
    fn numbered(count: u64) -> Self {
        Self((0..count).map(|n| leaf_hash(&entry(n))).collect())
    }

    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn root(&self) -> Hash {
        self.frontier(self.size()).root()
    }

    fn root_at(&self, size: u64) -> Hash {
        self.frontier(size).root()
    }

    fn frontier(&self, size: u64) -> Frontier {
        let mut tree = Frontier::default();
        tree.extend(self.0[..size as usize].iter().copied());
        tree
    }

    fn inclusion(&self, index: u64, size: u64) -> Inclusion {
        let Ok(path) = Inclusion::compute(index, size, &mut self.clone());
        path.unwrap()
    }

    fn consistency(&self, old: u64, new: u64) -> Consistency {
        let Ok(path) = Consistency::compute(old, new, &mut self.clone());
        path.unwrap()
    }
}

impl Nodes for Leaves {
    type Error = Infallible;

    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Infallible> {
        let mut tree = Frontier::default();
        let first = (index << level) as usize;
        tree.extend(self.0[first..first + (1 << level)].iter().copied());
        Ok(tree.root())
    }
}

fn entry(n: u64) -> Vec<u8> {
    format!("entry {n}").into_bytes()
}

fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

fn signer(text: &str) -> Signer {
    Signer::new(name(text), Arc::new(SecretKey::generate().unwrap()))
}

fn trusting(signers: &[Signer]) -> Trusted {
    Trusted::new(signers.iter().map(|signer| signer.verifier().clone()).collect()).unwrap()
}

fn signed(signers: &[Signer], size: u64, root: Hash) -> VerifiedCheckpoint {
    let checkpoint = Checkpoint { origin: signers[0].verifier().name().clone(), size, root };
    let note = checkpoint.sign(signers).unwrap().to_string();
    Checkpoint::open(note.as_bytes(), &trusting(signers)).unwrap()
}
