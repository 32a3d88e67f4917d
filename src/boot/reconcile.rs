//! Orders are judged beside everything else: what is new in the log is looked at a few times a second.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::evidence::Store;
use crate::governance::reconcile::Reconciler;

use super::base::Base;
use super::listen::BootError;

/// Pause when nothing is left to do, and after a failure.
const PAUSE: Duration = Duration::from_millis(250);
const BACK_OFF: Duration = Duration::from_secs(2);

/// Starts the reconciler of this process, which is cut off at its end: it goes on where it stopped.
pub(super) fn accompany(config: &Config, base: &mut Base, store: Arc<Store>) -> Result<(), BootError> {
    let file = config.data.join("evidence").join("reconciled");
    let mut reconciler = Reconciler::open(store, base.evidence.clone(), file)?;
    let clock = base.clock.clone();
    base.tasks.accompany(async move {
        let mut well = true;
        loop {
            let now = clock.now();
            let round = tokio::task::spawn_blocking(move || (reconciler.round(now), reconciler)).await;
            let Ok((result, returned)) = round else {
                tracing::error!("the judgement of orders died; it goes on after a restart");
                return;
            };
            reconciler = returned;
            let was_well = std::mem::replace(&mut well, result.is_ok());
            match result {
                Ok(true) => {}
                Ok(false) => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    if was_well {
                        tracing::error!(error = ?error, "orders are not judged; it is tried again");
                    }
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    });
    Ok(())
}
