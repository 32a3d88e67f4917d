//! A ledger that several gateways share, in Redis 7 or Valkey (README decision 9). One script
//! reserves in one round trip. Nothing is repaired behind our back: a connection that failed is
//! replaced, and the same command is sent once more under the same trace, so that a lost answer is
//! never taken for a replay, nor a lost burn for none.

mod ask;
mod door;
mod find;
mod fleet;
mod keys;
mod line;
mod node;
pub mod options;
mod pieces;
mod scripts;
mod steps;
mod text;
mod trouble;
mod upkeep;
mod vet;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::decide::velocity::Usage;
use crate::model::ids::{AgentId, StoreId};
use crate::model::time::Timestamp;
use crate::telemetry::metrics::Metrics;
use crate::token::LEEWAY_S;

use super::epoch::Epoch;
use super::{
    Answer, Claim, Entry, Fate, Health, Lapsed, Ledger, LedgerError, RETENTION_MS, Reservation, Reserve, Settlement,
    Slot, Standing,
};
pub use door::Door;
use fleet::Fleet;
pub use options::{Access, Address, ClockAhead, Durability, Password, RedisOptions, Secret, Topology};
use steps::{LAPSED_MAX, SettleFault};
pub use text::Full;
pub use trouble::Trouble;
use upkeep::{Later, Unsettled};

/// How far `iat` may be ahead of the moment at which an epoch begins, of a token that was burned
/// before: a gateway takes tokens that are [`LEEWAY_S`] ahead of its clock, and its clock may be
/// ahead of the server's by as much as is tolerated.
const SKEW_S: i64 = LEEWAY_S + vet::CLOCK_OFF_MAX_MS / 1000;
/// An epoch that is renewed in time has longer to live than this. One that has less was not, or
/// the server's clock jumped ahead: then tokens may be forgotten before they expire.
const EPOCH_HEALTHY_MS: i64 = 240_000;

/// What others should be told of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The ledger of this store may have forgotten; what was issued before is refused.
    EpochChanged { store: StoreId, cause: &'static str },
}

/// See the module.
pub struct RedisLedger {
    shared: Arc<Shared>,
    upkeep: JoinHandle<()>,
}

struct Shared {
    fleet: Fleet,
    options: RedisOptions,
    clock: Clock,
    metrics: Arc<Metrics>,
    notices: mpsc::Sender<Notice>,
    /// When the epochs of the known stores began, in milliseconds; 0 until it is known.
    epochs: Mutex<HashMap<StoreId, i64>>,
    unsettled: Unsettled,
}

impl Drop for RedisLedger {
    fn drop(&mut self) {
        self.upkeep.abort();
    }
}

impl RedisLedger {
    /// Begins to connect. It never fails: what is wrong is told by [`Ledger::health`], and ends by
    /// itself when it is mended. `stores` are those whose tokens will be burned here.
    #[must_use]
    pub fn open(
        options: RedisOptions,
        stores: impl IntoIterator<Item = StoreId>,
        clock: Clock,
        metrics: Arc<Metrics>,
        notices: mpsc::Sender<Notice>,
    ) -> Self {
        let shared = Arc::new(Shared {
            fleet: Fleet::open(&options, &clock),
            options,
            clock,
            metrics,
            notices,
            epochs: Mutex::new(stores.into_iter().map(|store| (store, 0)).collect()),
            unsettled: Unsettled::default(),
        });
        let upkeep = tokio::spawn(upkeep::run(Arc::downgrade(&shared)));
        Self { shared, upkeep }
    }

    /// Settles what could not be settled in time, before the process ends.
    pub async fn drain(&self, patience: std::time::Duration) {
        self.shared.drain(patience).await;
    }

    /// Everything that is remembered of a token.
    pub async fn show(&self, slot: &Slot) -> Result<Option<Full>, LedgerError> {
        Ok(self.shared.full(slot).await?)
    }
}

impl Ledger for RedisLedger {
    async fn reserve(&self, claim: Claim) -> Result<Reserve, LedgerError> {
        self.shared.reserve(claim).await
    }

    async fn settle(
        &self,
        reservation: Reservation,
        how: Settlement,
        answer: Option<Answer>,
    ) -> Result<Standing, LedgerError> {
        match self.shared.settle(&reservation, how, answer.as_ref(), None).await {
            Ok(standing) => Ok(standing),
            Err(SettleFault::Lost) => Err(LedgerError::Lost),
            Err(SettleFault::Unavailable(trouble)) => {
                self.shared.unsettled.push(Later::settlement(reservation, how, answer));
                Err(trouble.into())
            }
        }
    }

    async fn entry(&self, slot: &Slot) -> Result<Option<Entry>, LedgerError> {
        Ok(self.shared.full(slot).await?.map(|full| full.entry))
    }

    async fn answer(&self, slot: &Slot) -> Result<Option<Answer>, LedgerError> {
        Ok(self.shared.answer(slot).await?)
    }

    async fn usage(&self, store: &StoreId, agent: &AgentId, issued: Timestamp) -> Result<Usage, LedgerError> {
        self.shared.usage(store, agent, issued).await
    }

    async fn abandon(&self, lapsed: &Lapsed) -> Result<Fate, LedgerError> {
        let (taken, was) = self.shared.abandon(lapsed, "I", 0).await?;
        Ok(match was.as_str() {
            "R" | "I" => Fate::Indeterminate,
            "B" => Fate::Burned,
            "U" => Fate::Unexecuted,
            "L" => Fate::Told,
            _ if taken => Fate::Indeterminate,
            _ => Fate::Unknown,
        })
    }

    async fn lapsed(&self) -> Result<Vec<Lapsed>, LedgerError> {
        let stores: Vec<_> = self.shared.epochs.lock().keys().cloned().collect();
        let (mut found, mut failed) = (Vec::new(), None);
        for store in stores {
            if found.len() >= LAPSED_MAX {
                break;
            }
            // One server that is down hides nothing of the others.
            if let Err(trouble) = self.shared.lapsed_in(&store, &mut found).await {
                failed = Some(trouble);
            }
        }
        match failed {
            Some(trouble) if found.is_empty() => Err(trouble.into()),
            _ => Ok(found),
        }
    }

    async fn told(&self, lapsed: &Lapsed) -> Result<(), LedgerError> {
        Ok(self.shared.told(lapsed).await?)
    }

    fn health(&self) -> Health {
        self.shared.health()
    }
}

impl Shared {
    fn health(&self) -> Health {
        let now = self.clock.now();
        let epochs = self.epochs.lock();
        let unknown = epochs.values().any(|started| *started == 0);
        let remaining = |started: &i64| Epoch::starting(Timestamp::of_millis(*started), SKEW_S).remaining_s(now);
        let quarantine_s = epochs.values().filter(|started| **started != 0).map(remaining).max().unwrap_or(0);
        drop(epochs);
        let reading = || Err("what the ledger remembers is being read".to_owned());
        Health {
            backend: BACKEND,
            usable: self.fleet.usable().and_then(|()| if unknown { reading() } else { Ok(()) }),
            entries: 0,
            capacity: 0,
            quarantine_s,
            shared: true,
            exactly_once: self.options.access.durability.is_exactly_once(),
            clock_ahead_s: Some(self.options.access.clock_ahead.seconds()),
        }
    }
}

const BACKEND: &str = "redis";
