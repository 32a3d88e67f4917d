//! Quarantine: after a ledger may have forgotten, tokens from before are refused (README
//! decision 10). What it cannot remember, it must not allow.

use crate::model::time::Timestamp;

/// The moment from which a ledger remembers everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Epoch {
    started: Timestamp,
    skew_s: i64,
}

impl Epoch {
    /// `skew_s` is how far the issuer's clock may be ahead: 0 where issuer and ledger share a
    /// process, else 5 s.
    #[must_use]
    pub fn starting(started: Timestamp, skew_s: i64) -> Self {
        Self { started, skew_s }
    }

    /// A token is refused iff `iat ≤ floor(start) + skew`.
    #[must_use]
    pub fn admits(&self, issued: Timestamp) -> bool {
        issued.seconds() > self.last_refused()
    }

    /// Whole seconds until a token issued at that time is admitted. 0 only when one issued now is.
    #[must_use]
    pub fn remaining_s(&self, now: Timestamp) -> u64 {
        u64::try_from(self.last_refused() + 1 - now.seconds()).unwrap_or(0)
    }

    fn last_refused(&self) -> i64 {
        self.started.seconds() + self.skew_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_starting_second_is_refused_and_the_next_passes() {
        let epoch = Epoch::starting(Timestamp::of_millis(10_900), 0);
        assert!(!epoch.admits(Timestamp::of_seconds(9)));
        assert!(!epoch.admits(Timestamp::of_seconds(10)));
        assert!(epoch.admits(Timestamp::of_seconds(11)));
        assert_eq!(epoch.remaining_s(Timestamp::of_millis(10_900)), 1);
        assert_eq!(epoch.remaining_s(Timestamp::of_millis(11_000)), 0);
    }

    #[test]
    fn a_foreign_issuer_may_be_ahead() {
        let epoch = Epoch::starting(Timestamp::of_seconds(10), 5);
        assert!(!epoch.admits(Timestamp::of_seconds(15)));
        assert!(epoch.admits(Timestamp::of_seconds(16)));
        assert_eq!(epoch.remaining_s(Timestamp::of_seconds(10)), 6);
    }
}
