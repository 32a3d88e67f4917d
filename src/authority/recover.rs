//! Every reservation gets an outcome: what a killed process left behind is settled when it starts
//! again, or by another process that shares the ledger once the lease has lapsed.

use std::time::Duration;

use crate::decide::policy::Mode;
use crate::evidence::Unsettled;
use crate::ledger::redis::Notice;
use crate::ledger::{Fate, Lapsed, Ledger, Namespace, Slot};
use crate::model::event::{Event, EventKind, Text};
use crate::model::ids::TraceId;

use super::Authority;

/// Between two attempts to ask a ledger that does not answer.
const PAUSE: Duration = Duration::from_millis(500);
/// After it a reservation has lapsed, and a ledger that forgot it proves nothing.
const LAPSED_S: i64 = 270;

impl Authority {
    /// Settles what this process left behind when it was killed. Waits for the ledger.
    pub async fn recover(&self, left: Vec<Unsettled>) {
        for unsettled in left {
            let slot = Slot { namespace: Namespace::Enforce, store: unsettled.store.clone(), jti: unsettled.jti };
            let lapsed = Lapsed { slot, trace: unsettled.trace };
            let fate = loop {
                match self.ledger.abandon(&lapsed).await {
                    Ok(fate) => break fate,
                    Err(error) => {
                        tracing::warn!(trace = %unsettled.trace, %error, "a killed execution waits for the ledger");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            };
            let age_s = self.clock.now().millis_since(unsettled.since) / 1000;
            if let Some((kind, cause)) = told(fate, age_s) {
                self.metrics.ledger_recovered.with_label_values(&["restart"]).inc();
                self.record(&self.recovered(kind, cause, &lapsed, Some(&unsettled)));
            }
        }
    }

    /// Settles what nobody settled within the lease, and tells of it.
    pub async fn sweep(&self) {
        match self.ledger.lapsed().await {
            Ok(found) => {
                for lapsed in found.iter().filter(|lapsed| lapsed.slot.namespace == Namespace::Enforce) {
                    self.metrics.ledger_recovered.with_label_values(&["lease"]).inc();
                    let kind = EventKind::ExecutionIndeterminate;
                    self.record(&self.recovered(kind, "lease_lapsed".into(), lapsed, None));
                }
            }
            Err(error) => tracing::debug!(%error, "not looked for lapsed reservations"),
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
        if let Some(known) = known {
            data.agent_id = known.agent.clone();
            data.route = known.route.as_deref().map(Into::into);
            data.stage = Some(known.stage);
        }
        event.of_token(lapsed.slot.jti)
    }
}

/// What is recorded of a reservation that its process left behind; nothing where another process
/// has told of it.
fn told(fate: Fate, age_s: i64) -> Option<(EventKind, Text)> {
    match fate {
        Fate::Indeterminate => Some((EventKind::ExecutionIndeterminate, "recovered".into())),
        Fate::Burned => Some((EventKind::ExecutionValidated, "recovered".into())),
        Fate::Unexecuted => Some((EventKind::ExecutionReleased, "recovered; the token stays spent".into())),
        Fate::Told => None,
        Fate::Unknown if age_s > LAPSED_S => None,
        Fate::Unknown => Some((EventKind::ExecutionIndeterminate, "recovered; not in the ledger".into())),
    }
}
