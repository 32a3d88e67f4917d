//! What does it cost to carry events from a spool into the store and its signed log, beside a bare insert
//! of the same rows into the same schema? Both in one run: compare only those.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench that cannot be set up ends")]
#![expect(clippy::print_stdout, reason = "a bench tells what it found")]

#[path = "support/purchase.rs"]
mod purchase;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use permyx::clock::Clock;
use permyx::evidence::log::LogDir;
use permyx::evidence::{
    Class, Consumed, Followed, Follower, Keep, LogPlace, Sealer, Spool, SpoolOptions, Store, store,
};
use permyx::telemetry::metrics::Metrics;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use purchase::purchase;

/// How many events, when it is run as a bench, and how often; run as a test it only shows that it works.
const SIZES: [(u64, usize); 4] = [(1_000, 9), (10_000, 5), (100_000, 3), (1_000_000, 3)];
const SIZES_OF_A_TEST: [(u64, usize); 1] = [(1_000, 1)];
/// As many as the store takes in one transaction.
const BATCH: usize = 512;
const NAME: &str = "bench.example/permyx";

/// How long it took until all were in the store, and until a signed checkpoint named all.
struct Ingested {
    stored: Duration,
    sealed: Duration,
}

fn fill(dir: &Path, events: u64, metrics: &Arc<Metrics>) {
    let options = SpoolOptions {
        dir: dir.to_owned(),
        source: "/gateways/bench".to_owned(),
        limit_bytes: 4 << 30,
        segment_bytes: 16 << 20,
        class: Class::Spool,
    };
    let spool = Spool::open(options, Clock::system(), Arc::clone(metrics)).unwrap();
    // It begins with its start and ends with its stop.
    for event in std::iter::repeat_with(purchase).flatten().take(events as usize - 2) {
        let _receipt = spool.append(&event).unwrap();
    }
    spool.close().unwrap();
}

/// Everything that a control plane does with events of a spool.
fn ingest(dir: &Path, events: u64) -> Ingested {
    let metrics = Arc::new(Metrics::new().unwrap());
    let (spool, clock) = (dir.join("spool"), Clock::system());
    fill(&spool, events, &metrics);
    let (store, writer) = store::open(&dir.join("evidence.db")).unwrap();
    let store = Arc::new(store);
    let place = LogPlace { data: dir.to_owned(), name: NAME.to_owned() };
    let started = Instant::now();
    let sealer = Sealer::start(store.clone(), place, clock.clone(), metrics.clone()).unwrap();
    let followed = vec![Followed { dir: spool, consumed: Consumed::ReleasedAfter(Keep::NOT_AT_ALL) }];
    let follower = Follower::start(writer, followed, Some(sealer.closer()), clock, metrics).unwrap();
    wait_until(|| store.size().unwrap() >= events);
    let stored = started.elapsed();
    wait_until(|| sealed(dir, &store) >= events);
    let sealed = started.elapsed();
    follower.stop();
    sealer.stop();
    Ingested { stored, sealed }
}

fn wait_until(is_so: impl Fn() -> bool) {
    while !is_so() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The size that the checkpoint names.
fn sealed(dir: &Path, store: &Store) -> u64 {
    let Some(log) = store.logs().unwrap().last().copied() else { return 0 };
    let root = LogDir::of(dir, NAME, log.year).unwrap().root().join("checkpoint");
    let note = std::fs::read_to_string(root).unwrap_or_default();
    note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
}

/// The rows that are there, once more into a store that is as new; only the inserts are timed.
fn insert_bare(dir: &Path) -> Duration {
    let from = Connection::open_with_flags(dir.join("evidence.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let bare = dir.join("bare.db");
    drop(store::open(&bare).unwrap());
    let mut into = Connection::open(&bare).unwrap();
    for (pragma, value) in [("synchronous", "FULL"), ("cache_size", "-32768"), ("wal_autocheckpoint", "4000")] {
        into.pragma_update(None, pragma, value).unwrap();
    }
    into.execute("INSERT INTO streams(id, identity, generation, next_seq) VALUES (1, 'bare', 1, 1)", []).unwrap();
    let mut select = from.prepare("SELECT * FROM events ORDER BY idx").unwrap();
    let columns = select.column_count();
    let insert = format!("INSERT INTO events VALUES (?{})", ", ?".repeat(columns - 1));
    let mut rows = select.query([]).unwrap();
    let mut spent = Duration::ZERO;
    loop {
        let mut batch: Vec<Vec<Value>> = Vec::with_capacity(BATCH);
        while batch.len() < BATCH
            && let Some(row) = rows.next().unwrap()
        {
            batch.push((0..columns).map(|column| row.get_unwrap(column)).collect());
        }
        if batch.is_empty() {
            return spent;
        }
        let started = Instant::now();
        let transaction = into.transaction().unwrap();
        let mut statement = transaction.prepare(&insert).unwrap();
        for row in &batch {
            statement.execute(params_from_iter(row)).unwrap();
        }
        drop(statement);
        transaction.commit().unwrap();
        spent += started.elapsed();
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

fn main() {
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let sizes: &[(u64, usize)] = if is_bench { &SIZES } else { &SIZES_OF_A_TEST };
    println!("µs an event, medians; speed is beside the bare insert");
    println!("| events | bare insert | stored | sealed too | speed of storing | of sealing too |");
    println!("|---:|---:|---:|---:|---:|---:|");
    for &(events, rounds) in sizes {
        let (mut bare, mut stored, mut sealed) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let dir = tempfile::tempdir().unwrap();
            let ingested = ingest(dir.path(), events);
            bare.push(insert_bare(dir.path()));
            stored.push(ingested.stored);
            sealed.push(ingested.sealed);
        }
        let [bare, stored, sealed] = [bare, stored, sealed].map(median);
        let [b, s, l] = [bare, stored, sealed].map(|seconds| seconds * 1e6 / events as f64);
        println!("| {events} | {b:.1} | {s:.1} | {l:.1} | {:.2} | {:.2} |", bare / stored, bare / sealed);
    }
}
