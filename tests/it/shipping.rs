//! Events of a gateway on another host: they arrive once each, whoever is killed in between, and nobody
//! speaks for somebody else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use crate::support::control::Control;
use crate::support::gateway::{Gateway, Guard, MUG, Start, kind};
use crate::support::http::{Answer, Connection, request};
use crate::support::shop::Shop;
use crate::support::{PATIENCE, told};

/// A gateway that delivers to a control plane, before a shop.
struct Stand {
    control: Control,
    gateway: Gateway,
    _shop: Shop,
}

impl Stand {
    fn start() -> Self {
        let control = Control::start();
        let key = control.key(&["--role", "gateway", "--store", "shop"]);
        let file = control.dir().write("gateway.key", &key);
        let shop = Shop::open();
        let guards = [Guard { path: "/checkout".to_owned(), ..Guard::enforcing("shop", shop.url()) }];
        let ship = format!("[evidence.ship]\nurl = \"{}\"\nkey_file = \"{}\"\n", control.url(), file.display());
        let gateway = Gateway::start_as(&Start { more: &ship, ..Start::alone(&guards) });
        Self { control, gateway, _shop: shop }
    }

    fn buy(&self, times: usize) {
        for _ in 0..times {
            assert_eq!(self.gateway.post("/checkout", &self.gateway.token("shop"), MUG).status, 200);
        }
    }
}

fn count(events: &[Value], wanted: &str) -> usize {
    events.iter().filter(|event| kind(event) == wanted).count()
}

/// Sequences of each source, in the order of the log.
fn sequences(events: &[Value]) -> BTreeMap<&str, Vec<u64>> {
    let mut of = BTreeMap::<_, Vec<_>>::new();
    for event in events {
        let sequence = event["sequence"].as_str().unwrap().parse().unwrap();
        of.entry(event["source"].as_str().unwrap()).or_default().push(sequence);
    }
    of
}

/// Each stream is whole: counted from 1, nothing missing, nothing twice.
#[track_caller]
fn assert_whole(events: &[Value]) {
    for (source, sequences) in sequences(events) {
        assert!(sequences.iter().copied().eq(1..=sequences.len() as u64), "{source}: {sequences:?}");
    }
}

#[test]
fn what_a_gateway_elsewhere_decides_arrives_once_whoever_is_killed() {
    let mut stand = Stand::start();
    stand.buy(20);
    stand.control.kill();
    stand.buy(20);
    stand.control.start_again();
    stand.control.wait_for("40 outcomes", |events| count(events, "execution.validated") == 40);
    stand.gateway.restart();
    stand.buy(20);
    stand.control.kill();
    stand.control.start_again();
    let events = stand.control.wait_for("60 outcomes", |events| count(events, "execution.validated") == 60);
    assert_whole(&events);
    let gaps: Vec<_> =
        events.iter().filter(|event| kind(event) == "evidence.gap").map(|gap| &gap["data"]["cause"]).collect();
    assert!(!gaps.is_empty() && gaps.iter().all(|cause| *cause == "unclean_shutdown"), "{gaps:?}");
}

/// How many kills; `PERMYX_KILLS=200` for the long form.
fn kills() -> u64 {
    told("PERMYX_KILLS").map_or(6, |kills| kills.parse().unwrap())
}

/// The log of the control plane verifies, with its own keys, as an auditor would do it.
#[track_caller]
fn assert_verifies(control: &Control) {
    let wrong = control.verify();
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn nothing_that_was_answered_is_lost_whoever_is_killed_under_load() {
    let mut stand = Stand::start();
    let mut answered = BTreeSet::new();
    let mut random = chance();
    for _ in 0..kills() {
        let (gateway, traces) = (&stand.gateway, Mutex::new(Vec::new()));
        let victim_is_gateway = random().is_multiple_of(2);
        let pause = Duration::from_millis(random() % 200);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..40 {
                        let request = request("POST", "/checkout", &[&carried(gateway)], MUG);
                        let Some(answer) = tried(gateway.address(), &request) else { return };
                        if answer.status == 200 {
                            traces.lock().unwrap().push(answer.header("permyx-trace").unwrap().to_owned());
                        }
                    }
                });
            }
            std::thread::park_timeout(pause);
            if victim_is_gateway { gateway.kill() } else { stand.control.kill() }
        });
        answered.extend(traces.into_inner().unwrap());
        if victim_is_gateway {
            stand.gateway.restart()
        } else {
            stand.control.start_again()
        }
        assert_verifies(&stand.control);
    }
    let is_settled = |event: &&Value| kind(event) == "execution.validated";
    let all = |events: &[Value]| {
        let told: BTreeSet<_> =
            events.iter().filter(is_settled).map(|event| event["data"]["traceId"].as_str().unwrap()).collect();
        answered.iter().all(|trace| told.contains(trace.as_str()))
    };
    let events = stand.control.wait_for("what was answered", all);
    assert!(answered.len() as u64 > kills(), "{} answers", answered.len());
    assert_whole(&events);
    assert_verifies(&stand.control);
    println!("{} kills, {} answered purchases, {} events", kills(), answered.len(), events.len());
}

/// The answer of a gateway that may be killed meanwhile.
fn tried(address: SocketAddr, request: &[u8]) -> Option<Answer> {
    let mut connection = Connection::try_open(address, PATIENCE).ok()?;
    connection.send(request);
    connection.answer_to("POST").ok()?
}

/// The header of a new token.
fn carried(gateway: &Gateway) -> String {
    format!("Permyx-Execution-Token: {}", gateway.token("shop"))
}

/// Numbers by chance, of this run.
fn chance() -> impl FnMut() -> u64 {
    let mut state = u64::from(std::process::id()) ^ 0x9E37_79B9_7F4A_7C15;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 16
    }
}

#[test]
fn a_gateway_speaks_for_itself_and_for_its_stores() {
    let stand = Stand::start();
    let control = &stand.control;
    let path = format!("/v1/evidence/streams/{}", "0".repeat(32));
    let records = ["Content-Type: application/vnd.permyx.spool"];
    let agent = control.key(&["--role", "agent", "--store", "shop"]);
    assert_eq!(control.send(&agent, &path, &records, "").status, 403);
    assert_eq!(control.send("permyx_gateway_forged", &path, &records, "").status, 401);
    let other = control.key(&["--role", "gateway", "--all-stores"]);
    assert_eq!(control.send(&other, &path, &records, "").json()["next"], 1);
    assert_eq!(control.send(&other, &path, &records, "junk").status, 400);
    assert_eq!(control.send(&other, &path, &["Content-Type: text/plain"], "").status, 400);
    // The stream of the running gateway is not this key's.
    stand.buy(1);
    let events = control.wait_for("an outcome", |events| count(events, "execution.validated") == 1);
    let source = events.iter().find(|event| kind(event) == "execution.validated").unwrap()["source"].as_str().unwrap();
    let identity = source.rsplit('/').next().unwrap();
    let refused = control.send(&other, &format!("/v1/evidence/streams/{identity}"), &records, "");
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("belongs to the key"), "{}", refused.text());
}
