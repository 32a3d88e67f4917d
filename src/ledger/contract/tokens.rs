//! A token buys once.

use super::*;

pub(super) async fn all<L: Ledger + 'static>(bench: &Bench<L>) {
    one_of_many_racers_is_first(bench).await;
    a_reserved_token_is_in_flight_and_names_the_first(bench).await;
    spent_is_for_good(bench).await;
    a_released_token_buys_again(bench).await;
    what_took_two_attempts_is_never_released(bench).await;
    an_old_reservation_settles_nothing(bench).await;
    a_reservation_is_settled_once(bench).await;
    namespaces_do_not_see_each_other(bench).await;
    looking_changes_nothing(bench).await;
    old_tokens_are_in_quarantine(bench).await;
    a_retry_is_known_by_what_the_first_said(bench).await;
    an_answer_is_kept_for_a_retry(bench).await;
    an_answer_is_kept_only_where_a_retry_can_ask_for_it(bench).await;
    what_a_dead_process_left_behind_is_settled_and_told(bench).await;
}

async fn one_of_many_racers_is_first<L: Ledger + 'static>(bench: &Bench<L>) {
    for _ in 0..200 {
        let claim = bench.claim();
        let found = race(|| {
            let (ledger, claim) = (bench.ledger.clone(), Claim { trace: TraceId::random(), ..claim.clone() });
            async move { matches!(ledger.reserve(claim).await, Ok(Reserve::First(_))) }
        });
        assert_eq!(found.await.into_iter().filter(|first| *first).count(), 1);
    }
}

async fn a_reserved_token_is_in_flight_and_names_the_first<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = bench.claim();
    let _held = bench.first(&claim).await;
    let expected = Entry { state: State::Reserved, first: claim.trace, retry: None };
    assert_eq!(bench.known(&claim).await, expected);
    assert_eq!(bench.ledger.entry(&claim.slot).await, Ok(Some(expected)));
}

async fn spent_is_for_good<L: Ledger + 'static>(bench: &Bench<L>) {
    for (how, spent) in [(Settlement::Burned, Spent::Burned), (Settlement::Indeterminate, Spent::Indeterminate)] {
        let claim = bench.claim();
        let held = bench.first(&claim).await;
        assert_eq!(bench.settle(held, how).await, Standing::Spent(spent));
        let expected = Entry { state: State::Spent(spent), first: claim.trace, retry: None };
        assert_eq!(bench.known(&claim).await, expected);
        assert_eq!(bench.ledger.entry(&claim.slot).await, Ok(Some(expected)));
    }
}

async fn a_released_token_buys_again<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = bench.claim();
    let held = bench.first(&claim).await;
    assert_eq!(bench.settle(held, Settlement::Released).await, Standing::Unused);
    assert_eq!(bench.state(&claim).await, None);
    let again = Claim { trace: TraceId::random(), ..claim.clone() };
    bench.done(&again, Settlement::Burned).await;
    assert_eq!(bench.known(&claim).await.first, again.trace);
}

async fn what_took_two_attempts_is_never_released<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = bench.claim();
    let held = Reservation { attempts: 2, ..bench.first(&claim).await };
    assert_eq!(bench.settle(held, Settlement::Released).await, Standing::Spent(Spent::Unexecuted));
    assert_eq!(bench.known(&claim).await.state, State::Spent(Spent::Unexecuted));
}

/// The same reservation once more, as only a test can have it.
fn copy(held: &Reservation) -> Reservation {
    let Reservation { slot, trace, purpose, counted, attempts } = held;
    Reservation { slot: slot.clone(), trace: *trace, purpose: *purpose, counted: counted.clone(), attempts: *attempts }
}

async fn an_old_reservation_settles_nothing<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = bench.claim();
    let held = bench.first(&claim).await;
    let stale = copy(&held);
    bench.settle(held, Settlement::Released).await;
    let newer = Claim { trace: TraceId::random(), ..claim.clone() };
    let _newer = bench.first(&newer).await;
    assert_eq!(bench.ledger.settle(stale, Settlement::Released, None).await, Err(LedgerError::Lost));
    let expected = Entry { state: State::Reserved, first: newer.trace, retry: None };
    assert_eq!(bench.known(&claim).await, expected);
}

async fn a_reservation_is_settled_once<L: Ledger + 'static>(bench: &Bench<L>) {
    for how in [Settlement::Burned, Settlement::Indeterminate] {
        let claim = bench.claim();
        let held = bench.first(&claim).await;
        let again = copy(&held);
        bench.settle(held, how).await;
        assert_eq!(bench.ledger.settle(again, Settlement::Released, None).await, Err(LedgerError::Lost));
        assert!(matches!(bench.state(&claim).await, Some(State::Spent(_))));
    }
}

async fn namespaces_do_not_see_each_other<L: Ledger + 'static>(bench: &Bench<L>) {
    let enforce = bench.claim();
    let slot = Slot { namespace: Namespace::Observe, ..enforce.slot.clone() };
    let observe = Claim { slot, ..enforce.clone() };
    bench.done(&observe, Settlement::Burned).await;
    assert_eq!(bench.state(&enforce).await, None);
    bench.done(&enforce, Settlement::Burned).await;
}

async fn looking_changes_nothing<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = bench.claim();
    assert_eq!(bench.state(&claim).await, None);
    assert_eq!(bench.ledger.answer(&claim.slot).await, Ok(None));
    let held = bench.first(&claim).await;
    assert_eq!(bench.state(&claim).await, Some(State::Reserved));
    bench.settle(held, Settlement::Burned).await;
}

async fn old_tokens_are_in_quarantine<L: Ledger + 'static>(bench: &Bench<L>) {
    let old = Claim { issued: bench.clock.now().plus_seconds(-3600), ..bench.claim() };
    let peeked = bench.ledger.usage(&old.slot.store, &old.agent, old.issued).await.map(drop);
    for found in [bench.ledger.reserve(old.clone()).await.map(drop), peeked] {
        match found {
            Err(LedgerError::Quarantine { retry_after_s }) => assert!(retry_after_s > 0),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.state(&old).await, None);
}

fn retry() -> Option<Retry> {
    Some(Retry { key: fresh(), request: fresh() })
}

async fn a_retry_is_known_by_what_the_first_said<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = Claim { retry: retry(), ..bench.claim() };
    let second = Claim { retry: retry(), ..claim.clone() };
    let held = bench.first(&claim).await;
    assert_eq!(bench.known(&second).await.retry, claim.retry);
    bench.settle(held, Settlement::Indeterminate).await;
    assert_eq!(bench.known(&second).await.retry, claim.retry);
    assert_eq!(bench.ledger.entry(&claim.slot).await.unwrap().unwrap().retry, claim.retry);
}

fn answer() -> Answer {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Answer { status: 201, headers, body: b"{\"order\":\"\\u00e4\"}\r\n\0\xff".to_vec().into() }
}

async fn an_answer_is_kept_for_a_retry<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = Claim { retry: retry(), ..bench.claim() };
    let held = bench.first(&claim).await;
    assert_eq!(bench.ledger.answer(&claim.slot).await, Ok(None));
    bench.ledger.settle(held, Settlement::Burned, Some(answer())).await.unwrap();
    for _ in 0..2 {
        assert_eq!(bench.ledger.answer(&claim.slot).await, Ok(Some(answer())));
    }
    let slot = Slot { namespace: Namespace::Observe, ..claim.slot };
    assert_eq!(bench.ledger.answer(&slot).await, Ok(None));
}

async fn an_answer_is_kept_only_where_a_retry_can_ask_for_it<L: Ledger + 'static>(bench: &Bench<L>) {
    let nobody_asks =
        [(None, Settlement::Burned), (retry(), Settlement::Indeterminate), (retry(), Settlement::Released)];
    for (retry, how) in nobody_asks {
        let claim = Claim { retry, ..bench.claim() };
        let held = bench.first(&claim).await;
        bench.ledger.settle(held, how, Some(answer())).await.unwrap();
        assert_eq!(bench.ledger.answer(&claim.slot).await, Ok(None), "{how:?}");
    }
}

async fn what_a_dead_process_left_behind_is_settled_and_told<L: Ledger + 'static>(bench: &Bench<L>) {
    let claim = bench.claim();
    let fate = async |claim: &Claim, trace| {
        let lapsed = Lapsed { slot: claim.slot.clone(), trace };
        bench.ledger.abandon(&lapsed).await.unwrap()
    };
    assert_eq!(fate(&claim, claim.trace).await, Fate::Unknown);
    let held = bench.first(&claim).await;
    assert_eq!(fate(&claim, TraceId::random()).await, Fate::Unknown);
    assert_eq!(bench.state(&claim).await, Some(State::Reserved));
    for _ in 0..2 {
        assert_eq!(fate(&claim, claim.trace).await, Fate::Indeterminate);
        assert_eq!(bench.known(&claim).await.state, State::Spent(Spent::Indeterminate));
    }
    assert_eq!(bench.ledger.settle(held, Settlement::Burned, None).await, Err(LedgerError::Lost));
    // What was settled before stays as it was.
    let ends = [
        (Settlement::Burned, 1, Fate::Burned),
        (Settlement::Indeterminate, 1, Fate::Indeterminate),
        (Settlement::Released, 1, Fate::Unknown),
        (Settlement::Released, 2, Fate::Unexecuted),
    ];
    for (how, attempts, expected) in ends {
        let claim = bench.claim();
        let held = Reservation { attempts, ..bench.first(&claim).await };
        bench.settle(held, how).await;
        let before = bench.state(&claim).await;
        assert_eq!((fate(&claim, claim.trace).await, bench.state(&claim).await), (expected, before));
    }
}
