//! A policy that changes while the gateway runs: a good one is in force at once, a bad one not at
//! all, and either way no request notices the change itself.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::gateway::{Gateway, Guard, MUG, kind};
use crate::support::http::{Connection, get, post, request};
use crate::support::merchant::Merchant;

const OPEN: &str = "store = \"shop\"\nmode = \"enforce\"\n";
const CLOSED: &str = "store = \"shop\"\nmode = \"enforce\"\ntokenless = \"require\"\n";
const OK: &str = "permyx_config_last_reload_successful{kind=\"policy\"}";
/// How soon a change is promised to be in force.
const PROMISED: Duration = Duration::from_secs(1);

struct Stand {
    gateway: &'static Gateway,
    _merchant: Merchant,
}

static STAND: LazyLock<Mutex<Stand>> = LazyLock::new(|| {
    let merchant = Merchant::selling();
    let gateway = Gateway::start(&[Guard::enforcing("shop", merchant.url())], "").shared();
    Mutex::new(Stand { gateway, _merchant: merchant })
});

/// The stand, with the open policy in force, for one test at a time.
fn stand() -> MutexGuard<'static, Stand> {
    let stand = STAND.lock().unwrap_or_else(PoisonError::into_inner);
    stand.write(OPEN);
    stand.wait_until("the open policy is in force", || stand.shop() == 200);
    stand
}

impl Stand {
    fn write(&self, text: &str) {
        self.gateway.dir().write("policies/shop.toml", text);
    }

    /// The status of a shopper's purchase: 200, or 403 where a token is required.
    fn shop(&self) -> u16 {
        post(self.gateway.address(), "/shop", &[], MUG).status
    }

    fn metric(&self, name: &str) -> String {
        let metrics = get(self.gateway.ops(), "/metrics").text();
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        line.rsplit(' ').next().unwrap().to_owned()
    }

    fn readiness(&self) -> (u16, Value) {
        let answer = get(self.gateway.ops(), "/readyz?verbose");
        (answer.status, answer.json())
    }

    fn wait_until(&self, what: &str, is: impl Fn() -> bool) -> Duration {
        let started = Instant::now();
        while !is() {
            assert!(started.elapsed() < PATIENCE, "never: {what}\n{}", self.gateway.log());
        }
        started.elapsed()
    }
}

/// One answered request of a load: when it was sent and how it was answered.
type Answered = (Instant, u16);

/// Many connections of shoppers, until they are told to stop.
#[derive(Default)]
struct Crowd {
    answered: AtomicUsize,
    stop: AtomicBool,
}

impl Crowd {
    fn shop(&self, gateway: &Gateway) -> Vec<Answered> {
        let (mut connection, mut answers) = (Connection::open(gateway.address()), Vec::new());
        while !self.stop.load(Ordering::Acquire) {
            let sent = Instant::now();
            connection.send(request("POST", "/shop", &[], MUG));
            answers.push((sent, connection.answer().expect("an answer").status));
            self.answered.fetch_add(1, Ordering::AcqRel);
        }
        answers
    }

    /// Waits for this many more answers.
    fn more(&self, count: usize) {
        let (goal, started) = (self.answered.load(Ordering::Acquire) + count, Instant::now());
        while self.answered.load(Ordering::Acquire) < goal {
            assert!(started.elapsed() < PATIENCE, "the load stands still");
            std::thread::yield_now();
        }
    }
}

#[test]
fn an_edit_changes_decisions_under_load_and_a_mistake_does_not() {
    let stand = stand();
    let crowd = Crowd::default();
    let (changed, answers): (_, Vec<Vec<Answered>>) = std::thread::scope(|scope| {
        let connections: Vec<_> = (0..4).map(|_| scope.spawn(|| crowd.shop(stand.gateway))).collect();
        crowd.more(1_000);
        let changed = Instant::now();
        stand.write(CLOSED);
        stand.wait_until("the change is in force", || stand.shop() == 403);
        stand.write(&OPEN.replace("enforce", "enfroce"));
        stand.wait_until("the mistake is noticed", || stand.metric(OK) == "0");
        crowd.more(1_000);
        crowd.stop.store(true, Ordering::Release);
        (changed, connections.into_iter().map(|one| one.join().unwrap()).collect())
    });
    let total: usize = answers.iter().map(Vec::len).sum();
    let first = answers.iter().flatten().filter(|(_, status)| *status == 403).map(|(sent, _)| *sent).min().unwrap();
    println!("in force {:?} after the change, {total} requests", first - changed);
    assert!(first - changed < PROMISED, "in force after {:?}", first - changed);
    for connection in &answers {
        let statuses: Vec<u16> = connection.iter().map(|(_, status)| *status).collect();
        assert!(statuses.iter().all(|status| [200, 403].contains(status)), "{statuses:?}");
        assert!(statuses.is_sorted(), "the old policy came back");
    }
}

#[test]
fn a_broken_file_changes_nothing_and_is_told_everywhere() {
    let stand = stand();
    let rejected = "permyx_config_reloads_total{kind=\"policy\",result=\"rejected\"}";
    for (text, said) in [
        ("store = \"shop\"\nmode = \"enforced\"\n", "shop.toml:2: unknown variant `enforced`; did you mean `enforce`?"),
        ("store = \"shop\"\nmode = \"enforce\"\nallow_everything = true\n", "allow_everything"),
        ("store = \"shop\"\nmode = ", "shop.toml"),
    ] {
        stand.write(text);
        stand.wait_until("the broken file is noticed", || stand.metric(OK) == "0");
        let (status, told) = stand.readiness();
        let error = told["notes"]["policy_error"].as_str().unwrap_or_default();
        assert!(error.contains("shop.toml") && error.contains(said), "{told}");
        // What was good before is in force, so the gateway serves.
        assert_eq!((status, &told["ready"], stand.shop()), (200, &Value::Bool(true), 200), "{told}");
        stand.wait_until("the log tells", || stand.gateway.log().contains("policy not taken"));
        let events = stand.gateway.events();
        let last = events.iter().rfind(|event| kind(event) == "policy.rejected").unwrap();
        assert!(last["data"]["cause"].as_str().unwrap().contains(said), "{last}");
        assert_ne!(stand.metric(rejected), "0");
        stand.write(OPEN);
        stand.wait_until("the good file is taken", || stand.metric(OK) == "1");
        assert_eq!(stand.readiness().1["notes"]["policy_error"], Value::Null);
    }
}

/// A second file for the same store is a mistake of the whole directory: none of it is taken.
#[test]
fn two_files_for_one_store_are_none() {
    let stand = stand();
    let other = stand.gateway.dir().write("policies/shop-2.toml", "store = \"shop\"\nmode = \"observe\"\n");
    stand.wait_until("the mistake is noticed", || stand.readiness().1["notes"]["policy_error"] != Value::Null);
    assert_eq!(stand.shop(), 200);
    std::fs::remove_file(other).unwrap();
    stand.wait_until("the mistake is gone", || stand.readiness().1["notes"]["policy_error"] == Value::Null);
}

/// Kubernetes never writes a mounted file: it swaps the directory behind a link named `..data`.
#[test]
fn a_swapped_directory_is_a_change() {
    let stand = stand();
    let dir = stand.gateway.dir().path().join("policies");
    let version = |name: &str, text: &str| {
        std::fs::create_dir(dir.join(name)).unwrap();
        std::fs::write(dir.join(name).join("shop.toml"), text).unwrap();
        symlink(name, dir.join("..data_tmp")).unwrap();
        std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    };
    version("..2026_11_23", OPEN);
    symlink("..data/shop.toml", dir.join(".link")).unwrap();
    std::fs::rename(dir.join(".link"), dir.join("shop.toml")).unwrap();
    assert_eq!(stand.shop(), 200);
    version("..2026_11_24", CLOSED);
    let took = stand.wait_until("the swapped policy is in force", || stand.shop() == 403);
    println!("in force {took:?} after the swap");
    assert!(took < PROMISED, "in force after {took:?}");
    let events = stand.gateway.events();
    let activated = events.iter().rfind(|event| kind(event) == "policy.activated").unwrap();
    let hash = permyx::model::intent::Sha256::of(CLOSED.as_bytes()).to_string();
    assert_eq!(activated["data"]["policyHash"], hash.as_str());
    // A plain file again, for the other tests.
    std::fs::write(dir.join(".plain"), OPEN).unwrap();
    std::fs::rename(dir.join(".plain"), dir.join("shop.toml")).unwrap();
}

/// Without its file a store would only be observed: losing one must not open its gate.
#[test]
fn a_policy_that_is_gone_stays_in_force() {
    let stand = stand();
    stand.write(CLOSED);
    stand.wait_until("the change is in force", || stand.shop() == 403);
    std::fs::remove_file(stand.gateway.dir().path().join("policies/shop.toml")).unwrap();
    stand.wait_until("the loss is noticed", || stand.metric(OK) == "0");
    assert_eq!(stand.shop(), 403);
    let told = stand.readiness().1["notes"]["policy_error"].to_string();
    assert!(told.contains("the policy of `shop` is gone"), "{told}");
}
