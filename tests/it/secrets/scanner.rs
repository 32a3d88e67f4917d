//! The search finds each kind of secret wherever it is, tells which, and does not repeat it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use permyx::telemetry::metrics::Metrics;
use permyx::token::keys::{SigningKey, key_set};

use crate::support::dir::TempDir;
use crate::support::gateway::Purchase;
use crate::support::http::exchange;
use crate::support::merchant::{Merchant, Reply};
#[cfg(all(feature = "gateway", feature = "control-plane"))]
use crate::support::program::Program;
use crate::support::program::run;
use crate::support::secrets::{AUTHORIZATION, CARD, COOKIE, EMAIL, find, lines};

/// One of each kind, with the name of the kind.
fn planted() -> Vec<(&'static str, String)> {
    let token = Purchase::mug("shop").signed_by(&SigningKey::generate().unwrap());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let key = format!("permyx_agent_{}", "aB3_-".repeat(9).split_at(43).0);
    let shown = |text: &str| text.to_owned();
    vec![
        ("token", token.clone()),
        ("token", message.to_owned()),
        ("token", token[..60].to_owned()),
        ("token", shown("eyJhIjoxfQ.eyJiIjoyfQ.c2lnbmVk")),
        ("signature", signature.to_owned()),
        ("API key", key.replace("agent", "merchant")),
        ("API key", key),
        ("API key", shown("permyx_agent_YOUR_KEY")),
        ("private key", shown("-----BEGIN PRIVATE KEY-----")),
        ("private key", shown("-----BEGIN RSA PRIVATE KEY-----")),
        ("private key", format!("\"d\":\"{}\"", "x".repeat(342))),
        ("card number", shown(CARD)),
        ("card number", shown("4242 4242 4242 4242")),
        ("card number", shown("378282246310005")),
        ("e-mail address", shown(EMAIL)),
        ("e-mail address", EMAIL.replace('@', "%40")),
        ("cookie", shown(COOKIE)),
        ("credential", shown(AUTHORIZATION)),
    ]
}

/// What is around a secret where it was written to.
fn places(secret: &str) -> [String; 5] {
    let quoted = secret.replace('"', "\\\"");
    [
        format!("2026-11-26T02:00:00Z  WARN refused caller={secret} status=403\n"),
        format!("{{\"data\":{{\"eventType\":\"execution.denied\",\"note\":\"{secret}\"}}}}"),
        format!("permyx_decisions_total{{store=\"{quoted}\"}} 1\n"),
        format!("{{\"error\":{{\"code\":\"BAD_REQUEST\",\"message\":\"`{quoted}`"),
        format!("\0\0\u{7f}{secret}\0"),
    ]
}

#[test]
fn every_kind_is_found_in_every_place_and_not_repeated() {
    for (kind, secret) in planted() {
        for place in places(&secret) {
            let found = find(place.as_bytes()).unwrap_or_else(|| panic!("no {kind} in {place}"));
            assert_eq!(found.kind, kind, "{place}");
            assert!(!found.around.contains(&secret) && found.around.contains(&format!("<{kind}>")), "{found:?}");
        }
    }
}

#[test]
fn a_secret_is_found_wherever_it_begins() {
    for (_, secret) in planted() {
        for before in (0..600).step_by(37) {
            assert!(find(format!("{} {secret} ", " ".repeat(before)).as_bytes()).is_some(), "{before}: {secret}");
        }
    }
}

#[test]
fn what_is_public_is_no_secret() {
    let public = serde_json::to_string(&key_set([SigningKey::generate().unwrap().public()])).unwrap();
    let metrics = String::from_utf8(Metrics::new().unwrap().render()).unwrap();
    let ids = "trc_01a2b3c4d5e6 5b0e8a0e-3c58-4f6e-9a41-0c2d0a9b7e11 1764122402123456789 4.2e10 someone@else.example";
    let hashes = format!("sha256:{} {}", "0af3".repeat(16), "0af3".repeat(500));
    let words = "the key `permyx_agent_…` is unknown; eyJust.a.word; \"d\":\"4\"; the file holds no PRIVATE KEY";
    for text in [public.as_str(), metrics.as_str(), ids, &hashes, words, "", "permyx_", "permyx_gateway"] {
        assert_eq!(find(text.as_bytes()), None, "{text}");
    }
}

/// The message of a panic that this ends with.
fn complaint(work: impl FnOnce()) -> String {
    let why = catch_unwind(AssertUnwindSafe(work)).expect_err("it complains");
    why.downcast::<String>().map(|text| *text).unwrap()
}

#[test]
fn a_file_that_the_test_did_not_write_fails_it() {
    let dir = TempDir::new();
    dir.write("permyx.toml", EMAIL);
    let path = dir.path().join("data/spool/1.spool");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, format!("{{\"note\":\"{EMAIL}\"}}")).unwrap();
    let told = complaint(|| drop(dir));
    assert_eq!(
        told,
        format!("a secret (e-mail address) is in {}: {{\\\"note\\\":\\\"<e-mail address>\\\"}}", path.display())
    );
}

#[test]
fn private_keys_are_left_where_they_belong() {
    let dir = TempDir::new();
    for (name, text) in [("keys/1.pem", "-----BEGIN PRIVATE KEY-----"), ("log-keys/1.pem", "PRIVATE KEY-----")] {
        let path = dir.path().join("data").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    drop(dir);
    let dir = TempDir::new();
    std::fs::create_dir_all(dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("data/1.pem"), "-----BEGIN PRIVATE KEY-----").unwrap();
    assert!(complaint(|| drop(dir)).starts_with("a secret (private key) is in "));
}

/// A long value is kept in pages: a secret that is cut by their end is in no piece of the file.
#[cfg(feature = "control-plane")]
#[test]
fn a_secret_in_a_row_of_a_database_is_found() {
    let mut told = String::new();
    for before in (780..830).step_by(5) {
        let dir = TempDir::new();
        let store = rusqlite::Connection::open(dir.path().join("evidence.db")).unwrap();
        store.execute_batch("CREATE TABLE events(idx INTEGER, body BLOB)").unwrap();
        let body = format!("{:9000}", format!("{}{CARD}", " ".repeat(before))).into_bytes();
        store.execute("INSERT INTO events VALUES (1, ?1)", [body]).unwrap();
        drop(store);
        told += &complaint(|| drop(dir));
    }
    assert_eq!(told.matches("card number").count(), 10 * 2, "{told}");
    assert!(told.contains("table events of "), "none was cut: {told}");
}

#[test]
fn an_error_that_repeats_a_secret_fails_its_test() {
    let answering = |status: u16| Merchant::start(move |_| Reply::json(status, EMAIL));
    let ask = |merchant: &Merchant| exchange(merchant.address(), "GET / HTTP/1.1\r\n\r\n").unwrap().status;
    assert_eq!(ask(&answering(200)), 200);
    let told = complaint(|| assert_eq!(ask(&answering(422)), 0));
    assert_eq!(told, "a secret (e-mail address) is in an answer with status 422: <e-mail address>");
}

#[test]
fn what_a_command_says_is_looked_at() {
    let dir = TempDir::new();
    let told = complaint(|| drop(run(dir.path(), &["check", "--config", EMAIL])));
    assert!(told.starts_with("a secret (e-mail address) is in what `check` says: "), "{told}");
}

#[cfg(all(feature = "gateway", feature = "control-plane"))]
#[test]
fn what_a_program_says_is_looked_at_when_it_ends() {
    let dir = TempDir::new();
    let mut args = vec!["dev", "--data", COOKIE];
    for flag in ["--gateway-listen", "--api-listen", "--merchant-listen", "--ops-listen"] {
        args.extend([flag, "127.0.0.1:0"]);
    }
    // It says where its data are.
    let dev = Program::start(dir.path(), &args);
    let told = complaint(|| drop(dev));
    assert!(told.starts_with("a secret (cookie) is in what the program said: "), "{told}");
}

#[test]
fn a_caller_keeps_its_own_cookie_and_credential() {
    let own = ["cookie: session=1", "AUTHORIZATION: Bearer mine"];
    assert_eq!(lines(&own), [format!("X-Buyer: {EMAIL} {CARD}")]);
    assert_eq!(lines(&[]).len(), 3);
    let said = lines(&[]).join("\n");
    assert!([EMAIL, CARD, COOKIE, AUTHORIZATION].iter().all(|secret| said.contains(secret)));
}

/// A gateway that many tests share is never dropped: it is looked at when a caller hangs up.
#[cfg(feature = "gateway")]
#[test]
fn what_a_shared_gateway_writes_is_seen_when_a_caller_hangs_up() {
    use crate::support::gateway::{Gateway, Guard, MUG};

    let merchant = Merchant::selling();
    let gateway = Gateway::start(&[Guard::enforcing("shop", merchant.url())], "").shared();
    let buy = || gateway.post("/shop", &gateway.token("shop"), MUG).status;
    assert_eq!(buy(), 200);
    let spool = gateway.dir().path().join("data/spool/99999999999999999999.spool");
    std::fs::write(&spool, format!("{{\"note\":\"{CARD}\"}}")).unwrap();
    assert!(complaint(|| assert_eq!(buy(), 0)).starts_with("a secret (card number) is in "));
    std::fs::remove_file(spool).unwrap();
}
