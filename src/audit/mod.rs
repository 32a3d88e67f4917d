//! Floor 5: what an outside auditor runs, without a connection. Every check is a function of bytes:
//! those of a log directory or a bundle, which are believed in nothing, and the keys and checkpoints
//! that the auditor brings, which never come from there.
//!
//! `docs/evidence.md` is the contract. `docs/verify_evidence.py` is a second reader of it.

pub mod bundle;
mod burn;
mod canonical;
mod consistency;
mod continuity;
mod facts;
mod intent;
mod leaves;
mod log;
pub mod render;
pub mod report;
pub mod source;
mod tiles;
pub mod trust;

pub use log::verify as verify_log;
