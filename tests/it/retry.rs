//! An honest retry is not a theft: a lost answer can be had again, a lost outcome is never bought
//! twice, and a key stands for one request.

use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::gateway::{Gateway, Guard, MUG, kind};
use crate::support::http::{Answer, Connection, request};
use crate::support::merchant::{Merchant, Reply};

struct Stand {
    gateway: &'static Gateway,
    sells: Merchant,
    /// Executes, and closes without an answer.
    mute: Merchant,
}

static STAND: LazyLock<Stand> = LazyLock::new(|| {
    let (sells, mute) = (Merchant::selling(), Merchant::start(|_| Reply::json_cut_after(0, 200, "{}")));
    let guards = [Guard::enforcing("sells", sells.url()), Guard::enforcing("mute", mute.url())];
    Stand { gateway: Gateway::start(&guards, "").shared(), sells, mute }
});

/// Buys a mug with this token and these headers more.
fn buy(route: &str, token: &str, more: &[&str], cart: &str) -> Answer {
    STAND.gateway.send(&purchase(route, token, more, cart))
}

fn purchase(route: &str, token: &str, more: &[&str], cart: &str) -> Vec<u8> {
    let token = format!("Permyx-Execution-Token: {token}");
    let headers: Vec<_> = [token.as_str()].into_iter().chain(more.iter().copied()).collect();
    request("POST", &format!("/{route}"), &headers, cart)
}

fn trace(answer: &Answer) -> String {
    answer.header("permyx-trace").unwrap().to_owned()
}

fn told(answer: &Answer) -> (u16, String, String) {
    let body = answer.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (answer.status, text(&body["error"]["code"]), text(&body["rule"]))
}

/// How often the merchant saw a request with this key.
fn seen(merchant: &Merchant, key: &str) -> usize {
    merchant.recorded().iter().filter(|request| request.header("idempotency-key") == [key]).count()
}

#[test]
fn a_lost_answer_is_given_again_and_the_merchant_sees_one_request() {
    let token = STAND.gateway.token("sells");
    let first = buy("sells", &token, &["Idempotency-Key: order-1"], MUG);
    assert_eq!(first.status, 200);
    // Quoted and bare are one key; the merchant got it as it came.
    for key in ["Idempotency-Key: order-1", "Idempotency-Key: \"order-1\""] {
        let again = buy("sells", &token, &[key], MUG);
        assert_eq!((again.status, again.text()), (200, first.text()), "{key}");
        assert_eq!(again.header("content-type"), first.header("content-type"));
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.header("permyx-first-trace"), first.header("permyx-trace"));
        let events = STAND.gateway.events_of(&trace(&again));
        assert_eq!(events.iter().map(kind).collect::<Vec<_>>(), ["execution.retried"]);
    }
    assert_eq!(seen(&STAND.sells, "order-1"), 1);
}

#[test]
fn a_key_stands_for_one_request() {
    let token = STAND.gateway.token("sells");
    assert_eq!(buy("sells", &token, &["Idempotency-Key: order-2"], MUG).status, 200);
    let spaced = MUG.replacen('{', "{ ", 1);
    let other = buy("sells", &token, &["Idempotency-Key: order-2"], &spaced);
    assert_eq!(told(&other), (422, "REPLAY_DETECTED".to_owned(), "replay.key_reuse".to_owned()));
    let other = buy("sells", &token, &["Idempotency-Key: order-3"], MUG);
    assert_eq!(told(&other), (403, "REPLAY_DETECTED".to_owned(), "replay.other_key".to_owned()));
    let none = buy("sells", &token, &[], MUG);
    assert_eq!(told(&none), (403, "REPLAY_DETECTED".to_owned(), String::new()));
    assert_eq!((seen(&STAND.sells, "order-2"), seen(&STAND.sells, "order-3")), (1, 0));
}

#[test]
fn a_key_that_is_none_is_refused_and_burns_nothing() {
    let token = STAND.gateway.token("sells");
    let long = format!("Idempotency-Key: {}", "k".repeat(256));
    for bad in [&["Idempotency-Key: "][..], &[&long], &["Idempotency-Key: a", "Idempotency-Key: a"]] {
        let answer = buy("sells", &token, bad, MUG);
        assert_eq!((answer.status, &answer.json()["member"]), (400, &Value::from("Idempotency-Key")), "{bad:?}");
    }
    let answer = buy("sells", &token, &["Permyx-Confirm-Retry: yes"], MUG);
    assert_eq!((answer.status, &answer.json()["member"]), (400, &Value::from("Permyx-Confirm-Retry")));
    assert_eq!(buy("sells", &token, &[], MUG).status, 200);
}

/// The merchant executed and nobody knows: neither the same token nor a new one buys again, until
/// the caller says that it knows.
#[test]
fn an_unknown_outcome_is_not_bought_again_with_a_new_token() {
    let (key, token) = ("Idempotency-Key: order-4", STAND.gateway.token("mute"));
    let first = buy("mute", &token, &[key], MUG);
    assert_eq!(told(&first).1, "OUTCOME_UNKNOWN");
    let again = buy("mute", &token, &[key], MUG);
    assert_eq!((told(&again).0, told(&again).1.as_str()), (409, "OUTCOME_UNKNOWN"));
    let fresh = STAND.gateway.token("mute");
    let again = buy("mute", &fresh, &[key], MUG);
    assert_eq!((told(&again).0, told(&again).1.as_str()), (409, "OUTCOME_UNKNOWN"));
    assert_eq!(again.json()["tokenState"], "unused");
    assert!(again.text().contains(&format!("Permyx-Confirm-Retry: {}", trace(&first))), "{}", again.text());
    let wrong = format!("Permyx-Confirm-Retry: {}", trace(&again));
    assert_eq!(told(&buy("mute", &fresh, &[key, &wrong], MUG)).0, 409);
    assert_eq!(seen(&STAND.mute, "order-4"), 1);
    let knows = format!("Permyx-Confirm-Retry: {}", trace(&first));
    assert_eq!(told(&buy("mute", &fresh, &[key, &knows], MUG)).0, 502);
    assert_eq!(seen(&STAND.mute, "order-4"), 2);
    let recorded = STAND.mute.recorded();
    assert!(recorded.iter().all(|request| request.header("permyx-confirm-retry").is_empty()));
}

/// While the first is under way, a second is told to wait: with the same token and with a new one
/// for the same purpose. Then it has the first's answer.
#[test]
fn a_purchase_under_way_is_waited_for() {
    let (release, released) = channel::<()>();
    let (arrived, arrivals): (Sender<()>, _) = channel();
    let (gate, arrived) = (Arc::new(Mutex::new(released)), Mutex::new(arrived));
    let slow = Merchant::start(move |_| {
        arrived.lock().unwrap().send(()).unwrap();
        gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        Reply::sold()
    });
    let gateway = Gateway::start(&[Guard::enforcing("slow", slow.url())], "");
    let (key, token) = ("Idempotency-Key: order-5", gateway.token("slow"));
    let mut first = Connection::open(gateway.address());
    first.send(purchase("slow", &token, &[key], MUG));
    arrivals.recv_timeout(PATIENCE).unwrap();
    for token in [&token, &gateway.token("slow")] {
        let again = gateway.send(&purchase("slow", token, &[key], MUG));
        assert_eq!((told(&again).0, told(&again).1.as_str()), (409, "IN_FLIGHT"));
        assert_eq!(again.header("retry-after"), Some("1"));
    }
    release.send(()).unwrap();
    let answer = first.answer().unwrap();
    let again = gateway.send(&purchase("slow", &token, &[key], MUG));
    assert_eq!((again.status, again.text()), (200, answer.text()));
    assert_eq!(slow.recorded().len(), 1);
}
