//! Floor 4: what was decided and what came of it, in order and never lost in silence.
//!
//! A producer appends to its [`Spool`], a directory of append-only segment files.

mod active;
mod gap;
pub mod record;
mod recover;
mod segment;
mod spool;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use spool::{Receipt, Spool, SpoolError, SpoolOptions, sync_loop};
