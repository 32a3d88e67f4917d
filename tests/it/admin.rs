//! Administration of a running gateway.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::gateway::{Gateway, Guard, MUG, Start};
use crate::support::http::{Answer, exchange, get, request_to};
use crate::support::merchant::Merchant;

const LISTENS: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n";

struct Administered {
    gateway: Gateway,
    merchant: Merchant,
}

impl Administered {
    fn start() -> Self {
        let merchant = Merchant::selling();
        let guards = [Guard::enforcing("shop", merchant.url())];
        Self { gateway: Gateway::start_as(&Start { more: LISTENS, ..Start::alone(&guards) }), merchant }
    }

    fn address(&mut self) -> std::net::SocketAddr {
        self.gateway.program().address("admin")
    }

    fn look(&mut self, what: &str) -> Value {
        let asked = request_to("localhost:9901", "GET", &format!("/admin/{what}"), &[], "");
        let answer = exchange(self.address(), asked).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    fn token(&self) -> String {
        let file = self.gateway.dir().path().join("data/admin.token");
        std::fs::read_to_string(file).unwrap().trim().to_owned()
    }

    fn command(&mut self, what: &str) -> Answer {
        let shown = format!("Authorization: Bearer {}", self.token());
        exchange(self.address(), request_to("127.0.0.1", "POST", &format!("/admin/{what}"), &[&shown], "")).unwrap()
    }

    fn buys(&self, cart: &str) -> u16 {
        self.gateway.post("/shop", &self.gateway.token("shop"), cart).status
    }

    fn administered(&self) -> Vec<String> {
        let events = self.gateway.events();
        let told = events.iter().filter(|event| event["data"]["eventType"] == "system.administered");
        told.map(|event| event["data"]["cause"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn whoever_is_on_this_machine_may_look_and_sees_no_secret() {
    let mut it = Administered::start();
    assert_eq!(it.buys(MUG), 200);
    let config = it.look("config");
    assert_eq!(config["gateway"]["routes"][0]["upstream"], it.merchant.url());
    assert_eq!(config["admin"]["listen"], "127.0.0.1:0");
    let policy = it.look("policy");
    assert_eq!((&policy["policies"][0]["store"], &policy["policies"][0]["mode"]), (&"shop".into(), &"enforce".into()));
    assert_eq!(it.look("keys")["verifies_with"].as_array().unwrap().len(), 1);
    let ledger = it.look("ledger");
    assert_eq!(
        (&ledger["backend"], &ledger["entries"], &ledger["usable"]),
        (&"memory".into(), &1.into(), &true.into())
    );
    assert_eq!(it.look("evidence")["writable"], true);
    assert_eq!(it.look("log-level")["filter"], "warn");
    let told = ["config", "policy", "keys", "ledger", "evidence"].map(|what| it.look(what).to_string()).concat();
    assert!(!told.contains(&it.token()));
}

#[test]
fn a_change_needs_the_token_and_a_name_of_this_machine_and_is_on_record() {
    let mut it = Administered::start();
    let address = it.address();
    for shown in ["", "Authorization: Bearer ", "Authorization: Bearer 0000", "Authorization: Basic YTpi"] {
        let headers: Vec<_> = Some(shown).filter(|shown| !shown.is_empty()).into_iter().collect();
        for what in ["drain", "undrain", "reload", "mode?store=shop&mode=observe", "log-level?filter=debug"] {
            let answer =
                exchange(address, request_to("[::1]:1", "POST", &format!("/admin/{what}"), &headers, "")).unwrap();
            assert_eq!(answer.status, 401, "{what} {shown}");
        }
    }
    // A page in a browser has a name of its own.
    let rebound = exchange(address, request_to("evil.example", "GET", "/admin/config", &[], "")).unwrap();
    assert_eq!(rebound.status, 421);
    assert_eq!(get(it.gateway.ops(), "/readyz").status, 200);
    assert_eq!(it.administered(), Vec::<String>::new());
    for (what, status) in [
        ("mode?store=elsewhere&mode=observe", 404),
        ("mode?store=shop&mode=off", 400),
        ("log-level?filter=%5b%5b", 400),
        ("log-level?filter=debug&ttl_s=0", 400),
        ("log-level?filter=debug&for=1", 400),
        ("quit", 404),
    ] {
        assert_eq!(it.command(what).status, status, "{what}");
    }
    assert_eq!(it.administered(), Vec::<String>::new());
}

#[test]
fn a_drained_gateway_is_not_ready_and_comes_back() {
    let mut it = Administered::start();
    assert_eq!(it.command("drain").status, 200);
    assert_eq!(get(it.gateway.ops(), "/readyz").status, 503);
    let answer = it.gateway.post("/shop", &it.gateway.token("shop"), MUG);
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(it.command("undrain").status, 200);
    assert_eq!(get(it.gateway.ops(), "/readyz").status, 200);
    assert_eq!(it.administered(), ["drain", "undrain"]);
}

#[test]
fn an_end_is_not_taken_back() {
    let merchant = Merchant::selling();
    let guards = [Guard::enforcing("shop", merchant.url())];
    let via = ["env".to_owned(), "PERMYX_SHUTDOWN_DELAY_S=3".to_owned()];
    let gateway = Gateway::start_as(&Start { more: LISTENS, via: &via, ..Start::alone(&guards) });
    let mut it = Administered { gateway, merchant };
    it.gateway.program().signal("-TERM");
    let deadline = Instant::now() + Duration::from_secs(20);
    while get(it.gateway.ops(), "/readyz").status != 503 {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(it.command("undrain").json()["draining"], true);
    assert_eq!(get(it.gateway.ops(), "/readyz").status, 503);
    assert!(it.gateway.program().wait().success());
}

/// A mistake elsewhere must not stand between an operator and the store that is on fire.
#[test]
fn a_mode_is_set_by_hand_while_another_file_is_faulty() {
    let mut it = Administered::start();
    it.gateway.dir().write("policies/other.toml", "store = \"other\"\nmode = \"enforced\"\n");
    let other = MUG.replace("29.99", "9.99");
    assert_eq!(it.buys(&other), 403);
    assert_eq!(it.command("mode?store=shop&mode=observe").json()["policies"][0]["mode"], "observe");
    assert_eq!(it.buys(&other), 200);
    assert_eq!(it.command("mode?store=shop&mode=file").json()["policies"][0]["mode"], "enforce");
    assert_eq!(it.buys(&other), 403);
}

#[test]
fn a_mode_that_is_set_by_hand_outlives_a_change_of_the_file() {
    let mut it = Administered::start();
    let other = MUG.replace("29.99", "9.99");
    assert_eq!(it.buys(&other), 403);
    assert_eq!(it.command("mode?store=shop&mode=observe").status, 200);
    assert_eq!(it.look("policy")["policies"][0]["mode_is_set_by_hand"], true);
    assert_eq!(it.buys(&other), 200);
    it.gateway.dir().write("policies/shop.toml", "store = \"shop\"\nmode = \"enforce\"\nversion = \"2\"\n");
    assert_eq!(it.command("reload").status, 200);
    let deadline = Instant::now() + Duration::from_secs(20);
    while it.look("policy")["policies"][0]["version"] != "2" {
        assert!(Instant::now() < deadline);
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(it.buys(&other), 200);
    assert_eq!(it.command("mode?store=shop&mode=file").status, 200);
    assert_eq!(it.buys(&other), 403);
    // Each change of what holds is an event of its own.
    let modes: Vec<_> =
        it.gateway.events().into_iter().filter(|e| e["data"]["eventType"] == "policy.activated").collect();
    let modes: Vec<_> = modes.iter().map(|event| event["data"]["enforcement"].as_str().unwrap()).collect();
    assert_eq!(modes, ["observe", "observe", "enforce"]);
}

#[test]
fn a_log_level_lasts_as_long_as_it_was_asked_for() {
    let mut it = Administered::start();
    assert!(!it.gateway.log().contains("DEBUG"));
    assert_eq!(it.command("log-level?filter=permyx=debug&ttl_s=2").status, 200);
    assert_eq!(it.look("log-level")["filter"], "permyx=debug");
    let deadline = Instant::now() + Duration::from_secs(20);
    while it.look("log-level")["filter"] != "warn" {
        assert!(Instant::now() < deadline);
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn administration_is_for_this_machine_alone() {
    let merchant = Merchant::selling();
    let gateway = Gateway::start(&[Guard::enforcing("shop", merchant.url())], "");
    let config = std::fs::read_to_string(gateway.dir().path().join("permyx.toml")).unwrap();
    gateway.dir().write("other.toml", &format!("{config}[admin]\nlisten = \"0.0.0.0:9901\"\n"));
    let told = crate::support::program::run(gateway.dir().path(), &["config", "validate", "other.toml"]);
    assert!(!told.status.success());
    assert!(String::from_utf8_lossy(&told.stderr).contains("may not listen on `0.0.0.0:9901`"));
}
