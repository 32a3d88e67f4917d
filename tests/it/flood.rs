//! A flood of forged, replayed and tokenless requests, while authorised checkouts go on: they all pass,
//! and whatever was refused is in evidence, one by one or in exact counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::gateway::{Gateway, Guard, MUG, Start};
use crate::support::http::request;
use crate::support::load::run;
use crate::support::shop::Shop;

/// Requests of each kind.
const FLOOD: usize = 4000;
const PURCHASES: usize = 60;
/// Bytes of the spool: the flood, told one by one, would need ten times as many.
const SPOOL: &str = "[evidence]\nspool_limit = 2097152\n";

fn carrying(token: &str) -> Vec<u8> {
    request("POST", "/checkout", &[&format!("Permyx-Execution-Token: {token}")], MUG)
}

/// How many refusals are told, by reason: alone, folded, or in a gap.
fn told(events: &[Value]) -> BTreeMap<String, u64> {
    let mut told = BTreeMap::new();
    for event in events {
        let data = &event["data"];
        let count = data["count"].as_u64().unwrap_or(1);
        match (data["eventType"].as_str().unwrap(), data["reasonCode"].as_str()) {
            ("evidence.gap", _) => *told.entry("gap".to_owned()).or_default() += count,
            (_, Some(reason)) => *told.entry(reason.to_owned()).or_default() += count,
            _ => {}
        }
    }
    told
}

#[test]
fn a_flood_hides_nothing_and_stops_no_authorised_checkout() {
    let shop = Shop::open();
    let guard = Guard {
        path: "/checkout".to_owned(),
        policy: "mode = \"enforce\"\ntokenless = \"require\"\n",
        ..Guard::enforcing("shop", shop.url())
    };
    let guards = [guard];
    let gateway = Gateway::start_as(&Start { more: SPOOL, ..Start::alone(&guards) });
    let used = gateway.token("shop");
    assert_eq!(gateway.post("/checkout", &used, MUG).status, 200);
    let forged = format!("{}x", &used[..used.len() - 1]);
    let bought = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let flood = |request: Vec<u8>| {
            let address = gateway.address();
            scope.spawn(move || run(address, 2, FLOOD, move |_| request.clone()))
        };
        let floods = [carrying(&forged), carrying(&used), request("POST", "/checkout", &[], MUG)].map(flood);
        for _ in 0..PURCHASES {
            let passed = gateway.post("/checkout", &gateway.token("shop"), MUG).status == 200;
            bought.fetch_add(usize::from(passed), Ordering::Relaxed);
        }
        for flood in floods {
            let report = flood.join().unwrap();
            assert_eq!((report.count(403), report.broken), (FLOOD, 0), "{:?}", report.statuses);
        }
    });
    assert_eq!((bought.into_inner(), shop.stats("executed")), (PURCHASES, PURCHASES as u64 + 1));
    // What the last second counted is told when it is over.
    let expected = ["INVALID_SIGNATURE", "NO_TOKEN", "REPLAY_DETECTED"].map(|reason| (reason.to_owned(), FLOOD as u64));
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while told(&gateway.events()) != expected.clone().into() {
        assert!(std::time::Instant::now() < deadline, "{:?}", told(&gateway.events()));
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
}
