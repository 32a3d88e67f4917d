//! Logs and bundles, good and bad, judged by the program and by `docs/verify_evidence.py`, which
//! share nothing but the page `docs/evidence.md`.

mod build;
mod corruptions;
mod judges;
mod page;
mod pmx;
#[cfg(all(feature = "gateway", feature = "control-plane"))]
mod sealed;
mod vectors;
#[cfg(all(feature = "gateway", feature = "control-plane"))]
mod verbs;
