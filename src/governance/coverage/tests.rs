use super::*;
use crate::model::event::{Event, Link};
use crate::model::ids::{Jti, StoreId, TraceId};
use crate::model::time::Timestamp;

const NOW: Timestamp = Timestamp::of_millis(1_795_000_000_000);

fn event(kind: EventKind, call: u128) -> Event {
    let mut event = Event::new(kind, NOW, TraceId::parse(&format!("trc_{call:032x}")).unwrap());
    event.data.store_id = Some(StoreId::parse("s").unwrap());
    event.data.stage = Some("gateway");
    event
}

fn order(kind: EventKind, call: u128, id: &'static str, stage: &'static str) -> Event {
    let mut event = event(kind, call);
    event.data.order_id = Some(id.into());
    event.data.stage = Some(stage);
    event
}

fn judged(call: u128, id: &'static str, level: &'static str) -> Event {
    let mut event = order(EventKind::OrderCorrelated, call, id, "reconcile");
    event.data.level = Some(level);
    event
}

fn balance(events: &[Event]) -> Coverage {
    let one = |(index, event): (u64, &Event)| {
        let mut body = Vec::new();
        event.write_json(&mut body, Link { sequence: index, ..Link::first("/a", NOW) });
        StoredEvent { index, body: String::from_utf8(body).unwrap() }
    };
    let mut accounts = Accounts::default();
    (1..).zip(events).map(one).for_each(|event| accounts.hear(&[event]));
    accounts.balance()
}

#[test]
fn orders_are_counted_by_the_way_that_they_took() {
    let mut contradicted = judged(1, "forged", "contradicted");
    contradicted.data.flags = vec!["token_of_another_order"];
    let mut replay = event(EventKind::ExecutionReplayDetected, 5);
    replay.data.token_id = Jti::parse("5b0e8a0e-3c58-4f6e-9a41-0c2d0a9b7e11");
    replay.correlation = TraceId::parse(&format!("trc_{:032x}", 1)).unwrap().correlation();
    let report = balance(&[
        event(EventKind::ExecutionValidated, 1),
        order(EventKind::OrderObserved, 1, "answered", "gateway"),
        event(EventKind::ExecutionObserved, 2),
        order(EventKind::OrderObserved, 2, "seen", "gateway"),
        event(EventKind::ExecutionValidated, 3),
        order(EventKind::OrderObserved, 9, "told", "webhook"),
        judged(3, "told", "proven"),
        order(EventKind::OrderObserved, 10, "alone", "webhook"),
        judged(10, "alone", "none"),
        order(EventKind::OrderObserved, 11, "forged", "webhook"),
        contradicted,
        event(EventKind::ExecutionValidated, 4),
        event(EventKind::ExecutionBypassed, 6),
        replay,
    ]);
    let expected = "\
Orders   5: 2 enforced (40.00 %), 1 observed (20.00 %), 2 known by the store alone (40.00 %)
Commits  5: 3 enforced (60.00 %), 1 observed (20.00 %), 1 passed unjudged (20.00 %)

Orders without authority: 3
  s  alone: none
  s  forged: contradicted, the token bought another order
  s  seen: not judged

Burned tokens without an order: 1
  s  exec_00000000-0000-0000-0000-000000000004: used at 2026-11-18T11:06:40.000Z

Orders that drifted: 0

Contradicted orders: 1
  s  forged: contradicted, the token bought another order

Replays: 1
  s  5b0e8a0e-3c58-4f6e-9a41-0c2d0a9b7e11: used at 2026-11-18T11:06:40.000Z
";
    assert_eq!(report.to_string(), expected);
}

#[test]
fn nothing_is_nothing_and_no_division() {
    let report = balance(&[]);
    assert_eq!((report.orders, report.commits), (Shares::default(), Shares::default()));
}

#[test]
fn of_many_cases_some_are_named_and_all_are_counted() {
    let burned: Vec<_> = (1..=150).map(|call| event(EventKind::ExecutionValidated, call)).collect();
    let report = balance(&burned);
    assert_eq!((report.burns_without_order.count, report.burns_without_order.first.len()), (150, 100));
    assert!(report.to_string().contains("  and 50 more\n"));
    assert_eq!(report.commits.enforced_points, 10_000);
}
