//! Permyx: execution authorization and evidence for AI-initiated commerce.
//!
//! ARCHITECTURE.md draws the floors; a floor uses only floors below it.

pub mod clock;
pub mod decide;
pub mod detect;
pub mod durable;
pub mod evidence;
pub mod keystore;
pub mod ledger;
pub mod model;
pub mod net;
pub mod protocol;
pub mod reload;
pub mod sandbox;
pub mod telemetry;
pub mod token;
