//! The callers: what an API key may do, and the snapshot of keys that answers who is calling.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::ids::{AgentId, StoreId};
use crate::model::time::Timestamp;

use super::secret::{SECRET_MAX, SecretHash};

/// Calls per minute of a key that does not say otherwise (README decision 5).
pub const PER_MINUTE: u32 = 6000;

/// What a key is for (README decision 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Authorizes and observes for its stores; validates and introspects its own tokens.
    Agent,
    /// Validates, observes, introspects and reads evidence for its stores, whoever the agent is.
    Merchant,
    /// Reads evidence.
    Auditor,
    /// Runs this deployment.
    Operator,
    /// Delivers the events of a gateway on another host, and nothing else.
    Gateway,
}

impl Role {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Merchant => "merchant",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
            Self::Gateway => "gateway",
        }
    }

    /// True when a key of this role may be enrolled in all stores, those of the future included.
    #[must_use]
    pub const fn may_span_stores(self) -> bool {
        matches!(self, Self::Auditor | Self::Operator | Self::Gateway)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The stores that a key may act for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Enrolment {
    AllStores,
    Only(Vec<StoreId>),
}

impl Enrolment {
    #[must_use]
    pub fn covers(&self, store: &StoreId) -> bool {
        match self {
            Self::AllStores => true,
            Self::Only(stores) => stores.contains(store),
        }
    }

    pub(super) fn suits(&self, role: Role) -> bool {
        match self {
            Self::AllStores => role.may_span_stores(),
            Self::Only(stores) => !stores.is_empty(),
        }
    }
}

/// The calls that a key may make. `None`: as many as it likes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowance {
    pub per_minute: Option<u32>,
    pub per_month: Option<u64>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { per_minute: Some(PER_MINUTE), per_month: None }
    }
}

impl Allowance {
    pub const UNLIMITED: Self = Self { per_minute: None, per_month: None };
}

/// What is decided about a key when it is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms {
    pub role: Role,
    pub stores: Enrolment,
    pub allowance: Allowance,
}

/// A known key. The secret is not in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKey {
    pub id: AgentId,
    pub terms: Terms,
    pub created: Timestamp,
    pub revoked: Option<Timestamp>,
}

/// The keys that authenticate, as they were when the file was read.
#[derive(Default)]
pub struct ApiKeys {
    by_hash: HashMap<u64, Vec<(SecretHash, Arc<ApiKey>)>>,
}

impl ApiKeys {
    /// Who sent this text as its key. `None` for unknown and for revoked keys alike, after the
    /// same work.
    #[must_use]
    pub fn authenticate(&self, presented: &str) -> Option<Arc<ApiKey>> {
        if presented.len() > SECRET_MAX {
            return None;
        }
        let hash = SecretHash::of(presented);
        let bucket = self.by_hash.get(&hash.bucket())?;
        bucket.iter().find(|(known, _)| known.is(&hash)).map(|(_, key)| Arc::clone(key))
    }

    /// The key with this id, for those who authenticated with it before.
    #[must_use]
    pub fn by_id(&self, id: &AgentId) -> Option<Arc<ApiKey>> {
        self.by_hash.values().flatten().map(|(_, key)| key).find(|key| key.id == *id).map(Arc::clone)
    }

    pub(super) fn add(&mut self, hash: SecretHash, key: ApiKey) {
        self.by_hash.entry(hash.bucket()).or_default().push((hash, Arc::new(key)));
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.by_hash.values().map(Vec::len).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }
}
