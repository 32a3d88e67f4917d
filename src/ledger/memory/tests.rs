use super::*;
use crate::decide::velocity::Limits;
use crate::ledger::contract::{self, Bench};
use crate::ledger::{Digest, RETENTION_MS, Retry};

const CAPACITY: usize = 1_000_000;

struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("permyx-ledger-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn bench(capacity: usize) -> (Dir, Bench<MemoryLedger>) {
    let (dir, clock) = (Dir::new(), Clock::manual(Timestamp::of_seconds(1_800_000_000)));
    let options = MemoryOptions { capacity, ..MemoryOptions::default() };
    let ledger = MemoryLedger::open_with(&dir.0, clock.clone(), options).unwrap();
    clock.advance(1000);
    (dir, Bench { ledger: std::sync::Arc::new(ledger), clock, lease_ms: options.lease_ms })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_ledger_contract() {
    let (_dir, bench) = bench(CAPACITY);
    contract::all(&bench).await;
    contract::lapses(&bench).await;
}

#[tokio::test]
async fn when_full_it_refuses_and_forgets_nothing() {
    let (_dir, bench) = bench(2);
    let (a, b, c) = (bench.claim(), bench.claim(), bench.claim());
    bench.done(&a, Settlement::Burned).await;
    let held = bench.first(&b).await;
    let limits = Limits { orders_per_hour: Some(9), ..Limits::default() };
    let refused = bench.ledger.reserve(Claim { limits, ..c.clone() }).await;
    assert_eq!(refused.unwrap_err(), LedgerError::Full);
    assert_eq!(bench.ledger.usage(&c.slot.store, &c.agent, c.issued).await, Ok(Usage::default()));
    assert_eq!(bench.known(&a).await.state, State::Spent(Spent::Burned));
    bench.settle(held, Settlement::Released).await;
    bench.done(&c, Settlement::Burned).await;
    assert_eq!(bench.ledger.health().entries, 2);
}

#[tokio::test]
async fn a_token_is_remembered_for_exactly_the_retention() {
    let (_dir, bench) = bench(CAPACITY);
    let retry = Some(Retry { key: Digest::of(&[]), request: Digest::of(&[]) });
    let claim = Claim { retry, ..bench.claim() };
    let held = bench.first(&claim).await;
    let answer = Answer { status: 200, headers: Vec::new(), body: "ok".into() };
    bench.ledger.settle(held, Settlement::Burned, Some(answer.clone())).await.unwrap();
    bench.clock.advance(RETENTION_MS - 1);
    assert_eq!(bench.ledger.answer(&claim.slot).await, Ok(Some(answer)));
    bench.clock.advance(1);
    assert_eq!((bench.state(&claim).await, bench.ledger.answer(&claim.slot).await), (None, Ok(None)));
    // The same token in another life has no answer of the first.
    let again = bench.first(&claim).await;
    bench.settle(again, Settlement::Burned).await;
    assert_eq!(bench.ledger.health().entries, 1);
}

#[tokio::test]
async fn what_expired_makes_room_a_few_at_a_time() {
    let (_dir, bench) = bench(CAPACITY);
    for _ in 0..5_000 {
        bench.done(&bench.claim(), Settlement::Burned).await;
    }
    bench.clock.advance(RETENTION_MS);
    let mut before = bench.ledger.health().entries;
    for _ in 0..2_500 {
        bench.done(&bench.claim(), Settlement::Burned).await;
        let after = bench.ledger.health().entries;
        assert!(after + 8 > before);
        before = after;
    }
    assert!(before < 3_000, "{before}");
}

#[tokio::test]
async fn a_call_tells_a_bounded_number_of_lapsed_reservations() {
    let (_dir, bench) = bench(CAPACITY);
    for _ in 0..250 {
        let _held = bench.first(&bench.claim()).await;
    }
    bench.clock.advance(bench.lease_ms);
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(bench.ledger.lapsed().await.unwrap().len());
    }
    assert_eq!(told, [100, 100, 50, 0]);
}

#[test]
fn two_processes_never_share_a_memory_ledger() {
    let dir = Dir::new();
    let open = || MemoryLedger::open(&dir.0, 10, Clock::system(), 0);
    let first = open().unwrap();
    assert!(matches!(open(), Err(LockError::Taken(_))));
    drop(first);
    assert!(open().is_ok());
}
