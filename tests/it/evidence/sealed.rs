//! The log of a running control plane: signed within a second, provable, and never another one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use permyx::clock::Clock;
use permyx::evidence::{Class, Consumed, Followed, Follower, LogPlace, Sealer, Spool, SpoolOptions, Store, store};
use permyx::model::event::{Event, EventKind};
use permyx::model::ids::TraceId;
use permyx::model::time::Timestamp;
use permyx::telemetry::metrics::Metrics;
use permyx::tlog::checkpoint::{Checkpoint, Trusted};
use permyx::tlog::key::VerifierKey;
use permyx::tlog::proof::Proof;
use serde_json::Value;

use super::judges::{Case, Python, verdicts};
use crate::support::PATIENCE;
use crate::support::control::Control;
use crate::support::dir::TempDir;
use crate::support::gateway::kind;
use crate::support::http::{get, post};

/// The year of its log, and the size of its last checkpoint.
fn published(control: &Control) -> (String, u64) {
    let keys = control.get("/log/keys").text();
    let year = keys.lines().last().and_then(|line| line.split('+').next()).and_then(|name| name.rsplit('/').next());
    let year = year.unwrap_or_default().to_owned();
    let note = control.get(&format!("/log/{year}/checkpoint")).text();
    (year, note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0))
}

/// Waits until every event is in a signed checkpoint.
#[track_caller]
pub(super) fn sealed(control: &Control, at_least: u64) -> (String, u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (year, size) = published(control);
        if size >= at_least {
            return (year, size);
        }
        assert!(Instant::now() < deadline, "{size} of {at_least} events are signed");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

fn case(control: &Control, path: PathBuf, checkpoints: Vec<PathBuf>) -> Case {
    let keys = control.get("/log/keys").text().lines().map(str::to_owned).collect();
    Case { path, keys, checkpoints }
}

/// Both verifiers say the same, and that it holds.
#[track_caller]
fn assert_holds(case: &Case) -> Value {
    let (ours, theirs) = (case.judged(), Python::start().judged(case));
    assert_eq!(ours["exit"], 0, "{ours:#}");
    assert_eq!(verdicts(&ours), verdicts(&theirs));
    ours
}

pub(super) fn trusted(control: &Control) -> Trusted {
    let keys = control.get("/log/keys").text();
    Trusted::new(keys.lines().map(|line| VerifierKey::parse(line).unwrap()).collect()).unwrap()
}

/// Makes events: each is an observation of an agent.
pub(super) fn act(control: &Control, key: &str, times: usize) {
    for _ in 0..times {
        let body = r#"{"storeId":"shop","hasToken":false}"#;
        let answer = control.send(key, "/agents/v1/exec/observe", &[], body);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[test]
fn what_happens_is_signed_proven_and_continued_after_a_kill() {
    let mut control = Control::start();
    let agent = control.key(&["--role", "agent", "--store", "shop"]);
    act(&control, &agent, 300);
    let (year, size) = sealed(&control, 301);
    let root = control.dir().path().join("data/log").join(&year);
    assert_holds(&case(&control, root.clone(), vec![]));
    let kept = control.dir().path().join("kept");
    std::fs::copy(root.join("checkpoint"), &kept).unwrap();

    control.kill();
    control.start_again();
    act(&control, &agent, 10);
    sealed(&control, size + 11);
    let told = assert_holds(&case(&control, root.clone(), vec![kept]));
    assert_eq!(verdicts(&told)["consistency"], "PASS");

    let event = control.events().into_iter().rfind(|event| kind(event) == "execution.observed").unwrap();
    let id = event["id"].as_str().unwrap();
    let proof = control.get(&format!("/v1/evidence/proof/{id}"));
    assert_eq!(proof.status, 200, "{}", proof.text());
    assert!(proof.text().len() <= 1536);
    let included =
        Proof::parse(proof.text().as_bytes()).unwrap().open(event.to_string().as_bytes(), &trusted(&control));
    included.unwrap();

    // Hashes are for everybody, events are not.
    let tile = |kind: &str| format!("/log/{year}/tile/{kind}/000");
    assert_eq!(get(address(&control), &tile("0")).status, 200);
    assert_eq!(get(address(&control), &tile("entries")).status, 401);
    assert_eq!(control.get(&tile("entries")).status, 200);
    assert_eq!(control.get(&format!("/log/{year}/tile/entries/..%2F..%2Fkeys")).status, 404);
    assert_eq!(post(address(&control), "/log/keys", &[], "").status, 405);
}

fn address(control: &Control) -> std::net::SocketAddr {
    control.url().trim_start_matches("http://").parse().unwrap()
}

#[test]
fn a_bundle_is_given_out_with_a_record_of_it_and_verifies_without_a_connection() {
    let control = Control::start();
    let agent = control.key(&["--role", "agent", "--store", "shop"]);
    act(&control, &agent, 5);
    sealed(&control, 6);
    let event = control.events().into_iter().find(|event| kind(event) == "execution.observed").unwrap();
    let trace = event["data"]["traceId"].as_str().unwrap();
    let range = "/v1/evidence/export?from=0&to=5".to_owned();
    for (n, path) in [format!("/v1/evidence/export/{trace}"), range].iter().enumerate() {
        let bundle = control.get(path);
        assert_eq!(bundle.status, 200, "{path}: {}", bundle.text());
        let file = control.dir().path().join(format!("{n}.pmx"));
        std::fs::write(&file, &bundle.body).unwrap();
        assert_holds(&case(&control, file, vec![]));
    }
    control.wait_for("records of the exports", |events| {
        events.iter().filter(|event| kind(event) == "evidence.exported").count() == 2
    });
    let beyond = format!("/v1/evidence/export/{trace}?since=5000");
    for (path, status) in
        [("/v1/evidence/export/nobody", 404), ("/v1/evidence/export?from=0&to=5000", 400), (&beyond, 400)]
    {
        assert_eq!(control.get(path).status, status, "{path}");
    }
    let merchant = control.key(&["--role", "merchant", "--store", "other"]);
    let key = format!("X-API-Key: {merchant}");
    let asked = |path: &str| {
        let request = crate::support::http::request("GET", path, &[&key], "");
        crate::support::http::exchange(address(&control), request).unwrap().status
    };
    assert_eq!(asked(&format!("/v1/evidence/export/{trace}")), 404);
    assert_eq!(asked("/v1/evidence/export?from=0&to=5"), 403);
}

#[test]
fn lost_tiles_are_made_anew_and_a_store_that_was_set_back_is_not_signed() {
    let mut control = Control::start();
    let agent = control.key(&["--role", "agent", "--store", "shop"]);
    act(&control, &agent, 20);
    let (year, _) = sealed(&control, 21);
    control.kill();
    let data = control.dir().path().join("data");
    let (root, backup) = (data.join("log").join(&year), control.dir().path().join("backup"));
    copy(&data.join("evidence"), &backup);
    std::fs::remove_dir_all(root.join("tile")).unwrap();
    control.start_again();
    act(&control, &agent, 20);
    let (_, size) = sealed(&control, 42);
    assert_holds(&case(&control, root.clone(), vec![]));

    // The store is an older one, and the spool does not hold what is missing any more.
    control.kill();
    std::fs::remove_dir_all(data.join("evidence")).unwrap();
    std::fs::rename(&backup, data.join("evidence")).unwrap();
    std::fs::remove_dir_all(data.join("spool")).unwrap();
    let before = std::fs::read(root.join("checkpoint")).unwrap();
    control.start_again();
    act(&control, &agent, 60);
    control.wait_for("new events", |events| events.len() as u64 > size);
    let deadline = Instant::now() + PATIENCE;
    while !control.log().contains("another log is not signed") {
        assert!(Instant::now() < deadline, "{}", control.log());
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert_eq!(std::fs::read(root.join("checkpoint")).unwrap(), before);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// A store that is filled and sealed in this process, with a clock that is moved.
struct Lane {
    dir: TempDir,
    clock: Clock,
    store: Arc<Store>,
}

impl Lane {
    fn run(&self, spool: &Spool, events: usize) {
        for _ in 0..events {
            let _ = spool.append(&Event::new(EventKind::SystemStarted, self.clock.now(), TraceId::random())).unwrap();
        }
    }

    /// Follows and seals until everything is taken.
    fn take(&self) {
        let metrics = Arc::new(Metrics::new().unwrap());
        let place = LogPlace { data: self.dir.path().to_owned(), name: "shop.example/permyx".to_owned() };
        let sealer = Sealer::start(self.store.clone(), place, self.clock.clone(), metrics.clone()).unwrap();
        let (_, writer) = store::open(&self.dir.path().join("evidence.db")).unwrap();
        let followed = vec![Followed { dir: self.dir.path().join("spool"), consumed: Consumed::Kept }];
        let follower = Follower::start(writer, followed, Some(sealer.closer()), self.clock.clone(), metrics).unwrap();
        follower.stop();
        sealer.stop();
    }
}

#[test]
fn a_year_ends_with_a_checkpoint_that_the_next_one_begins_with() {
    let dir = TempDir::new();
    // 2026-12-31T23:59:59Z
    let clock = Clock::manual(Timestamp::of_millis(1_798_761_599_000));
    let (store, _) = store::open(&dir.path().join("evidence.db")).unwrap();
    let lane = Lane { dir, clock, store: Arc::new(store) };
    let options = SpoolOptions {
        dir: lane.dir.path().join("spool"),
        source: "/gateways/a".to_owned(),
        limit_bytes: 1 << 30,
        segment_bytes: 1 << 20,
        class: Class::Spool,
    };
    let spool = Spool::open(options, lane.clock.clone(), Arc::new(Metrics::new().unwrap())).unwrap();
    lane.run(&spool, 300);
    lane.take();
    lane.run(&spool, 10);
    lane.clock.advance(2000);
    lane.take();
    lane.run(&spool, 10);
    lane.take();
    let logs = lane.store.logs().unwrap();
    assert_eq!(logs.iter().map(|log| (log.year, log.first)).collect::<Vec<_>>(), [(2026, 1), (2027, 302)]);
    let keys = |year: u16| {
        let public = permyx::evidence::log::LogKeys::open(lane.dir.path(), lane.clock.now()).unwrap().list().unwrap();
        let dir = permyx::evidence::log::LogDir::of(lane.dir.path(), "shop.example/permyx", year).unwrap();
        vec![public[0].verifier(dir.origin()).unwrap().to_string()]
    };
    for (year, size) in [(2026, 301), (2027, 21)] {
        let path = lane.dir.path().join("log").join(year.to_string());
        let case = Case { path: path.clone(), keys: keys(year), checkpoints: vec![] };
        let (ours, theirs) = (case.judged(), Python::start().judged(&case));
        assert_eq!((&ours["size"], &ours["exit"]), (&size.into(), &0.into()), "{ours:#}");
        assert_eq!(verdicts(&ours), verdicts(&theirs));
    }
    let first = lane.store.leaves(logs[1], 0, 1).unwrap();
    let opened: Value = serde_json::from_slice(&first[0]).unwrap();
    let last = std::fs::read_to_string(lane.dir.path().join("log/2026/checkpoint")).unwrap();
    assert_eq!((kind(&opened), &opened["data"]["checkpoint"]), ("evidence.log_opened", &last.clone().into()));
    let pinned = Trusted::new(vec![VerifierKey::parse(&keys(2026)[0]).unwrap()]).unwrap();
    assert_eq!(Checkpoint::open(last.as_bytes(), &pinned).unwrap().size(), 301);
}
