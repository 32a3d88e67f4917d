//! Floor 3: how the program is seen from outside: metrics, logs and traces.

pub mod access;
pub mod logging;
pub mod metrics;
pub mod traces;
