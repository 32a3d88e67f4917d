//! Floor 3: how the program is seen from outside: metrics and logs.

pub mod access;
pub mod logging;
pub mod metrics;
