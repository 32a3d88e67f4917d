//! What a ledger does by itself: renews epochs, settles later what could not be settled in time,
//! and keeps the map of a cluster.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::super::RETENTION_MS;
use super::super::entry::{Answer, Reservation, Settlement};
use super::{SettleFault, Shared};

/// Between two rounds.
const TICK: Duration = Duration::from_millis(250);
/// Epochs are renewed this often, long before they would be taken for lapsed.
const RENEW: Duration = Duration::from_secs(20);
/// Settlements that wait for the server at most. Beyond it the oldest lapses instead.
const UNSETTLED_MAX: usize = 10_000;

/// A settlement that the server did not take.
pub(super) struct Later {
    reservation: Reservation,
    how: Settlement,
    answer: Option<Answer>,
    since: Instant,
}

/// Settlements that wait for the server.
#[derive(Default)]
pub(super) struct Unsettled(Mutex<VecDeque<Later>>);

impl Unsettled {
    pub(super) fn push(&self, reservation: Reservation, how: Settlement, answer: Option<Answer>) {
        let mut waiting = self.0.lock();
        if waiting.len() >= UNSETTLED_MAX {
            waiting.pop_front();
        }
        waiting.push_back(Later { reservation, how, answer, since: Instant::now() });
    }

    fn take(&self) -> Option<Later> {
        self.0.lock().pop_front()
    }

    fn put_back(&self, later: Later) {
        self.0.lock().push_front(later);
    }
}

/// Runs until the ledger is dropped.
pub(super) async fn run(ledger: Weak<Shared>) {
    let (mut opened, mut renewed) = (0, None::<Instant>);
    loop {
        let Some(shared) = ledger.upgrade() else { return };
        let before = shared.fleet.opened();
        let due = before != opened || renewed.is_none_or(|at| at.elapsed() >= RENEW) || shared.epoch_is_unknown();
        if due {
            shared.fleet.moved(Instant::now() + shared.options.deadline).await;
            if shared.renew().await {
                (opened, renewed) = (before, Some(Instant::now()));
            }
        }
        shared.settle_waiting().await;
        drop(shared);
        tokio::time::sleep(TICK).await;
    }
}

impl Shared {
    fn epoch_is_unknown(&self) -> bool {
        self.epochs.lock().values().any(|started| *started == 0)
    }

    /// Renews the epochs of all known stores; true when each was.
    async fn renew(&self) -> bool {
        if self.fleet.usable().is_err() {
            return false;
        }
        let stores: Vec<_> = self.epochs.lock().keys().cloned().collect();
        let mut all = true;
        for store in stores {
            all &= self.begin_epoch(&store).await.is_ok();
        }
        all
    }

    async fn settle_waiting(self: &Arc<Self>) {
        while self.fleet.usable().is_ok()
            && let Some(later) = self.unsettled.take()
        {
            if later.since.elapsed().as_millis() >= RETENTION_MS as u128 {
                continue;
            }
            match self.settle(&later.reservation, later.how, later.answer.as_ref()).await {
                Ok(_) | Err(SettleFault::Lost) => {}
                Err(SettleFault::Unavailable(_)) => {
                    self.unsettled.put_back(later);
                    return;
                }
            }
        }
    }
}
