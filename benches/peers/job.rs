//! What is asked of a proxy, and what a proxy has to have done for its figures to count.

use crate::load::{Report, Requests};
use crate::requests::is_wrong;

/// One kind of load.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub enum Job {
    /// Forward what carries no token.
    #[value(name = "J1")]
    Pass,
    /// Verify a token, each a different one, burn it in memory, forward.
    #[value(name = "J3")]
    Burn,
    /// The same with the ledger in Redis.
    #[value(name = "J4")]
    Shared,
    /// Refuse one burned token again and again.
    #[value(name = "J5")]
    Replay,
    /// Refuse forged signatures, each a different one.
    #[value(name = "J6")]
    Forged,
}

/// How far a proxy is set up; each level does all of those below it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    Forward,
    Verify,
    Burn,
    BurnInRedis,
}

impl Job {
    pub const ALL: [Self; 5] = [Self::Pass, Self::Burn, Self::Shared, Self::Replay, Self::Forged];

    pub fn level(self) -> Level {
        match self {
            Self::Pass => Level::Forward,
            Self::Burn | Self::Replay => Level::Burn,
            Self::Shared => Level::BurnInRedis,
            Self::Forged => Level::Verify,
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Pass => "J1 forward without a token",
            Self::Burn => "J3 verify, burn in memory, forward",
            Self::Shared => "J4 verify, burn in Redis, forward",
            Self::Replay => "J5 refuse a replay flood",
            Self::Forged => "J6 refuse forged signatures",
        }
    }

    /// Redis needs the processor of the load side.
    pub fn lets_the_load_side_spin(self) -> bool {
        self != Self::Shared
    }

    /// Why the figures of this report do not count. `judges` is whether the proxy compares what is bought with
    /// what was authorised: only the gateway does.
    pub fn objection(self, report: &Report, requests: &Requests, judges: bool) -> Option<String> {
        let count = requests.count();
        let wrong = (0..count).filter(|&n| judges && is_wrong(self, n)).count();
        let refused: usize =
            report.statuses.iter().filter(|(status, _)| matches!(status, 401 | 403)).map(|(_, n)| n).sum();
        let expected = match self {
            Self::Pass | Self::Burn | Self::Shared => (count - wrong, wrong, count - wrong),
            // The first one is no replay, if it was not sent before.
            Self::Replay if report.arrived == 1 => (1, count - 1, 1),
            Self::Replay | Self::Forged => (0, count, 0),
        };
        let found = (report.answered(200), refused, report.arrived);
        (found != expected).then(|| format!("passed, refused, arrived: {found:?} instead of {expected:?}"))
    }
}
