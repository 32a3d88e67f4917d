//! The access log: who answered each request, and why it was not the merchant.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::gateway::{Gateway, Guard, MUG, Start};
use crate::support::http::{exchange, request};
use crate::support::merchant::{Merchant, Reply};

fn logging(merchant: &Merchant, requests: &str) -> Gateway {
    let more = format!("[access_log]\nrequests = \"{requests}\"\nfile = \"access.log\"\n");
    Gateway::start_as(&Start { more: &more, ..Start::alone(&[Guard::enforcing("shop", merchant.url())]) })
}

fn file(gateway: &Gateway) -> PathBuf {
    gateway.dir().path().join("access.log")
}

/// The first so many lines.
fn lines(gateway: &Gateway, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let text = std::fs::read_to_string(file(gateway)).unwrap_or_default();
        if text.lines().count() >= count && text.ends_with('\n') {
            return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        }
        assert!(Instant::now() < deadline, "{count} lines in:\n{text}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn each_request_has_a_line_that_says_who_answered_and_why() {
    let merchant =
        Merchant::start(|request| if request.request_line().contains("hangup") { Reply::Close } else { Reply::sold() });
    let gateway = logging(&merchant, "all");
    let token = gateway.token("shop");
    // A line is written once its answer is out: those of two connections may change places.
    let first = gateway.post("/shop", &token, MUG);
    lines(&gateway, 1);
    gateway.post("/shop", &token, MUG);
    lines(&gateway, 2);
    gateway.post("/shop?hangup", &gateway.token("shop"), MUG);
    lines(&gateway, 3);
    exchange(gateway.address(), request("BREW", "/shop", &["Permyx-Execution-Token: no"], MUG));
    let told = lines(&gateway, 4);
    let of = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let short: Vec<_> =
        told.iter().map(|line| [of(line, "by"), of(line, "why"), of(line, "decision")].join(" ")).collect();
    assert_eq!(
        short,
        [
            "merchant  allowed",
            "permyx REPLAY_DETECTED denied",
            "permyx OUTCOME_UNKNOWN denied",
            "permyx INTENT_MISMATCH denied",
        ]
    );
    assert_eq!(told[0]["trace"], first.header("permyx-trace").unwrap());
    assert_eq!(
        (&told[0]["status"], &told[0]["method"], &told[3]["method"]),
        (&200.into(), &"POST".into(), &"other".into())
    );
    assert!(told.iter().all(|line| line["total_us"].as_i64() >= line["waited_us"].as_i64()), "{told:#?}");
}

/// As a container's log collector wants it.
#[test]
fn without_a_file_the_lines_are_on_the_standard_output() {
    let merchant = Merchant::selling();
    let guards = [Guard::enforcing("shop", merchant.url())];
    let more = "[access_log]\nrequests = \"all\"\n";
    let mut gateway = Gateway::start_as(&Start { more, ..Start::alone(&guards) });
    gateway.post("/shop", &gateway.token("shop"), MUG);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !gateway.program().output().contains("\"by\":\"merchant\"") {
        assert!(Instant::now() < deadline, "{}", gateway.program().output());
        std::thread::park_timeout(Duration::from_millis(10));
    }
    gateway.post("/shop", &gateway.token("shop"), &MUG.replace("29.99", "1.00"));
    assert!(gateway.stop().success());
    assert!(gateway.program().output().contains("\"why\":\"INTENT_MISMATCH\""));
}

#[test]
fn only_refusals_are_logged_where_that_is_asked_and_a_moved_file_begins_anew() {
    let merchant = Merchant::selling();
    let mut gateway = logging(&merchant, "denied");
    let token = gateway.token("shop");
    gateway.post("/shop", &token, MUG);
    gateway.post("/shop", &token, MUG);
    assert_eq!(lines(&gateway, 1)[0]["why"], "REPLAY_DETECTED");
    std::fs::rename(file(&gateway), gateway.dir().path().join("access.log.1")).unwrap();
    gateway.program().signal("-HUP");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !file(&gateway).exists() {
        assert!(Instant::now() < deadline, "no new file");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    gateway.post("/shop", &token, MUG);
    assert!(gateway.stop().success());
    let (old, new) = (std::fs::read_to_string(gateway.dir().path().join("access.log.1")).unwrap(), lines(&gateway, 1));
    assert_eq!((old.lines().count(), new.len()), (1, 1));
}
