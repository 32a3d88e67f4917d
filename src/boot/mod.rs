//! Floor 8: the wiring, from a configuration to a running process.

mod base;
#[cfg(feature = "control-plane")]
mod control;
#[cfg(all(feature = "gateway", feature = "control-plane"))]
mod dev;
mod handover;
#[cfg(feature = "control-plane")]
mod lane;
mod ledger;
mod listen;
#[cfg(feature = "control-plane")]
mod reconcile;
mod rehearse;
mod revocations;
mod roles;
mod run;
mod stop;
#[cfg(feature = "otlp")]
mod traces;

#[cfg(feature = "control-plane")]
pub use control::serve;
#[cfg(all(feature = "gateway", feature = "control-plane"))]
pub use dev::{DEMO_KEY, DEMO_MERCHANT_KEY, DevOptions, dev};
pub use handover::{Handover, Invocation};
pub use listen::BootError;
#[cfg(feature = "gateway")]
pub use rehearse::rehearse_gateway;
#[cfg(feature = "control-plane")]
pub use rehearse::rehearse_serve;
pub use revocations::shared_revocations;
#[cfg(feature = "gateway")]
pub use roles::gateway;
pub use run::{Address, Running};
pub use stop::{Ending, StopSignal};
