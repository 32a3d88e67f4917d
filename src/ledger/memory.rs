//! An exact map in memory. Legal only where one process holds all burning (README decision 8), so
//! it locks its data directory. It never evicts before expiry; when full, it refuses.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::clock::{Clock, Monotonic};
use crate::model::ids::{Jti, StoreId, TraceId};

use super::epoch::Epoch;
use super::{Claim, Health, Ledger, LedgerError, Namespace, Reservation, Reserve, Settlement, Spent, State};

/// How long a token is remembered: lifetime 120 s + leeway 5 s + twice the largest clock
/// difference 30 s, and a margin. Measured on the monotonic clock, so that no step of the wall
/// clock brings a token back.
const RETENTION_MS: i64 = 300_000;
/// Expired entries that one reservation clears away at most: it never pays for a flood before it.
const CLEARED_PER_STEP: usize = 8;
const SHARDS: usize = 64;

type Key = (Namespace, u128);

/// See the module.
pub struct MemoryLedger {
    shards: Vec<Mutex<Shard>>,
    /// Entries over all shards.
    len: AtomicUsize,
    capacity: usize,
    clock: Clock,
    epoch: Epoch,
    _lock: File,
}

/// Owned by whoever holds its lock: a few map operations, never a wait.
#[derive(Default)]
struct Shard {
    entries: HashMap<Key, Held>,
    /// Reservation order, which is expiry order. A released key may stand here once more than in
    /// `entries`; its time tells which is meant.
    expiry: VecDeque<(Monotonic, Key)>,
}

struct Held {
    state: State,
    nonce: u128,
    first: TraceId,
    since: Monotonic,
}

/// The directory belongs to another process, or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "another process burns with the memory ledger in `{}`; stop it, give this one a data directory of its own, or use a shared ledger",
        .0.display()
    )]
    Taken(PathBuf),
    #[error("cannot lock `{}`", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

impl MemoryLedger {
    /// Opens an empty ledger. It has forgotten everything, so it starts in quarantine; `skew_s` as
    /// in [`Epoch::starting`].
    pub fn open(data: &Path, capacity: usize, clock: Clock, skew_s: i64) -> Result<Self, LockError> {
        let lock = lock(data)?;
        let epoch = Epoch::starting(clock.now(), skew_s);
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Ok(Self { shards, len: AtomicUsize::new(0), capacity, clock, epoch, _lock: lock })
    }

    fn shard(&self, jti: Jti) -> Option<&Mutex<Shard>> {
        // The low bits of a UUID v4 are random.
        self.shards.get(usize::try_from(jti.as_u128() % SHARDS as u128).unwrap_or(0))
    }

    fn reserve_now(&self, claim: &Claim) -> Result<Reserve, LedgerError> {
        if !self.epoch.admits(claim.issued) {
            let retry_after_s = self.epoch.remaining_s(self.clock.now()).max(1);
            return Err(LedgerError::Quarantine { retry_after_s });
        }
        let now = self.clock.monotonic();
        let key = (claim.namespace, claim.jti.as_u128());
        let mut shard = self.shard(claim.jti).ok_or(LedgerError::Full)?.lock();
        self.len.fetch_sub(shard.clear_expired(now), Ordering::Relaxed);
        match shard.entries.entry(key) {
            Entry::Occupied(held) => Ok(held.get().answer()),
            Entry::Vacant(free) => {
                if self.len.fetch_add(1, Ordering::Relaxed) >= self.capacity {
                    self.len.fetch_sub(1, Ordering::Relaxed);
                    return Err(LedgerError::Full);
                }
                let nonce = uuid::Uuid::new_v4().as_u128();
                free.insert(Held { state: State::Reserved, nonce, first: claim.trace, since: now });
                shard.expiry.push_back((now, key));
                let Claim { namespace, jti, .. } = *claim;
                Ok(Reserve::First(Reservation { namespace, store: claim.store.clone(), jti, nonce }))
            }
        }
    }

    fn settle_now(&self, reservation: &Reservation, how: Settlement) -> Result<(), LedgerError> {
        let key = (reservation.namespace, reservation.jti.as_u128());
        let mut shard = self.shard(reservation.jti).ok_or(LedgerError::Lost)?.lock();
        let held = shard.entries.get_mut(&key).ok_or(LedgerError::Lost)?;
        if held.nonce != reservation.nonce || held.state != State::Reserved {
            return Err(LedgerError::Lost);
        }
        match how {
            Settlement::Burned => held.state = State::Spent(Spent::Burned),
            Settlement::Indeterminate => held.state = State::Spent(Spent::Indeterminate),
            Settlement::Released => {
                shard.entries.remove(&key);
                self.len.fetch_sub(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

fn lock(data: &Path) -> Result<File, LockError> {
    let path = data.join("ledger.lock");
    let file = File::create(&path).map_err(|source| LockError::Io { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(LockError::Taken(data.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(LockError::Io { path, source }),
    }
}

impl Held {
    fn answer(&self) -> Reserve {
        match self.state {
            State::Spent(state) => Reserve::Spent { state, first: self.first },
            State::Reserved | State::Unseen => Reserve::InFlight { first: self.first },
        }
    }
}

impl Shard {
    /// Clears at most [`CLEARED_PER_STEP`] expired entries and says how many.
    fn clear_expired(&mut self, now: Monotonic) -> usize {
        let mut cleared = 0;
        for _ in 0..CLEARED_PER_STEP {
            let Some((since, key)) = self.expiry.front().copied() else { break };
            if now.millis_since(since) < RETENTION_MS {
                break;
            }
            self.expiry.pop_front();
            if self.entries.get(&key).is_some_and(|held| held.since == since) {
                self.entries.remove(&key);
                cleared += 1;
            }
        }
        cleared
    }
}

impl Ledger for MemoryLedger {
    async fn reserve(&self, claim: Claim) -> Result<Reserve, LedgerError> {
        self.reserve_now(&claim)
    }

    async fn settle(&self, reservation: Reservation, how: Settlement) -> Result<(), LedgerError> {
        self.settle_now(&reservation, how)
    }

    async fn state(&self, namespace: Namespace, _store: &StoreId, jti: Jti) -> Result<State, LedgerError> {
        let shard = self.shard(jti).ok_or(LedgerError::Lost)?.lock();
        Ok(shard.entries.get(&(namespace, jti.as_u128())).map_or(State::Unseen, |held| held.state))
    }

    fn health(&self) -> Health {
        Health {
            backend: "memory",
            usable: Ok(()),
            entries: self.len.load(Ordering::Relaxed),
            quarantine_s: self.epoch.remaining_s(self.clock.now()),
            shared: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{self, Bench};
    use super::*;
    use crate::model::time::Timestamp;

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
        let ledger = MemoryLedger::open(&dir.0, capacity, clock.clone(), 0).unwrap();
        clock.advance(1000);
        (dir, Bench { ledger: std::sync::Arc::new(ledger), clock })
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn keeps_the_ledger_contract() {
        let (_dir, bench) = bench(1_000_000);
        contract::all(&bench).await;
    }

    #[tokio::test]
    async fn when_full_it_refuses_and_forgets_nothing() {
        let (_dir, bench) = bench(2);
        let (a, b, c) = (bench.claim(), bench.claim(), bench.claim());
        let held = bench.first(&a).await;
        bench.ledger.settle(held, Settlement::Burned).await.unwrap();
        let _b = bench.first(&b).await;
        assert_eq!(bench.ledger.reserve(c.clone()).await.unwrap_err(), LedgerError::Full);
        assert!(matches!(bench.ledger.reserve(a).await, Ok(Reserve::Spent { .. })));
        bench.clock.advance(RETENTION_MS);
        assert_eq!(bench.ledger.health().entries, 2);
    }

    #[tokio::test]
    async fn what_expired_makes_room_a_few_at_a_time() {
        let (_dir, bench) = bench(1_000_000);
        for _ in 0..5_000 {
            let held = bench.first(&bench.claim()).await;
            bench.ledger.settle(held, Settlement::Burned).await.unwrap();
        }
        bench.clock.advance(RETENTION_MS);
        for _ in 0..2_500 {
            let held = bench.first(&bench.claim()).await;
            bench.ledger.settle(held, Settlement::Burned).await.unwrap();
        }
        assert!(bench.ledger.health().entries < 3_000, "{}", bench.ledger.health().entries);
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
}
