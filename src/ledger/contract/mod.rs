//! What every ledger promises. Each implementation runs [`all`], and [`lapses`] on a bench whose
//! lease may pass.

mod lapse;
mod limits;
mod purposes;
mod tokens;

use std::sync::Arc;

use super::{
    Answer, Claim, Digest, Entry, Fate, Lapsed, Ledger, LedgerError, Namespace, Purpose, Reservation, Reserve, Retry,
    Settlement, Slot, Spent, Standing, State,
};
use crate::clock::Clock;
use crate::decide::velocity::Limits;
use crate::model::ids::{AgentId, Jti, StoreId, TraceId};
use crate::model::time::Timestamp;

pub(super) use lapse::lapses;

/// A ledger under test, past its quarantine, with the clock that it reads.
pub(super) struct Bench<L> {
    pub(super) ledger: Arc<L>,
    pub(super) clock: Clock,
    /// The lease of its reservations.
    pub(super) lease_ms: i64,
}

/// Everything but what takes a lease's time.
pub(super) async fn all<L: Ledger + 'static>(bench: &Bench<L>) {
    tokens::all(bench).await;
    purposes::all(bench).await;
    limits::all(bench).await;
    assert!(bench.ledger.health().usable.is_ok());
}

/// Something that nobody named before.
fn fresh() -> Digest {
    Digest::of(&[Jti::random().to_string().as_bytes()])
}

/// A claim of a new agent, without retry, purpose and limits.
pub(super) fn plain(slot: Slot, issued: Timestamp) -> Claim {
    Claim {
        slot,
        trace: TraceId::random(),
        issued,
        agent: AgentId::parse(&format!("ak_{}", Jti::random())).unwrap(),
        retry: None,
        purpose: None,
        confirmed: None,
        limits: Limits::default(),
        amount: 0,
        if_unanswered: Settlement::Released,
    }
}

impl<L: Ledger + 'static> Bench<L> {
    /// A claim to a new token of a new agent, without retry, purpose and limits.
    pub(super) fn claim(&self) -> Claim {
        let store = StoreId::parse("store-123").unwrap();
        plain(Slot { namespace: Namespace::Enforce, store, jti: Jti::random() }, self.clock.now())
    }

    /// The same wish with another token, in another call.
    fn other(&self, claim: &Claim) -> Claim {
        let Claim { slot, issued, trace, .. } = self.claim();
        Claim { slot, issued, trace, ..claim.clone() }
    }

    pub(super) async fn first(&self, claim: &Claim) -> Reservation {
        match self.ledger.reserve(claim.clone()).await {
            Ok(Reserve::First(reservation)) => reservation,
            other => panic!("not first: {other:?}"),
        }
    }

    /// What another call with the same token is told.
    pub(super) async fn known(&self, claim: &Claim) -> Entry {
        match self.ledger.reserve(Claim { trace: TraceId::random(), ..claim.clone() }).await {
            Ok(Reserve::Known(entry)) => entry,
            other => panic!("not known: {other:?}"),
        }
    }

    pub(super) async fn settle(&self, held: Reservation, how: Settlement) -> Standing {
        self.ledger.settle(held, how, None).await.unwrap()
    }

    /// Reserves and settles.
    pub(super) async fn done(&self, claim: &Claim, how: Settlement) {
        let held = self.first(claim).await;
        self.settle(held, how).await;
    }

    pub(super) async fn state(&self, claim: &Claim) -> Option<State> {
        self.ledger.entry(&claim.slot).await.unwrap().map(|entry| entry.state)
    }

    /// What is reserved now is past its lease afterwards.
    async fn pass_lease(&self) {
        let start = self.clock.monotonic();
        self.clock.advance(self.lease_ms + 1);
        // Where the clock is the system's, it takes its time.
        while self.clock.monotonic().millis_since(start) <= self.lease_ms {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

/// Lets eight tasks do it at once; what each found.
async fn race<T, F>(task: impl Fn() -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let racers: Vec<_> = (0..8).map(|_| tokio::spawn(task())).collect();
    let mut found = Vec::new();
    for racer in racers {
        found.push(racer.await.unwrap());
    }
    found
}
