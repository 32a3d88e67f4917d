//! How fast do events get from a spool into the store? One number over many: the store grows, so a
//! mean of equal rounds would hide what its indexes cost.
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up ends")]
#![expect(clippy::print_stdout, reason = "a bench tells what it found")]

use std::sync::Arc;
use std::time::Instant;

use permyx::clock::Clock;
use permyx::evidence::{Class, Consumed, Followed, Follower, Spool, SpoolOptions, store};
use permyx::model::event::{Event, EventKind};
use permyx::model::ids::{AgentId, Jti, StoreId, TraceId};
use permyx::model::intent::Sha256;
use permyx::model::time::Timestamp;
use permyx::telemetry::metrics::Metrics;

/// How many, when it is run as a bench; run as a test it only shows that it works.
const EVENTS: u64 = 200_000;
const EVENTS_OF_A_TEST: u64 = 2_000;
/// Events between two looks at the clock.
const ROUND: u64 = 50_000;

fn settled() -> Event {
    let mut event = Event::new(EventKind::ExecutionValidated, Timestamp::of_seconds(1_795_000_000), TraceId::random());
    event.data.agent_id = AgentId::parse("ak_demo").ok();
    event.data.store_id = StoreId::parse("store-123").ok();
    event.data.stage = Some("gateway");
    event.data.decision = Some("allowed");
    event.data.route = Some("checkout".into());
    event.data.variant_id = Some("shopify:variant:123456".into());
    event.data.quantity = Some(1);
    event.data.price = Some("29.99 USD".into());
    event.data.intent_hash = Some(Sha256::of(b"intent"));
    event.data.policy_hash = Some(Sha256::of(b"policy"));
    event.data.http_status = Some(201);
    event.data.cause = Some("committed".into());
    event.of_token(Jti::random())
}

fn main() {
    let events = if std::env::args().any(|arg| arg == "--bench") { EVENTS } else { EVENTS_OF_A_TEST };
    let dir = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let options = SpoolOptions {
        dir: dir.path().join("spool"),
        source: "/gateways/bench".to_owned(),
        limit_bytes: 1 << 30,
        segment_bytes: 16 << 20,
        class: Class::Spool,
    };
    let spool = Spool::open(options.clone(), Clock::system(), Arc::clone(&metrics)).unwrap();
    for _ in 0..events {
        let _receipt = spool.append(&settled()).unwrap();
    }
    spool.close().unwrap();
    let (store, writer) = store::open(&dir.path().join("evidence.db")).unwrap();
    let followed = vec![Followed { dir: options.dir, consumed: Consumed::ReleasedAfter(std::time::Duration::ZERO) }];
    let started = Instant::now();
    let follower = Follower::start(writer, followed, None, Clock::system(), metrics).unwrap();
    let mut seen = (0, started);
    while seen.0 < events {
        std::thread::sleep(std::time::Duration::from_millis(5));
        let (size, now) = (store.size().unwrap(), Instant::now());
        if size - seen.0 >= ROUND || size >= events {
            let seconds = now.duration_since(seen.1).as_secs_f64();
            println!("events {} to {size}: {:.0} events/s", seen.0, (size - seen.0) as f64 / seconds);
            seen = (size, now);
        }
    }
    println!("follow: {:.0} events/s over all", seen.0 as f64 / started.elapsed().as_secs_f64());
    follower.stop();
}
