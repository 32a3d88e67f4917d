//! What every ledger promises. Each implementation runs [`all`].

use std::sync::Arc;

use super::{Claim, Ledger, LedgerError, Namespace, Reservation, Reserve, Settlement, Spent, State};
use crate::clock::Clock;
use crate::model::ids::{Jti, StoreId, TraceId};

/// A ledger under test, past its quarantine, with the clock that drives it.
pub(super) struct Bench<L> {
    pub(super) ledger: Arc<L>,
    pub(super) clock: Clock,
}

impl<L: Ledger + 'static> Bench<L> {
    pub(super) fn claim(&self) -> Claim {
        Claim {
            namespace: Namespace::Enforce,
            store: StoreId::parse("store-123").unwrap(),
            jti: Jti::random(),
            issued: self.clock.now(),
            trace: TraceId::random(),
        }
    }

    pub(super) async fn first(&self, claim: &Claim) -> Reservation {
        match self.ledger.reserve(claim.clone()).await {
            Ok(Reserve::First(reservation)) => reservation,
            other => panic!("not first: {other:?}"),
        }
    }

    async fn state(&self, claim: &Claim) -> State {
        self.ledger.state(claim.namespace, &claim.store, claim.jti).await.unwrap()
    }
}

pub(super) async fn all<L: Ledger + 'static>(bench: &Bench<L>) {
    one_of_many_racers_is_first(bench).await;
    a_reserved_token_is_in_flight_and_names_the_first(bench).await;
    spent_is_for_good(bench).await;
    a_released_token_buys_again(bench).await;
    an_old_reservation_settles_nothing(bench).await;
    namespaces_do_not_see_each_other(bench).await;
    looking_changes_nothing(bench).await;
    old_tokens_are_in_quarantine(bench).await;
}

async fn one_of_many_racers_is_first<L: Ledger + 'static>(bench: &Bench<L>) {
    for _ in 0..200 {
        let claim = bench.claim();
        let racers: Vec<_> = (0..8)
            .map(|_| {
                let (ledger, claim) = (bench.ledger.clone(), claim.clone());
                tokio::spawn(async move { matches!(ledger.reserve(claim).await, Ok(Reserve::First(_))) })
            })
            .collect();
        let mut firsts = 0;
        for racer in racers {
            firsts += u32::from(racer.await.unwrap());
        }
        assert_eq!(firsts, 1);
    }
}

async fn a_reserved_token_is_in_flight_and_names_the_first<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = bench.claim();
    let _held = bench.first(&claim).await;
    let second = Claim { trace: TraceId::random(), ..claim.clone() };
    match bench.ledger.reserve(second).await {
        Ok(Reserve::InFlight { first }) => assert_eq!(first, claim.trace),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.state(&claim).await, State::Reserved);
}

async fn spent_is_for_good<L: Ledger + 'static>(bench: &Bench<L>) {
    for (how, spent) in [(Settlement::Burned, Spent::Burned), (Settlement::Indeterminate, Spent::Indeterminate)] {
        let claim = bench.claim();
        let held = bench.first(&claim).await;
        bench.ledger.settle(held, how).await.unwrap();
        match bench.ledger.reserve(claim.clone()).await {
            Ok(Reserve::Spent { state, first }) => assert_eq!((state, first), (spent, claim.trace)),
            other => panic!("{other:?}"),
        }
        assert_eq!(bench.state(&claim).await, State::Spent(spent));
    }
}

async fn a_released_token_buys_again<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = bench.claim();
    let held = bench.first(&claim).await;
    bench.ledger.settle(held, Settlement::Released).await.unwrap();
    assert_eq!(bench.state(&claim).await, State::Unseen);
    let again = bench.first(&claim).await;
    bench.ledger.settle(again, Settlement::Burned).await.unwrap();
}

async fn an_old_reservation_settles_nothing<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = bench.claim();
    let held = bench.first(&claim).await;
    let stale = Reservation { store: held.store.clone(), ..held };
    bench.ledger.settle(held, Settlement::Released).await.unwrap();
    let _newer = bench.first(&claim).await;
    assert_eq!(bench.ledger.settle(stale, Settlement::Released).await, Err(LedgerError::Lost));
    assert_eq!(bench.state(&claim).await, State::Reserved);
}

async fn namespaces_do_not_see_each_other<L: Ledger + 'static>(bench: &Bench<L>) {
    let enforce = bench.claim();
    let observe = Claim { namespace: Namespace::Observe, ..enforce.clone() };
    let held = bench.first(&observe).await;
    bench.ledger.settle(held, Settlement::Burned).await.unwrap();
    let held = bench.first(&enforce).await;
    bench.ledger.settle(held, Settlement::Burned).await.unwrap();
}

async fn looking_changes_nothing<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = bench.claim();
    assert_eq!(bench.state(&claim).await, State::Unseen);
    let held = bench.first(&claim).await;
    bench.ledger.settle(held, Settlement::Burned).await.unwrap();
}

async fn old_tokens_are_in_quarantine<L: Ledger + 'static>(bench: &Bench<L>) {
    let old = Claim { issued: bench.clock.now().plus_seconds(-3600), ..bench.claim() };
    match bench.ledger.reserve(old).await {
        Err(LedgerError::Quarantine { retry_after_s }) => assert!(retry_after_s > 0),
        other => panic!("{other:?}"),
    }
}
