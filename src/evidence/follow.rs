//! Carries events from spools into the store, on a thread of its own.
//!
//! The place in each spool is kept in the store and moves with the events, so whatever goes wrong,
//! starting again from that place loses nothing and doubles nothing.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use uuid::Uuid;

use super::identity;
use super::intake::{Inbox, Waiting};
use super::seal::Closer;
use super::segment::Keep;
use super::store::{Hole, StoreError, Stream, Writer};
use super::stored::Body;
use super::tail::{Place, Read, Tail};
use crate::clock::Clock;
use crate::model::time::Timestamp;
use crate::telemetry::metrics::Metrics;

/// Most events of one transaction.
const BATCH_MAX: usize = 512;
/// Pause when nothing new was found.
const PAUSE: Duration = Duration::from_millis(5);
/// Pause after a failure.
const BACK_OFF: Duration = Duration::from_millis(500);
/// How long the last events may take when the follower is stopped.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// How long the log of the old year may take to be sealed.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);
/// And after how long it is tried again where it was not.
const TURN_AGAIN: Duration = Duration::from_secs(60);
/// Idle rounds after which it is checked that a directory is still the same one.
const RECOGNISE_EVERY: u32 = 200;

/// What becomes of segments whose events are in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consumed {
    /// Another reader needs them, or they are not ours to delete.
    Kept,
    /// Deleted after that.
    ReleasedAfter(Keep),
}

/// A spool directory to follow. It need not exist yet.
#[derive(Clone, Debug)]
pub struct Followed {
    pub dir: PathBuf,
    pub consumed: Consumed,
}

/// The running thread.
pub struct Follower {
    inbox: Inbox,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Follower {
    /// Starts to follow these spools. With a `closer`, events go into the log of the year in which
    /// they come.
    pub fn start(
        writer: Writer,
        spools: Vec<Followed>,
        closer: Option<Closer>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let sources = spools.into_iter().map(Source::new).collect();
        let (inbox, deliveries) = Inbox::new();
        let work = Work { writer, sources, deliveries, closer, year: None, next_turn: None, clock, metrics };
        let thread = std::thread::Builder::new().name("evidence".to_owned()).spawn({
            let stop = Arc::clone(&stop);
            move || work.run(&stop)
        })?;
        inbox.wake(thread.thread().clone());
        Ok(Self { inbox, stop, thread })
    }

    /// Where producers on other hosts hand in what they have.
    #[must_use]
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// Takes what the spools hold now, for two seconds at most, and ends. Blocks.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the thread that fills the evidence store died");
        }
    }
}

struct Work {
    writer: Writer,
    sources: Vec<Source>,
    deliveries: mpsc::Receiver<Waiting>,
    closer: Option<Closer>,
    /// The year whose log events go into.
    year: Option<u16>,
    /// When it is tried again to begin the next one.
    next_turn: Option<Instant>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// What one round found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Nothing,
    Failure,
    Events,
}

impl Work {
    fn run(mut self, stop: &AtomicBool) {
        let mut deadline = None;
        loop {
            if stop.load(Ordering::Acquire) && deadline.is_none() {
                deadline = Some(Instant::now() + STOP_WITHIN);
            }
            let found = self.round();
            match (found, deadline) {
                (Found::Nothing, Some(_)) => return,
                (_, Some(deadline)) if Instant::now() >= deadline => {
                    tracing::warn!("stopped before all events were in the store; they stay in the spool");
                    return;
                }
                (Found::Events, _) => {}
                (Found::Nothing, None) | (Found::Failure, Some(_)) => std::thread::park_timeout(PAUSE),
                (Found::Failure, None) => std::thread::park_timeout(BACK_OFF),
            }
        }
    }

    /// Begins the log of a new year, once that of the old one is sealed to its end.
    fn turn_the_year(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let Some(closer) = &self.closer else { return Ok(()) };
        // A clock that was set back does not bring an old log back.
        if self.year.is_some_and(|year| year >= now.year()) {
            return Ok(());
        }
        let current = self.writer.current_log()?;
        self.year = match current {
            None => Some(self.writer.begin_log(now.year(), None, now)?.year),
            Some(log) if log.year >= now.year() => Some(log.year),
            Some(_) if self.next_turn.is_some_and(|next| Instant::now() < next) => self.year,
            Some(log) => match closer.close(log, CLOSE_WITHIN) {
                Some(last) => {
                    tracing::info!(year = now.year(), "the log of a new year begins");
                    Some(self.writer.begin_log(now.year(), Some(last.into()), now)?.year)
                }
                None => {
                    tracing::error!(year = log.year, "the log of the old year cannot be sealed, and goes on for now");
                    self.next_turn = Some(Instant::now() + TURN_AGAIN);
                    Some(log.year)
                }
            },
        };
        Ok(())
    }

    fn round(&mut self) -> Found {
        if let Err(error) = self.turn_the_year(self.clock.now()) {
            tracing::error!(%error, "no log for the events of this year; they wait in the spools");
            return Found::Failure;
        }
        let Self { writer, sources, deliveries, clock, metrics, .. } = self;
        let now = clock.now();
        let delivered = deliveries.try_recv().map(|waiting| waiting.take(writer, metrics, now)).is_ok();
        let found = sources.iter_mut().map(|source| source.round(writer, metrics, now)).max();
        let oldest = sources.iter().filter_map(|source| source.oldest_missing).min();
        let lag = oldest.map_or(0, |oldest| now.millis_since(oldest).max(0));
        metrics.evidence_lag.set(Duration::from_millis(lag.unsigned_abs()).as_secs_f64());
        if delivered { Found::Events } else { found.unwrap_or(Found::Nothing) }
    }
}

/// Why a round of one source failed.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error("cannot read the spool")]
    Spool(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One spool directory.
struct Source {
    followed: Followed,
    attached: Option<Attached>,
    /// Time of the oldest event that is known to wait.
    oldest_missing: Option<Timestamp>,
    /// False from a failure, which is told once, until it is over.
    well: bool,
}

/// A place in a stream, as it stands in the store.
struct Attached {
    identity: Uuid,
    stream: Stream,
    tail: Tail,
    batch: Vec<Read>,
    idle_rounds: u32,
}

impl Source {
    fn new(followed: Followed) -> Self {
        Self { followed, attached: None, oldest_missing: None, well: true }
    }

    fn round(&mut self, writer: &mut Writer, metrics: &Metrics, now: Timestamp) -> Found {
        let result = self.advance(writer, metrics, now);
        let was_well = std::mem::replace(&mut self.well, result.is_ok());
        let dir = self.followed.dir.display();
        match result {
            Ok(found) => {
                if !was_well {
                    tracing::info!(%dir, "events reach the evidence store again");
                }
                found
            }
            Err(error) => {
                if was_well {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(%dir, %error, source, "events do not reach the evidence store");
                }
                self.attached = None;
                Found::Failure
            }
        }
    }

    fn advance(&mut self, writer: &mut Writer, metrics: &Metrics, now: Timestamp) -> Result<Found, FollowError> {
        let Some(at) = &mut self.attached else {
            self.attached = Attached::find(&self.followed, writer)?;
            return Ok(self.attached.as_ref().map_or(Found::Nothing, |_| Found::Events));
        };
        let place = at.tail.read(BATCH_MAX, &mut at.batch)?;
        if let Some(first) = at.batch.first() {
            self.oldest_missing = self.oldest_missing.or(time_of(first));
            let last = at.batch.last().and_then(time_of);
            at.commit(writer, metrics, now)?;
            self.oldest_missing = last.filter(|_| place == Place::Within);
            if self.followed.consumed != Consumed::Kept {
                at.tail.release()?;
            }
            return Ok(Found::Events);
        }
        match place {
            Place::Within => Ok(Found::Events),
            Place::Behind { next } => at.restart(next, writer, metrics, now).map(|()| Found::Events),
            Place::End => {
                self.oldest_missing = None;
                if !at.is_still_there()? {
                    self.attached = None;
                }
                Ok(Found::Nothing)
            }
        }
    }
}

impl Attached {
    fn find(followed: &Followed, writer: &mut Writer) -> Result<Option<Self>, FollowError> {
        let Some(identity) = identity::read(&followed.dir)? else { return Ok(None) };
        let stream = writer.stream(identity)?;
        let kept = match followed.consumed {
            Consumed::Kept => Keep { idle: Duration::MAX, room: u64::MAX },
            Consumed::ReleasedAfter(kept) => kept,
        };
        let tail = Tail::new(followed.dir.clone(), stream.next, kept);
        Ok(Some(Self { identity, stream, tail, batch: Vec::with_capacity(BATCH_MAX), idle_rounds: 0 }))
    }

    fn commit(&mut self, writer: &mut Writer, metrics: &Metrics, now: Timestamp) -> Result<(), FollowError> {
        self.tail.sync()?;
        let timer = metrics.evidence_commit.start_timer();
        let holes = writer.commit(&mut self.stream, &self.batch, now)?;
        timer.observe_duration();
        self.batch.clear();
        for Hole { from, to, cause } in holes {
            let (dir, cause) = (self.tail.dir().display(), cause.as_str());
            tracing::error!(%dir, from, to, cause, "records of the spool are missing or do not fit");
            metrics.evidence_gaps.with_label_values(&[cause]).inc();
        }
        Ok(())
    }

    /// The directory was set back behind what the store has of it. What comes now has numbers that
    /// were given before, so it is another generation of the stream.
    fn restart(
        &mut self,
        next: u64,
        writer: &mut Writer,
        metrics: &Metrics,
        now: Timestamp,
    ) -> Result<(), FollowError> {
        let dir = self.tail.dir().display();
        tracing::error!(%dir, expected = self.stream.next, found = next, "a spool went back; was a copy of it restored?");
        metrics.evidence_gaps.with_label_values(&["went_back"]).inc();
        self.stream = writer.restart(self.identity, &self.stream, next, now)?;
        self.tail.go_to(next);
        Ok(())
    }

    /// From time to time, whether the directory is still the one that was opened.
    fn is_still_there(&mut self) -> io::Result<bool> {
        self.idle_rounds = self.idle_rounds.wrapping_add(1);
        let due = self.idle_rounds.is_multiple_of(RECOGNISE_EVERY);
        Ok(!due || identity::read(self.tail.dir())? == Some(self.identity))
    }
}

fn time_of(record: &Read) -> Option<Timestamp> {
    Body::read(&record.body).and_then(|body| Timestamp::parse(body.time))
}
