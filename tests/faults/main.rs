//! The fault matrix: real gateways, a real Redis and merchants that record, while everything
//! between and below them fails. docs/faults.md says how to run it and keeps its table.
#![cfg(test)]
// One build is enough for it: the sidecar alone has the same gateway.
#![cfg(all(feature = "gateway", feature = "control-plane"))]
#![expect(clippy::string_slice, reason = "a slice that misses fails its test, as it should")]

/// Traffic that must not be harmed.
mod bystanders;
mod cells;
mod cells_config;
mod cells_delivery;
mod cells_evidence;
mod cells_failover;
mod cells_forgetting;
mod cells_ledger;
mod cells_machine;
mod cells_merchant;
mod cells_process;
mod cells_restart;
mod cells_split;
mod cells_waiting;
mod clock;
mod disk;
mod harm;
/// Judges what happened.
mod history;
/// That the suite sees what it is there to see.
mod planted;
mod redis;
mod relay;
mod run;
mod shim;
mod size;
mod stand;
#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "shared with the other integration tests, which use all of it")]
mod support;
mod table;
mod trial;
