//! All integration tests, in one binary: it links once.
#![cfg(test)]
#![expect(clippy::string_slice, reason = "a slice that misses fails its test, as it should")]

/// The promises of the gate, seen from both sides of it.
mod gate;
/// That the helpers of these tests tell the truth.
mod harness;
/// Exactly once, under load and through a kill.
mod once;
/// The sandbox merchant, over real connections.
mod sandbox;
/// `.ci/setup` on machines that lack something.
mod setup;
/// What strangers may send and owners may mistype: no reader panics or takes long.
mod strangers;
/// What tests are built from.
mod support;
/// The house rules: floors, lengths, words, files that must parse.
mod tidy;
/// The attacks on tokens, row by row.
mod tokens;
/// What other languages can check themselves against.
mod vectors;
