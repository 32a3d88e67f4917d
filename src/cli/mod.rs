//! Floor 9: the verbs.

pub mod agent_key;
pub mod error;
pub mod keys;
pub mod token;
