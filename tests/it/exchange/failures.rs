//! What can go wrong on the way to the merchant and back.

use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use permyx::clock::Clock;
use permyx::gateway::exchange::{Errand, Exchange, Outgoing, SendFault};
use permyx::gateway::upstream::Upstream;
use permyx::gateway::wire::AnswerFault;
use permyx::telemetry::metrics::Metrics;
use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::gateway::{Gateway, Guard, MUG, with_token};
use crate::support::http::{Answer, Connection};
use crate::support::merchant::{Merchant, Reply};

use super::{STAND, buy, is_spent, settled, trace};

/// A refusal that is no judgement: its status, code and what it says of the token.
fn fault(answer: &Answer) -> (u16, String, String) {
    let body = answer.json();
    assert_eq!(
        (&body["allowed"], &body["reasonCode"], &body["tokenConsumed"]),
        (&json!(false), &Value::Null, &json!(false))
    );
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (answer.status, text(&body["error"]["code"]), text(&body["tokenState"]))
}

fn is_unknown(answer: &Answer) {
    let expected = (502, "OUTCOME_UNKNOWN".to_owned(), "indeterminate".to_owned());
    assert_eq!(fault(answer), expected, "{}", answer.text());
}

/// Nothing was sent, so nothing is spent: once the merchant is there, the same token buys.
#[test]
fn a_merchant_that_is_not_there_costs_nothing() {
    let token = STAND.gateway.token("closed");
    for _ in 0..2 {
        let answer = buy("/closed", &token).unwrap().unwrap();
        assert_eq!(fault(&answer), (502, "UPSTREAM_UNAVAILABLE".to_owned(), "unused".to_owned()));
        assert_eq!(answer.json()["retryable"], true);
        assert_eq!(settled(trace(&answer)), ("execution.released".to_owned(), "not_sent".to_owned()));
    }
    let merchant = Merchant::selling_at(STAND.closed);
    assert_eq!(buy("/closed", &token).unwrap().unwrap().status, 200);
    assert_eq!(merchant.recorded().len(), 1);
    is_spent("/closed", &token);
}

/// The merchant executes, and closes a connection that it had kept: the request may not be sent
/// again, and nobody may say that it was not executed.
#[test]
fn a_request_on_a_dying_connection_is_sent_once() {
    // The pool sometimes has no connection to give, so the first reuse need not be the second purchase.
    let tries = std::iter::repeat_with(|| STAND.gateway.token("stale")).take(20);
    let mut answers = tries.map(|token| (buy("/stale", &token).unwrap().unwrap(), token));
    let (answer, token) = answers.find(|(answer, _)| answer.status != 200).expect("no connection was used again");
    is_unknown(&answer);
    let end = ("execution.indeterminate".to_owned(), "the merchant closed the connection".to_owned());
    assert_eq!(settled(trace(&answer)), end);
    is_spent("/stale", &token);
    let mut arrived = STAND.stale.recorded();
    arrived.retain(|request| request.header("permyx-trace") == [trace(&answer)]);
    assert_eq!((arrived.len(), arrived[0].nth, arrived[0].complete), (1, 1, true));
}

#[test]
fn a_request_that_was_cut_off_may_have_been_read() {
    for (number, (route, merchant)) in ["deaf-0", "deaf-1", "deaf-2"].into_iter().zip(&STAND.deaf).enumerate() {
        let token = STAND.gateway.token(route);
        // So long that the merchant is never done with it.
        let padded = MUG.replacen('{', &format!("{{\"pad\":\"{}\",", "x".repeat(20_000)), 1);
        let answer = STAND.gateway.post(&format!("/{route}"), &token, &padded);
        is_unknown(&answer);
        assert_eq!(settled(trace(&answer)).0, "execution.indeterminate", "{route}");
        let recorded = merchant.wait_for(1);
        assert_eq!((recorded.len(), recorded[0].bytes.len(), recorded[0].complete), (1, [1, 40, 700][number], false));
        is_spent(&format!("/{route}"), &token);
        assert_eq!(merchant.recorded().len(), 1);
    }
}

/// Answers with a part of `HTTP/1.1 200 X … {"orderId":…}`; the target says how many bytes.
pub fn cut(target: &str) -> Reply {
    let keep: usize = target.split('?').nth(1).unwrap().parse().unwrap();
    Reply::json_cut_after(keep, 200, r#"{"orderId":"ord_1","status":"confirmed"}"#)
}

#[test]
fn an_answer_without_a_whole_head_is_no_answer() {
    for keep in [0, 1, 12, 60] {
        let (target, token) = (format!("/cut?{keep}"), STAND.gateway.token("cut"));
        let answer = buy(&target, &token).unwrap().unwrap();
        is_unknown(&answer);
        assert_eq!(settled(trace(&answer)).0, "execution.indeterminate", "{keep}");
        is_spent(&target, &token);
    }
}

/// The merchant said that it executed, and then broke off: the token is burned, and the caller
/// sees the break instead of an answer that looks whole.
#[test]
fn a_truncated_answer_stays_truncated_and_burns() {
    for keep in [75, 80, 100] {
        let (target, token) = (format!("/cut?{keep}"), STAND.gateway.token("cut"));
        assert_eq!(buy(&target, &token).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof, "{keep}");
        is_spent(&target, &token);
    }
    let recorded = STAND.cut.recorded();
    let line = |keep| format!("POST /cut?{keep} HTTP/1.1");
    for keep in [75, 80, 100] {
        let sent: Vec<_> = recorded.iter().filter(|request| request.request_line() == line(keep)).collect();
        assert_eq!(sent.len(), 1);
        let end = ("execution.validated".to_owned(), "answer_truncated".to_owned());
        assert_eq!(settled(&sent[0].header("permyx-trace")[0]), end);
    }
}

#[test]
fn an_answer_that_two_could_read_differently_is_no_answer() {
    for word in ["101", "two-lengths", "gzip-coding", "long-head", "nonsense", "many-103"] {
        let (target, token) = (format!("/any?{word}"), STAND.gateway.token("any"));
        let answer = buy(&target, &token).unwrap().unwrap();
        assert_eq!(answer.status, 502, "{word}: {}", answer.text());
        is_unknown(&answer);
        assert_eq!(settled(trace(&answer)).0, "execution.indeterminate", "{word}");
        is_spent(&target, &token);
        assert_eq!(STAND.any.recorded().iter().filter(|request| super::target(request) == target).count(), 1);
    }
}

/// The gateway waits a minute for a silent merchant; the same code waits less here.
#[test]
fn a_merchant_that_says_nothing_is_waited_for_once() {
    let merchant = Merchant::start(|_| Reply::Hang);
    let upstream = Upstream::parse(&merchant.url()).unwrap();
    let out =
        Outgoing { method: http::Method::POST, bytes: with_token("/", "none", MUG).into(), errand: Errand::Execution };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connects = Metrics::new().unwrap().upstream_connect.clone();
    let exchange = Exchange::within(Duration::from_secs(270), Clock::system(), connects.clone());
    let sent = runtime.block_on(exchange.send(&upstream, &out, Duration::from_millis(200)));
    assert_eq!(connects.with_label_values(&[merchant.url().as_str(), "connected"]).get_sample_count(), 1);
    assert_eq!(sent.map(drop).unwrap_err(), SendFault::Sent(AnswerFault::TimedOut));
    assert_eq!(merchant.wait_for(1).len(), 1);
}

/// A merchant that answers when it is told to.
fn waiting() -> (Merchant, mpsc::Receiver<()>, Arc<Barrier>) {
    let (arrived, arrivals) = mpsc::channel();
    let go = Arc::new(Barrier::new(2));
    let gate = go.clone();
    let merchant = Merchant::start(move |_| {
        arrived.send(()).unwrap();
        gate.wait();
        Reply::sold()
    });
    (merchant, arrivals, go)
}

/// The caller's patience is not the execution's: what the merchant answers is recorded, although
/// nobody is there to read it. Until then the token is in use.
#[test]
fn an_execution_outlives_its_caller() {
    let (merchant, arrivals, go) = waiting();
    let gateway = Gateway::start(&[Guard::enforcing("slow", merchant.url())], "");
    let token = gateway.token("slow");
    let mut caller = Connection::open(gateway.address());
    caller.send(with_token("/slow", &token, MUG));
    arrivals.recv_timeout(PATIENCE).unwrap();
    let second = gateway.post("/slow", &token, MUG);
    assert_eq!(fault(&second), (409, "IN_FLIGHT".to_owned(), "reserved".to_owned()));
    assert_eq!(second.header("retry-after"), Some("1"));
    drop(caller);
    let third = gateway.post("/slow", &token, MUG);
    assert_eq!(third.status, 409);
    go.wait();
    let last = wait_while_in_flight(|| gateway.post("/slow", &token, MUG));
    assert_eq!((last.status, &last.json()["reasonCode"]), (403, &json!("REPLAY_DETECTED")));
    let trace = merchant.recorded()[0].header("permyx-trace").remove(0);
    // The ledger is settled first and the record follows: the last answer may be ahead of it.
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut events = gateway.events_of(&trace);
    while events.len() < 3 && std::time::Instant::now() < deadline {
        events = gateway.events_of(&trace);
    }
    let told: Vec<_> = events.iter().map(|event| event["data"]["eventType"].as_str().unwrap()).collect();
    assert_eq!(told, ["execution.reserved", "execution.validated", "order.observed"]);
    assert_eq!(merchant.recorded().len(), 1);
}

fn wait_while_in_flight(ask: impl Fn() -> Answer) -> Answer {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if answer.status != 409 {
            return answer;
        }
        assert!(std::time::Instant::now() < deadline, "still in flight");
    }
}

/// A caller that leaves within its own request has asked for nothing.
#[test]
fn a_caller_that_leaves_too_early_spends_nothing() {
    let token = STAND.gateway.token("any");
    let whole = with_token("/any?plain", &token, MUG);
    for keep in [whole.len() - MUG.len() / 2, whole.len() - MUG.len(), whole.len() - MUG.len() - 3] {
        let mut caller = Connection::open(STAND.gateway.address());
        caller.send(&whole[..keep]);
        caller.finish();
        while let Ok(Some(answer)) = caller.answer_to("POST") {
            assert_eq!(answer.status, 400, "{}", answer.text());
        }
    }
    assert_eq!(buy("/any?plain", &token).unwrap().unwrap().status, 200);
}
