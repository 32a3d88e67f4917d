//! How a bundle is written.

use std::ops::Range;

use super::manifest::{Manifest, Scope};
use super::zip::{self, TooLarge};
use super::{CHECKPOINT, EVENTS, EVENTS_MAX, INDICES, MANIFEST, VERIFY, consistency_name, proof_name};
use crate::tlog::checkpoint::VerifiedCheckpoint;
use crate::tlog::key::Signer;
use crate::tlog::merkle::{Consistency, Inclusion};
use crate::tlog::note::{Note, NoteError};
use crate::tlog::proof::Proof;

/// For whoever opens a bundle and does not know what it is.
const TOLD: &str = "# Evidence of Permyx\n\n\
    Verify it without a connection, with the log's key, which you got from its owner and not from here:\n\n    \
    permyx evidence verify THIS.pmx --key KEY\n    python3 verify_evidence.py THIS.pmx --key KEY\n\n\
    Formats, and what is claimed and what is not: docs/evidence.md of Permyx.\n";

/// Why a bundle cannot be written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WriteError {
    #[error("a bundle holds at most {EVENTS_MAX} events: take the log, or a smaller range")]
    TooMany,
    #[error("the events are not in the order of the log, or outside of the range")]
    Order,
    #[error("leaf {0} cannot stand in a line")]
    NotALine(u64),
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    #[error("the manifest cannot be signed")]
    Unsigned(#[from] NoteError),
}

/// An event with what proves that it is in the log.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    pub index: u64,
    /// The exact bytes of the leaf.
    pub bytes: &'a [u8],
    pub path: Inclusion,
}

/// What a bundle is made of.
#[derive(Clone, Debug)]
pub struct Content<'a> {
    pub checkpoint: &'a VerifiedCheckpoint,
    pub scope: Scope,
    /// The indices among which the events were looked for.
    pub range: Range<u64>,
    /// In the order of the log.
    pub events: Vec<Entry<'a>>,
    /// That the log continues these older sizes.
    pub consistency: Vec<(u64, Consistency)>,
}

/// The bytes of the bundle; its manifest is signed by the log's key.
pub fn write(content: &Content<'_>, signers: &[Signer]) -> Result<Vec<u8>, WriteError> {
    let Content { checkpoint, scope, range, events, consistency } = content;
    if events.len() > EVENTS_MAX {
        return Err(WriteError::TooMany);
    }
    let in_order = events.is_sorted_by(|left, right| left.index < right.index);
    if !in_order || range.end > checkpoint.size() || !events.iter().all(|event| range.contains(&event.index)) {
        return Err(WriteError::Order);
    }
    let (mut lines, mut indices) = (Vec::new(), String::new());
    let mut files = vec![(CHECKPOINT.to_owned(), checkpoint.note().to_string().into_bytes())];
    for Entry { index, bytes, path } in events {
        if bytes.contains(&b'\n') {
            return Err(WriteError::NotALine(*index));
        }
        lines.extend_from_slice(bytes);
        lines.push(b'\n');
        indices.push_str(&format!("{index}\n"));
        let proof = Proof::new(*index, path.clone(), checkpoint).to_string();
        files.push((proof_name(*index), proof.into_bytes()));
    }
    for (old, path) in consistency {
        let path: String = path.0.iter().map(|hash| format!("{hash}\n")).collect();
        files.push((consistency_name(*old), path.into_bytes()));
    }
    let fixed = [(EVENTS, lines), (INDICES, indices.into_bytes()), (VERIFY, TOLD.as_bytes().to_vec())];
    files.extend(fixed.map(|(name, bytes)| (name.to_owned(), bytes)));
    files.sort();
    let manifest = Manifest {
        origin: checkpoint.origin().clone(),
        size: checkpoint.size(),
        scope: scope.clone(),
        range: range.clone(),
        count: events.len() as u64,
        files: Manifest::hashed(&files),
    };
    let note = Note::sign(manifest.to_string(), signers)?.to_string();
    let all = std::iter::once((MANIFEST, note.as_bytes()));
    let all: Vec<_> = all.chain(files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))).collect();
    Ok(zip::write(&all)?)
}
