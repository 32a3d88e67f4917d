//! The one sending to the merchant: whatever happens to it, the request is never sent twice, the
//! caller learns the truth, and the ledger and the evidence say the same.

mod answers;
mod failures;
mod forwarded;

use std::net::{SocketAddr, TcpListener};
use std::sync::LazyLock;

use serde_json::Value;

use crate::support::gateway::{Gateway, Guard, MUG, with_token};
use crate::support::http::{Answer, Connection};
use crate::support::merchant::{Merchant, Recorded, Reply};

/// One gateway; each way to fail has a merchant of its own, and the merchant's name is its store.
struct Stand {
    gateway: &'static Gateway,
    /// Answers as the query of the target says.
    any: Merchant,
    kept: Merchant,
    stale: Merchant,
    deaf: [Merchant; 3],
    cut: Merchant,
    /// Nobody listens here until a test does.
    closed: SocketAddr,
}

static STAND: LazyLock<Stand> = LazyLock::new(|| {
    let any = Merchant::start(|request| Reply::Bytes(answers::script(&target(request))));
    let kept = Merchant::selling();
    let stale = Merchant::start(Reply::sold_unless_reused);
    let deaf = [1, 40, 700].map(|bytes| Merchant::start_reading(bytes, |_| Reply::sold()));
    let cut = Merchant::start(|request| failures::cut(&target(request)));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut guards: Vec<_> = [("any", &any), ("kept", &kept), ("stale", &stale), ("cut", &cut)]
        .map(|(name, merchant)| Guard::enforcing(name, merchant.url()))
        .into();
    guards
        .extend(["deaf-0", "deaf-1", "deaf-2"].into_iter().zip(&deaf).map(|(name, m)| Guard::enforcing(name, m.url())));
    guards.push(Guard::enforcing("closed", format!("http://{closed}")));
    Stand { gateway: Gateway::start(&guards, "").shared(), any, kept, stale, deaf, cut, closed }
});

/// `/any?103`
fn target(request: &Recorded) -> String {
    request.request_line().split(' ').nth(1).unwrap().to_owned()
}

/// Buys a mug with this token and reads what comes back, be it whole or not.
fn buy(target: &str, token: &str) -> std::io::Result<Option<Answer>> {
    let mut connection = Connection::open(STAND.gateway.address());
    connection.send(with_token(target, token, MUG));
    connection.answer_to("POST")
}

fn trace(answer: &Answer) -> &str {
    answer.header("permyx-trace").unwrap()
}

/// How the execution ended, as evidence tells it: kind and cause.
fn settled(trace: &str) -> (String, String) {
    let events = STAND.gateway.events_of(trace);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ends = ["execution.validated", "execution.released", "execution.indeterminate"];
    let mut found = events.iter().filter(|event| ends.contains(&event["data"]["eventType"].as_str().unwrap()));
    let end = found.next().unwrap_or_else(|| panic!("no end of {trace}: {events:?}"));
    assert_eq!(found.next(), None, "two ends of {trace}");
    (text(&end["data"]["eventType"]), text(&end["data"]["cause"]))
}

/// Fails unless the token is spent.
fn is_spent(target: &str, token: &str) {
    let again = buy(target, token).unwrap().unwrap();
    assert_eq!((again.status, &again.json()["reasonCode"]), (403, &Value::from("REPLAY_DETECTED")), "{target}");
}
