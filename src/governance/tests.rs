use super::*;
use crate::evidence::StoredEvent;
use crate::model::event::{Diff, Event, EventKind, Link};
use crate::model::ids::{AgentId, Jti, StoreId, TraceId};
use crate::model::reason::ReasonCode;
use crate::model::time::Timestamp;

const START: Timestamp = Timestamp::of_millis(1_795_000_000_123);

fn token() -> Jti {
    Jti::parse("5b0e8a0e-3c58-4f6e-9a41-0c2d0a9b7e11").unwrap()
}

fn trace(n: u32) -> TraceId {
    TraceId::parse(&format!("trc_{n:032x}")).unwrap()
}

/// An event of call `call`, `millis` after the start, at the gateway.
fn event(kind: EventKind, call: u32, millis: i64) -> Event {
    let mut event = Event::new(kind, Timestamp::of_millis(START.millis() + millis), trace(call));
    event.data.store_id = Some(StoreId::parse("store-123").unwrap());
    event.data.stage = Some("gateway");
    event.data.route = Some("checkout".into());
    event.data.enforcement = Some("enforce");
    event
}

/// The same with the token that was issued.
fn with_token(kind: EventKind, call: u32, millis: i64) -> Event {
    let mut event = event(kind, call, millis).of_token(token());
    let data = &mut event.data;
    data.agent_id = Some(AgentId::parse("ak_7f3c").unwrap());
    data.variant_id = Some("shopify:variant:123456".into());
    data.quantity = Some(1);
    data.price = Some("29.90 USD".into());
    data.expires_at = Some(START.plus_seconds(120));
    event
}

fn authorized() -> Event {
    let mut event = with_token(EventKind::ExecutionAuthorized, 1, 0);
    event.data.stage = Some("authorize");
    event.data.route = None;
    event.data.decision = Some("allowed");
    event
}

fn settled(kind: EventKind, cause: &'static str, status: Option<u16>) -> Event {
    let mut event = with_token(kind, 2, 1500);
    event.data.cause = Some(cause.into());
    event.data.http_status = status;
    event
}

fn denied(kind: EventKind, call: u32, millis: i64, reason: ReasonCode) -> Event {
    let mut event = with_token(kind, call, millis);
    event.data.decision = Some("denied");
    event.data.reason_code = Some(reason);
    event
}

fn stored(events: &[Event]) -> Vec<StoredEvent> {
    let one = |(index, event): (u64, &Event)| {
        let mut body = Vec::new();
        event.write_json(&mut body, Link { sequence: index, ..Link::first("/gateways/a", START) });
        StoredEvent { index, body: String::from_utf8(body).unwrap() }
    };
    (1..).zip(events).map(one).collect()
}

fn timeline(events: &[Event]) -> Timeline {
    Timeline::of(&stored(events), false)
}

fn allowed() -> Vec<Event> {
    let mut order = with_token(EventKind::OrderObserved, 2, 1501);
    order.data.order_id = Some("1001".into());
    order.data.order_status = Some("completed".into());
    order.data.order_total = Some("29.90".into());
    let validated = settled(EventKind::ExecutionValidated, "committed", Some(201));
    vec![authorized(), with_token(EventKind::ExecutionReserved, 2, 900), validated, order]
}

#[test]
fn an_allowed_purchase() {
    let expected = "\
Execution   exec_5b0e8a0e-3c58-4f6e-9a41-0c2d0a9b7e11
Store       store-123
Authorised  1 × shopify:variant:123456 at 29.90 USD, for agent ak_7f3c, until 11:08:40.123
Outcome     executed once
Order       1001, completed, total 29.90

2026-11-18, times in UTC
11:06:40.123  Permyx authorised 1 × shopify:variant:123456 at 29.90 USD for agent ak_7f3c.
11:06:41.023  What is being bought is what was authorised on route checkout, and the token is reserved for it.
11:06:41.623  The store answered 201: the purchase is made. The token is used up.
11:06:41.624  The store gave order 1001, status completed, total 29.90.

Missing     nothing
";
    assert_eq!(timeline(&allowed()).to_string(), expected);
}

#[test]
fn a_replay_changes_nothing_of_what_was_done() {
    let mut replay = denied(EventKind::ExecutionReplayDetected, 3, 86_400_000, ReasonCode::ReplayDetected);
    replay.data.observed = Some(format!("first used by {}", trace(2)).into());
    replay.data.limit = Some("one use".into());
    let told = timeline(&[allowed(), vec![replay]].concat()).to_string();
    let expected = "
11:06:41.624  The store gave order 1001, status completed, total 29.90.

2026-11-19, times in UTC
11:06:40.123  The token was presented again. Refused, because a token is good for one purchase.
              reason REPLAY_DETECTED
              found first used by trc_00000000000000000000000000000002, allowed one use
              first used on 2026-11-18 at 11:06:41.623, on route checkout, by agent ak_7f3c, for order 1001

Missing     nothing
";
    assert!(told.contains("Outcome     executed once\n"), "{told}");
    assert!(told.ends_with(expected), "{told}");
}

#[test]
fn a_request_without_a_token() {
    let mut observed = event(EventKind::ExecutionObserved, 2, 0);
    observed.data.decision = Some("observed");
    observed.data.enforcement = Some("observe");
    observed.data.agent_signal = Some("ua");
    observed.data.agent_name = Some("ChatGPT-User".into());
    observed.data.would_deny = Some(ReasonCode::NoToken);
    let expected = "\
Execution   exec_00000000-0000-0000-0000-000000000002
Store       store-123
Outcome     passed, observed only

2026-11-18, times in UTC
11:06:40.123  A request without a token, from what calls itself an agent (ChatGPT-User), passed on route checkout.

Missing     an execution token: nobody authorised what passed
";
    assert_eq!(timeline(&[observed]).to_string(), expected);
}

#[test]
fn another_cart_than_authorised() {
    let mut mismatch = denied(EventKind::ExecutionDenied, 2, 900, ReasonCode::IntentMismatch);
    mismatch.data.rule = Some("intent".into());
    mismatch.data.diff = vec![
        Diff { actual: "3".into(), authorized: "1".into(), path: "/quantity".into(), kind: "integer" },
        Diff { actual: "19.90 USD".into(), authorized: "29.90 USD".into(), path: "/price".into(), kind: "money" },
    ];
    let expected = "\
Execution   exec_5b0e8a0e-3c58-4f6e-9a41-0c2d0a9b7e11
Store       store-123
Authorised  1 × shopify:variant:123456 at 29.90 USD, for agent ak_7f3c, until 11:08:40.123
Outcome     refused

2026-11-18, times in UTC
11:06:40.123  Permyx authorised 1 × shopify:variant:123456 at 29.90 USD for agent ak_7f3c.
11:06:41.023  The request on route checkout was refused: what is being bought is not what the token authorises.
              reason INTENT_MISMATCH
              rule intent
              /quantity: authorised 1, found 3
              /price: authorised 29.90 USD, found 19.90 USD

Missing     nothing
";
    assert_eq!(timeline(&[authorized(), mismatch]).to_string(), expected);
}

#[test]
fn an_outcome_that_nobody_knows() {
    let lost = settled(EventKind::ExecutionIndeterminate, "the answer did not come in time", None);
    let events = [authorized(), with_token(EventKind::ExecutionReserved, 2, 900), lost];
    let expected = "\
Execution   exec_5b0e8a0e-3c58-4f6e-9a41-0c2d0a9b7e11
Store       store-123
Authorised  1 × shopify:variant:123456 at 29.90 USD, for agent ak_7f3c, until 11:08:40.123
Outcome     unknown: it was sent, and no complete answer came back

2026-11-18, times in UTC
11:06:40.123  Permyx authorised 1 × shopify:variant:123456 at 29.90 USD for agent ak_7f3c.
11:06:41.023  What is being bought is what was authorised on route checkout, and the token is reserved for it.
11:06:41.623  The request was sent to the store and no complete answer came back (the answer did not come in time). \
It is never sent again, and the token stays used up.

Missing     whether the store executed it: outcome unknown
Missing     an order: no order seen
";
    assert_eq!(timeline(&events).to_string(), expected);
}

#[test]
fn an_authorisation_that_was_refused() {
    let mut refused = denied(EventKind::ExecutionDenied, 1, 0, ReasonCode::PolicyDenied);
    refused.correlation = trace(1).correlation();
    refused.data.token_id = None;
    refused.data.stage = Some("authorize");
    refused.data.rule = Some("limits.max_quantity".into());
    refused.data.observed = Some("1".into());
    refused.data.limit = Some("0".into());
    let told = timeline(&[refused]);
    assert_eq!((told.outcome, told.authorised.len(), told.missing.len()), (Outcome::Refused, 0, 0));
    let says = "Permyx did not authorise 1 × shopify:variant:123456 at 29.90 USD for agent ak_7f3c: the policy of the \
                store does not allow this.";
    assert_eq!(told.steps[0].says, says);
    let details = ["reason POLICY_DENIED", "rule limits.max_quantity: found 1, allowed 0"];
    assert_eq!(told.steps[0].details(), details);
}

/// Every kind of settlement, and what the log would have to hold besides.
#[test]
fn outcomes_and_what_is_missing() {
    let reserved = || with_token(EventKind::ExecutionReserved, 2, 900);
    let issue = Missing::Issue { token_id: token().to_string() };
    let open = Missing::Settlement { trace_id: trace(2).to_string() };
    let validated = |cause| settled(EventKind::ExecutionValidated, cause, Some(200));
    let cases = [
        (vec![], Outcome::Nothing, vec![]),
        (vec![authorized()], Outcome::Unused, vec![]),
        (vec![authorized(), reserved()], Outcome::Unsettled, vec![open.clone()]),
        (vec![reserved()], Outcome::Unsettled, vec![issue.clone(), open]),
        (vec![authorized(), reserved(), validated("pending")], Outcome::Pending, vec![Missing::Order]),
        (vec![authorized(), reserved(), validated("failed")], Outcome::Spent, vec![Missing::Order]),
        (
            vec![authorized(), reserved(), settled(EventKind::ExecutionReleased, "not_sent", None)],
            Outcome::Released,
            vec![],
        ),
        (vec![event(EventKind::ExecutionBypassed, 2, 0)], Outcome::Bypassed, vec![Missing::Token]),
        (vec![with_token(EventKind::ExecutionObserved, 2, 0)], Outcome::Observed, vec![issue]),
    ];
    for (events, outcome, missing) in cases {
        let told = timeline(&events);
        assert_eq!((told.outcome, &told.missing), (outcome, &missing), "{told}");
    }
}

#[test]
fn a_token_that_was_used_twice_is_an_alarm() {
    let mut again = settled(EventKind::ExecutionIndeterminate, "timed out", None);
    again.data.trace_id = Some(trace(9));
    let told = timeline(&[allowed(), vec![again]].concat());
    assert_eq!(told.alarms, [Alarm::UsedTwice { token_id: token().to_string() }]);
    assert!(told.to_string().contains("ALARM       token 5b0e8a0e-"), "{told}");
    // The same call, recorded once more, is one use.
    let told = timeline(&[allowed(), vec![settled(EventKind::ExecutionValidated, "committed", Some(201))]].concat());
    assert_eq!(told.alarms, []);
}

#[test]
fn order_is_the_log_and_not_the_clock() {
    let mut events = allowed();
    events[1].time = START.plus_seconds(-3600);
    let mut shuffled = stored(&events);
    shuffled.reverse();
    let told = Timeline::of(&shuffled, false);
    assert_eq!(told.steps.iter().map(|step| step.index).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(told.outcome, Outcome::Executed);
}

#[test]
fn what_is_cut_off_or_unreadable_is_said() {
    let mut events = stored(&[authorized()]);
    events.push(StoredEvent { index: 2, body: "{".to_owned() });
    let told = Timeline::of(&events, true);
    assert_eq!(told.missing, [Missing::LaterEvents, Missing::Unreadable { count: 1 }]);
}

#[test]
fn texts_of_others_steer_no_terminal() {
    let mut events = allowed();
    events[3].data.order_id = Some("1\u{1b}[2J\n2\u{202e}3".into());
    let told = timeline(&events);
    assert_eq!(told.orders[0].id, "1\u{fffd}[2J\u{fffd}2\u{fffd}3");
    assert!(!told.to_string().contains(['\u{1b}', '\u{202e}']));
}

#[test]
fn as_json() {
    let told = serde_json::to_value(timeline(&allowed())).unwrap();
    assert_eq!(told["outcome"], "executed");
    assert_eq!(told["authorised"][0]["agentId"], "ak_7f3c");
    assert_eq!(told["orders"][0]["total"], "29.90");
    assert_eq!(told["steps"][2]["event"], "execution.validated");
    let open = serde_json::to_value(Missing::Settlement { trace_id: "trc_1".to_owned() }).unwrap();
    assert_eq!(open, serde_json::json!({"kind": "settlement", "traceId": "trc_1"}));
}
