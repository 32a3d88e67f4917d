//! The one source of time. A value that is passed to whoever needs it, so that tests move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use crate::model::time::Timestamp;

/// Wall and monotonic time.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System { origin: Instant },
    Manual(Arc<AtomicI64>),
}

/// Time that only grows, whatever happens to the wall clock. For retention and durations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Monotonic {
    micros: i64,
}

impl Monotonic {
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> i64 {
        (self.micros - earlier.micros) / 1000
    }

    #[must_use]
    pub const fn micros_since(self, earlier: Self) -> i64 {
        self.micros - earlier.micros
    }

    /// As Prometheus wants durations.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a duration, exact far beyond any that occurs")]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        (self.micros - earlier.micros) as f64 / 1e6
    }

    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self { micros: self.micros + millis * 1000 }
    }
}

impl Clock {
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System { origin: Instant::now() })
    }

    /// A clock that stands still until it is moved.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.millis()))))
    }

    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { .. } => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                Timestamp::of_millis(since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
            }
            Source::Manual(millis) => Timestamp::of_millis(millis.load(Ordering::Acquire)),
        }
    }

    #[must_use]
    pub fn monotonic(&self) -> Monotonic {
        match &self.0 {
            Source::System { origin } => {
                Monotonic { micros: i64::try_from(origin.elapsed().as_micros()).unwrap_or(i64::MAX) }
            }
            Source::Manual(millis) => Monotonic { micros: millis.load(Ordering::Acquire) * 1000 },
        }
    }

    /// Moves a manual clock forward; a system clock stays as it is.
    pub fn advance(&self, millis: i64) {
        if let Source::Manual(at) = &self.0 {
            at.fetch_add(millis.max(0), Ordering::AcqRel);
        }
    }
}
