//! Ten thousand purchases are ten thousand, however often their tokens are shown, and what was
//! answered is in evidence, even when the process is killed the next moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{LazyLock, Mutex, OnceLock};

use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::gateway::{Gateway, Guard, MUG, kind};
use crate::support::http::{Answer, Connection, request_to};
use crate::support::load::run_seeing;
use crate::support::shop::Shop;

const PURCHASES: usize = 10_000;
const AT_ONCE: usize = 8;

/// One gateway, and a shop with a book of its own for each test: hosts tell them apart.
struct Stand {
    gateway: &'static Gateway,
    shops: BTreeMap<&'static str, Shop>,
}

static STAND: LazyLock<Stand> = LazyLock::new(|| {
    let shops: BTreeMap<_, _> = ["single", "eightfold", "shoppers"].map(|name| (name, Shop::open())).into();
    let guards: Vec<_> = shops.iter().map(|(name, shop)| guard(name, shop)).collect();
    Stand { gateway: Gateway::start(&guards, "").shared(), shops }
});

fn guard(name: &'static str, shop: &Shop) -> Guard {
    Guard { host: name, path: "/checkout".to_owned(), ..Guard::enforcing(name, shop.url()) }
}

impl Stand {
    /// How many events there are of each kind in this store.
    fn counts(&self, store: &str) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for event in self.gateway.events().iter().filter(|event| event["data"]["storeId"] == store) {
            *counts.entry(kind(event).to_owned()).or_default() += 1;
        }
        counts
    }
}

fn purchase(host: &str, token: &str) -> Vec<u8> {
    request_to(host, "POST", "/checkout", &[&format!("Permyx-Execution-Token: {token}")], MUG)
}

#[test]
fn ten_thousand_authorised_purchases_are_ten_thousand_orders() {
    let (gateway, shop) = (STAND.gateway, &STAND.shops["single"]);
    let report =
        run_seeing(gateway.address(), AT_ONCE, PURCHASES, |_| purchase("single", &gateway.token("single")), |_, _| ());
    println!("{PURCHASES} purchases in {:?}, p99 {:?}", report.elapsed, report.percentile(0.99));
    assert_eq!((report.count(200), report.broken), (PURCHASES, 0), "{:?}", report.statuses);
    assert_eq!((shop.stats("executed"), shop.stats("refused"), shop.stats("mostPerTrace")), (PURCHASES as u64, 0, 1));
    let kinds = ["execution.reserved", "execution.validated", "order.observed"];
    assert_eq!(STAND.counts("single"), kinds.map(|kind| (kind.to_owned(), PURCHASES)).into());
}

#[test]
fn a_token_shown_eight_times_at_once_buys_once() {
    let (gateway, shop) = (STAND.gateway, &STAND.shops["eightfold"]);
    let tokens: Vec<OnceLock<String>> = std::iter::repeat_with(OnceLock::new).take(PURCHASES).collect();
    let sold: Vec<AtomicU32> = std::iter::repeat_with(AtomicU32::default).take(PURCHASES).collect();
    let (replays, waiting) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // The first of the eight signs while the others wait for the same cell: then all go at once.
    let request = |number: usize| {
        let token = tokens[number / AT_ONCE].get_or_init(|| gateway.token("eightfold"));
        purchase("eightfold", token)
    };
    let see = |number: usize, answer: &Answer| match (answer.status, code(answer).as_str()) {
        (200, "") => _ = sold[number / AT_ONCE].fetch_add(1, Ordering::Relaxed),
        (403, "REPLAY_DETECTED") => _ = replays.fetch_add(1, Ordering::Relaxed),
        (409, "IN_FLIGHT") => _ = waiting.fetch_add(1, Ordering::Relaxed),
        _ => panic!("{answer:?}"),
    };
    let report = run_seeing(gateway.address(), AT_ONCE, PURCHASES * AT_ONCE, request, see);
    let (replays, waiting) = (replays.into_inner(), waiting.into_inner());
    println!("{PURCHASES} tokens {AT_ONCE} times in {:?}: {replays} replays, {waiting} in flight", report.elapsed);
    assert!(sold.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    assert_eq!((replays + waiting, report.broken), (PURCHASES * (AT_ONCE - 1), 0));
    assert!(waiting > 0, "the eight never met: nothing was tested");
    assert_eq!((shop.stats("executed"), shop.stats("mostPerTrace")), (PURCHASES as u64, 1));
    let counts = STAND.counts("eightfold");
    assert_eq!((counts["execution.reserved"], counts["execution.validated"]), (PURCHASES, PURCHASES));
}

/// The reason or fault that a refusal names; nothing for an answer that is none.
fn code(answer: &Answer) -> String {
    let decision = answer.header("permyx-decision").unwrap();
    decision.strip_prefix("denied; reason=").unwrap_or_default().to_owned()
}

#[test]
fn fifty_thousand_shoppers_all_pass_and_all_are_in_evidence() {
    const SHOPPERS: usize = 50_000;
    let (gateway, shop) = (STAND.gateway, &STAND.shops["shoppers"]);
    let answered = Mutex::new(BTreeSet::new());
    let request = |_| request_to("shoppers", "POST", "/checkout", &[], MUG);
    let see = |_, answer: &Answer| assert!(answered.lock().unwrap().insert(trace(answer)));
    let report = run_seeing(gateway.address(), AT_ONCE, SHOPPERS, request, see);
    println!("{SHOPPERS} shoppers in {:?}, p99 {:?}", report.elapsed, report.percentile(0.99));
    assert_eq!((report.count(200), report.broken), (SHOPPERS, 0), "{:?}", report.statuses);
    assert_eq!(shop.stats("executed"), SHOPPERS as u64);
    let observed = traces(&gateway.events(), "shoppers", "execution.observed");
    assert_eq!((observed.len(), observed == answered.into_inner().unwrap()), (SHOPPERS, true));
}

fn trace(answer: &Answer) -> String {
    answer.header("permyx-trace").unwrap().to_owned()
}

/// The traces of the events of one kind in a store. No trace has two of them.
fn traces(events: &[Value], store: &str, wanted: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for event in events.iter().filter(|event| kind(event) == wanted && event["data"]["storeId"] == store) {
        let trace = event["data"]["traceId"].as_str().unwrap().to_owned();
        assert!(found.insert(trace), "two of {event}");
    }
    found
}

/// `kill -9` in the middle of a crowd: whoever has an answer is in evidence, and what was bought is
/// not bought again afterwards.
#[test]
fn what_was_answered_survives_a_kill() {
    const BEFORE: usize = 3_000;
    let shop = Shop::open();
    let mut gateway = Gateway::start(&[guard("killed", &shop)], "");
    let (seen, answers) = std::sync::mpsc::channel();
    let crowd: Vec<Crowd> = std::thread::scope(|scope| {
        let members: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(|| Crowd::gather(&gateway, seen.clone()))).collect();
        for _ in 0..BEFORE {
            answers.recv_timeout(PATIENCE).unwrap();
        }
        gateway.kill();
        members.into_iter().map(|member| member.join().unwrap()).collect()
    });
    let all = |of: fn(&Crowd) -> &Vec<String>| crowd.iter().flat_map(of).cloned().collect::<BTreeSet<_>>();
    let (shoppers, buyers) = (all(|crowd| &crowd.shoppers), all(|crowd| &crowd.buyers));
    println!("killed after {} shoppers and {} buyers", shoppers.len(), buyers.len());
    assert!(shoppers.len() + buyers.len() >= BEFORE && shoppers.len() > BEFORE / 3 && buyers.len() > BEFORE / 3);
    let events = gateway.events();
    for (answered, kind) in
        [(&shoppers, "execution.observed"), (&buyers, "execution.reserved"), (&buyers, "execution.validated")]
    {
        let recorded = traces(&events, "killed", kind);
        assert_eq!(answered.difference(&recorded).next(), None, "answered and not recorded as {kind}");
    }
    let executed = shop.stats("executed");
    assert!(executed <= (shoppers.len() + buyers.len() + AT_ONCE) as u64);

    gateway.restart();
    assert!(gateway.events().iter().any(|event| event["data"]["cause"] == "unclean_shutdown"));
    for token in crowd.iter().flat_map(|crowd| crowd.tokens.iter().rev().take(25)) {
        let answer = gateway.send(&purchase("killed", token));
        assert_eq!((answer.status, code(&answer).as_str()), (503, "LEDGER_QUARANTINE"));
    }
    assert_eq!(shop.stats("executed"), executed);
    assert_eq!(gateway.send(&purchase("killed", &gateway.token("killed"))).status, 200);
}

/// One connection of a crowd: what it got answers to, by trace, until its connection broke.
#[derive(Default)]
struct Crowd {
    shoppers: Vec<String>,
    buyers: Vec<String>,
    /// Every token that was sent, answered or not.
    tokens: Vec<String>,
}

impl Crowd {
    /// Sends shoppers and buyers in turn and tells of each answer.
    fn gather(gateway: &Gateway, seen: Sender<()>) -> Self {
        let (mut crowd, mut connection) = (Self::default(), Connection::open(gateway.address()));
        for number in 0.. {
            let shops = number % 2 == 0;
            connection.send(if shops {
                request_to("killed", "POST", "/checkout", &[], MUG)
            } else {
                crowd.tokens.push(gateway.token("killed"));
                purchase("killed", &crowd.tokens[number / 2])
            });
            let Ok(Some(answer)) = connection.answer_to("POST") else { break };
            assert_eq!(answer.status, 200, "{}", answer.text());
            if shops { &mut crowd.shoppers } else { &mut crowd.buyers }.push(trace(&answer));
            seen.send(()).unwrap();
        }
        crowd
    }
}
