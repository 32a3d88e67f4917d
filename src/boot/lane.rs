//! The evidence lane of a control plane: the store that is filled, the log that seals it, and the look
//! at whether the log still verifies.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::api::Log;
use crate::audit::report::{Required, Verdict};
use crate::audit::source::Directory;
use crate::audit::trust::Trust;
use crate::audit::verify_log;
use crate::config::Config;
use crate::evidence::log::{LogDir, LogError, LogKeys};
use crate::evidence::{Consumed, Followed, Follower, Keep, LogPlace, Sealer, Store, store};
use crate::model::time::Timestamp;

use super::base::{Base, make_dir, spool_dir};
use super::listen::BootError;

/// From the start to the first verification of the log, and from each to the next.
const VERIFY_FIRST: Duration = Duration::from_secs(2);
const VERIFY_EVERY: Duration = Duration::from_secs(600);

/// The threads of the lane.
pub(super) struct Lane {
    pub(super) follower: Follower,
    sealer: Sealer,
}

/// What is asked of the lane.
pub(super) struct Kept {
    pub(super) store: Arc<Store>,
    pub(super) place: LogPlace,
    verified: Arc<AtomicBool>,
}

impl Kept {
    /// What the last verification came to.
    pub(super) fn look(&self) -> impl Fn() -> Log + Send + Sync + use<> {
        let verified = self.verified.clone();
        move || if verified.load(Ordering::Acquire) { Log::Verified } else { Log::Unproven }
    }
}

impl Lane {
    /// The store, filled from this process's spool and from those of gateways on this host. It has a
    /// directory of its own: whoever watches the data directory is not woken by every event.
    pub(super) fn start(config: &Config, base: &mut Base) -> Result<(Self, Kept), BootError> {
        let dir = config.data.join("evidence");
        make_dir(&dir)?;
        let (store, writer) = store::open(&dir.join("evidence.db"))?;
        let store = Arc::new(store);
        let place = LogPlace { data: config.data.clone(), name: config.evidence.log_name.clone() };
        let (clock, metrics) = (base.clock.clone(), base.metrics.clone());
        let sealer = Sealer::start(store.clone(), place.clone(), clock.clone(), metrics.clone());
        let sealer = sealer.map_err(BootError::Thread)?;
        let spools = std::iter::once(spool_dir(config)).chain(config.evidence.spools.clone());
        let kept = Keep::for_a_restart(config.evidence.spool_limit);
        let spools = spools.map(|dir| Followed { dir, consumed: Consumed::ReleasedAfter(kept) }).collect();
        let follower = Follower::start(writer, spools, Some(sealer.closer()), clock, metrics);
        let follower = follower.map_err(BootError::Thread)?;
        let verified = Arc::new(AtomicBool::new(false));
        verify_again_and_again(base, store.clone(), place.clone(), verified.clone());
        Ok((Self { follower, sealer }, Kept { store, place, verified }))
    }

    /// Takes and seals what the spools hold now, and ends. Blocks.
    pub(super) fn stop(self) {
        self.follower.stop();
        self.sealer.stop();
    }
}

/// What is claimed of the log is what its last verification came to.
fn verify_again_and_again(base: &mut Base, store: Arc<Store>, place: LogPlace, verified: Arc<AtomicBool>) {
    let (clock, metrics) = (base.clock.clone(), base.metrics.clone());
    base.tasks.accompany(async move {
        let mut pause = VERIFY_FIRST;
        loop {
            tokio::time::sleep(pause).await;
            let (store, place, now) = (store.clone(), place.clone(), clock.now());
            let found = tokio::task::spawn_blocking(move || verify(&store, &place, now)).await;
            // Nothing is published yet: look again soon.
            pause = if matches!(found, Ok(Ok(None))) { VERIFY_FIRST } else { VERIFY_EVERY };
            let holds = match found {
                Ok(Ok(found)) => found.unwrap_or(false),
                Ok(Err(error)) => {
                    tracing::error!(%error, "the evidence log cannot be verified");
                    false
                }
                Err(_cut_off) => return,
            };
            metrics.evidence_log_verified.set(i64::from(holds));
            verified.store(holds, Ordering::Release);
        }
    });
}

/// Verifies the log of this year as an auditor would, with our own keys.
fn verify(store: &Store, place: &LogPlace, now: Timestamp) -> Result<Option<bool>, LogError> {
    let Some(log) = store.logs().ok().and_then(|logs| logs.last().copied()) else { return Ok(None) };
    let dir = LogDir::of(&place.data, &place.name, log.year)?;
    if !dir.root().join("checkpoint").exists() {
        return Ok(None);
    }
    let keys = LogKeys::open(&place.data, now)?.list()?;
    let keys = keys.iter().map(|key| key.verifier(dir.origin())).collect::<Result<_, _>>()?;
    let root: PathBuf = dir.root().to_owned();
    let report = verify_log(&Directory(root), &Trust::new(keys), &[], &mut |_, _| ());
    let failed = report.checks.iter().filter(|outcome| outcome.verdict == Verdict::Fail);
    for outcome in failed {
        let (check, finding) = (outcome.check.as_str(), outcome.findings.first());
        tracing::error!(check, ?finding, "the evidence log does not verify: see `permyx evidence verify`");
    }
    Ok(Some(report.exit(&Required::Usual) != 1))
}
