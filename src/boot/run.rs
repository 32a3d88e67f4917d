//! A running process: its addresses, its tasks, and its end.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Shutdown;
use crate::evidence::Spool;
use crate::ops::Ops;
use crate::telemetry::access::AccessLog;

use super::handover::{Handover, Invocation, Listeners};
use super::stop::{Ending, Pace, StopSignal, Tasks};

/// While it is not ready, what is missing is told this often.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time for the ledger to take what it did not take before.
const SETTLE: Duration = Duration::from_secs(2);
/// How often readiness is looked at while starting.
const LOOK: Duration = Duration::from_millis(20);

/// Where something listens.
#[derive(Clone, Debug)]
pub struct Address {
    pub name: &'static str,
    pub url: String,
}

impl Address {
    pub(super) fn new(name: &'static str, address: SocketAddr, tls: bool) -> Self {
        let scheme = if tls { "https" } else { "http" };
        Self { name, url: format!("{scheme}://{address}") }
    }
}

/// A started process.
pub struct Running {
    pub addresses: Vec<Address>,
    pub(super) ops: Ops,
    pub(super) tasks: Tasks,
    pub(super) listeners: Listeners,
    pub(super) shutdown: Shutdown,
    pub(super) access: Option<Arc<AccessLog>>,
    pub(super) evidence: Arc<Spool>,
    /// Fills and seals the evidence store, in a process that has one.
    #[cfg(feature = "control-plane")]
    pub(super) lane: Option<super::lane::Lane>,
    /// They take events and traces to other hosts.
    pub(super) carriers: Vec<Carrier>,
    /// Where the process keeps its files.
    pub data: std::path::PathBuf,
    /// Removed at the end, when the data was throw-away.
    pub(super) scratch: Option<std::path::PathBuf>,
}

impl Running {
    /// Waits until requests may be sent; says what it waits for when that takes long.
    pub async fn ready(&self) {
        let mut next_word = tokio::time::Instant::now() + PATIENCE;
        while let Err(missing) = self.ops.ready() {
            if tokio::time::Instant::now() >= next_word {
                tracing::warn!(missing, "not ready yet");
                next_word += PATIENCE;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Stops in order: not ready, no new requests, what is under way, the last record. A second signal hurries.
    pub async fn stop(mut self, ending: Ending, signals: &mut StopSignal) {
        self.wind_down(ending, signals).await;
        drop(std::mem::take(&mut self.listeners));
        self.finish().await;
    }

    /// Stops as well, but for the listeners: they are for the program that is to come.
    pub async fn make_way(mut self, next: Invocation, signals: &mut StopSignal) -> Option<Handover> {
        let mut hurried = self.wind_down(Ending::Upgrade, signals).await;
        let listeners = std::mem::take(&mut self.listeners);
        {
            let mut finishing = pin!(self.finish());
            let again = tokio::select! {
                () = &mut finishing => false,
                () = signals.hurries(Ending::Upgrade) => true,
            };
            if again {
                finishing.await;
                hurried = true;
            }
        }
        // Who signals again wants it to end, not to begin anew.
        (!hurried && !signals.hurried_meanwhile().await).then(|| Handover::new(next, listeners))
    }

    /// True where a second signal came.
    async fn wind_down(&mut self, ending: Ending, signals: &mut StopSignal) -> bool {
        tracing::info!(?ending, "stopping");
        self.ops.draining().end();
        let mut pace = Pace::of(self.shutdown, ending);
        let mut hurried = false;
        tokio::select! {
            () = tokio::time::sleep(pace.delay) => {}
            () = signals.hurries(ending) => hurried = true,
        }
        if hurried {
            pace = pace.hurried(self.shutdown);
        }
        if ending != Ending::Upgrade || hurried {
            drop(std::mem::take(&mut self.listeners));
        }
        tokio::select! {
            () = self.tasks.stop(pace) => return hurried,
            () = signals.hurries(ending) => {}
        }
        self.tasks.stop(pace.hurried(self.shutdown)).await;
        true
    }

    async fn finish(self) {
        self.ops.settle_rest(SETTLE).await;
        if let Err(error) = self.evidence.close() {
            tracing::error!(%error, "spool not closed");
        }
        // After the last record, so that it arrives too.
        self.carriers.iter().for_each(Carrier::tell);
        for carrier in self.carriers {
            carrier.ended().await;
        }
        if let Some(log) = self.access {
            let _ = tokio::task::spawn_blocking(move || log.close()).await;
        }
        #[cfg(feature = "control-plane")]
        if let Some(lane) = self.lane {
            let _ = tokio::task::spawn_blocking(|| lane.stop()).await;
        }
        if let Some(dir) = &self.scratch {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

/// A task that carries what the others tell to another host. It outlives them: their last words are its work.
pub(super) struct Carrier {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Carrier {
    pub(super) fn start(task: impl FnOnce(watch::Receiver<bool>) -> JoinHandle<()>) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { stop, task: task(stopped) }
    }

    /// Nothing more comes: what is here is the last.
    fn tell(&self) {
        self.stop.send_replace(true);
    }

    async fn ended(self) {
        let _ = self.task.await;
    }
}
