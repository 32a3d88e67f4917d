//! Floor 4: what is counted: calls of an API key, and orders of an agent. Time is an argument.

pub mod allowance;
