//! Evidence that is missing, and said to be.

use super::spool::SpoolError;
use crate::model::event::{Event, EventKind};
use crate::model::ids::TraceId;
use crate::model::time::Timestamp;

/// Why events are missing. A closed set: it is a metric's label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The last run did not say that it ended.
    UncleanShutdown,
    SpoolFull,
    WriteFailed,
    TooLarge,
}

impl Cause {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UncleanShutdown => "unclean_shutdown",
            Self::SpoolFull => "spool_full",
            Self::WriteFailed => "write_failed",
            Self::TooLarge => "too_large",
        }
    }

    pub const fn of(error: &SpoolError) -> Self {
        match error {
            SpoolError::Full { .. } => Self::SpoolFull,
            SpoolError::TooLarge(_) => Self::TooLarge,
            _ => Self::WriteFailed,
        }
    }
}

/// Events that are missing for one cause.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    pub cause: Cause,
    /// How many; unknown after an unclean shutdown.
    count: Option<u64>,
    /// Bytes that were no whole record.
    damage: u64,
}

impl Gap {
    pub const fn lost(cause: Cause, count: u64) -> Self {
        Self { cause, count: Some(count), damage: 0 }
    }

    pub const fn unclean(damage: u64) -> Self {
        Self { cause: Cause::UncleanShutdown, count: None, damage }
    }

    pub fn event(&self, now: Timestamp) -> Event {
        let mut event = Event::new(EventKind::EvidenceGap, now, TraceId::random());
        event.data.cause = Some(self.cause.as_str().into());
        event.data.count = self.count;
        event.data.observed = (self.damage > 0).then(|| format!("{} damaged bytes", self.damage).into());
        event
    }
}

/// Gaps that are not written yet, one for each cause.
#[derive(Default)]
pub struct Gaps(Vec<Gap>);

impl Gaps {
    pub fn add(&mut self, gap: Gap) {
        match self.0.iter_mut().find(|known| known.cause == gap.cause) {
            Some(known) => {
                known.count = known.count.zip(gap.count).map(|(a, b)| a.saturating_add(b));
                known.damage = known.damage.saturating_add(gap.damage);
            }
            None => self.0.push(gap),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn first(&self) -> Option<Gap> {
        self.0.first().cloned()
    }

    pub fn remove_first(&mut self) {
        self.0.remove(0);
    }
}
