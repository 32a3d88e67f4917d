//! `.tlog-proof` files (C2SP tlog-proof): that an entry is in a log, for whoever has the log's key
//! and no connection. The file names an index, a path and a signed checkpoint; how large the tree is
//! and which root it has is taken from the checkpoint, once it is verified.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::checkpoint::{Checkpoint, CheckpointError, Trusted, VerifiedCheckpoint};
use super::decimal;
use super::hash::{Hash, leaf_hash};
use super::merkle::{Inclusion, PATH_MAX, Refusal};
use super::note::{NOTE_MAX, Note};

/// Longest extra data, in bytes.
pub const EXTRA_MAX: usize = 4096;
/// Longest proof, in bytes: the lines before the checkpoint have bounds of their own.
pub const PROOF_MAX: usize = NOTE_MAX + 16 * 1024;
const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// Why a proof is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProofError {
    #[error("not a tlog-proof: {0}")]
    Malformed(&'static str),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A proof as it was read: nothing of it is verified. It prints as the bytes that were read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// Says something to the application and is signed by nobody. Never empty.
    extra: Option<Vec<u8>>,
    index: u64,
    path: Inclusion,
    checkpoint: Note,
}

/// What a verified proof says: this entry stands at this index of this log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Included {
    pub index: u64,
    pub checkpoint: VerifiedCheckpoint,
}

impl Proof {
    /// The proof for the entry at `index` of the tree that the checkpoint names.
    #[must_use]
    pub fn new(index: u64, path: Inclusion, checkpoint: &VerifiedCheckpoint) -> Self {
        Self { extra: None, index, path, checkpoint: checkpoint.note().clone() }
    }

    /// Verifies that `entry` is in the trusted log: the checkpoint first, and then the path to it.
    pub fn open(self, entry: &[u8], trusted: &Trusted) -> Result<Included, ProofError> {
        let checkpoint = Checkpoint::open_note(self.checkpoint, trusted)?;
        self.path.verify(leaf_hash(entry), self.index, checkpoint.size(), checkpoint.root())?;
        Ok(Included { index: self.index, checkpoint })
    }

    /// Where it says that the entry stands. Not to be believed before [`Proof::open`].
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The path that it gives. What it proves, [`Inclusion::verify`] says, of a verified checkpoint.
    #[must_use]
    pub fn path(&self) -> &Inclusion {
        &self.path
    }

    /// The checkpoint that it carries along, of which nothing is verified.
    #[must_use]
    pub fn note(&self) -> &Note {
        &self.checkpoint
    }

    /// The application's own data, which no signature covers.
    #[must_use]
    pub fn extra(&self) -> Option<&[u8]> {
        self.extra.as_deref()
    }

    /// Reads exactly the printed form.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > PROOF_MAX {
            return Err(ProofError::Malformed("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ProofError::Malformed("it is not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or(ProofError::Malformed("it has no empty line"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(FIRST_LINE) {
            return Err(ProofError::Malformed("its first line is another"));
        }
        let extra = lines.next_if(|line| line.starts_with("extra ")).map(parse_extra).transpose()?;
        let index = lines.next().and_then(|line| decimal(line.strip_prefix("index ")?));
        let index = index.ok_or(ProofError::Malformed("it has no index"))?;
        let path = lines.map(Hash::parse).collect::<Option<Vec<_>>>();
        let path = path.ok_or(ProofError::Malformed("a line of the path is no hash"))?;
        if path.len() > PATH_MAX {
            return Err(ProofError::Malformed("its path is too long"));
        }
        let checkpoint = Note::parse(note.as_bytes()).map_err(CheckpointError::from)?;
        Ok(Self { extra, index, path: Inclusion(path), checkpoint })
    }
}

fn parse_extra(line: &str) -> Result<Vec<u8>, ProofError> {
    let extra = line.strip_prefix("extra ").and_then(|text| STANDARD.decode(text).ok());
    let extra = extra.filter(|extra| (1..=EXTRA_MAX).contains(&extra.len()));
    extra.ok_or(ProofError::Malformed("its extra data are empty, too long or not base64"))
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.path.0.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
