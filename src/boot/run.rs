//! A running process: its addresses, its tasks, and its end.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::evidence::Spool;
use crate::ops::Ops;

/// Time for listeners to finish what is under way.
const GRACE: Duration = Duration::from_secs(15);
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
    pub(super) evidence: Arc<Spool>,
    /// Fills and seals the evidence store, in a process that has one.
    #[cfg(feature = "control-plane")]
    pub(super) lane: Option<super::lane::Lane>,
    /// Carries the events to a control plane on another host.
    pub(super) shipping: Option<Shipping>,
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

    /// Stops in order: not ready, no new requests, what is under way, the last record.
    pub async fn stop(mut self) {
        tracing::info!("stopping");
        self.ops.drain();
        self.tasks.stop().await;
        self.ops.settle_rest(SETTLE).await;
        if let Err(error) = self.evidence.close() {
            tracing::error!(%error, "spool not closed");
        }
        // After the last record, so that it arrives too.
        if let Some(shipping) = self.shipping {
            shipping.stop().await;
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

/// The task that carries events to another host. It outlives the others: their last events are its work.
pub(super) struct Shipping {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Shipping {
    pub(super) fn start(task: impl FnOnce(watch::Receiver<bool>) -> JoinHandle<()>) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { stop, task: task(stopped) }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

/// Tasks that serve until they are told to stop, and tasks that only accompany them.
pub(super) struct Tasks {
    stop: watch::Sender<bool>,
    serving: JoinSet<()>,
    accompanying: JoinSet<()>,
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self { stop: watch::channel(false).0, serving: JoinSet::new(), accompanying: JoinSet::new() }
    }

    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// A task that ends by itself once it is told to stop.
    pub(super) fn serve(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.serving.spawn(task);
    }

    /// A task that is cut off at the end.
    pub(super) fn accompany(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.accompanying.spawn(task);
    }

    async fn stop(&mut self) {
        self.stop.send_replace(true);
        let serving = &mut self.serving;
        let ended = tokio::time::timeout(GRACE, async { while serving.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tracing::warn!("requests were still under way and are cut off");
        }
        self.accompanying.shutdown().await;
    }
}

/// Resolves when `stop` turns true.
pub(super) async fn until(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// SIGTERM and SIGINT. Listened for before anything is served, so that neither ever kills the
/// process in the middle of something.
pub struct StopSignal {
    term: Signal,
    int: Signal,
}

impl StopSignal {
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
