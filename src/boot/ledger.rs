//! The ledger of a process, and what goes on beside it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::authority::Authority;
use crate::config::Config;
use crate::evidence::Unsettled;
use crate::ledger::AnyLedger;
use crate::ledger::memory::{MemoryLedger, MemoryOptions};
use crate::ledger::redis::{Notice, RedisLedger, RedisOptions};
use crate::model::ids::StoreId;

use super::base::Base;
use super::listen::BootError;

/// Lapsed reservations are looked for this often, or twice within a shorter lease.
const SWEEP: Duration = Duration::from_secs(5);
/// Notices that wait to be recorded at most.
const NOTICES: usize = 1024;

/// A ledger, and what it will have to say.
pub(super) struct Opened {
    pub(super) ledger: AnyLedger,
    notices: mpsc::Receiver<Notice>,
    /// How often lapsed reservations are looked for.
    sweep: Duration,
}

impl Opened {
    /// One that this process alone burns in. `skew_s`: how far the issuer's clock may be ahead.
    pub(super) fn memory(config: &Config, base: &Base, skew_s: i64) -> Result<Self, BootError> {
        let lease_ms = i64::try_from(config.ledger.lease.as_millis()).unwrap_or(i64::MAX);
        let options = MemoryOptions { capacity: config.ledger.capacity, skew_s, lease_ms, ..MemoryOptions::default() };
        let ledger = MemoryLedger::open_with(&config.data, base.clock.clone(), options)?;
        Ok(Self::quiet(AnyLedger::Memory(Box::new(ledger)), config))
    }

    /// The one that is shared.
    pub(super) fn redis(options: &RedisOptions, base: &Base, config: &Config) -> Self {
        let (tell, notices) = mpsc::channel(NOTICES);
        let options = RedisOptions { replica: base.evidence.identity(), ..options.clone() };
        let ledger = RedisLedger::open(options, stores(config, base), base.clock.clone(), base.metrics.clone(), tell);
        Self { notices, ..Self::quiet(AnyLedger::Redis(ledger), config) }
    }

    /// None: the gateway holds all burning, and this process is not it.
    #[cfg(feature = "control-plane")]
    pub(super) fn elsewhere(config: &Config) -> Self {
        Self::quiet(AnyLedger::Elsewhere, config)
    }

    fn quiet(ledger: AnyLedger, config: &Config) -> Self {
        Self { ledger, notices: mpsc::channel(1).1, sweep: SWEEP.min(config.ledger.lease / 2) }
    }
}

/// The stores whose tokens this process may burn.
fn stores(config: &Config, base: &Base) -> Vec<StoreId> {
    let mut stores = config.stores();
    stores.extend(base.policies.snapshot().iter().map(|policy| policy.store().clone()));
    stores.into_iter().collect()
}

/// Settles what was left behind, now and as it lapses, and records what the ledger notices.
pub(super) fn accompany(
    base: &mut Base,
    authority: &Arc<Authority>,
    left: Vec<Unsettled>,
    mut notices: mpsc::Receiver<Notice>,
    sweep: Duration,
) {
    if !left.is_empty() {
        tracing::warn!(
            executions = left.len(),
            "this process was killed in the middle of executions; they are settled now"
        );
    }
    let recovering = authority.clone();
    base.tasks.accompany(async move { recovering.recover(left).await });
    let sweeping = authority.clone();
    base.tasks.accompany(async move {
        loop {
            tokio::time::sleep(sweep).await;
            sweeping.sweep().await;
        }
    });
    let noting = authority.clone();
    base.tasks.accompany(async move {
        while let Some(notice) = notices.recv().await {
            noting.note(&notice);
        }
    });
}

impl Opened {
    /// Taken apart into what the lane needs and what goes on beside it.
    pub(super) fn parts(self) -> (AnyLedger, mpsc::Receiver<Notice>, Duration) {
        (self.ledger, self.notices, self.sweep)
    }
}
