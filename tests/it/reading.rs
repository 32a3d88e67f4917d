//! The read of a session just before its commit: what goes along, what it may find, and what is said
//! of an order that is not what was read.

use std::io::Write;
use std::sync::LazyLock;

use permyx::model::scope::Scope;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Guard, Purchase, kind};
use crate::support::http::{Answer, request};
use crate::support::merchant::{Merchant, Recorded, Reply};

struct Stand {
    merchant: Merchant,
    gateway: &'static Gateway,
}

static STAND: LazyLock<Stand> = LazyLock::new(|| {
    let merchant = Merchant::start(answer);
    let guard = Guard {
        name: "shop",
        host: "",
        path: "/ucp".to_owned(),
        preset: "ucp",
        upstream: format!("http://{}", merchant.address()),
        policy: "mode = \"enforce\"\n",
    };
    Stand { merchant, gateway: Gateway::start(&[guard], "").shared() }
});

fn session(status: &str, mugs: u32, total: i64) -> Value {
    let lines = json!([{"item": {"id": "mug", "price": 2999}, "quantity": mugs}]);
    json!({"id": "cs", "status": status, "currency": "USD", "line_items": lines,
        "totals": [{"type": "total", "amount": total}]})
}

fn ordered(mugs: u32, total: i64) -> String {
    let mut order = session("completed", mugs, total);
    order["order"] = json!({"id": "ord_1"});
    order.to_string()
}

/// The session's name says what its merchant does.
fn answer(request: &Recorded) -> Reply {
    let line = request.request_line();
    let name = line.split('/').nth(3).unwrap_or_default().split(' ').next().unwrap_or_default();
    let ready = session("ready_for_complete", 2, 6498).to_string();
    match (line.starts_with("GET "), name) {
        (true, "unauthorised") => Reply::json(401, "{}"),
        (true, "gone") => Reply::json(404, "{}"),
        (true, "broken") => Reply::json(500, "{}"),
        (true, "moved") => Reply::json(302, "{}"),
        (true, "text") => Reply::json(200, "hello"),
        (true, "twice") => Reply::json(200, &ready.replacen('{', "{\"currency\":\"USD\",", 1)),
        (true, "long") => Reply::json(200, &format!("{}{ready}", " ".repeat(1 << 20))),
        (true, "over") => Reply::json(200, &session("completed", 2, 6498).to_string()),
        (true, "cut") => Reply::json_cut_after(100, 200, &ready),
        (true, "closed") => Reply::Close,
        (true, "silent") => Reply::Hang,
        (true, "gzip") => gzipped(&ready),
        (true, "brotli") => Reply::Bytes(
            format!("HTTP/1.1 200 X\r\nContent-Encoding: br\r\nContent-Length: {}\r\n\r\n{ready}", ready.len()).into(),
        ),
        (true, _) => Reply::json(200, &ready),
        (false, "more") => Reply::json(200, &ordered(3, 9497)),
        (false, "dearer") => Reply::json(200, &ordered(2, 6500)),
        (false, "terse") => Reply::json(200, r#"{"status":"completed","order":{"id":"ord_1"}}"#),
        (false, "gzip") => gzipped(&ordered(2, 6498)),
        (false, _) => Reply::json(200, &ordered(2, 6498)),
    }
}

fn gzipped(body: &str) -> Reply {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body.as_bytes()).unwrap();
    let body = encoder.finish().unwrap();
    let head = format!("HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
    Reply::Bytes([head.into_bytes(), body].concat())
}

fn commit(name: &str, headers: &[&str]) -> Answer {
    let two =
        Purchase { store: "shop", variant: "mug", quantity: 2, price: "29.99 USD", scope: Scope::AgentExec, age_s: 0 };
    let token = format!("Permyx-Execution-Token: {}", STAND.gateway.sign(&two));
    let all: Vec<&str> = headers.iter().copied().chain([token.as_str()]).collect();
    STAND.gateway.send(&request("POST", &format!("/ucp/checkout-sessions/{name}/complete"), &all, "{}"))
}

fn arrived(start: &str) -> Vec<Recorded> {
    STAND.merchant.recorded().into_iter().filter(|request| request.request_line().starts_with(start)).collect()
}

#[test]
fn what_cannot_be_read_is_not_committed() {
    for (name, cause) in [
        ("unauthorised", "session_refused"),
        ("gone", "session_not_found"),
        ("moved", "session_answer"),
        ("text", "session_is_not_a_json_object"),
        ("twice", "session_is_not_a_json_object"),
        ("long", "session_too_long"),
        ("over", "session_over"),
        ("brotli", "session_encoded"),
    ] {
        let refused = commit(name, &[]);
        let told = &refused.json()["permyx"];
        assert_eq!((refused.status, told["observed"].as_str()), (403, Some(cause)), "{name}: {}", refused.text());
        assert_eq!((&told["reasonCode"], &told["rule"]), (&json!("INTENT_MISMATCH"), &json!("intent_unknown")));
        assert!(arrived(&format!("POST /ucp/checkout-sessions/{name}/")).is_empty(), "{name}");
    }
    for name in ["broken", "cut", "closed", "silent"] {
        let refused = commit(name, &[]);
        assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some("SESSION_UNAVAILABLE")), "{name}");
        assert!(arrived(&format!("POST /ucp/checkout-sessions/{name}/")).is_empty(), "{name}");
    }
}

#[test]
fn the_read_has_the_credentials_of_the_caller_and_nothing_else() {
    let sent = [
        "Authorization: Bearer shop",
        "Cookie: a=1; b=2",
        "X-API-Key: key",
        "UCP-Agent: profile=\"x\"",
        "Idempotency-Key: once",
        "Signature: sig1=:AA==:",
        "Signature-Input: sig1=(\"@method\")",
        "Content-Digest: sha-256=:AA==:",
        "DPoP: proof",
        "X-Payment: secret",
        "X-Forwarded-For: 10.0.0.1",
    ];
    assert_eq!(commit("alone", &sent).status, 200);
    let [read] = arrived("GET /ucp/checkout-sessions/alone ").try_into().unwrap();
    let names: Vec<String> =
        read.head().lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0.to_ascii_lowercase())).collect();
    assert_eq!(names, ["host", "authorization", "cookie", "x-api-key", "ucp-agent"]);
    let [commit] = arrived("POST /ucp/checkout-sessions/alone/").try_into().unwrap();
    assert_eq!(commit.header("signature"), ["sig1=:AA==:"]);
}

#[test]
fn a_credential_that_would_not_go_on_is_refused() {
    let refused = commit("hop", &["Connection: x-api-key", "X-API-Key: another"]);
    assert_eq!((refused.status, refused.json()["member"].as_str()), (400, Some("Connection")));
    let refused = commit("hop", &["X_API_Key: another"]);
    assert_eq!((refused.status, refused.json()["member"].as_str()), (400, Some("x_api_key")));
    assert!(arrived("GET /ucp/checkout-sessions/hop ").is_empty());
    assert!(arrived("POST /ucp/checkout-sessions/hop/").is_empty());
}

#[test]
fn an_order_that_is_not_what_was_read_is_told_of() {
    for (name, paths) in [("more", vec!["/quantity", "/total"]), ("dearer", vec!["/total"])] {
        let sold = commit(name, &[]);
        assert_eq!(sold.status, 200, "{}", sold.text());
        let events = STAND.gateway.events_of(sold.header("permyx-trace").unwrap());
        let drifted = events.iter().find(|event| kind(event) == "order.drifted").unwrap();
        let told: Vec<_> =
            drifted["data"]["diff"].as_array().unwrap().iter().map(|diff| diff["path"].clone()).collect();
        assert_eq!(
            (told, &drifted["data"]["orderId"]),
            (paths.iter().map(|path| json!(path)).collect(), &json!("ord_1"))
        );
    }
    for name in ["same", "terse", "gzip"] {
        let sold = commit(name, &[]);
        let events = STAND.gateway.events_of(sold.header("permyx-trace").unwrap());
        let kinds: Vec<_> = events.iter().map(kind).collect();
        assert_eq!(kinds, ["execution.reserved", "execution.validated", "order.observed"], "{name}");
        assert_eq!(events[2]["data"]["orderId"], "ord_1");
    }
    let metrics = crate::support::http::get(STAND.gateway.ops(), "/metrics").text();
    assert!(metrics.contains("permyx_order_checks_total{result=\"drifted\"} 2"), "{metrics}");
    assert!(metrics.contains("permyx_order_checks_total{result=\"not_told\"} 1"), "{metrics}");
}
