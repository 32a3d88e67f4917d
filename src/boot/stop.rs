//! What ends a process, and how much time that may take.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::Shutdown;
use crate::reload::{self, Nudges};

/// What is left at the end for the ledger and the evidence, at most.
const RECORDS: Duration = Duration::from_secs(5);
/// Time for the records of what was cut short, and for callers to take their last answers.
const CUT_SHORT: Duration = Duration::from_secs(4);
/// All that a process takes which is asked to hurry.
const FAST: Duration = Duration::from_secs(7);

/// How a process is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// SIGTERM: not ready, still accepting for a while, then no more.
    Drain,
    /// SIGINT, or a second signal: accept no more at once, and be brief.
    Fast,
    /// SIGQUIT: drain, then become the program that is installed now. Listeners stay open.
    Upgrade,
}

/// SIGTERM, SIGINT and SIGQUIT. Listened for before anything is served, so that none of them ever
/// kills the process in the middle of something.
pub struct StopSignal {
    term: Signal,
    int: Signal,
    quit: Signal,
    /// Nobody listens here: it only must not end a process that has just begun.
    _hang_up: Signal,
}

impl StopSignal {
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            _hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves with a signal that hurries an end which began with `ending`. An upgrade is asked for once or
    /// several times: it is one.
    pub(super) async fn hurries(&mut self, ending: Ending) {
        while ending == Ending::Upgrade && self.received().await == Ending::Upgrade {}
        if ending != Ending::Upgrade {
            self.received().await;
        }
    }

    /// Whether such a signal came that nobody listened for yet.
    pub(super) async fn hurried_meanwhile(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.hurries(Ending::Upgrade) => true,
            () = std::future::ready(()) => false,
        }
    }

    pub async fn received(&mut self) -> Ending {
        tokio::select! {
            _ = self.term.recv() => Ending::Drain,
            _ = self.int.recv() => Ending::Fast,
            _ = self.quit.recv() => Ending::Upgrade,
        }
    }
}

/// The phases of one end. Their sum is within `shutdown.timeout_s`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Not ready, and still accepting.
    pub(super) delay: Duration,
    /// From the signal until what is still under way is cut short.
    patience: Duration,
    began: Instant,
}

impl Pace {
    pub(super) fn of(shutdown: Shutdown, ending: Ending) -> Self {
        let (delay, whole) = match ending {
            Ending::Drain | Ending::Upgrade => (shutdown.delay, shutdown.timeout),
            Ending::Fast => (Duration::ZERO, shutdown.timeout.min(FAST)),
        };
        // A quarter of a short time is for the records.
        let patience = whole.saturating_sub(RECORDS.min(whole / 4)).saturating_sub(CUT_SHORT.min(whole / 4));
        Self { delay: delay.min(patience), patience, began: Instant::now() }
    }

    /// From here on there is hurry.
    pub(super) fn hurried(self, shutdown: Shutdown) -> Self {
        let fast = Self::of(shutdown, Ending::Fast);
        if fast.began + fast.patience < self.began + self.patience { fast } else { self }
    }

    fn cut_at(self) -> Instant {
        self.began + self.patience
    }
}

/// What a task that serves is told at the end.
#[derive(Clone)]
pub(super) struct Told {
    /// No new connections; finish what is under way.
    pub(super) stop: watch::Receiver<bool>,
    /// Break off what is still under way, and record that.
    pub(super) cut: watch::Receiver<bool>,
}

/// Tasks that serve until they are told to stop, and tasks that only accompany them.
pub(super) struct Tasks {
    stop: watch::Sender<bool>,
    cut: watch::Sender<bool>,
    serving: JoinSet<()>,
    accompanying: JoinSet<()>,
    nudges: Nudges,
}

impl Tasks {
    pub(super) fn new() -> Self {
        let (stop, cut) = (watch::channel(false).0, watch::channel(false).0);
        let nudges = Nudges::default();
        let mut tasks = Self { stop, cut, serving: JoinSet::new(), accompanying: JoinSet::new(), nudges };
        tasks.accompany(hang_up(tasks.nudges.clone()));
        tasks
    }

    /// Calls `changed` whenever something in `dir` may have changed.
    pub(super) fn follow(&mut self, dir: PathBuf, changed: impl FnMut() + Send + 'static) {
        let nudged = self.nudges.listen();
        self.accompany(reload::watch(dir, nudged, changed));
    }

    pub(super) fn nudges(&self) -> &Nudges {
        &self.nudges
    }

    pub(super) fn told(&self) -> Told {
        Told { stop: self.stop.subscribe(), cut: self.cut.subscribe() }
    }

    #[cfg(feature = "control-plane")]
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

    pub(super) async fn stop(&mut self, pace: Pace) {
        self.stop.send_replace(true);
        if tokio::time::timeout_at(pace.cut_at(), ended(&mut self.serving)).await.is_err() {
            tracing::warn!("requests are still under way and are cut off");
            self.cut.send_replace(true);
            let _ = tokio::time::timeout(CUT_SHORT, ended(&mut self.serving)).await;
        }
        self.accompanying.shutdown().await;
    }
}

async fn ended(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

/// A nudge for each SIGHUP.
async fn hang_up(nudges: Nudges) {
    let Ok(mut hup) = signal(SignalKind::hangup()) else { return };
    while hup.recv().await.is_some() {
        nudges.nudge();
    }
}

/// Resolves when `stop` turns true.
#[cfg(any(feature = "control-plane", test))]
pub(super) async fn until(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_end_stays_within_its_time() {
        for (delay, timeout) in [(5, 25), (0, 25), (5, 8), (300, 600), (1, 1)] {
            let shutdown = Shutdown { delay: Duration::from_secs(delay), timeout: Duration::from_secs(timeout) };
            for ending in [Ending::Drain, Ending::Fast, Ending::Upgrade] {
                let pace = Pace::of(shutdown, ending);
                assert!(pace.delay <= pace.patience && pace.patience < shutdown.timeout, "{shutdown:?} {pace:?}");
                let rest = RECORDS.min(shutdown.timeout / 4) + CUT_SHORT.min(shutdown.timeout / 4);
                assert!(pace.patience + rest <= shutdown.timeout, "{shutdown:?} {pace:?}");
                assert!(pace.hurried(shutdown).cut_at() <= pace.cut_at());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_is_told_and_then_cut_off() {
        let mut tasks = Tasks::new();
        let Told { stop, cut } = tasks.told();
        let (heard, hearing) = tokio::sync::oneshot::channel();
        tasks.serve(async move {
            until(stop).await;
            until(cut).await;
            let _ = heard.send(());
            std::future::pending::<()>().await;
        });
        let shutdown = Shutdown { delay: Duration::ZERO, timeout: Duration::from_secs(25) };
        let began = Instant::now();
        tasks.stop(Pace::of(shutdown, Ending::Drain)).await;
        hearing.await.unwrap();
        assert!(began.elapsed() <= shutdown.timeout, "{:?}", began.elapsed());
    }
}
