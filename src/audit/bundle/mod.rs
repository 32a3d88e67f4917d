//! Bundles (`.pmx`): some events of a log, with what proves that they are in it. A zip of stored files:
//! `manifest`, `checkpoint`, `VERIFY.md`, `events.jsonl`, `indices`, a proof for each event, and proofs
//! that the log continues older ones. `docs/evidence.md` has the formats.

mod check;
mod manifest;
mod read;
mod write;
mod zip;

pub use check::verify;
pub use manifest::{Scope, ScopeKind};
pub use read::BUNDLE_MAX;
pub use write::{Content, Entry, WriteError, write};

/// Most events of one bundle. Whoever wants more takes the log.
pub const EVENTS_MAX: usize = 50_000;

const MANIFEST: &str = "manifest";
const CHECKPOINT: &str = "checkpoint";
const EVENTS: &str = "events.jsonl";
const INDICES: &str = "indices";
const VERIFY: &str = "VERIFY.md";

fn proof_name(index: u64) -> String {
    format!("proofs/{index}.tlog-proof")
}

fn consistency_name(old: u64) -> String {
    format!("consistency/{old}")
}
