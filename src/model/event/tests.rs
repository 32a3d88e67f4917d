use super::*;
use crate::model::ids::{AgentId, StoreId};
use crate::model::intent::Sha256;
use crate::model::money::Price;
use crate::model::reason::ReasonCode;
use crate::model::scope::Scope;
use crate::model::signal::{Signal, State};

const NOW: Timestamp = Timestamp::of_millis(1);

fn written(event: &Event, sequence: u64) -> String {
    let link = Link { sequence, ..Link::first("/gateways/a", NOW) };
    let mut bytes = Vec::new();
    event.write_json(&mut bytes, link);
    String::from_utf8(bytes).unwrap()
}

fn difference() -> Diff {
    Diff { actual: "3".into(), authorized: "1".into(), path: "/quantity".into(), kind: "integer" }
}

fn line() -> OrderedLine {
    OrderedLine { prices: vec!["29.90 USD".into()], quantity: 1, variant_id: Some("mug".into()) }
}

fn signal() -> Signal {
    Signal::new("user_agent", State::Present).known_as("GPTBot").digest_of(b"x")
}

/// A text that JSON escapes in every way.
#[expect(clippy::unnecessary_wraps, reason = "the members are optional")]
fn text() -> Option<Text> {
    Some(Text::from("\u{7f}é\n\"\\"))
}

/// An event with every member that there is.
fn full() -> Event {
    let hash = Sha256::of(b"x");
    let mut event = Event::new(EventKind::ExecutionDenied, NOW, TraceId::random()).of_token(Jti::random());
    event.causation = Some(Uuid::now_v7());
    event.trace_parent = TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    event.data = EventData {
        agent_confidence: Some(9500),
        agent_id: AgentId::parse("ak_7f3c").ok(),
        agent_name: text(),
        agent_signal: Some("ua"),
        by: text(),
        carried: text(),
        cause: text(),
        channel: text(),
        checkpoint: text(),
        client_gone: true,
        count: Some(1 << 53),
        decision: Some("denied"),
        delivery: Some(hash),
        diff: vec![difference()],
        enforcement: Some("enforce"),
        event_type: event.data.event_type,
        expires_at: Some(NOW),
        flags: vec!["spoof_suspected"],
        from_sequence: Some(1),
        http_status: Some(201),
        intent_hash: Some(hash),
        level: Some("proven"),
        limit: text(),
        lines: Some(vec![line()]),
        method: text(),
        observed: text(),
        of: text(),
        order_confidence: Some(10_000),
        order_id: text(),
        order_status: text(),
        order_total: text(),
        policy_hash: Some(hash),
        price: Price::parse_text("29.90 USD").map(|price| price.to_string().into()),
        quantity: Some(1),
        rating_version: Some(1),
        reason_code: Some(ReasonCode::IntentMismatch),
        refs: vec![hash],
        route: Some("checkout".into()),
        rule: text(),
        scope: Some(Scope::AgentExec),
        signals: vec![signal()],
        since: Some(NOW),
        stage: Some("gateway"),
        store_id: StoreId::parse("s").ok(),
        subject: text(),
        timestamp: event.data.timestamp,
        to_sequence: Some(2),
        token_id: event.data.token_id,
        trace_id: event.data.trace_id,
        variant_id: text(),
        would_deny: Some(ReasonCode::NoToken),
    };
    event
}

/// RFC 8785: sorted members, no blanks, the shortest escapes, no fractions.
#[test]
fn the_bytes_are_canonical() {
    for event in [full(), Event::new(EventKind::SystemStarted, NOW, TraceId::random())] {
        let text = written(&event, 7);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        // serde_json's own map is sorted: equal text means our order is sorted too.
        assert_eq!(value.to_string(), text);
        assert_eq!(value["sequence"], "00000000000000000007");
        assert_eq!(value["recordedtime"], "1970-01-01T00:00:00.001Z");
        assert!(whole_numbers(&value), "{text}");
    }
    assert!(written(&full(), 1).contains("\"agentName\":\"\u{7f}é\\n\\\"\\\\\""));
}

fn whole_numbers(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Number(number) => number.is_u64(),
        serde_json::Value::Array(items) => items.iter().all(whole_numbers),
        serde_json::Value::Object(members) => members.values().all(whole_numbers),
        serde_json::Value::Null => false,
        _ => true,
    }
}

#[test]
fn every_kind_has_a_name_of_its_own() {
    for kind in EventKind::ALL {
        assert_eq!(EventKind::parse(kind.name()), Some(*kind));
    }
    assert_eq!(EventKind::parse("execution.invented"), None);
}
