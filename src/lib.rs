//! Permyx: execution authorization and evidence for AI-initiated commerce.
//!
//! ARCHITECTURE.md draws the floors; a floor uses only floors below it.

pub mod catalog;
pub mod clock;
pub mod decide;
pub mod durable;
pub mod keystore;
pub mod model;
pub mod net;
pub mod protocol;
pub mod quota;
pub mod reload;
pub mod telemetry;
pub mod token;
