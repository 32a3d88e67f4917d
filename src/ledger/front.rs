//! Tokens that are known to be burned, by their exact bytes: a replay costs no signature check and
//! no round trip (README decision 13). It remembers *burned* and nothing else; what it forgets is
//! asked of the ledger again.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::model::ids::TraceId;
use crate::model::time::Timestamp;
use crate::token::verify::{Presented, Verified};

/// Tokens that are remembered at once.
const REMEMBERED: u64 = 100_000;
/// Longer than any token lives.
const KEPT: Duration = Duration::from_secs(130);

/// What tells a token's bytes from those of any other: 64 bits of all of them, keyed anew in each process, so that nobody
/// outside can make two tokens meet, and the last 64 bits of its signature, by which well signed ones differ anyway.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mark(u64, [u8; TAIL]);

/// Characters of base64url that carry more than 64 bits.
const TAIL: usize = 12;

/// A burned token.
pub struct Burned {
    /// What its signature vouched for, when it was checked.
    pub token: Verified,
    /// The call that burned it.
    pub first: TraceId,
}

/// See the module.
pub struct Front {
    key: RandomState,
    burned: Cache<Mark, Arc<Burned>>,
}

impl Default for Front {
    fn default() -> Self {
        let burned = Cache::builder().max_capacity(REMEMBERED).time_to_live(KEPT).build();
        Self { key: RandomState::new(), burned }
    }
}

impl Front {
    #[must_use]
    pub fn mark(&self, token: Presented<'_>) -> Mark {
        let text = token.text();
        Mark(self.key.hash_one(text), text.as_bytes().last_chunk().copied().unwrap_or_default())
    }

    /// Remembers a token whose signature is good and that is burned.
    pub fn remember(&self, mark: Mark, token: &Verified, first: TraceId) {
        self.burned.insert(mark, Arc::new(Burned { token: token.clone(), first }));
    }

    /// The burned token with these bytes, as long as it has not expired: after that, it is expired
    /// first of all.
    #[must_use]
    pub fn burned(&self, mark: Mark, now: Timestamp) -> Option<Arc<Burned>> {
        self.burned.get(&mark).filter(|burned| now <= burned.token.expires())
    }
}
