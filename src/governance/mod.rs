//! Floor 5: the governance lane. Pure folds over the evidence log: what was authorised, what was
//! decided, what came of it, and what is missing. It reads events and nothing else.

pub mod access;
#[cfg(feature = "control-plane")]
pub mod correlate;
pub mod coverage;
pub mod rating;
#[cfg(feature = "control-plane")]
pub mod reconcile;
mod say;
mod text;
pub mod timeline;

#[cfg(test)]
#[cfg(feature = "control-plane")]
mod orders_tests;
#[cfg(test)]
mod tests;

pub use access::Viewer;
pub use say::plain;
pub use timeline::{Alarm, FirstUse, Missing, Outcome, Step, Timeline};
