//! One thing is not bought twice with two tokens.

use super::*;
use crate::ledger::Busy;

pub(super) async fn all<L: Ledger + 'static>(bench: &Bench<L>) {
    what_is_under_way_is_busy(bench).await;
    one_of_many_racers_with_tokens_of_their_own_is_first(bench).await;
    a_settled_purpose_is_free(bench).await;
    an_unknown_outcome_stands_in_the_way_of_every_other_token(bench).await;
    whoever_knows_of_the_unknown_outcome_may_buy(bench).await;
    what_is_under_way_cannot_be_confirmed_away(bench).await;
    an_abandoned_purpose_is_unknown(bench).await;
    observing_has_no_purpose(bench).await;
}

fn with_purpose<L: Ledger + 'static>(bench: &Bench<L>) -> Claim {
    Claim { purpose: Some(Purpose(fresh())), ..bench.claim() }
}

pub(super) async fn busy<L: Ledger + 'static>(bench: &Bench<L>, claim: &Claim) -> Busy {
    let found = match bench.ledger.reserve(claim.clone()).await {
        Ok(Reserve::Busy(busy)) => busy,
        other => panic!("not busy: {other:?}"),
    };
    assert_eq!(bench.state(claim).await, None);
    found
}

async fn what_is_under_way_is_busy<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = with_purpose(bench);
    let _held = bench.first(&claim).await;
    assert_eq!(busy(bench, &bench.other(&claim)).await, Busy { first: claim.trace, unknown: false });
    // The token itself is told before its purpose.
    assert_eq!(bench.known(&claim).await.state, State::Reserved);
    let _elsewhere = bench.first(&with_purpose(bench)).await;
}

async fn one_of_many_racers_with_tokens_of_their_own_is_first<L: Ledger + 'static>(bench: &Bench<L>) {
    for _ in 0..50 {
        let claim = with_purpose(bench);
        let found = race(|| {
            let (ledger, claim) = (bench.ledger.clone(), bench.other(&claim));
            async move { matches!(ledger.reserve(claim).await, Ok(Reserve::First(_))) }
        });
        assert_eq!(found.await.into_iter().filter(|first| *first).count(), 1);
    }
}

async fn a_settled_purpose_is_free<L: Ledger + 'static>(bench: &Bench<L>) {
    for how in [Settlement::Burned, Settlement::Released] {
        let claim = with_purpose(bench);
        bench.done(&claim, how).await;
        bench.done(&bench.other(&claim), Settlement::Burned).await;
    }
    let claim = with_purpose(bench);
    let held = Reservation { attempts: 2, ..bench.first(&claim).await };
    bench.settle(held, Settlement::Released).await;
    bench.done(&bench.other(&claim), Settlement::Burned).await;
}

async fn an_unknown_outcome_stands_in_the_way_of_every_other_token<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = with_purpose(bench);
    bench.done(&claim, Settlement::Indeterminate).await;
    for _ in 0..2 {
        let other = bench.other(&claim);
        assert_eq!(busy(bench, &other).await, Busy { first: claim.trace, unknown: true });
        let confirmed = Some(other.trace);
        assert_eq!(busy(bench, &Claim { confirmed, ..other }).await, Busy { first: claim.trace, unknown: true });
    }
}

async fn whoever_knows_of_the_unknown_outcome_may_buy<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = with_purpose(bench);
    bench.done(&claim, Settlement::Indeterminate).await;
    let second = Claim { confirmed: Some(claim.trace), ..bench.other(&claim) };
    let held = bench.first(&second).await;
    // It is the one that stands in the way now.
    let third = Claim { confirmed: Some(claim.trace), ..bench.other(&claim) };
    assert_eq!(busy(bench, &third).await, Busy { first: second.trace, unknown: false });
    bench.settle(held, Settlement::Indeterminate).await;
    assert_eq!(busy(bench, &third).await, Busy { first: second.trace, unknown: true });
}

async fn what_is_under_way_cannot_be_confirmed_away<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = with_purpose(bench);
    let _held = bench.first(&claim).await;
    let second = Claim { confirmed: Some(claim.trace), ..bench.other(&claim) };
    assert_eq!(busy(bench, &second).await, Busy { first: claim.trace, unknown: false });
}

async fn an_abandoned_purpose_is_unknown<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = with_purpose(bench);
    let _held = bench.first(&claim).await;
    let lapsed = Lapsed { slot: claim.slot.clone(), trace: claim.trace };
    assert_eq!(bench.ledger.abandon(&lapsed).await, Ok(Fate::Indeterminate));
    assert_eq!(busy(bench, &bench.other(&claim)).await, Busy { first: claim.trace, unknown: true });
}

async fn observing_has_no_purpose<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = with_purpose(bench);
    let observed = |claim: Claim| Claim { slot: Slot { namespace: Namespace::Observe, ..claim.slot }, ..claim };
    let _one = bench.first(&observed(bench.other(&claim))).await;
    let _two = bench.first(&observed(bench.other(&claim))).await;
    let _enforced = bench.first(&claim).await;
}
