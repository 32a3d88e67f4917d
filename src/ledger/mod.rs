//! Floor 4: burning exactly once. One small trait; what it promises is a contract suite that every
//! implementation runs (`contract.rs`).
//!
//! States: *(unseen)* → reserved → burned | indeterminate, or back to *(unseen)* by release.
//! "Burned" is monotone: nothing turns a burned or indeterminate token back.

pub mod epoch;
pub mod memory;

#[cfg(test)]
mod contract;

use std::future::Future;

use crate::model::ids::{Jti, StoreId, TraceId};
use crate::model::time::Timestamp;

use memory::MemoryLedger;

/// Whose memory a token is looked up in. Observing never spoils a token for enforcement.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Namespace {
    Enforce,
    Observe,
}

/// The wish to use a token.
#[derive(Clone, Debug)]
pub struct Claim {
    pub namespace: Namespace,
    pub store: StoreId,
    pub jti: Jti,
    /// `iat` of the token: what was issued before the ledger may have forgotten is refused.
    pub issued: Timestamp,
    /// The call that wants it; told to those who come second.
    pub trace: TraceId,
}

/// What a reservation attempt found.
#[must_use]
#[derive(Debug)]
pub enum Reserve {
    /// Nobody had it: it is ours until it is settled.
    First(Reservation),
    /// Reserved by another call and not settled yet.
    InFlight { first: TraceId },
    /// Burned, or sent with an unknown outcome: for good.
    Spent { state: Spent, first: TraceId },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spent {
    Burned,
    Indeterminate,
}

/// The exclusive right to send one execution. It must be settled; dropped unsettled, the token
/// stays reserved until it expires, which is safe and useless.
#[must_use = "a reservation has to be settled"]
#[derive(Debug)]
pub struct Reservation {
    namespace: Namespace,
    store: StoreId,
    jti: Jti,
    /// Distinguishes this reservation from every other of the same token.
    nonce: u128,
}

impl Reservation {
    #[must_use]
    pub fn jti(&self) -> Jti {
        self.jti
    }

    #[must_use]
    pub fn store(&self) -> &StoreId {
        &self.store
    }
}

/// How an execution ended (README decision 11).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settlement {
    /// A complete answer came back.
    Burned,
    /// Not one byte was sent, or the merchant says that it executed nothing.
    Released,
    /// Something was sent and no complete answer came back.
    Indeterminate,
}

impl Settlement {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Burned => "burned",
            Self::Released => "released",
            Self::Indeterminate => "indeterminate",
        }
    }
}

/// What a ledger remembers of a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Unseen,
    Reserved,
    Spent(Spent),
}

/// Why a ledger could not answer. Never a judgement: neither a replay nor a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    #[error("the ledger holds as many live tokens as it may")]
    Full,
    #[error("tokens issued before the ledger started are refused for {retry_after_s} s more")]
    Quarantine { retry_after_s: u64 },
    #[error("the reservation is no longer the ledger's")]
    Lost,
    #[error("tokens are burned by the merchant's gateway (`ledger.single_instance`), not here")]
    Elsewhere,
}

/// Exactly-once over tokens.
pub trait Ledger: Send + Sync {
    /// Takes the token if nobody has it. After `First`, no other call of any process that shares
    /// the ledger gets `First` for it, unless this one is settled as released.
    fn reserve(&self, claim: Claim) -> impl Future<Output = Result<Reserve, LedgerError>> + Send;

    /// Records how the execution ended. `Lost` when the ledger no longer knows the reservation:
    /// then nothing changed.
    fn settle(&self, reservation: Reservation, how: Settlement)
    -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// What is known of a token, without changing it.
    fn state(
        &self,
        namespace: Namespace,
        store: &StoreId,
        jti: Jti,
    ) -> impl Future<Output = Result<State, LedgerError>> + Send;

    /// Whether it can be burned here now, and what it remembers.
    fn health(&self) -> Health;
}

/// What readiness, metrics and `/v1/compliance` say of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub backend: &'static str,
    /// `Err` names what is wrong and the fix.
    pub usable: Result<(), String>,
    pub entries: usize,
    /// Whole seconds until tokens issued now are taken; 0 when they are.
    pub quarantine_s: u64,
    /// True when other processes burn in the same ledger.
    pub shared: bool,
}

/// The ledger that the configuration chose.
pub enum AnyLedger {
    Memory(MemoryLedger),
    /// One gateway holds all burning, and this process is not it.
    Elsewhere,
}

impl Ledger for AnyLedger {
    async fn reserve(&self, claim: Claim) -> Result<Reserve, LedgerError> {
        match self {
            Self::Memory(ledger) => ledger.reserve(claim).await,
            Self::Elsewhere => Err(LedgerError::Elsewhere),
        }
    }

    async fn settle(&self, reservation: Reservation, how: Settlement) -> Result<(), LedgerError> {
        match self {
            Self::Memory(ledger) => ledger.settle(reservation, how).await,
            Self::Elsewhere => Err(LedgerError::Elsewhere),
        }
    }

    async fn state(&self, namespace: Namespace, store: &StoreId, jti: Jti) -> Result<State, LedgerError> {
        match self {
            Self::Memory(ledger) => ledger.state(namespace, store, jti).await,
            Self::Elsewhere => Err(LedgerError::Elsewhere),
        }
    }

    fn health(&self) -> Health {
        match self {
            Self::Memory(ledger) => ledger.health(),
            Self::Elsewhere => Health {
                backend: "elsewhere",
                usable: Err(LedgerError::Elsewhere.to_string()),
                entries: 0,
                quarantine_s: 0,
                shared: false,
            },
        }
    }
}
