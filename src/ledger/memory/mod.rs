//! An exact map in memory. Legal only where one process holds all burning (README decision 8), so
//! it locks its data directory. It never evicts before expiry; when full, it refuses.
//!
//! Locks are taken in one order: shard, purposes, windows, answers.

mod aging;
mod answers;
mod purposes;
mod queue;
mod table;
#[cfg(test)]
mod tests;
mod window;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::clock::{Clock, Monotonic};
use crate::decide::velocity::Usage;
use crate::model::ids::{AgentId, StoreId};
use crate::model::time::Timestamp;

use super::entry::Counted;
use super::epoch::Epoch;
use super::{
    Answer, Claim, Entry, Fate, Health, Lapsed, Ledger, LedgerError, Reservation, Reserve, Settlement, Slot, Spent,
    Standing, State,
};
use answers::Answers;
use purposes::Purposes;
use table::{Key, Settled, Table, UnderWay};
use window::Windows;

const SHARDS: usize = 64;
/// Lapsed reservations that one call tells at most.
const TOLD_MAX: usize = 100;

/// How much it holds, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct MemoryOptions {
    /// Tokens that it remembers at most.
    pub capacity: usize,
    /// As in [`Epoch::starting`].
    pub skew_s: i64,
    /// How long a reservation may stay unsettled, in milliseconds. Whoever asks for what lapsed
    /// asks within the time that is left of [`RETENTION_MS`](super::RETENTION_MS), or is not told.
    pub lease_ms: i64,
    /// Bytes of the answers that are kept for retries.
    pub answers_bytes: usize,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { capacity: 1_000_000, skew_s: 0, lease_ms: 270_000, answers_bytes: 64 << 20 }
    }
}

/// See the module.
pub struct MemoryLedger {
    shards: [Mutex<Table>; SHARDS],
    /// Tokens over all shards.
    len: AtomicUsize,
    purposes: Mutex<Purposes>,
    windows: Mutex<Windows>,
    answers: Mutex<Answers>,
    options: MemoryOptions,
    clock: Clock,
    /// Times are milliseconds since then, on the monotonic clock: no step of the wall clock brings
    /// a token back.
    opened: Monotonic,
    epoch: Epoch,
    _lock: File,
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
        Self::open_with(data, clock, MemoryOptions { capacity, skew_s, ..MemoryOptions::default() })
    }

    /// As [`Self::open`].
    pub fn open_with(data: &Path, clock: Clock, options: MemoryOptions) -> Result<Self, LockError> {
        Ok(Self {
            _lock: lock(data)?,
            epoch: Epoch::starting(clock.now(), options.skew_s),
            opened: clock.monotonic(),
            clock,
            shards: std::array::from_fn(|_| Mutex::default()),
            len: AtomicUsize::new(0),
            purposes: Mutex::new(Purposes::new(options.lease_ms)),
            windows: Mutex::default(),
            answers: Mutex::new(Answers::new(options.answers_bytes)),
            options,
        })
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder by the number of shards")]
    fn shard(&self, slot: &Slot) -> MutexGuard<'_, Table> {
        // The low bits of a UUID v4 are random.
        self.shards[(slot.jti.as_u128() % SHARDS as u128) as usize].lock()
    }

    fn now_ms(&self) -> i64 {
        self.clock.monotonic().millis_since(self.opened)
    }

    fn admits(&self, issued: Timestamp) -> Result<(), LedgerError> {
        if self.epoch.admits(issued) {
            return Ok(());
        }
        Err(LedgerError::Quarantine { retry_after_s: self.epoch.remaining_s(self.clock.now()).max(1) })
    }

    /// All locks are held from the first look to the last mark, so nothing has to be taken back.
    fn reserve_now(&self, claim: Claim) -> Result<Reserve, LedgerError> {
        let claim = claim.in_its_namespace();
        self.admits(claim.issued)?;
        let key = Key::of(&claim.slot);
        let mut shard = self.shard(&claim.slot);
        let now_ms = self.now_ms();
        self.len.fetch_sub(shard.clear(key, now_ms), Ordering::Relaxed);
        if let Some(entry) = shard.entry(key, now_ms) {
            return Ok(Reserve::Known(entry));
        }
        let mut purpose = claim.purpose.map(|purpose| (purpose, self.purposes.lock()));
        if let Some((purpose, purposes)) = &mut purpose
            && let Some(busy) = purposes.busy(*purpose, &claim, now_ms)?
        {
            return Ok(Reserve::Busy(busy));
        }
        let pair = || (claim.slot.store.clone(), claim.agent.clone());
        let mut limited = claim.limits.any().then(|| (pair(), self.windows.lock()));
        if let Some((pair, windows)) = &mut limited
            && let Err(exceeded) = windows.admit(pair, &claim.limits, claim.amount, now_ms)?
        {
            return Ok(Reserve::Exceeded(exceeded));
        }
        self.take_room()?;
        let counted = limited.map(|(pair, mut windows)| {
            windows.count(pair, &claim.limits, claim.amount, now_ms);
            Counted { agent: claim.agent.clone(), limits: claim.limits, amount: claim.amount }
        });
        let purpose = purpose.map(|(purpose, mut purposes)| {
            purposes.take(purpose, &claim, now_ms);
            purpose
        });
        let Claim { slot, trace, retry, .. } = claim;
        shard.reserve(key, trace, UnderWay { store: slot.store.clone(), retry, purpose }, now_ms);
        Ok(Reserve::First(Reservation { slot, trace, purpose, counted, attempts: 1 }))
    }

    fn take_room(&self) -> Result<(), LedgerError> {
        let take = |len| (len < self.options.capacity).then_some(len + 1);
        self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map(drop).map_err(|_len| LedgerError::Full)
    }

    fn settle_now(
        &self,
        reservation: Reservation,
        how: Settlement,
        answer: Option<Answer>,
    ) -> Result<Standing, LedgerError> {
        let Reservation { slot, trace, purpose, counted, attempts } = reservation;
        let standing = standing(how, attempts);
        let key = Key::of(&slot);
        let mut shard = self.shard(&slot);
        let now_ms = self.now_ms();
        let Settled { since_ms, was } = shard.settle(key, trace, standing, now_ms).ok_or(LedgerError::Lost)?;
        if let Some(purpose) = purpose {
            self.purposes.lock().settle(purpose, trace, standing);
        }
        match (how, counted, answer) {
            (Settlement::Released, Some(counted), _) => {
                self.windows.lock().give_back(&(slot.store, counted.agent), counted.amount, since_ms);
            }
            (Settlement::Burned, _, Some(answer)) if was.retry.is_some() => {
                self.answers.lock().keep(key, answer, now_ms);
            }
            _ => {}
        }
        if standing == Standing::Unused {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(standing)
    }

    fn answer_now(&self, slot: &Slot) -> Option<Answer> {
        let (key, shard) = (Key::of(slot), self.shard(slot));
        let entry = shard.entry(key, self.now_ms())?;
        // The answers may still hold one of an earlier life of the token.
        let answered = entry.state == State::Spent(Spent::Burned) && entry.retry.is_some();
        if answered { self.answers.lock().get(key) } else { None }
    }

    fn abandon_now(&self, lapsed: &Lapsed) -> Fate {
        let Lapsed { slot, trace } = lapsed;
        let (key, unknown) = (Key::of(slot), Standing::Spent(Spent::Indeterminate));
        let mut shard = self.shard(slot);
        let now_ms = self.now_ms();
        let settled = shard.settle(key, *trace, unknown, now_ms);
        if let Some(purpose) = settled.and_then(|settled| settled.was.purpose) {
            self.purposes.lock().settle(purpose, *trace, unknown);
        }
        shard.fate(key, *trace, now_ms)
    }

    /// What has a purpose needs no word here: by then it is of unknown outcome by its age.
    fn lapsed_now(&self) -> Vec<Lapsed> {
        let (mut told, then_ms) = (Vec::new(), self.now_ms() - self.options.lease_ms);
        for shard in &self.shards {
            shard.lock().lapse(then_ms, TOLD_MAX, &mut told);
        }
        told
    }
}

/// Where a token stands after this ending of a reservation.
const fn standing(how: Settlement, attempts: u32) -> Standing {
    match how {
        Settlement::Burned => Standing::Spent(Spent::Burned),
        Settlement::Indeterminate => Standing::Spent(Spent::Indeterminate),
        Settlement::Released if attempts > 1 => Standing::Spent(Spent::Unexecuted),
        Settlement::Released => Standing::Unused,
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

impl Ledger for MemoryLedger {
    async fn reserve(&self, claim: Claim) -> Result<Reserve, LedgerError> {
        self.reserve_now(claim)
    }

    async fn settle(
        &self,
        reservation: Reservation,
        how: Settlement,
        answer: Option<Answer>,
    ) -> Result<Standing, LedgerError> {
        self.settle_now(reservation, how, answer)
    }

    async fn entry(&self, slot: &Slot) -> Result<Option<Entry>, LedgerError> {
        Ok(self.shard(slot).entry(Key::of(slot), self.now_ms()))
    }

    async fn answer(&self, slot: &Slot) -> Result<Option<Answer>, LedgerError> {
        Ok(self.answer_now(slot))
    }

    async fn usage(&self, store: &StoreId, agent: &AgentId, issued: Timestamp) -> Result<Usage, LedgerError> {
        self.admits(issued)?;
        let pair = (store.clone(), agent.clone());
        let mut windows = self.windows.lock();
        Ok(windows.usage(&pair, self.now_ms()))
    }

    async fn abandon(&self, lapsed: &Lapsed) -> Result<Fate, LedgerError> {
        Ok(self.abandon_now(lapsed))
    }

    async fn lapsed(&self) -> Result<Vec<Lapsed>, LedgerError> {
        Ok(self.lapsed_now())
    }

    async fn told(&self, _lapsed: &Lapsed) -> Result<(), LedgerError> {
        Ok(())
    }

    fn health(&self) -> Health {
        Health {
            backend: "memory",
            usable: Ok(()),
            entries: self.len.load(Ordering::Relaxed),
            capacity: self.options.capacity,
            quarantine_s: self.epoch.remaining_s(self.clock.now()),
            shared: false,
            exactly_once: true,
            clock_ahead_s: None,
        }
    }
}
