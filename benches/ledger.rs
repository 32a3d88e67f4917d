//! What does burning cost in memory, and does it stay flat from a thousand to a million live tokens?
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up ends")]

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use permyx::clock::Clock;
use permyx::ledger::memory::MemoryLedger;
use permyx::ledger::{Claim, Ledger, Namespace, Reserve, Settlement};
use permyx::model::ids::{Jti, StoreId, TraceId};
use permyx::model::time::Timestamp;

const START: Timestamp = Timestamp::of_seconds(1_795_000_000);
/// Longer than the ledger remembers a token.
const RETENTION_MS: usize = 300_000;

/// The memory ledger never waits: its futures are ready at once.
fn done<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

struct Burner {
    ledger: MemoryLedger,
    clock: Clock,
    store: StoreId,
    burned: usize,
    /// Tokens that are remembered once the ledger is warm.
    live: usize,
}

impl Burner {
    fn new(dir: &tempfile::TempDir, live: usize) -> Self {
        let clock = Clock::manual(START);
        let ledger = MemoryLedger::open(dir.path(), 10 * live.max(1000), clock.clone(), 0).unwrap();
        clock.advance(2000);
        let mut burner = Self { ledger, clock, store: StoreId::parse("store-123").unwrap(), burned: 0, live };
        for _ in 0..2 * live {
            burner.burn(Jti::random());
        }
        burner
    }

    fn claim(&self, jti: Jti) -> Claim {
        let trace = TraceId::random();
        Claim { namespace: Namespace::Enforce, store: self.store.clone(), jti, issued: self.clock.now(), trace }
    }

    /// Burns a token; time goes on just so fast that `live` tokens are remembered.
    fn burn(&mut self, jti: Jti) {
        self.burned += 1;
        if self.burned * RETENTION_MS / self.live > (self.burned - 1) * RETENTION_MS / self.live {
            self.clock.advance((RETENTION_MS / self.live).max(1).try_into().unwrap());
        }
        if let Some(Ok(Reserve::First(reservation))) = done(self.ledger.reserve(self.claim(jti))) {
            done(self.ledger.settle(reservation, Settlement::Burned)).unwrap().unwrap();
        }
    }
}

fn burns(c: &mut Criterion) {
    let mut group = c.benchmark_group("ledger");
    for (name, live) in [("burn, 10^3 live", 1_000), ("burn, 10^6 live", 1_000_000)] {
        let dir = tempfile::tempdir().unwrap();
        let mut burner = Burner::new(&dir, live);
        let entries = burner.ledger.health().entries;
        assert!((live / 2..live * 2).contains(&entries), "{entries} live tokens, not about {live}");
        group.bench_function(name, |b| b.iter_batched(Jti::random, |jti| burner.burn(jti), BatchSize::SmallInput));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut burner = Burner::new(&dir, 1_000);
    let replayed = Jti::random();
    burner.burn(replayed);
    let claim = burner.claim(replayed);
    assert!(matches!(done(burner.ledger.reserve(claim.clone())), Some(Ok(Reserve::Spent { .. }))));
    group.bench_function("replay", |b| b.iter(|| done(burner.ledger.reserve(black_box(claim.clone())))));
    group.finish();
}

criterion_group!(benches, burns);
criterion_main!(benches);
