//! How fast is a whole log verified, beside merely reading, parsing and hashing the same bytes? Both in
//! one run: compare only those.
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up ends")]
#![expect(clippy::print_stdout, reason = "a bench tells what it found")]

#[path = "support/purchase.rs"]
mod purchase;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use permyx::audit::report::{Check, Verdict};
use permyx::audit::source::Directory;
use permyx::audit::trust::Trust;
use permyx::audit::verify_log;
use permyx::evidence::Body;
use permyx::model::event::Link;
use permyx::model::intent::Sha256;
use permyx::tlog::checkpoint::Checkpoint;
use permyx::tlog::entries;
use permyx::tlog::hash::{Hash, leaf_hash};
use permyx::tlog::key::{KeyName, SecretKey, Signer};
use permyx::tlog::merkle::Frontier;
use permyx::tlog::tile::{Kind, WIDTH, bytes_of, tile_of, tiles};

use purchase::{NOW, purchase};

/// How many, when it is run as a bench; run as a test it only shows that it works.
const EVENTS: u64 = 1_000_000;
const EVENTS_OF_A_TEST: u64 = 2_000;
const ROUNDS: usize = 3;
const SOURCE: &str = "/gateways/bench/0199f3a09d1b7c559d0e2f6a4d1f9b10";

fn put(dir: &Path, name: &str, bytes: &[u8]) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Writes a log of so many events, and says how many bytes they have.
fn build(dir: &Path, size: u64, signer: &Signer) -> u64 {
    let (mut tree, mut levels) = (Frontier::default(), BTreeMap::<u32, Vec<Hash>>::new());
    let (mut bundle, mut total) = (Vec::new(), 0);
    let mut link = Link::first(SOURCE, NOW);
    let mut events = std::iter::repeat_with(purchase).flatten();
    while tree.size() < size {
        let mut bytes = Vec::new();
        events.next().unwrap().write_json(&mut bytes, link);
        link = Link { sequence: link.sequence + 1, previous: Sha256::of_leaf(&bytes), ..link };
        total += bytes.len() as u64;
        entries::push(&mut bundle, &bytes).unwrap();
        tree.append(leaf_hash(&bytes), |level, hash| {
            if level % 8 == 0 {
                levels.entry(level / 8).or_default().push(hash);
            }
        });
        if tree.size() % u64::from(WIDTH) == 0 || tree.size() == size {
            let tile = tile_of(Kind::Entries, (tree.size() - 1) / u64::from(WIDTH), size).unwrap();
            put(dir, &tile.to_string(), &bundle);
            bundle.clear();
        }
    }
    for (level, hashes) in levels {
        for (index, hashes) in (0..).zip(hashes.chunks(WIDTH.into())) {
            put(dir, &tile_of(Kind::Hashes(level), index, size).unwrap().to_string(), &bytes_of(hashes));
        }
    }
    let checkpoint = Checkpoint { origin: signer.verifier().name().clone(), size, root: tree.root() };
    let note = checkpoint.sign(std::slice::from_ref(signer)).unwrap();
    put(dir, "checkpoint", note.to_string().as_bytes());
    total
}

/// Reads, parses and hashes every event, on one thread.
fn parse_and_hash(dir: &Path, size: u64) -> u64 {
    let mut seen = 0;
    for tile in tiles(size).filter(|tile| tile.kind() == Kind::Entries) {
        let bytes = std::fs::read(dir.join(tile.to_string())).unwrap();
        for entry in entries::read(&bytes, tile.width()).unwrap() {
            seen += u64::from(Body::read(entry).is_some());
            std::hint::black_box(leaf_hash(entry));
        }
    }
    seen
}

fn main() {
    let size = if std::env::args().any(|arg| arg == "--bench") { EVENTS } else { EVENTS_OF_A_TEST };
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::new(KeyName::parse("bench.example/2026").unwrap(), Arc::new(SecretKey::generate().unwrap()));
    let bytes = build(dir.path(), size, &signer);
    println!("verify: {size} events of {} bytes", bytes / size);
    let (source, trust) = (Directory(dir.path().to_owned()), Trust::new(vec![signer.verifier().clone()]));
    for round in 1..=ROUNDS {
        let started = Instant::now();
        assert_eq!(parse_and_hash(dir.path(), size), size);
        let parsed = started.elapsed();
        let started = Instant::now();
        let report = verify_log(&source, &trust, &[], &mut |_, _| {});
        let verified = started.elapsed();
        let passed = report.checks.iter().filter(|outcome| outcome.check != Check::Consistency);
        assert!(passed.into_iter().all(|outcome| outcome.verdict == Verdict::Pass), "{report:?}");
        let rate = |time: std::time::Duration| size as f64 / time.as_secs_f64();
        let ratio = rate(verified) / rate(parsed);
        println!(
            "round {round}: parse and hash {:.0} events/s, verify {:.0} events/s, ratio {ratio:.2}",
            rate(parsed),
            rate(verified)
        );
    }
}
