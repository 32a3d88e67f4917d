//! What is under way or of unknown outcome, by what the caller wants to get done: a new token for
//! the same thing must not buy it twice.

use super::aging::Aging;
use crate::ledger::{Busy, Claim, LedgerError, Purpose, Spent, Standing};
use crate::model::ids::{Jti, TraceId};

/// How long an unknown outcome stands in the way.
const KEPT_MS: i64 = 24 * 3_600_000;
/// Most purposes that are remembered at once. A new one beyond is refused, because what cannot be
/// remembered could be bought twice.
const PURPOSES_MAX: usize = 100_000;
/// Purposes that one reservation drops at most when their time is over.
const DROPPED_PER_STEP: usize = 8;

pub(super) struct Purposes {
    kept: Aging<Purpose, Execution>,
    lease_ms: i64,
    max: usize,
}

struct Execution {
    jti: Jti,
    trace: TraceId,
    unknown: bool,
}

impl Purposes {
    pub(super) fn new(lease_ms: i64) -> Self {
        Self { kept: Aging::default(), lease_ms, max: PURPOSES_MAX }
    }

    /// The other execution that stands in the way of this claim.
    pub(super) fn busy(&mut self, purpose: Purpose, claim: &Claim, now_ms: i64) -> Result<Option<Busy>, LedgerError> {
        for _ in 0..DROPPED_PER_STEP {
            if self.kept.pop_until(now_ms - KEPT_MS).is_none() {
                break;
            }
        }
        let Some((other, since_ms)) = self.kept.get(&purpose) else {
            return if self.kept.len() < self.max { Ok(None) } else { Err(LedgerError::Full) };
        };
        let age_ms = now_ms - since_ms;
        let unknown = other.unknown || age_ms >= self.lease_ms;
        // Only an unknown outcome can be known of: what is under way still gets one.
        let free =
            other.jti == claim.slot.jti || age_ms >= KEPT_MS || (unknown && claim.confirmed == Some(other.trace));
        Ok((!free).then_some(Busy { first: other.trace, unknown }))
    }

    /// Remembers that this claim is under way, after [`Self::busy`] had nothing against it.
    pub(super) fn take(&mut self, purpose: Purpose, claim: &Claim, now_ms: i64) {
        let execution = Execution { jti: claim.slot.jti, trace: claim.trace, unknown: false };
        self.kept.insert(purpose, execution, now_ms);
    }

    /// How the execution of that call ended.
    pub(super) fn settle(&mut self, purpose: Purpose, trace: TraceId, standing: Standing) {
        let Some(execution) = self.kept.get_mut(&purpose).filter(|execution| execution.trace == trace) else { return };
        if standing == Standing::Spent(Spent::Indeterminate) {
            execution.unknown = true;
        } else {
            self.kept.remove(&purpose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::velocity::Limits;
    use crate::ledger::{Digest, Namespace, Slot};
    use crate::model::ids::{AgentId, StoreId};
    use crate::model::time::Timestamp;

    const LEASE_MS: i64 = 270_000;

    fn claim() -> Claim {
        let store = StoreId::parse("s").unwrap();
        Claim {
            slot: Slot { namespace: Namespace::Enforce, store, jti: Jti::random() },
            trace: TraceId::random(),
            issued: Timestamp::of_seconds(0),
            agent: AgentId::parse("a").unwrap(),
            retry: None,
            purpose: None,
            confirmed: None,
            limits: Limits::default(),
            amount: 0,
            if_unanswered: crate::ledger::Settlement::Released,
        }
    }

    fn purpose(number: i64) -> Purpose {
        Purpose(Digest::of(&[&number.to_be_bytes()]))
    }

    #[test]
    fn an_unknown_outcome_stands_in_the_way_for_a_day() {
        let (mut purposes, first) = (Purposes::new(LEASE_MS), claim());
        purposes.take(purpose(1), &first, 0);
        let busy = |purposes: &mut Purposes, now| purposes.busy(purpose(1), &claim(), now).unwrap();
        let found = |unknown| Some(Busy { first: first.trace, unknown });
        assert_eq!(busy(&mut purposes, LEASE_MS - 1), found(false));
        assert_eq!(busy(&mut purposes, LEASE_MS), found(true));
        purposes.settle(purpose(1), first.trace, Standing::Spent(Spent::Indeterminate));
        assert_eq!(busy(&mut purposes, KEPT_MS - 1), found(true));
        assert_eq!(busy(&mut purposes, KEPT_MS), None);
    }

    #[test]
    fn many_purposes_end_in_a_refusal_and_old_ones_make_room() {
        let mut purposes = Purposes { max: 3, ..Purposes::new(LEASE_MS) };
        for number in 0..3 {
            assert_eq!(purposes.busy(purpose(number), &claim(), number), Ok(None));
            purposes.take(purpose(number), &claim(), number);
        }
        assert_eq!(purposes.busy(purpose(3), &claim(), 3), Err(LedgerError::Full));
        assert!(matches!(purposes.busy(purpose(2), &claim(), 3), Ok(Some(_))));
        assert_eq!(purposes.busy(purpose(3), &claim(), KEPT_MS), Ok(None));
    }
}
