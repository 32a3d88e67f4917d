//! Calls through a running gateway get the confidence of the table, and leave no text of theirs.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::support::dir::TempDir;
use crate::support::files;
use crate::support::gateway::{Gateway, Guard, MUG, Start};
use crate::support::http::{Answer, request};
use crate::support::merchant::Merchant;

struct Stand {
    gateway: &'static Gateway,
    _merchant: Merchant,
}

const OPENAI: &str = "User-Agent: Mozilla/5.0; compatible; ChatGPT-User/1.0; +https://openai.com/bot";
const REFERRER: &str = "Referer: https://claude.ai/";

/// A gateway that knows where ChatGPT-User calls from, behind a proxy on this machine.
static STAND: LazyLock<Stand> = LazyLock::new(|| {
    let merchant = Merchant::selling();
    let acp = Guard { preset: "acp", ..Guard::enforcing("acp", merchant.url()) };
    let guards = [Guard::enforcing("shop", merchant.url()), acp];
    let dir = TempDir::new();
    dir.write("ranges.json", r#"{"prefixes":[{"ipv4Prefix":"20.0.0.0/28"}]}"#);
    let ledger = format!(
        "[ledger]\nsingle_instance = true\n[[detect.ranges]]\nagent = \"ChatGPT-User\"\nfile = \"{}\"\n",
        dir.path().join("ranges.json").display()
    );
    let start = Start { extra: "trusted_proxies = [\"127.0.0.0/8\"]", ledger: &ledger, ..Start::alone(&guards) };
    let gateway = Gateway::start_as(&start).shared();
    Stand { gateway, _merchant: merchant }
});

fn call(target: &str, headers: &[&str]) -> (Answer, Value) {
    let answer = STAND.gateway.send(&request("POST", target, headers, MUG));
    let events = STAND.gateway.events_of(answer.header("permyx-trace").unwrap());
    let decided = ["execution.observed", "execution.denied", "execution.reserved"];
    let event = events.iter().find(|event| decided.contains(&event["data"]["eventType"].as_str().unwrap()));
    let data = event.unwrap_or_else(|| panic!("no decision in {events:?}"))["data"].clone();
    (answer, data)
}

/// The state and the word of one signal.
fn signal(data: &Value, name: &str) -> (String, Option<String>) {
    let signal = data["signals"].as_array().unwrap().iter().find(|signal| signal["name"] == name).unwrap();
    (signal["state"].as_str().unwrap().to_owned(), signal["value"].as_str().map(ToOwned::to_owned))
}

#[test]
fn each_call_gets_the_confidence_of_the_table() {
    let token = format!("Permyx-Execution-Token: {}", STAND.gateway.token("shop"));
    let (inside, outside) = ("X-Forwarded-For: 9.9.9.9, 20.0.0.3", "X-Forwarded-For: 20.0.0.3, 9.9.9.9");
    let commit = "/acp/checkout_sessions/s1/complete";
    let cases: [(&str, &[&str], u16, Value, Value); 10] = [
        ("/shop", &[&token], 10_000, Value::Null, Value::Null),
        (commit, &["Authorization: Bearer forged"], 6000, Value::Null, Value::Null),
        ("/shop", &[OPENAI, inside], 8000, json!("ChatGPT-User"), Value::Null),
        (commit, &[], 6000, Value::Null, Value::Null),
        ("/shop", &[OPENAI], 5000, json!("ChatGPT-User"), Value::Null),
        ("/shop?utm_source=chatgpt.com", &[REFERRER], 4000, Value::Null, json!("chatgpt")),
        ("/shop", &[REFERRER], 3500, Value::Null, json!("claude")),
        ("/shop", &[], 0, Value::Null, Value::Null),
        ("/shop", &["User-Agent: Firefox/140.0", "Permyx-Execution-Token: forged"], 0, Value::Null, Value::Null),
        ("/shop", &[OPENAI, outside], 2000, json!("ChatGPT-User"), Value::Null),
    ];
    for (target, headers, points, agent, channel) in cases {
        let (_, data) = call(target, headers);
        assert_eq!(data["agentConfidence"], points, "{target} {headers:?}: {data}");
        assert_eq!((&data["agentName"], &data["channel"]), (&agent, &channel), "{target} {headers:?}");
        assert_eq!((&data["ratingVersion"], data["signals"].as_array().unwrap().len()), (&json!(1), 8));
        let flags = if points == 2000 { json!(["spoof_suspected"]) } else { Value::Null };
        assert_eq!(data["flags"], flags, "{target} {headers:?}");
    }
}

#[test]
fn every_signal_is_recorded_with_its_state() {
    let (_, data) = call("/shop", &["User-Agent: GPTBot/1.2", "Signature-Agent: \"https://chatgpt.com\""]);
    let expected = [
        ("execution_token", "absent", None),
        ("signature_agent", "present", Some("chatgpt")),
        ("ucp_agent", "absent", None),
        ("protocol", "absent", None),
        ("user_agent", "present", Some("GPTBot")),
        ("ip_range", "feature_off", None),
        ("utm", "absent", None),
        ("referrer", "absent", None),
    ];
    for (name, state, value) in expected {
        assert_eq!(signal(&data, name), (state.to_owned(), value.map(ToOwned::to_owned)), "{name}");
    }
    assert_eq!((&data["flags"], &data["agentSignal"]), (&json!(["unusual_class"]), &json!("signature")));
    let forged = call("/shop", &["Permyx-Execution-Token: forged"]).1;
    assert_eq!(signal(&forged, "execution_token").0, "present");
}

#[test]
fn a_stranger_who_claims_a_hop_is_the_caller() {
    let (_, data) = call("/shop", &[OPENAI, "X-Forwarded-For: nonsense"]);
    assert_eq!(signal(&data, "ip_range").0, "feature_off", "an address that cannot be read is none");
}

#[test]
fn nothing_of_what_a_caller_writes_is_in_any_event() {
    let headers = [
        "User-Agent: Planted-In-Agent/1.0 ChatGPT-User/1.0",
        "Referer: https://planted-in-referrer.example/planted-in-path?utm_source=planted-in-page",
        "Signature-Agent: \"https://planted-in-signature.example\"",
        "UCP-Agent: profile=\"https://planted-in-ucp.example/x\"",
        "X-Forwarded-For: 203.0.113.77",
    ];
    let plain = ["User-Agent: Planted-In-Agent/2.0"];
    for headers in [&headers[..], &plain[..]] {
        let (_, data) = call("/shop?utm_source=planted-in-tag&ref=planted-in-ref", headers);
        assert_eq!(signal(&data, "utm").0, "present");
    }
    let spool = files(&STAND.gateway.dir().path().join("data/spool"), ".spool");
    let written: Vec<u8> = spool.iter().flat_map(|file| std::fs::read(file).unwrap()).collect();
    let written = format!("{}{}", String::from_utf8_lossy(&written), STAND.gateway.log()).to_ascii_lowercase();
    assert!(written.contains("\"signals\"") && !written.contains("planted") && !written.contains("203.0.113.77"));
}
