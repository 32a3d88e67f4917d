//! Checkpoints (C2SP tlog-checkpoint): the size and the root of a log at one moment, signed by it.
//! A verifier believes what is in a [`VerifiedCheckpoint`] and nothing else, and [`Checkpoint::open`]
//! alone makes one.

use std::fmt;

use super::decimal;
use super::hash::{Hash, empty_root};
use super::key::{KeyName, Signer, VerifierKey};
use super::note::{Note, NoteError};

/// Largest tree: readers in other languages count with signed numbers.
pub const SIZE_MAX: u64 = i64::MAX as u64;

/// Why a checkpoint is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("the checkpoint cannot be believed")]
    Note(#[from] NoteError),
    #[error("the checkpoint is not the three lines origin, size and root")]
    Malformed,
    #[error("the checkpoint is of the log `{found}` and not of `{expected}`")]
    OtherLog { found: KeyName, expected: KeyName },
    #[error("a log needs keys, and all of them bear its name")]
    NoKeys,
}

/// What a log says of itself. Extension lines are refused: nobody audits them, and we write none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// The log's own name, and that of its keys.
    pub origin: KeyName,
    /// Number of leaves.
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    /// Signs with every key; they bear the name of the log.
    pub fn sign(&self, signers: &[Signer]) -> Result<Note, CheckpointError> {
        if signers.is_empty() || signers.iter().any(|signer| *signer.verifier().name() != self.origin) {
            return Err(CheckpointError::NoKeys);
        }
        Ok(Note::sign(self.to_string(), signers)?)
    }

    /// Verifies a signed checkpoint: a trusted key signed it, and it is that of the trusted log.
    pub fn open(note: &[u8], trusted: &Trusted) -> Result<VerifiedCheckpoint, CheckpointError> {
        Self::open_note(Note::parse(note)?, trusted)
    }

    pub(super) fn open_note(note: Note, trusted: &Trusted) -> Result<VerifiedCheckpoint, CheckpointError> {
        let signers = note.verify(&trusted.keys)?.into_iter().cloned().collect();
        let checkpoint = Self::parse(note.text()).ok_or(CheckpointError::Malformed)?;
        if checkpoint.origin != trusted.origin {
            return Err(CheckpointError::OtherLog { found: checkpoint.origin, expected: trusted.origin.clone() });
        }
        Ok(VerifiedCheckpoint { checkpoint, note, signers })
    }

    /// What a note says of a log, whoever signed it: nothing of it is verified.
    #[must_use]
    pub fn claimed(note: &Note) -> Option<Self> {
        Self::parse(note.text())
    }

    /// Reads exactly the printed form.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let origin = KeyName::parse(origin).ok()?;
        let size = decimal(size).filter(|size| *size <= SIZE_MAX)?;
        let root = Hash::parse(root)?;
        let sound = lines.next().is_none() && (size > 0 || root == empty_root());
        sound.then_some(Self { origin, size, root })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root)
    }
}

/// One log and the keys that may speak for it. It comes from the verifier's own configuration,
/// never from what is to be verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trusted {
    origin: KeyName,
    keys: Vec<VerifierKey>,
}

impl Trusted {
    /// At least one key, and all under one name: that of the log.
    pub fn new(keys: Vec<VerifierKey>) -> Result<Self, CheckpointError> {
        let origin = keys.first().map(|key| key.name().clone()).ok_or(CheckpointError::NoKeys)?;
        if keys.iter().any(|key| *key.name() != origin) {
            return Err(CheckpointError::NoKeys);
        }
        Ok(Self { origin, keys })
    }

    /// The name of the log.
    #[must_use]
    pub fn origin(&self) -> &KeyName {
        &self.origin
    }
}

/// A checkpoint that a trusted key signed. Only [`Checkpoint::open`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
    signers: Vec<VerifierKey>,
}

impl VerifiedCheckpoint {
    #[must_use]
    pub fn origin(&self) -> &KeyName {
        &self.checkpoint.origin
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.checkpoint.size
    }

    #[must_use]
    pub fn root(&self) -> &Hash {
        &self.checkpoint.root
    }

    /// The signed note, as it was read.
    #[must_use]
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// The trusted keys that signed it: never empty.
    #[must_use]
    pub fn signers(&self) -> &[VerifierKey] {
        &self.signers
    }
}
