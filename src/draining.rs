//! Floor 3: whether this process is on its way out. Read by whoever answers requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// While it drains, a process is not ready, answers what still comes, and asks callers to go elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Draining(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    /// It ends. This is never taken back.
    ends: AtomicBool,
    by_hand: AtomicBool,
}

impl Draining {
    /// From here on it is on its way to the end.
    pub fn end(&self) {
        self.0.ends.store(true, Ordering::Release);
    }

    /// Whether it is to drain although it does not end.
    pub fn set_by_hand(&self, on: bool) {
        self.0.by_hand.store(on, Ordering::Release);
    }

    #[must_use]
    pub fn is_on(&self) -> bool {
        self.why().is_some()
    }

    #[must_use]
    pub fn why(&self) -> Option<&'static str> {
        match (self.0.ends.load(Ordering::Acquire), self.0.by_hand.load(Ordering::Acquire)) {
            (true, _) => Some("the process is stopping"),
            (false, true) => Some("it was drained by hand; `undrain` takes that back"),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_not_taken_back() {
        let draining = Draining::default();
        draining.set_by_hand(true);
        assert!(draining.is_on());
        draining.set_by_hand(false);
        assert!(!draining.is_on());
        draining.end();
        draining.set_by_hand(false);
        assert_eq!(draining.why(), Some("the process is stopping"));
    }
}
