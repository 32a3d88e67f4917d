//! A reservation that nobody settles ends in an unknown outcome.

use super::*;
use crate::ledger::Busy;

/// What takes a lease's time. The reservations that it leaves behind are settled.
pub(in crate::ledger) async fn lapses<L: Ledger + 'static>(bench: &Bench<L>) {
    what_nobody_settled_lapses_and_is_told_once(bench).await;
    of_many_who_ask_one_is_told(bench).await;
    what_was_settled_does_not_lapse(bench).await;
    a_lapsed_purpose_is_unknown(bench).await;
}

/// Everything that lapsed, however many calls it takes, and told of.
async fn lapsed<L: Ledger>(ledger: &L) -> Vec<Lapsed> {
    let mut all = Vec::new();
    loop {
        let some = ledger.lapsed().await.unwrap();
        if some.is_empty() {
            return all;
        }
        for lapsed in &some {
            ledger.told(lapsed).await.unwrap();
        }
        all.extend(some);
    }
}

async fn what_nobody_settled_lapses_and_is_told_once<L: Ledger + 'static>(bench: &Bench<L>) {
    // What others left behind is out of the way: to tell of all of it may take longer than a lease.
    lapsed(&*bench.ledger).await;
    let claim = bench.claim();
    let held = bench.first(&claim).await;
    let told = Lapsed { slot: claim.slot.clone(), trace: claim.trace };
    assert!(!lapsed(&*bench.ledger).await.contains(&told));
    bench.pass_lease().await;
    let count = |all: Vec<Lapsed>| all.into_iter().filter(|lapsed| *lapsed == told).count();
    assert_eq!(count(lapsed(&*bench.ledger).await), 1);
    assert_eq!(count(lapsed(&*bench.ledger).await), 0);
    assert_eq!(bench.state(&claim).await, Some(State::Spent(Spent::Indeterminate)));
    assert_eq!(bench.ledger.settle(held, Settlement::Released, None).await, Err(LedgerError::Lost));
    assert_eq!(bench.ledger.abandon(&told).await, Ok(Fate::Told));
    assert_eq!(bench.state(&claim).await, Some(State::Spent(Spent::Indeterminate)));
    bench.pass_lease().await;
    assert_eq!(count(lapsed(&*bench.ledger).await), 0);
}

async fn of_many_who_ask_one_is_told<L: Ledger + 'static>(bench: &Bench<L>) {
    let claims: Vec<_> = (0..150).map(|_| bench.claim()).collect();
    let mut held = Vec::new();
    for claim in &claims {
        held.push(bench.first(claim).await);
    }
    bench.pass_lease().await;
    let found = race(|| {
        let ledger = bench.ledger.clone();
        async move { lapsed(&*ledger).await }
    });
    let told: Vec<_> = found.await.into_iter().flatten().map(|lapsed| lapsed.trace).collect();
    for claim in &claims {
        assert_eq!(told.iter().filter(|trace| **trace == claim.trace).count(), 1);
    }
}

async fn what_was_settled_does_not_lapse<L: Ledger + 'static>(bench: &Bench<L>) {
    let settlements = [Settlement::Burned, Settlement::Indeterminate, Settlement::Released];
    let claims = settlements.map(|how| (bench.claim(), how));
    for (claim, how) in &claims {
        bench.done(claim, *how).await;
    }
    bench.pass_lease().await;
    let told = lapsed(&*bench.ledger).await;
    assert!(claims.iter().all(|(claim, _)| told.iter().all(|lapsed| lapsed.trace != claim.trace)));
    assert_eq!(bench.state(&claims[0].0).await, Some(State::Spent(Spent::Burned)));
    assert_eq!(bench.state(&claims[2].0).await, None);
}

async fn a_lapsed_purpose_is_unknown<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = Claim { purpose: Some(Purpose(fresh())), ..bench.claim() };
    let _held = bench.first(&claim).await;
    bench.pass_lease().await;
    let other = bench.other(&claim);
    let busy = Busy { first: claim.trace, unknown: true };
    // Whether anybody asked for what lapsed, or not.
    for _ in 0..2 {
        assert_eq!(purposes::busy(bench, &other).await, busy);
        lapsed(&*bench.ledger).await;
    }
    let confirmed = Some(claim.trace);
    bench.done(&Claim { confirmed, ..other }, Settlement::Burned).await;
}
