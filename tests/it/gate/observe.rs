//! Observe mode blocks nothing and changes nothing; what enforcement would have done is recorded.

use serde_json::json;

use crate::support::gateway::{MUG, Purchase, kind};
use crate::support::http::{Answer, request_to};

use super::{OPEN_HOST, STAND, trace};

/// Sends a request to the open host.
fn open(method: &str, target: &str, headers: &[&str], body: &str) -> Answer {
    STAND.gateway.send(&request_to(OPEN_HOST, method, target, headers, body))
}

fn seen(token: &str, cart: &str) -> Answer {
    open("POST", "/seen?x=%2f&y=//", &[&format!("Permyx-Execution-Token: {token}")], cart)
}

#[test]
fn what_would_be_refused_passes_and_is_told() {
    let expired = STAND.gateway.sign(&Purchase { age_s: 126, ..Purchase::mug("seen") });
    let used = STAND.gateway.token("seen");
    assert_eq!(seen(&used, MUG).status, 200);
    let (elsewhere, fresh) = (STAND.gateway.token("shop"), STAND.gateway.token("seen"));
    let cases = [
        (fresh.as_str(), MUG.replace("29.99", "1.00"), "INTENT_MISMATCH"),
        (&fresh, "not json".to_owned(), "INTENT_MISMATCH"),
        (&elsewhere, MUG.to_owned(), "STORE_MISMATCH"),
        (&expired, MUG.to_owned(), "TOKEN_EXPIRED"),
        ("forged", MUG.to_owned(), "INVALID_SIGNATURE"),
        (&used, MUG.to_owned(), "REPLAY_DETECTED"),
    ];
    for (token, cart, code) in cases {
        let answer = seen(token, &cart);
        assert_eq!((answer.status, answer.header("permyx-decision")), (200, Some("observed")), "{code}");
        let arrived = STAND.arrived(&answer).remove(0);
        assert_eq!(arrived.request_line(), "POST /seen?x=%2f&y=// HTTP/1.1");
        assert_eq!(arrived.body(), cart.as_bytes());
        let data = &STAND.event(&answer, "execution.observed")["data"];
        assert_eq!((&data["wouldDeny"], &data["enforcement"]), (&json!(code), &json!("observe")), "{data}");
    }
}

#[test]
fn what_enforcement_would_allow_is_seen_as_that() {
    let answer = seen(&STAND.gateway.token("seen"), MUG);
    let data = STAND.event(&answer, "execution.observed")["data"].clone();
    assert_eq!((data.get("wouldDeny"), &data["variantId"]), (None, &json!("shopify:variant:123456")));
    let kinds: Vec<_> = STAND.gateway.events_of(trace(&answer)).iter().map(|event| kind(event).to_owned()).collect();
    assert_eq!(kinds, ["execution.observed", "order.observed"]);
}

/// A token that was observed is not spent: where it is enforced, it still buys.
#[test]
fn observing_spends_nothing() {
    let token = STAND.gateway.token("shop");
    assert_eq!(seen(&token, MUG).status, 200);
    assert_eq!(STAND.gateway.post("/shop", &token, MUG).status, 200);
}

#[test]
fn method_target_body_and_status_pass_as_they_are() {
    let long = "x".repeat(100_000);
    let cases = [
        ("POST", "/seen/../seen//./%63?teapot&a=%zz", MUG),
        ("PUT", "/seen/x?teapot", "{\"a\":1,\"a\":2}"),
        ("PATCH", "/seen;v=1?teapot", long.as_str()),
        ("BREW", "/seen?teapot", "coffee"),
        ("POST", "/Seen?teapot", MUG),
        ("POST", "/seen?teapot", long.as_str()),
        ("DELETE", "/seen?teapot", ""),
        ("OPTIONS", "/seen?teapot", ""),
    ];
    for (method, target, body) in cases {
        for token in [None, Some(STAND.gateway.token("seen")), Some("a,b".to_owned())] {
            let token = token.map(|token| format!("Permyx-Execution-Token: {token}"));
            let headers: Vec<_> = token.iter().map(String::as_str).chain(["X-Kept: yes"]).collect();
            let answer = open(method, target, &headers, body);
            assert_eq!((answer.status, answer.text().as_str()), (418, "no ()"), "{method} {target}");
            assert_eq!(answer.header("x-tea"), Some("Earl Grey"));
            let arrived = STAND.arrived(&answer).remove(0);
            assert_eq!(arrived.request_line(), format!("{method} {target} HTTP/1.1"));
            assert!(arrived.body() == body.as_bytes(), "{method} {target}: {}", arrived.head());
            assert_eq!(
                (arrived.header("x-kept"), arrived.header("host")),
                (vec!["yes".to_owned()], vec![OPEN_HOST.to_owned()])
            );
        }
    }
}

/// Chunks are what the merchant would have got: nothing is read together, nothing is refused.
#[test]
fn a_chunked_body_passes_too() {
    let chunks = "2\r\n{\"\r\n8\r\na\":true}\r\n0\r\n\r\n";
    for token in ["", &format!("Permyx-Execution-Token: {}\r\n", STAND.gateway.token("seen"))] {
        let head =
            format!("POST /seen HTTP/1.1\r\nHost: {OPEN_HOST}\r\nTransfer-Encoding: chunked\r\n{token}\r\n{chunks}");
        let answer = STAND.gateway.send(head.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let arrived = STAND.arrived(&answer).remove(0);
        let body = String::from_utf8_lossy(arrived.body()).into_owned();
        let joined: String = body.split("\r\n").filter(|line| line.contains(['{', '}'])).collect();
        assert_eq!((joined.as_str(), arrived.complete), ("{\"a\":true}", true), "{body}");
    }
}
