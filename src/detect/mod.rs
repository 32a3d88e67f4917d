//! Floor 1: who seems to be calling, and where a shopper was sent from. A signal is evidence with a
//! stated confidence, never identity: nothing here lets a request pass or stops it.

mod address;
mod agent;
mod channel;
mod document;
pub mod import;
mod ladder;
mod presence;
mod seen;
mod tables;

pub use address::{Net, Nets, NotANet};
pub use agent::{Agent, Agents, Class};
pub use channel::Channels;
pub use ladder::{CONFLICT_MAX, Flag, LADDER, LADDER_VERSION, Name, Rung, confidence};
pub use presence::{AgentSignal, Presence};
pub use seen::{Protocol, Seen};
pub use tables::{Added, Tables};

#[cfg(test)]
mod tests;
