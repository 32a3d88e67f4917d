//! What a ledger does by itself: renews epochs, settles later what could not be settled in time,
//! and keeps the map of a cluster.

use std::collections::VecDeque;
use std::sync::Weak;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::super::RETENTION_MS;
use super::super::entry::{Answer, Reservation, Settlement};
use super::Shared;
use super::steps::SettleFault;

/// Between two rounds.
const TICK: Duration = Duration::from_millis(250);
/// Epochs are renewed this often, long before they would be taken for lapsed.
const RENEW: Duration = Duration::from_secs(20);
/// Settlements that wait for the server at most. Beyond it the oldest lapses instead.
const UNSETTLED_MAX: usize = 10_000;
/// Of those, the first so many keep their answers.
const ANSWERS_MAX: usize = 500;

/// A settlement that the server did not take.
pub(super) struct Later {
    reservation: Reservation,
    how: Settlement,
    answer: Option<Answer>,
    /// The entry of a reservation that may still be on its way to the server.
    tomb: Option<String>,
    /// True where nobody knows of the reservation: its call was refused.
    ghost: bool,
    since: Instant,
}

impl Later {
    pub(super) fn settlement(reservation: Reservation, how: Settlement, answer: Option<Answer>) -> Self {
        Self { reservation, how, answer, tomb: None, ghost: false, since: Instant::now() }
    }

    pub(super) fn ghost(reservation: Reservation, how: Settlement, tomb: Option<String>) -> Self {
        Self { reservation, how, answer: None, tomb, ghost: true, since: Instant::now() }
    }
}

/// Settlements that wait for the server.
#[derive(Default)]
pub(super) struct Unsettled(Mutex<VecDeque<Later>>);

impl Unsettled {
    /// When there are too many, those go first that nobody knows of.
    pub(super) fn push(&self, later: Later) {
        let mut waiting = self.0.lock();
        if waiting.len() >= UNSETTLED_MAX {
            let first_ghost = waiting.iter().position(|later| later.ghost).unwrap_or(0);
            waiting.remove(first_ghost);
        }
        let crowded = waiting.len() >= ANSWERS_MAX;
        waiting.push_back(if crowded { Later { answer: None, ..later } } else { later });
    }

    fn take(&self) -> Option<Later> {
        self.0.lock().pop_front()
    }

    fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// Runs until the ledger is dropped.
pub(super) async fn run(ledger: Weak<Shared>) {
    let (mut opened, mut renewed) = (0, None::<Instant>);
    loop {
        let Some(shared) = ledger.upgrade() else { return };
        let before = shared.fleet.opened();
        let due = before != opened
            || renewed.is_none_or(|at| at.elapsed() >= RENEW)
            || shared.epoch_is_unknown()
            || shared.fleet.usable().is_err();
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

    /// Renews the epochs of all known stores; true when each was. A server that is down stands in
    /// the way of its own stores only.
    async fn renew(&self) -> bool {
        let stores: Vec<_> = self.epochs.lock().keys().cloned().collect();
        let mut all = true;
        for store in stores {
            all &= self.begin_epoch(&mut self.effort(), &store).await.is_ok();
        }
        all
    }

    /// Tries each waiting settlement once; true when none is left.
    async fn settle_waiting(&self) -> bool {
        for _ in 0..self.unsettled.len() {
            let Some(later) = self.unsettled.take() else { break };
            if later.since.elapsed().as_millis() >= RETENTION_MS as u128 {
                continue;
            }
            let Later { reservation, how, answer, tomb, .. } = &later;
            match self.settle(reservation, *how, answer.as_ref(), tomb.as_deref()).await {
                Ok(_) | Err(SettleFault::Lost) => {}
                Err(SettleFault::Unavailable(_)) => self.unsettled.push(later),
            }
        }
        self.unsettled.len() == 0
    }

    /// Settles what still waits, as far as that is possible within `patience`.
    pub(super) async fn drain(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, async {
            while !self.settle_waiting().await {
                tokio::time::sleep(TICK).await;
            }
        })
        .await;
    }
}
