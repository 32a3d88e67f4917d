//! Every reservation gets an outcome: what a killed process left behind is settled when it starts
//! again, or by another process that shares the ledger once the lease has lapsed.

use std::collections::VecDeque;
use std::time::Duration;

use crate::decide::policy::Mode;
use crate::evidence::Unsettled;
use crate::ledger::redis::Notice;
use crate::ledger::{Fate, Lapsed, Ledger, Namespace, Slot};
use crate::model::event::{Event, EventKind, Text};
use crate::model::ids::TraceId;
use crate::token::verify::Verified;

use super::cart::Cart;
use super::{Authority, Call};

/// Between two attempts to ask a ledger that does not answer.
const PAUSE: Duration = Duration::from_millis(500);
/// After it a reservation has lapsed, and a ledger that forgot it proves nothing.
const LAPSED_S: i64 = 270;

impl Call {
    /// The reservations of this call, as such that were left behind.
    #[must_use]
    pub fn unsettled(&self, cart: &Cart) -> Vec<Unsettled> {
        let execution = cart.leader().jti().into();
        let unsettled = |token: &&Verified| Unsettled {
            store: self.store.clone(),
            jti: token.jti(),
            execution,
            trace: self.trace,
            agent: Some(token.agent().clone()),
            route: self.route.as_deref().map(Into::into),
            stage: self.stage.as_str(),
            since: self.now,
            recorded: false,
        };
        cart.tokens().iter().map(unsettled).collect()
    }
}

impl Authority {
    /// Settles what this process left behind when it was killed. Waits for the ledger; one that
    /// cannot be asked of does not stand in the way of the others.
    pub async fn recover(&self, left: Vec<Unsettled>) {
        let mut left = VecDeque::from(left);
        let mut failures = 0;
        while let Some(unsettled) = left.pop_front() {
            let slot = Slot { namespace: Namespace::Enforce, store: unsettled.store.clone(), jti: unsettled.jti };
            let lapsed = Lapsed { slot, trace: unsettled.trace };
            match self.ledger.abandon(&lapsed).await {
                Ok(fate) => {
                    failures = 0;
                    self.tell_fate(fate, &lapsed, &unsettled);
                }
                Err(error) => {
                    tracing::warn!(trace = %unsettled.trace, %error, "a killed execution waits for the ledger");
                    left.push_back(unsettled);
                    failures += 1;
                    if failures >= left.len() {
                        failures = 0;
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
    }

    fn tell_fate(&self, fate: Fate, lapsed: &Lapsed, unsettled: &Unsettled) {
        if unsettled.recorded {
            return;
        }
        let age_s = self.clock.now().millis_since(unsettled.since) / 1000;
        // Where others share the ledger, one of them has told of what lapsed long ago.
        let told_by_others = self.ledger.health().shared && age_s > LAPSED_S;
        if let Some((kind, cause)) = told(fate, told_by_others) {
            self.metrics.ledger_recovered.with_label_values(&["restart"]).inc();
            self.record(&self.recovered(kind, cause, lapsed, Some(unsettled)));
        }
    }

    /// Settles what nobody settled within the lease, and tells of it.
    pub async fn sweep(&self) {
        let found = match self.ledger.lapsed().await {
            Ok(found) => found,
            Err(error) => return tracing::debug!(%error, "not looked for lapsed reservations"),
        };
        for lapsed in &found {
            if lapsed.slot.namespace == Namespace::Enforce {
                self.metrics.ledger_recovered.with_label_values(&["lease"]).inc();
                self.record(&self.recovered(EventKind::ExecutionIndeterminate, "lease_lapsed".into(), lapsed, None));
            }
            if let Err(error) = self.ledger.told(lapsed).await {
                tracing::debug!(trace = %lapsed.trace, %error, "a lapsed reservation may be told of once more");
            }
        }
    }

    /// Records what the ledger has noticed.
    pub fn note(&self, notice: &Notice) {
        let Notice::EpochChanged { store, cause } = notice;
        let mut event = Event::new(EventKind::LedgerEpochChanged, self.clock.now(), TraceId::random());
        event.data.store_id = Some(store.clone());
        event.data.cause = Some((*cause).into());
        self.record(&event);
    }

    fn recovered(&self, kind: EventKind, cause: Text, lapsed: &Lapsed, known: Option<&Unsettled>) -> Event {
        let mut event = Event::new(kind, self.clock.now(), lapsed.trace);
        let data = &mut event.data;
        data.store_id = Some(lapsed.slot.store.clone());
        data.enforcement = Some(Mode::Enforce.as_str());
        data.decision = Some("allowed");
        data.cause = Some(cause);
        let mut execution = lapsed.slot.jti.into();
        if let Some(known) = known {
            execution = known.execution;
            data.agent_id = known.agent.clone();
            data.route = known.route.as_deref().map(Into::into);
            data.stage = Some(known.stage);
        }
        event.of_token(lapsed.slot.jti).in_execution(execution)
    }
}

/// What is recorded of a reservation that its process left behind; nothing where another process
/// has told of it, or will.
fn told(fate: Fate, told_by_others: bool) -> Option<(EventKind, Text)> {
    match fate {
        Fate::Indeterminate => Some((EventKind::ExecutionIndeterminate, "recovered".into())),
        Fate::Burned => Some((EventKind::ExecutionValidated, "recovered".into())),
        Fate::Unexecuted => Some((EventKind::ExecutionReleased, "recovered; the token stays spent".into())),
        Fate::Told => None,
        Fate::Unknown if told_by_others => None,
        Fate::Unknown => Some((EventKind::ExecutionIndeterminate, "recovered; not in the ledger".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_silent_where_nobody_else_could_tell() {
        let kind = |fate, others| told(fate, others).map(|(kind, _)| kind);
        assert_eq!(kind(Fate::Unknown, false), Some(EventKind::ExecutionIndeterminate));
        assert_eq!(kind(Fate::Unknown, true), None);
        assert_eq!(kind(Fate::Told, false), None);
        assert_eq!(kind(Fate::Burned, true), Some(EventKind::ExecutionValidated));
        assert_eq!(kind(Fate::Unexecuted, true), Some(EventKind::ExecutionReleased));
        assert_eq!(kind(Fate::Indeterminate, true), Some(EventKind::ExecutionIndeterminate));
    }
}
