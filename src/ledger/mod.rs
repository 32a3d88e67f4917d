//! Floor 4: burning exactly once. One small trait; what it promises is a contract suite that every
//! implementation runs (`contract/`).
//!
//! States: *(unseen)* → reserved → burned | indeterminate, or back to *(unseen)* by release.
//! "Burned" is monotone: nothing turns a burned or indeterminate token back.

#[cfg(test)]
mod contract;
pub mod entry;
pub mod epoch;
pub mod front;
mod health;
pub mod memory;
pub mod redis;
pub mod retry;

use std::future::Future;

use crate::decide::velocity::Usage;
use crate::model::ids::{AgentId, StoreId};
use crate::model::time::Timestamp;

pub use entry::{
    Answer, Busy, Claim, Digest, Entry, Fate, Lapsed, Namespace, Purpose, Reservation, Reserve, Retry, Settlement,
    Slot, Spent, Standing, State,
};
pub use health::Health;
use memory::MemoryLedger;
use redis::{RedisLedger, Trouble};

/// How long a token is remembered, in milliseconds: lifetime 120 s + leeway 5 s + twice the largest
/// clock difference 30 s, and a margin. Never computed from `exp`: a fast clock here must not let
/// the memory end before a slow clock elsewhere sees the token expire.
pub const RETENTION_MS: i64 = 300_000;

/// Why a ledger could not answer. Never a judgement: neither a replay nor a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    #[error("the ledger holds as many live tokens as it may")]
    Full,
    #[error("tokens issued before the ledger may have forgotten are refused for {retry_after_s} s more")]
    Quarantine { retry_after_s: u64 },
    #[error("the reservation is no longer the ledger's")]
    Lost,
    #[error("{0}")]
    Unavailable(Trouble),
    #[error("tokens are burned by the merchant's gateway (`ledger.single_instance`), not here")]
    Elsewhere,
}

/// Exactly-once over tokens.
pub trait Ledger: Send + Sync {
    /// Takes the token if nobody has it, its purpose is free and the order is within the limits.
    /// After `First`, no other call of any process that shares the ledger gets `First` for it,
    /// unless this one is settled as released.
    fn reserve(&self, claim: Claim) -> impl Future<Output = Result<Reserve, LedgerError>> + Send;

    /// Records how the execution ended and keeps its answer, if one is given. `Lost` when the
    /// ledger no longer knows the reservation: then nothing changed.
    fn settle(
        &self,
        reservation: Reservation,
        how: Settlement,
        answer: Option<Answer>,
    ) -> impl Future<Output = Result<Standing, LedgerError>> + Send;

    /// What is remembered of a token, without changing it.
    fn entry(&self, slot: &Slot) -> impl Future<Output = Result<Option<Entry>, LedgerError>> + Send;

    /// The answer that was kept with a burned token, if it still is.
    fn answer(&self, slot: &Slot) -> impl Future<Output = Result<Option<Answer>, LedgerError>> + Send;

    /// What was counted for an agent; and that a token issued at this time would be taken.
    fn usage(
        &self,
        store: &StoreId,
        agent: &AgentId,
        issued: Timestamp,
    ) -> impl Future<Output = Result<Usage, LedgerError>> + Send;

    /// Settles as indeterminate a reservation of this process's earlier life, and says what became
    /// of it, if it was settled before.
    fn abandon(&self, lapsed: &Lapsed) -> impl Future<Output = Result<Fate, LedgerError>> + Send;

    /// Settles as indeterminate what nobody settled within the lease. Of all processes that share the
    /// ledger one is told of each, and confirms with [`told`](Self::told) once it has recorded it; if
    /// it does not within another lease, another is told. A bounded number for each call.
    fn lapsed(&self) -> impl Future<Output = Result<Vec<Lapsed>, LedgerError>> + Send;

    /// A lapsed reservation was told of: nobody has to be told again.
    fn told(&self, lapsed: &Lapsed) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Whether it can be burned here now, and what it remembers.
    fn health(&self) -> Health;
}

impl AnyLedger {
    /// Settles what could not be settled in time, before the process ends.
    pub async fn drain(&self, patience: std::time::Duration) {
        if let Self::Redis(ledger) = self {
            ledger.drain(patience).await;
        }
    }

    /// Its name in metrics.
    #[must_use]
    pub const fn backend(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Redis(_) => "redis",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// The ledger that the configuration chose.
pub enum AnyLedger {
    Memory(Box<MemoryLedger>),
    Redis(RedisLedger),
    /// One gateway holds all burning, and this process is not it.
    Elsewhere,
}

impl Ledger for AnyLedger {
    async fn reserve(&self, claim: Claim) -> Result<Reserve, LedgerError> {
        match self {
            Self::Memory(ledger) => ledger.reserve(claim).await,
            // A way over the network is large: every request would be as large.
            Self::Redis(ledger) => Box::pin(ledger.reserve(claim)).await,
            Self::Elsewhere => Err(LedgerError::Elsewhere),
        }
    }

    async fn settle(
        &self,
        reservation: Reservation,
        how: Settlement,
        answer: Option<Answer>,
    ) -> Result<Standing, LedgerError> {
        match self {
            Self::Memory(ledger) => ledger.settle(reservation, how, answer).await,
            Self::Redis(ledger) => Box::pin(ledger.settle(reservation, how, answer)).await,
            Self::Elsewhere => Err(LedgerError::Elsewhere),
        }
    }

    async fn entry(&self, slot: &Slot) -> Result<Option<Entry>, LedgerError> {
        match self {
            Self::Memory(ledger) => ledger.entry(slot).await,
            Self::Redis(ledger) => ledger.entry(slot).await,
            Self::Elsewhere => Err(LedgerError::Elsewhere),
        }
    }

    async fn answer(&self, slot: &Slot) -> Result<Option<Answer>, LedgerError> {
        match self {
            Self::Memory(ledger) => ledger.answer(slot).await,
            Self::Redis(ledger) => ledger.answer(slot).await,
            Self::Elsewhere => Err(LedgerError::Elsewhere),
        }
    }

    async fn usage(&self, store: &StoreId, agent: &AgentId, issued: Timestamp) -> Result<Usage, LedgerError> {
        match self {
            Self::Memory(ledger) => ledger.usage(store, agent, issued).await,
            Self::Redis(ledger) => ledger.usage(store, agent, issued).await,
            // Not to be known here; the gateway counts.
            Self::Elsewhere => Ok(Usage::default()),
        }
    }

    async fn abandon(&self, lapsed: &Lapsed) -> Result<Fate, LedgerError> {
        match self {
            Self::Memory(ledger) => ledger.abandon(lapsed).await,
            Self::Redis(ledger) => ledger.abandon(lapsed).await,
            Self::Elsewhere => Ok(Fate::Unknown),
        }
    }

    async fn lapsed(&self) -> Result<Vec<Lapsed>, LedgerError> {
        match self {
            Self::Memory(ledger) => ledger.lapsed().await,
            Self::Redis(ledger) => ledger.lapsed().await,
            Self::Elsewhere => Ok(Vec::new()),
        }
    }

    async fn told(&self, lapsed: &Lapsed) -> Result<(), LedgerError> {
        match self {
            Self::Redis(ledger) => ledger.told(lapsed).await,
            Self::Memory(_) | Self::Elsewhere => Ok(()),
        }
    }

    fn health(&self) -> Health {
        match self {
            Self::Memory(ledger) => ledger.health(),
            Self::Redis(ledger) => ledger.health(),
            Self::Elsewhere => Health {
                backend: "elsewhere",
                usable: Err(LedgerError::Elsewhere.to_string()),
                entries: 0,
                capacity: 0,
                quarantine_s: 0,
                shared: false,
                exactly_once: false,
                clock_ahead_s: None,
            },
        }
    }
}
