//! What does one event cost the request that waits for it, and what does waiting for the disk?
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up ends")]

#[path = "support/purchase.rs"]
mod purchase;

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use permyx::clock::Clock;
use permyx::evidence::{Class, Spool, SpoolOptions};
use permyx::model::event::Link;
use permyx::telemetry::metrics::Metrics;

use purchase::purchase;

/// Appends between two releases, so that a long bench does not fill the disk.
const KEPT: u64 = 20_000;

fn open(dir: &tempfile::TempDir) -> Spool {
    let options = SpoolOptions {
        dir: dir.path().join("spool"),
        source: "/gateways/bench".to_owned(),
        limit_bytes: 1 << 30,
        segment_bytes: 8 << 20,
        class: Class::Spool,
    };
    Spool::open(options, Clock::system(), Arc::new(Metrics::new().unwrap())).unwrap()
}

fn appends(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let (spool, [event, _settled]) = (open(&dir), purchase());
    let append = || {
        let sequence = spool.append(&event).unwrap().sequence();
        if sequence.is_multiple_of(KEPT) {
            spool.release_before(sequence).unwrap();
        }
    };
    let mut group = c.benchmark_group("spool");
    group.bench_function("serialise", |b| {
        let mut buffer = Vec::new();
        b.iter(|| {
            buffer.clear();
            event.write_json(&mut buffer, Link::first("/gateways/bench", event.time));
        });
    });
    group.bench_function("append", |b| b.iter(append));
    group.bench_function("append and sync", |b| {
        b.iter(|| {
            append();
            spool.sync().unwrap();
        });
    });
    group.finish();
}

criterion_group!(benches, appends);
criterion_main!(benches);
