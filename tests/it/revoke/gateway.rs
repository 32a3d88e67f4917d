use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::gateway::{AGENT, Gateway, Guard, MUG, kind};
use crate::support::http::{Answer, get};
use crate::support::merchant::{Merchant, Reply};
use crate::support::program::run;

/// How soon a revocation is promised to be in force where its file is.
const PROMISED: Duration = Duration::from_secs(1);

fn permyx(gateway: &Gateway, line: &[&str]) -> String {
    let output = run(gateway.dir().path(), &[&["revoke"], line, &["--data", "data"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// How many subjects of this kind the gateway refuses.
fn revoked(gateway: &Gateway, kind: &str) -> String {
    let metrics = get(gateway.ops(), "/metrics").text();
    let name = format!("permyx_revocations{{kind=\"{kind}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().to_owned()
}

/// Waits until that many are refused; how long it took.
fn wait(gateway: &Gateway, kind: &str, count: &str) -> Duration {
    let started = Instant::now();
    while revoked(gateway, kind) != count {
        assert!(started.elapsed() < PATIENCE, "never {count} of {kind}\n{}", gateway.log());
    }
    started.elapsed()
}

fn part(token: &str, n: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(n).unwrap()).unwrap()).unwrap()
}

fn told(answer: &Answer) -> (u16, Value, Value) {
    let body = answer.json();
    (answer.status, body["reasonCode"].clone(), body["rule"].clone())
}

fn buys(gateway: &Gateway, token: &str) -> Answer {
    gateway.post("/shop", token, MUG)
}

#[test]
fn what_is_revoked_is_refused_within_a_second_and_buys_again_when_it_is_lifted() {
    let merchant = Merchant::selling();
    let gateway = Gateway::start(&[Guard::enforcing("shop", merchant.url())], "");
    let sample = gateway.token("shop");
    let kid = part(&sample, 0)["kid"].as_str().unwrap().to_owned();
    let jti = part(&sample, 1)["jti"].as_str().unwrap().to_owned();
    for (kind, id, code) in [
        ("agent", AGENT, "POLICY_DENIED"),
        ("store", "shop", "POLICY_DENIED"),
        ("key", &kid, "INVALID_SIGNATURE"),
        ("token", &jti, "POLICY_DENIED"),
    ] {
        permyx(&gateway, &[kind, id, "--reason", "leaked"]);
        let took = wait(&gateway, kind, "1");
        println!("{kind} in force {took:?} after the command");
        assert!(took < PROMISED, "{kind} in force after {took:?}");
        let refused = (403, Value::from(code), Value::from(format!("revoked.{kind}")));
        assert_eq!(told(&buys(&gateway, &sample)), refused);
        permyx(&gateway, &["lift", &format!("{kind}:{id}")]);
        assert!(wait(&gateway, kind, "0") < PROMISED);
    }
    assert_eq!(merchant.recorded().len(), 0);
    assert_eq!(buys(&gateway, &sample).status, 200, "no refusal used the token up");
    let commands: Vec<_> =
        gateway.events().into_iter().filter(|event| kind(event).starts_with("revocation.")).collect();
    let kinds: Vec<_> = commands.iter().map(kind).collect();
    assert_eq!(kinds, ["revocation.added", "revocation.lifted"].repeat(4), "each is recorded once");
    let first = &commands[0]["data"];
    assert_eq!(
        (&first["subject"], &first["cause"], &first["by"]),
        (&Value::from(format!("agent:{AGENT}")), &Value::from("leaked"), &Value::from("command line"))
    );
    let of_token = &commands[6]["data"]["tokenId"];
    assert_eq!(of_token, jti.as_str(), "the timeline of a token tells it");
}

#[test]
fn a_restart_forgets_no_revocation() {
    let merchant = Merchant::selling();
    let mut gateway = Gateway::start(&[Guard::enforcing("shop", merchant.url())], "");
    permyx(&gateway, &["agent", AGENT]);
    wait(&gateway, "agent", "1");
    gateway.kill();
    gateway.restart();
    assert_eq!(told(&buys(&gateway, &gateway.token("shop"))).2, "revoked.agent");
    permyx(&gateway, &["lift", &format!("agent:{AGENT}")]);
    wait(&gateway, "agent", "0");
    assert_eq!(buys(&gateway, &gateway.token("shop")).status, 200);
}

#[test]
fn observing_tells_what_would_be_refused_and_lets_it_pass() {
    let merchant = Merchant::selling();
    let guard = Guard { policy: "mode = \"observe\"\n", ..Guard::enforcing("shop", merchant.url()) };
    let gateway = Gateway::start(&[guard], "");
    permyx(&gateway, &["agent", AGENT]);
    wait(&gateway, "agent", "1");
    let answer = buys(&gateway, &gateway.token("shop"));
    assert_eq!(answer.status, 200);
    let events = gateway.events_of(answer.header("permyx-trace").unwrap());
    let observed = events.iter().find(|event| kind(event) == "execution.observed").unwrap();
    assert_eq!(
        (&observed["data"]["wouldDeny"], &observed["data"]["rule"]),
        (&"POLICY_DENIED".into(), &"revoked.agent".into())
    );
}

/// The session cannot be read, and the policy prefers a passage to an outage: not for a thief.
#[test]
fn an_outage_opens_no_gate_to_what_is_revoked() {
    let merchant = Merchant::start(|request| match request.request_line().starts_with("GET ") {
        true => Reply::json(500, "{}"),
        false => Reply::sold(),
    });
    let (path, policy) = ("/ucp".to_owned(), "mode = \"enforce\"\non_unavailable = \"allow_and_record\"\n");
    let guard = Guard { path, preset: "ucp", policy, ..Guard::enforcing("shop", merchant.url()) };
    let gateway = Gateway::start(&[guard], "");
    let commit = || gateway.post("/ucp/checkout-sessions/s1/complete", &gateway.token("shop"), "{}");
    assert_eq!(commit().header("permyx-decision"), Some("bypassed"));
    permyx(&gateway, &["agent", AGENT]);
    wait(&gateway, "agent", "1");
    assert_eq!(commit().header("permyx-decision"), Some("denied; reason=POLICY_DENIED"));
}
