//! The stories of orders, as they are read aloud.

use std::sync::Arc;

use super::correlate::{Order, judge};
use super::*;
use crate::evidence::StoredEvent;
use crate::model::event::{Event, EventKind, Link, OrderedLine};
use crate::model::ids::{AgentId, Jti, StoreId, TraceId};
use crate::model::signal::{Signal, State};
use crate::model::time::Timestamp;

const START: Timestamp = Timestamp::of_millis(1_795_000_000_000);

fn at(second: i64) -> Timestamp {
    START.plus_seconds(second)
}

fn trace(n: u32) -> TraceId {
    TraceId::parse(&format!("trc_{n:032x}")).unwrap()
}

fn event(kind: EventKind, call: u32, second: i64, stage: &'static str) -> Event {
    let mut event = Event::new(kind, at(second), trace(call));
    event.data.store_id = Some(StoreId::parse("store-123").unwrap());
    event.data.stage = Some(stage);
    event
}

fn with_token(kind: EventKind, second: i64) -> Event {
    let mut event =
        event(kind, 2, second, "gateway").of_token(Jti::parse("5b0e8a0e-3c58-4f6e-9a41-0c2d0a9b7e11").unwrap());
    event.data.agent_id = Some(AgentId::parse("ak_7f3c").unwrap());
    event.data.variant_id = Some("mug".into());
    event.data.quantity = Some(1);
    event.data.price = Some("29.90 USD".into());
    event.data.route = Some(Arc::from("checkout"));
    event
}

fn purchase(settled: EventKind) -> Vec<Event> {
    let mut end = with_token(settled, 2);
    end.data.cause = Some(if settled == EventKind::ExecutionValidated { "committed" } else { "timed out" }.into());
    end.data.http_status = (settled == EventKind::ExecutionValidated).then_some(201);
    vec![with_token(EventKind::ExecutionAuthorized, 0), with_token(EventKind::ExecutionReserved, 1), end]
}

fn told(price: &'static str) -> Event {
    let mut event = event(EventKind::OrderObserved, 9, 5, "webhook");
    event.data.order_id = Some("1001".into());
    event.data.order_status = Some("paid".into());
    event.data.order_total = Some("34.90 USD".into());
    event.data.lines =
        Some(vec![OrderedLine { prices: vec![price.into()], quantity: 1, variant_id: Some("mug".into()) }]);
    event
}

fn carrying(price: &'static str) -> Event {
    let mut event = told(price);
    event.data.carried = Some(trace(2).to_string().into());
    event
}

fn from(channel: &'static str) -> Event {
    let mut event = event(EventKind::AttributionIngested, 9, 5, "webhook");
    event.data.order_id = Some("1001".into());
    event.data.channel = Some(channel.into());
    event.data.signals = vec![Signal::new("sales_channel", State::Verified).known_as(channel)];
    event
}

fn stored(events: &[Event]) -> Vec<StoredEvent> {
    let one = |(index, event): (u64, &Event)| {
        let mut body = Vec::new();
        event.write_json(&mut body, Link { sequence: index, ..Link::first("/a", START) });
        StoredEvent { index, body: String::from_utf8(body).unwrap() }
    };
    (1..).zip(events).map(one).collect()
}

/// These events and what is judged of them at this second.
fn judged(mut events: Vec<Event>, second: i64) -> Vec<Event> {
    let log = stored(&events);
    let (about, others): (Vec<_>, Vec<_>) =
        log.into_iter().partition(|event| event.read().unwrap().data.order_id.is_some());
    let order = Order::of(&about).unwrap();
    events.extend(judge(&order, &others).events(&order, at(second)));
    events
}

fn story(events: &[Event]) -> String {
    Timeline::of(&stored(events), false).to_string()
}

/// What is told from the first order on.
fn from_the_order(told: &str) -> String {
    let head: Vec<_> = told.lines().filter(|line| line.starts_with("Outcome") || line.starts_with("Order")).collect();
    let (_, rest) = told.split_once("11:06:45.000  ").unwrap();
    format!("{}\n11:06:45.000  {rest}", head.join("\n"))
}

#[test]
fn a_purchase_whose_order_is_proven() {
    let told = story(&judged([purchase(EventKind::ExecutionValidated), vec![carrying("29.90 USD")]].concat(), 6));
    let expected = "\
Outcome     executed once
Order       1001, paid, total 34.90 USD; proven, 100 %
11:06:45.000  The store told of order 1001, status paid, total 34.90 USD: 1 × mug at 29.90 USD.
11:06:46.000  Order 1001 is this purchase: proven, 100 %.

Missing     nothing
";
    assert_eq!(from_the_order(&told), expected);
}

#[test]
fn an_order_that_costs_more_than_was_authorised() {
    let told = story(&judged([purchase(EventKind::ExecutionValidated), vec![carrying("39.90 USD")]].concat(), 6));
    let expected = "\
Outcome     executed once
Order       1001, paid, total 34.90 USD; CONTRADICTED: it costs more than was authorised
11:06:45.000  The store told of order 1001, status paid, total 34.90 USD: 1 × mug at 39.90 USD.
11:06:46.000  Order 1001 names this purchase and is not what was authorised: it costs more than was authorised.

Missing     nothing
";
    assert_eq!(from_the_order(&told), expected);
}

#[test]
fn an_order_of_a_channel_that_somebody_told_of_without_a_token() {
    let mut seen = event(EventKind::ExecutionObserved, 3, 0, "observe");
    seen.data.variant_id = Some("mug".into());
    seen.data.quantity = Some(1);
    let told = story(&judged(vec![seen, from("chatgpt"), told("29.90 USD")], 6));
    let expected = "\
Outcome     passed, observed only
Order       1001, paid, total 34.90 USD, from chatgpt; probable, 70 %
11:06:45.000  The order seems to come from chatgpt.
11:06:45.000  The store told of order 1001, status paid, total 34.90 USD: 1 × mug at 29.90 USD.
11:06:46.000  Order 1001 seems to be this purchase: probable, 70 %.

Missing     an execution token: nobody authorised what passed
";
    assert_eq!(from_the_order(&told), expected);
}

#[test]
fn an_order_that_nothing_of_ours_saw() {
    let told = story(&judged(vec![from("gemini"), told("29.90 USD")], 6));
    let expected = "\
Outcome     an order of the store, and no execution that it could be
Order       1001, paid, total 34.90 USD, from gemini; indicated, 50 %
11:06:45.000  The order seems to come from gemini.
11:06:45.000  The store told of order 1001, status paid, total 34.90 USD: 1 × mug at 29.90 USD.
11:06:46.000  Order 1001 has no execution that it could be, an agent seems to have made it elsewhere: indicated, 50 %.

Missing     an execution: this order took a path that nothing of ours saw
";
    assert_eq!(from_the_order(&told), expected);
}

#[test]
fn an_order_that_was_told_of_before_its_lost_execution_was_known() {
    let first = judged(vec![carrying("29.90 USD")], 6);
    let told = story(&judged([first, purchase(EventKind::ExecutionIndeterminate)].concat(), 8));
    let expected = "\
Outcome     executed once
Order       1001, paid, total 34.90 USD; proven, 100 %
11:06:45.000  The store told of order 1001, status paid, total 34.90 USD: 1 × mug at 29.90 USD.
11:06:46.000  Order 1001 has no execution that it could be, and nothing says that an agent made it.
11:06:40.000  Permyx authorised 1 × mug at 29.90 USD for agent ak_7f3c.
11:06:41.000  What is being bought is what was authorised on route checkout, and the token is reserved for it.
11:06:42.000  The request was sent to the store and no complete answer came back (timed out). It is never sent again, \
and the token stays used up.
11:06:48.000  By what became known since: Order 1001 is this purchase: proven, 100 %.
11:06:48.000  It is known now how that ended: the store made order 1001.

Missing     nothing
";
    assert_eq!(from_the_order(&told), expected);
}
