//! The words of a ledger: what is claimed, what is remembered, and how it ends.

use bytes::Bytes;

use crate::decide::velocity::{Exceeded, Limits};
use crate::model::ids::{AgentId, Jti, StoreId, TraceId};
use crate::model::intent::Sha256;
use crate::model::spell::Spelled;
use crate::model::time::Timestamp;

/// Whose memory a token is looked up in. Observing never spoils a token for enforcement.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Namespace {
    Enforce,
    Observe,
}

/// One token of one store, in one memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    pub namespace: Namespace,
    pub store: StoreId,
    pub jti: Jti,
}

/// The wish to use a token.
#[derive(Clone, Debug)]
pub struct Claim {
    pub slot: Slot,
    /// The call that wants it. It names the reservation, and is told to those who come second.
    pub trace: TraceId,
    /// `iat` of the token: what was issued before the ledger may have forgotten is refused.
    pub issued: Timestamp,
    pub agent: AgentId,
    /// How a retry of this call will be known.
    pub retry: Option<Retry>,
    /// What the caller wants to get done, whichever token it uses.
    pub purpose: Option<Purpose>,
    /// The unknown outcome that the caller knows of and buys after all.
    pub confirmed: Option<TraceId>,
    pub limits: Limits,
    /// What the order spends, in minor units of the policy's currency.
    pub amount: i64,
    /// How the reservation is settled if the ledger did not answer and turns out to have it:
    /// released where the call is refused, indeterminate where it passes all the same.
    pub if_unanswered: Settlement,
}

impl Claim {
    /// Without what only enforcement keeps: observing uses up nothing that enforcement counts.
    pub(super) fn in_its_namespace(self) -> Self {
        match self.slot.namespace {
            Namespace::Enforce => self,
            Namespace::Observe => Self { purpose: None, limits: Limits::default(), ..self },
        }
    }
}

/// Half of a SHA-256: enough to tell requests apart, never the text itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 16]);

impl Digest {
    /// Digest of several texts; their borders are part of it.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut joined = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
        for part in parts {
            joined.extend_from_slice(&(part.len() as u64).to_be_bytes());
            joined.extend_from_slice(part);
        }
        Self::half_of(Sha256::of(&joined))
    }

    /// The first half of one.
    #[must_use]
    pub fn half_of(digest: Sha256) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(digest.as_bytes().split_at(16).0);
        Self(half)
    }

    /// 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn spelled(self) -> Spelled<32> {
        Spelled::of("").hex(&self.0)
    }

    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.spelled().as_str())
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// What makes a second call a retry of the first: its Idempotency-Key, and that it asks for the
/// same thing. The key itself is not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    pub key: Digest,
    /// Digest of method, path, store, body and token.
    pub request: Digest,
}

/// What an agent wants to get done on a route: completing one checkout session, or whatever it
/// names with one Idempotency-Key. A purpose with an unknown outcome is not served again, not even
/// with a new token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Purpose(pub Digest);

/// What a reservation attempt found.
#[must_use]
#[derive(Debug)]
pub enum Reserve {
    /// Nobody had it: it is ours until it is settled.
    First(Reservation),
    /// Another call had it before.
    Known(Entry),
    /// The same purpose is under way, or its outcome unknown, with another token.
    Busy(Busy),
    /// The order would pass a limit of the store's policy.
    Exceeded(Exceeded),
}

/// The other execution of the same purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy {
    pub first: TraceId,
    /// True when its outcome is unknown; else it is still under way.
    pub unknown: bool,
}

/// What is remembered of a used token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub state: State,
    /// The call that used it.
    pub first: TraceId,
    pub retry: Option<Retry>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// An execution is under way, or its process died.
    Reserved,
    Spent(Spent),
}

/// Why a token is of no use any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spent {
    /// The merchant answered.
    Burned,
    /// Something was sent and no complete answer came back.
    Indeterminate,
    /// Nothing was executed, but that cannot be taken back safely: a first attempt to reserve may
    /// still be on its way.
    Unexecuted,
}

impl Spent {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Burned => "burned",
            Self::Indeterminate => "indeterminate",
            Self::Unexecuted => "spent_unexecuted",
        }
    }
}

/// The exclusive right to send one execution. It must be settled; dropped unsettled, it lapses into
/// an unknown outcome.
#[must_use = "a reservation has to be settled"]
#[derive(Debug)]
pub struct Reservation {
    pub(super) slot: Slot,
    /// The call that reserved it: what tells this reservation from every other of the same token.
    pub(super) trace: TraceId,
    pub(super) purpose: Option<Purpose>,
    /// What was counted against the limits of the policy, and is given back on release.
    pub(super) counted: Option<Counted>,
    /// How often it was tried: more than once, and it can never be released.
    pub(super) attempts: u32,
}

/// An order that was counted for an agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Counted {
    pub(super) agent: AgentId,
    pub(super) limits: Limits,
    pub(super) amount: i64,
}

impl Reservation {
    #[must_use]
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
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

/// Where a token stands after a settlement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It can buy again.
    Unused,
    Spent(Spent),
}

/// A merchant's answer, kept for whoever lost it and asks again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: u16,
    /// The fields that say how the body is to be read.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// A reservation that nobody settled in time, now settled as indeterminate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lapsed {
    pub slot: Slot,
    pub trace: TraceId,
}

/// What became of a reservation whose process died, as the ledger knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It was never settled: from now on its outcome is unknown.
    Indeterminate,
    /// It was settled as burned.
    Burned,
    /// It executed nothing, and its token is spent.
    Unexecuted,
    /// Another process found its lease lapsed, and has told of it.
    Told,
    /// The ledger does not remember it.
    Unknown,
}
