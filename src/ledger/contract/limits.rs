//! An agent orders and spends no more than the policy says.

use super::*;
use crate::decide::velocity::{Exceeded, Rule, Usage};

pub(super) async fn all<L: Ledger + 'static>(bench: &Bench<L>) {
    orders_and_spending_end_at_their_limit(bench).await;
    what_is_released_is_given_back(bench).await;
    what_is_refused_is_not_counted(bench).await;
    a_known_token_is_told_before_a_limit(bench).await;
    observing_counts_nothing(bench).await;
    racing_takers_never_pass_a_limit(bench).await;
}

const NONE: Limits = Limits { orders_per_hour: None, spend_per_hour: None, spend_per_day: None };

fn with_limits<L: Ledger + 'static>(bench: &Bench<L>, limits: Limits, amount: i64) -> Claim {
    Claim { limits, amount, ..bench.claim() }
}

async fn exceeded<L: Ledger + 'static>(bench: &Bench<L>, claim: &Claim) -> Exceeded {
    match bench.ledger.reserve(claim.clone()).await {
        Ok(Reserve::Exceeded(exceeded)) => exceeded,
        other => panic!("not exceeded: {other:?}"),
    }
}

async fn usage<L: Ledger + 'static>(bench: &Bench<L>, claim: &Claim) -> Usage {
    bench.ledger.usage(&claim.slot.store, &claim.agent, claim.issued).await.unwrap()
}

async fn orders_and_spending_end_at_their_limit<L: Ledger + 'static>(bench: &Bench<L>) {
    let cases = [
        (Limits { orders_per_hour: Some(2), ..NONE }, Rule::OrdersPerHour, 2, 2),
        (Limits { spend_per_hour: Some(250), ..NONE }, Rule::SpendPerHour, 200, 250),
        (Limits { spend_per_day: Some(250), ..NONE }, Rule::SpendPerDay, 200, 250),
    ];
    for (limits, rule, counted, limit) in cases {
        let claim = with_limits(bench, limits, 100);
        bench.done(&claim, Settlement::Burned).await;
        bench.done(&bench.other(&claim), Settlement::Indeterminate).await;
        let third = bench.other(&claim);
        assert_eq!(exceeded(bench, &third).await, Exceeded { rule, counted, limit });
        assert_eq!(bench.state(&third).await, None);
        // Another agent has limits of its own.
        let other = with_limits(bench, limits, 100);
        assert_eq!(usage(bench, &other).await, Usage::default());
        bench.done(&other, Settlement::Burned).await;
    }
}

async fn what_is_released_is_given_back<L: Ledger + 'static>(bench: &Bench<L>) {
    let limits = Limits { orders_per_hour: Some(1), spend_per_hour: Some(100), spend_per_day: Some(100) };
    let claim = with_limits(bench, limits, 100);
    let held = bench.first(&claim).await;
    assert_eq!(exceeded(bench, &bench.other(&claim)).await.rule, Rule::OrdersPerHour);
    bench.settle(held, Settlement::Released).await;
    assert_eq!(usage(bench, &claim).await, Usage::default());
    let held = bench.first(&bench.other(&claim)).await;
    let used = Usage { orders_last_hour: 1, spent_last_hour: 100, spent_last_day: 100 };
    assert_eq!(usage(bench, &claim).await, used);
    bench.settle(Reservation { attempts: 2, ..held }, Settlement::Released).await;
    bench.done(&bench.other(&claim), Settlement::Burned).await;
    assert_eq!(usage(bench, &claim).await, used);
}

async fn what_is_refused_is_not_counted<L: Ledger + 'static>(bench: &Bench<L>) {
    let limits = Limits { orders_per_hour: Some(9), spend_per_day: Some(100), ..NONE };
    let claim = Claim { purpose: Some(Purpose(fresh())), ..with_limits(bench, limits, 60) };
    let _held = bench.first(&claim).await;
    let _ = bench.known(&claim).await;
    let _ = purposes::busy(bench, &bench.other(&claim)).await;
    let too_much = Claim { purpose: None, ..bench.other(&claim) };
    assert_eq!(exceeded(bench, &too_much).await.rule, Rule::SpendPerDay);
    let old = Claim { issued: bench.clock.now().plus_seconds(-3600), ..bench.other(&claim) };
    assert!(matches!(bench.ledger.reserve(old).await, Err(LedgerError::Quarantine { .. })));
    let used = usage(bench, &claim).await;
    assert_eq!((used.orders_last_hour, used.spent_last_day), (1, 60));
    // What was refused by a limit took no purpose either.
    let purpose = Some(Purpose(fresh()));
    assert_eq!(exceeded(bench, &Claim { purpose, ..too_much.clone() }).await.rule, Rule::SpendPerDay);
    let _free = bench.first(&Claim { purpose, limits: NONE, ..bench.other(&too_much) }).await;
}

async fn a_known_token_is_told_before_a_limit<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = with_limits(bench, Limits { orders_per_hour: Some(1), ..NONE }, 1);
    bench.done(&claim, Settlement::Burned).await;
    assert_eq!(bench.known(&claim).await.first, claim.trace);
}

async fn observing_counts_nothing<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = with_limits(bench, Limits { orders_per_hour: Some(1), ..NONE }, 1);
    for _ in 0..2 {
        let observed = bench.other(&claim);
        let slot = Slot { namespace: Namespace::Observe, ..observed.slot.clone() };
        bench.done(&Claim { slot, ..observed }, Settlement::Burned).await;
    }
    assert_eq!(usage(bench, &claim).await, Usage::default());
}

async fn racing_takers_never_pass_a_limit<L: Ledger + 'static>(bench: &Bench<L>) {
    let limits = Limits { orders_per_hour: Some(40), spend_per_hour: Some(200), ..NONE };
    let claim = with_limits(bench, limits, 10);
    let found = race(|| {
        let ledger = bench.ledger.clone();
        let claims: Vec<_> = (0..10).map(|_| bench.other(&claim)).collect();
        async move {
            let mut firsts = 0;
            for claim in claims {
                firsts += u32::from(matches!(ledger.reserve(claim).await, Ok(Reserve::First(_))));
            }
            firsts
        }
    });
    assert_eq!(found.await.into_iter().sum::<u32>(), 20);
    let used = usage(bench, &claim).await;
    assert_eq!((used.orders_last_hour, used.spent_last_hour), (20, 200));
}
