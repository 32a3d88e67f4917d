//! Seals the store: a thread of its own appends every event to the signed log of its year and
//! publishes a checkpoint within a second.
//!
//! It only follows the store. What goes wrong here stops no request and loses no event: the log stands
//! still with an error, `permyx_evidence_log_ok` is 0, and it goes on where it stopped.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::log::{Appender, LogDir, LogError, LogKeys, LogReader, Rebuild};
use super::store::{Store, StoreError};
use super::years::YearLog;
use crate::clock::Clock;
use crate::telemetry::metrics::Metrics;

/// Leaves that are read at once.
const PAGE: usize = 1024;
/// While events come, a checkpoint is published this often.
const PUBLISH_EVERY: Duration = Duration::from_millis(800);
/// Pause while nothing comes.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Pause after a failure.
const BACK_OFF: Duration = Duration::from_secs(5);
/// How often it is looked at whether the keys changed.
const KEYS_EVERY: Duration = Duration::from_secs(10);
/// How long the last checkpoint may take when the process stops.
const END_WITHIN: Duration = Duration::from_secs(5);

/// What the log is called, and where it is kept.
#[derive(Clone, Debug)]
pub struct LogPlace {
    /// The deployment's data: `log/` and `log-keys/` are below.
    pub data: PathBuf,
    /// `shop.example/permyx`; a year's log has the year behind it.
    pub name: String,
}

/// Why a log is not sealed.
#[derive(Debug, thiserror::Error)]
enum NotSealed {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the store holds no event {0}, and later ones")]
    Hole(u64),
    #[error(
        "the store does not hold what was signed as leaf {0}: it was set back. Restore the newer one; another log is \
         not signed"
    )]
    SetBack(u64),
}

/// Hands the last checkpoint of a year's log back.
type Closed = Sender<String>;

enum Command {
    /// No more events come into this log.
    Close { log: YearLog, closed: Closed },
}

/// The running thread.
pub struct Sealer {
    commands: SyncSender<Command>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Closes logs for whoever begins the next.
#[derive(Clone)]
pub struct Closer(SyncSender<Command>);

impl Closer {
    /// Seals a log to its end and answers its last checkpoint. Blocks; `None` where that cannot be
    /// done now. Meanwhile no event may be added.
    pub(super) fn close(&self, log: YearLog, within: Duration) -> Option<String> {
        let (closed, checkpoint) = channel();
        self.0.try_send(Command::Close { log, closed }).ok()?;
        checkpoint.recv_timeout(within).ok()
    }
}

impl Sealer {
    pub fn start(store: Arc<Store>, place: LogPlace, clock: Clock, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (commands, received) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let work = Work { store, place, clock, metrics, open: None, well: true };
        let thread = std::thread::Builder::new().name("evidence-log".to_owned()).spawn({
            let stop = stop.clone();
            move || work.run(&received, &stop)
        })?;
        Ok(Self { commands, stop, thread })
    }

    #[must_use]
    pub fn closer(&self) -> Closer {
        Closer(self.commands.clone())
    }

    /// Seals what the store holds now, and ends. Blocks.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        drop(self.commands);
        if self.thread.join().is_err() {
            tracing::error!("the thread that seals the evidence log died");
        }
    }
}

struct Work {
    store: Arc<Store>,
    place: LogPlace,
    clock: Clock,
    metrics: Arc<Metrics>,
    open: Option<Open>,
    /// False from a failure, which is told once, until it is over.
    well: bool,
}

/// A log that is being written.
struct Open {
    log: YearLog,
    appender: Appender,
    published: Instant,
    keys_read: Instant,
}

impl Work {
    fn run(mut self, commands: &Receiver<Command>, stop: &AtomicBool) {
        loop {
            let pause = if self.well { LOOK_EVERY } else { BACK_OFF };
            match commands.recv_timeout(pause) {
                Ok(Command::Close { log, closed }) => {
                    let checkpoint = self.close(log);
                    if let Some(checkpoint) = self.told(checkpoint) {
                        let _ = closed.send(checkpoint);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::park_timeout(LOOK_EVERY),
            }
            let stopping = stop.load(Ordering::Acquire);
            let sealed = self.seal(stopping);
            self.told(sealed);
            if stopping {
                return;
            }
        }
    }

    fn told<T>(&mut self, result: Result<T, NotSealed>) -> Option<T> {
        let was_well = std::mem::replace(&mut self.well, result.is_ok());
        self.metrics.evidence_log_ok.set(i64::from(result.is_ok()));
        match &result {
            Ok(_) if !was_well => tracing::info!("the evidence log is sealed again"),
            Err(error) if was_well => {
                tracing::error!(%error, "the evidence log is not sealed; events are kept and wait")
            }
            _ => {}
        }
        if result.is_err() {
            self.open = None;
        }
        result.ok()
    }

    /// Appends what is new, and publishes when it is time or nothing more comes.
    fn seal(&mut self, stopping: bool) -> Result<(), NotSealed> {
        let Some(log) = self.store.logs()?.last().copied() else { return Ok(()) };
        let ends = Instant::now() + END_WITHIN;
        loop {
            let store = self.store.clone();
            let open = self.opened(log)?;
            let at_end = take(open, &store)?;
            if at_end || open.published.elapsed() >= PUBLISH_EVERY {
                self.publish()?;
            }
            if at_end {
                self.metrics.evidence_sealed.at(self.clock.now());
            }
            if at_end || (stopping && Instant::now() >= ends) {
                return Ok(());
            }
        }
    }

    fn close(&mut self, log: YearLog) -> Result<String, NotSealed> {
        let store = self.store.clone();
        while !take(self.opened(log)?, &store)? {}
        self.publish()
    }

    fn publish(&mut self) -> Result<String, NotSealed> {
        let Some(open) = &mut self.open else { return Ok(String::new()) };
        if open.keys_read.elapsed() >= KEYS_EVERY {
            open.appender.renew_keys(self.clock.now())?;
            open.keys_read = Instant::now();
        }
        if open.appender.size() == 0 {
            return Ok(String::new());
        }
        let timer = self.metrics.evidence_publish.start_timer();
        let checkpoint = open.appender.publish()?;
        timer.observe_duration();
        open.published = Instant::now();
        self.metrics.evidence_log_size.set(i64::try_from(checkpoint.size()).unwrap_or(i64::MAX));
        Ok(checkpoint.note().to_string())
    }

    fn opened(&mut self, log: YearLog) -> Result<&mut Open, NotSealed> {
        if self.open.as_ref().is_none_or(|open| open.log != log) {
            // One at a time: the lock of the other is given up first.
            self.open = None;
            let appender = self.open_log(log)?;
            self.open = Some(Open { log, appender, published: Instant::now(), keys_read: Instant::now() });
        }
        self.open.as_mut().ok_or(NotSealed::Log(LogError::Broken))
    }

    /// Opens a log; where its files are lost or damaged, they are made anew from the store.
    fn open_log(&self, log: YearLog) -> Result<Appender, NotSealed> {
        let now = self.clock.now();
        let keys = LogKeys::open(&self.place.data, now)?;
        let dir = || LogDir::of(&self.place.data, &self.place.name, log.year);
        match Appender::open(dir()?, &keys, now) {
            Err(error @ (LogError::Missing(_) | LogError::Damaged(_))) => {
                tracing::error!(%error, "the log's files are made anew from the store");
                let mut rebuild = Rebuild::begin(dir()?, &keys, now)?;
                let mut next = 0;
                loop {
                    let leaves = self.store.leaves(log, next, PAGE)?;
                    next += leaves.len() as u64;
                    for leaf in &leaves {
                        rebuild = rebuild.push(leaf)?;
                    }
                    if leaves.len() < PAGE {
                        return Ok(rebuild.finish()?);
                    }
                }
            }
            opened => {
                let opened = opened?;
                self.holds_what_was_signed(log, &keys, dir()?, opened.size())?;
                Ok(opened)
            }
        }
    }

    /// A store that was set back may have grown again, with other events in the same places.
    fn holds_what_was_signed(&self, log: YearLog, keys: &LogKeys, dir: LogDir, size: u64) -> Result<(), NotSealed> {
        let Some(last) = size.checked_sub(1) else { return Ok(()) };
        let trusted = keys.trusted(dir.origin())?;
        let reader = LogReader::new(dir, trusted);
        let signed = reader.tree()?.map(|tree| tree.leaf(last)).transpose()?.flatten();
        let kept = self.store.leaves(log, last, 1)?.pop();
        if signed.is_some() && signed == kept { Ok(()) } else { Err(NotSealed::SetBack(last)) }
    }
}

/// Appends one page of leaves. True when there are no more.
fn take(open: &mut Open, store: &Store) -> Result<bool, NotSealed> {
    let leaves = store.leaves(open.log, open.appender.size(), PAGE)?;
    leaves.iter().try_for_each(|leaf| open.appender.append(leaf))?;
    let next = open.log.first + open.appender.size();
    // A hole in the store's own count: a row was deleted. What came since it was read is none.
    let is_behind = leaves.is_empty() && store.log_of(next)? == Some(open.log) && store.size()? >= next;
    if is_behind && store.leaves(open.log, open.appender.size(), 1)?.is_empty() {
        return Err(NotSealed::Hole(next));
    }
    Ok(leaves.len() < PAGE)
}
