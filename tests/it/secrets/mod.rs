//! No secret in any event, log, metric or error. The support looks for them after every test
//! ([`crate::support::leaks`]); here it is shown what it sees, and secrets are put everywhere at once.

#[cfg(all(feature = "gateway", feature = "control-plane"))]
mod everywhere;
mod scanner;
