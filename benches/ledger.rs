//! What does the ledger in memory cost: bytes for each live token, time for each burn, and how long
//! can one call take? Does all of it stay flat from a thousand to a million live tokens?
//!
//! Bytes are counted at the allocator, so they include every index, every gap and all slack.
#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a bench that cannot run stops, and it talks to whoever runs it"
)]

#[path = "support/heap.rs"]
mod heap;

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use permyx::clock::Clock;
use permyx::decide::velocity::Limits;
use permyx::ledger::memory::MemoryLedger;
use permyx::ledger::{Claim, Digest, Ledger, Namespace, Reserve, Retry, Settlement, Slot};
use permyx::model::ids::{AgentId, Jti, StoreId, TraceId};
use permyx::model::time::Timestamp;

#[global_allocator]
static HEAP: heap::Counted = heap::Counted;

const START: Timestamp = Timestamp::of_seconds(1_795_000_000);
const RETENTION_MS: i64 = permyx::ledger::RETENTION_MS;
/// Burns that a time is the mean of.
const TIMED: usize = 200_000;
/// Claims are made in batches of this size, outside of what is timed.
const BATCH: usize = 1000;

/// The memory ledger never waits: its futures are ready at once.
fn done<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => std::process::abort(),
    }
}

/// What a claim asks of the ledger beside the burn.
#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Retried,
    Limited,
}

struct Burner {
    ledger: MemoryLedger,
    clock: Clock,
    store: StoreId,
    agent: AgentId,
    kind: Kind,
}

impl Burner {
    fn new(dir: &tempfile::TempDir, kind: Kind) -> Self {
        let clock = Clock::manual(START);
        let ledger = MemoryLedger::open(dir.path(), 4_000_000, clock.clone(), 0).unwrap();
        clock.advance(2000);
        let (store, agent) = (StoreId::parse("store-123").unwrap(), AgentId::parse("ak_demo").unwrap());
        Self { ledger, clock, store, agent, kind }
    }

    fn claim(&self) -> Claim {
        let digest = Digest::from_bytes([7; 16]);
        let limits = Limits { orders_per_hour: Some(u32::MAX), ..Limits::default() };
        Claim {
            slot: Slot { namespace: Namespace::Enforce, store: self.store.clone(), jti: Jti::random() },
            trace: TraceId::random(),
            issued: self.clock.now(),
            agent: self.agent.clone(),
            retry: matches!(self.kind, Kind::Retried).then_some(Retry { key: digest, request: digest }),
            purpose: None,
            confirmed: None,
            limits: if matches!(self.kind, Kind::Limited) { limits } else { Limits::default() },
            amount: 100,
            if_unanswered: Settlement::Released,
        }
    }

    fn burn(&self, claim: Claim) {
        if let Ok(Reserve::First(reservation)) = done(self.ledger.reserve(claim)) {
            done(self.ledger.settle(reservation, Settlement::Burned, None)).unwrap();
        }
    }

    /// Burns so many tokens; what every reservation took.
    fn burn_many(&self, count: usize, took: &mut Vec<Duration>) {
        for _ in 0..count {
            let claim = self.claim();
            let start = Instant::now();
            let found = done(self.ledger.reserve(claim));
            took.push(start.elapsed());
            if let Ok(Reserve::First(reservation)) = found {
                done(self.ledger.settle(reservation, Settlement::Burned, None)).unwrap();
            }
        }
    }

    /// Nanoseconds of a burn while time goes on just so fast that `live` tokens are remembered.
    fn steady_ns(&self, live: usize, count: usize) -> f64 {
        let (mut spent, mut due) = (Duration::ZERO, 0.0);
        for _ in 0..count.div_ceil(BATCH) {
            let claims: Vec<_> = (0..BATCH).map(|_| self.claim()).collect();
            let start = Instant::now();
            for claim in claims {
                due += RETENTION_MS as f64 / live as f64;
                if due >= 1.0 {
                    self.clock.advance(due as i64);
                    due = due.fract();
                }
                self.burn(claim);
            }
            spent += start.elapsed();
        }
        spent.as_nanos() as f64 / (count.div_ceil(BATCH) * BATCH) as f64
    }
}

/// One row: a ledger that grew to `live` tokens, and then kept as many while some came and others
/// went.
fn row(name: &str, kind: Kind, live: usize, timed: usize) {
    let dir = tempfile::tempdir().unwrap();
    let burner = Burner::new(&dir, kind);
    let empty = heap::bytes();
    (0..live).for_each(|_| burner.burn(burner.claim()));
    let grown = (heap::bytes() - empty) as f64 / live as f64;
    // Twice over, so that the index has seen as many leave as come.
    burner.steady_ns(live, 2 * live);
    let ns = burner.steady_ns(live, timed);
    let entries = burner.ledger.health().entries;
    assert!((live / 2..=live * 2).contains(&entries), "{entries} live tokens, not about {live}");
    let steady = (heap::bytes() - empty) as f64 / entries as f64;
    println!("| {name} | {live} | {grown:.0} | {steady:.0} | {ns:.0} |");
}

/// One row: the longest that a call took, of the best of three rounds. The rest is what else the
/// machine did; a round of nothing at all tells how much that is.
fn longest(name: &str, round: impl Fn(&Burner, &mut Vec<Duration>)) {
    let once = || {
        let (dir, mut took) = (tempfile::tempdir().unwrap(), Vec::new());
        round(&Burner::new(&dir, Kind::Plain), &mut took);
        took.sort_unstable();
        let most = took.get(took.len() - 1 - took.len() / 10_000).copied();
        (took.pop().unwrap_or_default(), most.unwrap_or_default())
    };
    let (longest, most) = [once(), once(), once()].into_iter().min().unwrap_or_default();
    println!("| {name} | {:.1} | {:.0} |", micros(most), micros(longest));
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

fn expiring(burner: &Burner, live: usize, took: &mut Vec<Duration>) {
    (0..live).for_each(|_| burner.burn(burner.claim()));
    burner.clock.advance(RETENTION_MS);
    burner.burn_many(live / 4, took);
    assert!(burner.ledger.health().entries <= live / 2);
}

fn nothing(count: usize, took: &mut Vec<Duration>) {
    for _ in 0..count {
        let start = Instant::now();
        took.push(start.elapsed());
    }
}

/// Nanoseconds to tell a replay.
fn replay_ns(count: usize) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let burner = Burner::new(&dir, Kind::Plain);
    let claim = burner.claim();
    burner.burn(claim.clone());
    let start = Instant::now();
    for _ in 0..count {
        assert!(matches!(done(burner.ledger.reserve(claim.clone())), Ok(Reserve::Known(_))));
    }
    start.elapsed().as_nanos() as f64 / count as f64
}

fn main() {
    // Only `cargo bench` says so; `cargo test` runs every bench once, to see that it runs.
    let smoke = !std::env::args().any(|arg| arg == "--bench");
    let sizes: &[usize] = if smoke { &[1_000] } else { &[1_000, 100_000, 1_000_000] };
    let timed = if smoke { BATCH } else { TIMED };
    println!("| tokens | live | bytes each, grown | bytes each, steady | burn ns |");
    println!("|---|---|---|---|---|");
    let kinds = [("plain", Kind::Plain), ("with an Idempotency-Key", Kind::Retried), ("limited", Kind::Limited)];
    for (name, kind) in kinds {
        for live in sizes {
            row(name, kind, *live, timed);
        }
    }
    let most = *sizes.last().unwrap();
    println!("\n| one reservation, while {most} tokens | 99.99 % within µs | longest µs |");
    println!("|---|---|---|");
    longest("come", |burner, took| burner.burn_many(most, took));
    longest("expire", |burner, took| expiring(burner, most, took));
    longest("(nothing is done)", |_, took| nothing(most, took));
    println!("\nreplay: {:.0} ns", replay_ns(timed));
}
