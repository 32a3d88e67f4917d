//! What does one event cost the request that waits for it, and what does waiting for the disk?
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up ends")]

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use permyx::clock::Clock;
use permyx::evidence::{Class, Spool, SpoolOptions};
use permyx::model::event::{Event, EventKind, Link};
use permyx::model::ids::{AgentId, Jti, StoreId, TraceId};
use permyx::model::intent::Sha256;
use permyx::model::scope::Scope;
use permyx::model::time::Timestamp;
use permyx::telemetry::metrics::Metrics;

/// Appends between two releases, so that a long bench does not fill the disk.
const KEPT: u64 = 20_000;

/// As much as a reservation in enforce mode records.
fn reserved() -> Event {
    let trace = TraceId::random();
    let mut event = Event::new(EventKind::ExecutionReserved, Timestamp::of_seconds(1_795_000_000), trace);
    event.data.agent_id = AgentId::parse("ak_demo").ok();
    event.data.store_id = StoreId::parse("store-123").ok();
    event.data.scope = Some(Scope::AgentExec);
    event.data.stage = Some("gateway");
    event.data.enforcement = Some("enforce");
    event.data.decision = Some("allowed");
    event.data.route = Some("checkout".into());
    event.data.variant_id = Some("shopify:variant:123456".into());
    event.data.quantity = Some(1);
    event.data.price = Some("29.99 USD".into());
    event.data.intent_hash = Some(Sha256::of(b"intent"));
    event.data.policy_hash = Some(Sha256::of(b"policy"));
    event.of_token(Jti::random())
}

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
    let (spool, event) = (open(&dir), reserved());
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
