//! Floor 5: the governance lane. Pure folds over the evidence log: what was authorised, what was
//! decided, what came of it, and what is missing. It reads events and nothing else.

pub mod access;
mod say;
mod text;
pub mod timeline;

#[cfg(test)]
mod tests;

pub use access::Viewer;
pub use say::plain;
pub use timeline::{Alarm, Missing, Outcome, Step, Timeline};
