//! An exact map in memory. Legal only where one process holds all burning (README decision 8), so
//! it locks its data directory. It never evicts before expiry; when full, it refuses.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::clock::{Clock, Monotonic};
use crate::decide::velocity::Usage;
use crate::model::ids::{AgentId, Jti, StoreId, TraceId};
use crate::model::time::Timestamp;

use super::epoch::Epoch;
use super::{
    Answer, Claim, Entry as Known, Fate, Health, Lapsed, Ledger, LedgerError, Namespace, RETENTION_MS, Reservation,
    Reserve, Retry, Settlement, Slot, Spent, Standing, State,
};

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
    first: TraceId,
    retry: Option<Retry>,
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
        let key = (claim.slot.namespace, claim.slot.jti.as_u128());
        let mut shard = self.shard(claim.slot.jti).ok_or(LedgerError::Full)?.lock();
        self.len.fetch_sub(shard.clear_expired(now), Ordering::Relaxed);
        match shard.entries.entry(key) {
            Entry::Occupied(held) => Ok(held.get().answer()),
            Entry::Vacant(free) => {
                if self.len.fetch_add(1, Ordering::Relaxed) >= self.capacity {
                    self.len.fetch_sub(1, Ordering::Relaxed);
                    return Err(LedgerError::Full);
                }
                free.insert(Held { state: State::Reserved, first: claim.trace, retry: claim.retry, since: now });
                shard.expiry.push_back((now, key));
                let slot = claim.slot.clone();
                Ok(Reserve::First(Reservation { slot, trace: claim.trace, purpose: None, counted: None, attempts: 1 }))
            }
        }
    }

    fn settle_now(&self, reservation: &Reservation, how: Settlement) -> Result<Standing, LedgerError> {
        let key = (reservation.slot.namespace, reservation.slot.jti.as_u128());
        let mut shard = self.shard(reservation.slot.jti).ok_or(LedgerError::Lost)?.lock();
        let held = shard.entries.get_mut(&key).ok_or(LedgerError::Lost)?;
        if held.first != reservation.trace || held.state != State::Reserved {
            return Err(LedgerError::Lost);
        }
        let spent = match how {
            Settlement::Burned => Spent::Burned,
            Settlement::Indeterminate => Spent::Indeterminate,
            Settlement::Released => {
                shard.entries.remove(&key);
                self.len.fetch_sub(1, Ordering::Relaxed);
                return Ok(Standing::Unused);
            }
        };
        held.state = State::Spent(spent);
        Ok(Standing::Spent(spent))
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
    fn known(&self) -> Known {
        Known { state: self.state, first: self.first, retry: self.retry }
    }

    fn answer(&self) -> Reserve {
        Reserve::Known(self.known())
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

    async fn settle(
        &self,
        reservation: Reservation,
        how: Settlement,
        _answer: Option<Answer>,
    ) -> Result<Standing, LedgerError> {
        self.settle_now(&reservation, how)
    }

    async fn entry(&self, slot: &Slot) -> Result<Option<Known>, LedgerError> {
        let shard = self.shard(slot.jti).ok_or(LedgerError::Lost)?.lock();
        Ok(shard.entries.get(&(slot.namespace, slot.jti.as_u128())).map(Held::known))
    }

    async fn answer(&self, _slot: &Slot) -> Result<Option<Answer>, LedgerError> {
        Ok(None)
    }

    async fn usage(&self, _store: &StoreId, _agent: &AgentId, issued: Timestamp) -> Result<Usage, LedgerError> {
        if self.epoch.admits(issued) {
            return Ok(Usage::default());
        }
        Err(LedgerError::Quarantine { retry_after_s: self.epoch.remaining_s(self.clock.now()).max(1) })
    }

    async fn abandon(&self, _lapsed: &Lapsed) -> Result<Fate, LedgerError> {
        Ok(Fate::Unknown)
    }

    async fn lapsed(&self) -> Result<Vec<Lapsed>, LedgerError> {
        Ok(Vec::new())
    }

    fn health(&self) -> Health {
        Health {
            backend: "memory",
            usable: Ok(()),
            entries: self.len.load(Ordering::Relaxed),
            quarantine_s: self.epoch.remaining_s(self.clock.now()),
            shared: false,
            exactly_once: true,
        }
    }
}
