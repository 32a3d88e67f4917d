//! Permyx: execution authorization and evidence for AI-initiated commerce.
//!
//! ARCHITECTURE.md draws the floors; a floor uses only floors below it.

#[cfg(feature = "control-plane")]
pub mod api;
pub mod audit;
pub mod authority;
#[cfg(feature = "control-plane")]
pub mod backup;
pub mod boot;
pub mod catalog;
pub mod cli;
pub mod clock;
#[cfg(feature = "otlp")]
pub mod collector;
pub mod config;
pub mod decide;
pub mod detect;
pub mod draining;
pub mod durable;
pub mod evidence;
pub mod fixtures;
#[cfg(feature = "gateway")]
pub mod gateway;
pub mod governance;
pub mod jwks;
pub mod keystore;
pub mod ledger;
pub mod model;
pub mod net;
pub mod ops;
#[cfg(feature = "control-plane")]
pub mod portal;
pub mod protocol;
pub mod quota;
pub mod reload;
pub mod revocation;
pub mod sandbox;
pub mod sessions;
pub mod telemetry;
pub mod tlog;
pub mod token;
