//! What is told of a ledger.

/// What readiness, metrics and `/v1/compliance` say of a ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    pub backend: &'static str,
    /// `Err` names what is wrong and the fix.
    pub usable: Result<(), String>,
    pub entries: usize,
    /// How many it may remember; 0 where that is not bounded here.
    pub capacity: usize,
    /// Whole seconds until tokens issued now are taken; 0 when they are.
    pub quarantine_s: u64,
    /// True when other processes burn in the same ledger.
    pub shared: bool,
    /// True where the loss of one server, or of this process, cannot bring a burned token back.
    pub exactly_once: bool,
    /// How far the clock of its server was ahead of ours when that was last looked at.
    pub clock_ahead_s: Option<f64>,
}
