//! Floor 1: the tamper-evident log on paper. Hashes, proofs, tiles, signed checkpoints: what a log
//! writes and what a verifier accepts. Pure: bytes come in as arguments.
//!
//! The tree is that of RFC 6962 with SHA-256, and the formats are those of C2SP: tlog-tiles,
//! signed-note, tlog-checkpoint and tlog-proof (<https://c2sp.org>). Every parser takes only the one
//! spelling that is written here, so what was read prints as the same bytes.

pub mod checkpoint;
pub mod edge;
pub mod entries;
pub mod hash;
pub mod key;
pub mod merkle;
pub mod note;
pub mod proof;
pub mod tile;

#[cfg(test)]
mod tests;

/// A number in the one spelling that all formats here share: decimal, without leading zeroes.
fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let canonical = digits && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}
