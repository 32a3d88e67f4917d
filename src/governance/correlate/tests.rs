use super::*;
use crate::evidence::StoredEvent;
use crate::model::event::{Link, OrderedLine};
use crate::model::ids::{AgentId, StoreId};
use crate::model::intent::Sha256;
use crate::model::signal::{Signal, State};

const START: Timestamp = Timestamp::of_millis(1_795_000_000_123);

fn token() -> Jti {
    Jti::parse("5b0e8a0e-3c58-4f6e-9a41-0c2d0a9b7e11").unwrap()
}

fn trace(n: u32) -> TraceId {
    TraceId::parse(&format!("trc_{n:032x}")).unwrap()
}

fn event(kind: EventKind, call: u32, stage: &'static str) -> Event {
    let mut event = Event::new(kind, START, trace(call));
    event.data.store_id = Some(StoreId::parse("s").unwrap());
    event.data.stage = Some(stage);
    event
}

/// The purchase of one mug with a token, on call 2.
fn bought(kind: EventKind) -> Event {
    let mut event = event(kind, 2, "gateway").of_token(token());
    event.data.agent_id = Some(AgentId::parse("ak_1").unwrap());
    event.data.variant_id = Some("mug".into());
    event.data.quantity = Some(1);
    event.data.price = Some("29.90 USD".into());
    event
}

/// Order 1001 of so many mugs at this price, told of on call 9.
fn told(quantity: u32, price: &'static str) -> Event {
    let mut event = event(EventKind::OrderObserved, 9, "webhook");
    event.data.order_id = Some("1001".into());
    event.data.order_total = Some("34.90 USD".into());
    event.data.lines = Some(vec![OrderedLine { prices: vec![price.into()], quantity, variant_id: Some("mug".into()) }]);
    event
}

fn carrying(quantity: u32, price: &'static str) -> Event {
    let mut order = told(quantity, price);
    order.data.carried = Some(trace(2).to_string().into());
    order
}

fn stored(events: &[Event]) -> Vec<StoredEvent> {
    let one = |(index, event): (u64, &Event)| {
        let mut body = Vec::new();
        event.write_json(&mut body, Link { sequence: index, ..Link::first("/a", START) });
        StoredEvent { index, body: String::from_utf8(body).unwrap() }
    };
    (1..).zip(events).map(one).collect()
}

/// What is judged of the order and of everything else that the log holds.
fn judged(orders: &[Event], others: &[Event]) -> Judgement {
    judge(&Order::of(&stored(orders)).unwrap(), &stored(others))
}

fn level(orders: &[Event], others: &[Event]) -> (Level, Vec<&'static str>) {
    let rating = judged(orders, others).rating;
    (rating.level, rating.flags)
}

#[test]
fn an_order_that_carries_our_trace_is_proven() {
    let judgement = judged(&[carrying(1, "29.90 USD")], &[bought(EventKind::ExecutionValidated)]);
    assert_eq!(judgement.execution, Some(format!("exec_{}", token())));
    assert_eq!((judgement.rating.level, judgement.rating.flags.len()), (Level::Proven, 0));
}

#[test]
fn an_order_that_the_stores_own_answer_named_is_proven() {
    let mut answer = bought(EventKind::OrderObserved);
    answer.data.order_id = Some("1001".into());
    let others = [bought(EventKind::ExecutionValidated), answer];
    assert_eq!(level(&[told(1, "29.90 USD")], &others).0, Level::Proven);
}

#[test]
fn an_order_of_the_same_cart_is_strong_also_where_only_the_issue_named_the_cart() {
    let mut order = told(1, "29.90 USD");
    order.data.refs = vec![Sha256::of(b"cart")];
    let mut issue = bought(EventKind::ExecutionAuthorized);
    issue.data.refs = vec![Sha256::of(b"cart")];
    assert_eq!(level(&[order], &[issue, bought(EventKind::ExecutionValidated)]).0, Level::Strong);
}

#[test]
fn what_contradicts_is_named() {
    let validated = [bought(EventKind::ExecutionValidated)];
    let flags = |order: Event| level(&[order], &validated).1;
    assert_eq!(flags(carrying(1, "39.90 USD")), ["total_above_authorised"]);
    assert_eq!(flags(carrying(1, "29.90 EUR")), ["currency_differs"]);
    assert_eq!(flags(carrying(2, "10.00 USD")), ["items_differ"]);
    // A discount is none: what is cheaper than it was authorised is not proven, and is no harm.
    assert_eq!(level(&[carrying(1, "19.90 USD")], &validated), (Level::Strong, vec![]));
}

#[test]
fn a_token_that_bought_one_order_bought_no_other() {
    let mut answer = bought(EventKind::OrderObserved);
    answer.data.order_id = Some("2002".into());
    let others = [bought(EventKind::ExecutionValidated), answer];
    assert_eq!(level(&[carrying(1, "29.90 USD")], &others).1, ["token_of_another_order"]);
}

#[test]
fn lines_of_one_variant_are_one_purchase_and_a_price_with_tax_is_a_price() {
    let mut order = carrying(1, "25.13 USD");
    let line = |prices: &[&'static str]| OrderedLine {
        prices: prices.iter().map(|price| (*price).into()).collect(),
        quantity: 1,
        variant_id: Some("mug".into()),
    };
    order.data.lines = Some(vec![line(&["25.13 USD", "29.90 USD"]), line(&["29.90 USD"])]);
    let mut twice = bought(EventKind::ExecutionValidated);
    twice.data.quantity = Some(2);
    assert_eq!(level(&[order], &[twice]).0, Level::Proven);
}

#[test]
fn a_channel_and_a_sighting_make_it_probable() {
    let mut seen = event(EventKind::ExecutionObserved, 3, "observe");
    seen.data.variant_id = Some("mug".into());
    seen.data.quantity = Some(1);
    let mut origin = event(EventKind::AttributionIngested, 9, "webhook");
    origin.data.order_id = Some("1001".into());
    origin.data.signals = vec![Signal::new("sales_channel", State::Verified).known_as("chatgpt")];
    let orders = [origin, told(1, "29.90 USD")];
    assert_eq!(level(&orders, &[seen.clone()]).0, Level::Probable);
    assert_eq!(level(&orders, &[]).0, Level::Indicated);
    seen.time = START.plus_seconds(601);
    let judgement = judged(&orders, &[seen]);
    assert_eq!((judgement.execution, judgement.rating.level), (None, Level::Indicated));
}

#[test]
fn an_order_settles_an_execution_whose_answer_was_lost() {
    let lost = [bought(EventKind::ExecutionIndeterminate)];
    let order = Order::of(&stored(&[carrying(1, "29.90 USD")])).unwrap();
    let events = judge(&order, &stored(&lost)).events(&order, START);
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::OrderCorrelated, EventKind::ExecutionResolved]);
    assert_eq!((events[1].data.token_id, events[1].correlation), (Some(token()), token().into()));
    // Once it is resolved it is not resolved again.
    let order = Order::of(&stored(&[carrying(1, "29.90 USD"), events[0].clone()])).unwrap();
    assert_eq!(judge(&order, &stored(&[lost.to_vec(), events].concat())).events(&order, START).len(), 0);
}

#[test]
fn nothing_is_said_twice_and_what_becomes_known_later_revises() {
    let order = carrying(1, "29.90 USD");
    let unknown = Order::of(&stored(std::slice::from_ref(&order))).unwrap();
    let first = judge(&unknown, &[]).events(&unknown, START);
    assert_eq!(first[0].kind, EventKind::OrderUnmatched);
    assert_eq!(first[0].data.level, Some("none"));
    // The gateway's event arrives after the webhook.
    let log = stored(&[order, first[0].clone()]);
    let known = Order::of(&log).unwrap();
    assert!(judge(&known, &[]).events(&known, START).is_empty());
    let revised = judge(&known, &stored(&[bought(EventKind::ExecutionValidated)])).events(&known, START);
    assert_eq!(revised[0].kind, EventKind::OrderCorrelationRevised);
    assert_eq!(revised[0].data.level, Some("proven"));
    assert_eq!(revised[0].causation.map(|id| id.to_string()).as_deref(), Some(log[1].read().unwrap().id));
}

#[test]
fn a_contradiction_is_not_hidden_behind_a_weak_match() {
    let mut seen = event(EventKind::ExecutionObserved, 3, "observe");
    seen.data.variant_id = Some("mug".into());
    seen.data.quantity = Some(2);
    let others = [bought(EventKind::ExecutionValidated), seen];
    assert_eq!(level(&[carrying(2, "29.90 USD")], &others).0, Level::Contradicted);
}

#[test]
fn an_order_that_no_store_told_of_is_not_judged() {
    let mut answer = bought(EventKind::OrderObserved);
    answer.data.order_id = Some("1001".into());
    assert!(Order::of(&stored(&[answer])).is_none());
}
