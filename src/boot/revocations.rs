//! The kill switch of a process: opened, followed and recorded.

use std::sync::Arc;

use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use crate::authority::revoke::revocation_event;
use crate::clock::Clock;
use crate::config::Config;
use crate::evidence::Spool;
use crate::ledger::redis::Door;
use crate::model::ids::TraceId;
use crate::revocation::KillSwitch;
use crate::revocation::shared::{self, Connect, Pushes};
use crate::telemetry::metrics::Metrics;

use super::listen::BootError;
use super::stop::Tasks;

/// Opens the kill switch. A command that comes by the file was written by somebody without a log of
/// their own, so this process records it.
pub(super) fn kill_switch(
    config: &Config,
    clock: &Clock,
    metrics: &Arc<Metrics>,
    evidence: &Arc<Spool>,
    tasks: &mut Tasks,
) -> Result<Arc<KillSwitch>, BootError> {
    let log = evidence.clone();
    let heard = move |record: &_| {
        if let Err(error) = log.append(&revocation_event(record, TraceId::random())) {
            tracing::warn!(%error, "revocation not recorded");
        }
    };
    let switch = KillSwitch::open(&config.data, clock.clone(), metrics.clone(), Box::new(heard))?;
    let switch = Arc::new(switch);
    let following = switch.clone();
    tasks.follow(config.data.clone(), move || {
        let taken = following.refresh();
        following.count_reload(taken.is_ok());
        if let Err(error) = taken {
            tracing::error!(%error, "revocations not taken or not written, those known stay in force");
        }
    });
    if let Some(redis) = shared_revocations(config) {
        switch.expect_others();
        tasks.accompany(shared::follow(switch.clone(), redis));
    }
    Ok(switch)
}

/// Where the revocations of this configuration are shared with other hosts: in the ledger that they
/// share.
#[must_use]
pub fn shared_revocations(config: &Config) -> Option<SharedLedger> {
    config.ledger.redis.clone().map(|options| SharedLedger(Door::to(options, shared::TAG)))
}

/// See [`shared_revocations`].
pub struct SharedLedger(Door);

impl Connect for SharedLedger {
    type Connection = MultiplexedConnection;

    async fn subscribed(&self, pushes: Pushes) -> RedisResult<MultiplexedConnection> {
        let mut connection = self.0.open(shared::settings(pushes)).await?;
        connection.subscribe(shared::CHANNEL).await?;
        Ok(connection)
    }

    async fn is_current(&self) -> bool {
        self.0.is_current().await
    }
}
