//! A producer's own log: an event is in the spool when [`Spool::append`] returns, and then
//! survives the death of the process (README decision 19, class `spool`).

mod batch;
mod disk;
mod fold;

use std::fs::{File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use super::active::Active;
use super::gap::{Cause, Gap, Gaps};
use super::identity;
use super::record::{self, BODY_MAX, HEADER};
use super::recover::{Ending, Recovered, recover};
use super::room;
use super::segment::{self, Keep};
use crate::clock::Clock;
use crate::model::event::{Event, EventKind, Link};
use crate::model::ids::TraceId;
use crate::model::intent::Sha256;
use crate::model::time::Timestamp;
use crate::telemetry::metrics::Metrics;

use self::batch::Batch;
use self::disk::Disk;
use self::fold::Folds;

pub use self::batch::{NotAll, Placed};
pub use self::disk::sync_loop;
pub use self::fold::{Caller, Foldable};

/// Smallest and largest segment, whatever the options say.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = (BODY_MAX + HEADER) as u64..=1 << 28;

/// What a spool is opened with.
#[derive(Clone, Debug)]
pub struct SpoolOptions {
    /// Its directory. One process at a time may have it open.
    pub dir: PathBuf,
    /// The producer's name (`/gateways/<name>`). Its events have that and the directory's identity as
    /// their source, so that a directory that is lost and made anew is another stream.
    pub source: String,
    /// Most bytes that unreleased segments may take. A quarter is kept for executions, half of it for
    /// their outcomes.
    pub limit_bytes: u64,
    pub class: Class,
    /// A segment that would grow beyond this is followed by a new one. At most an eighth of the
    /// limit, since the newest segment is never released.
    pub segment_bytes: u64,
}

/// What a request waits for (README decision 19).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Class {
    /// Its event is written, and survives the death of the process; within 10 ms more a loss of power.
    #[default]
    Spool,
    /// Its event is on the disk.
    Strict,
}

/// Why an event is not in the spool, or the spool not open.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("cannot {doing} in the spool directory `{}`", .dir.display())]
    Io { doing: &'static str, dir: PathBuf, source: io::Error },
    #[error("the spool directory `{}` is in use by another process", .0.display())]
    InUse(PathBuf),
    #[error("the spool is full: {used} of {limit} bytes are used")]
    Full { used: u64, limit: u64 },
    #[error(transparent)]
    TooLarge(#[from] record::TooLarge),
    #[error("the spool is closed")]
    Closed,
    #[error("the disk did not take the event within {0} ms")]
    Slow(u128),
    #[error("the spool failed to undo a torn write or to reach the disk, and takes no more events until a restart")]
    Broken,
}

/// Proof that an event was written.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    sequence: u64,
}

impl Receipt {
    /// Place of the event in its producer's stream.
    #[must_use]
    pub const fn sequence(self) -> u64 {
        self.sequence
    }
}

/// An append-only log in segment files, with one producer.
pub struct Spool {
    options: SpoolOptions,
    identity: Uuid,
    clock: Clock,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    folds: Mutex<Folds>,
    disk: Disk,
    /// Locked as long as the file is open; the kernel unlocks it when the process dies.
    _lock: File,
}

struct State {
    phase: Phase,
    active: Active,
    /// Bytes in the other segments.
    sealed: u64,
    /// Those of them that are not on the disk yet, as little as the name of the active one.
    unsynced_sealed: Vec<Arc<File>>,
    next: u64,
    /// Leaf hash of the event before the next one.
    previous: Sha256,
    /// What is not written yet.
    batch: Batch,
    unsynced: bool,
    /// What could not be written, to be declared as soon as there is room.
    gaps: Gaps,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Closed,
    Broken,
}

/// How much of the limit an event may use.
#[derive(Clone, Copy)]
enum Share {
    ThreeQuarters,
    /// An execution begins only where there is room for the outcomes of those that are under way.
    SevenEighths,
    All,
}

impl Share {
    const fn of(kind: EventKind) -> Self {
        match kind {
            EventKind::ExecutionReserved => Self::SevenEighths,
            EventKind::SystemStopped => Self::All,
            kind if kind.is_settlement() => Self::All,
            _ => Self::ThreeQuarters,
        }
    }

    const fn of_limit(self, limit: u64) -> u64 {
        match self {
            Self::ThreeQuarters => limit - limit / 4,
            Self::SevenEighths => limit - limit / 8,
            Self::All => limit,
        }
    }
}

impl State {
    fn used(&self) -> u64 {
        self.sealed + self.active.bytes() + self.batch.bytes()
    }

    fn check(&self) -> Result<(), SpoolError> {
        match self.phase {
            Phase::Open => Ok(()),
            Phase::Closed => Err(SpoolError::Closed),
            Phase::Broken => Err(SpoolError::Broken),
        }
    }
}

impl Spool {
    /// Opens a directory, made if it is not there. A torn record at the end is cut off, the
    /// sequence continues, and a missing clean-shutdown record is declared as a gap.
    pub fn open(mut options: SpoolOptions, clock: Clock, metrics: Arc<Metrics>) -> Result<Self, SpoolError> {
        let (smallest, largest) = SEGMENT_BYTES.into_inner();
        options.segment_bytes = options.segment_bytes.min(options.limit_bytes / 8).clamp(smallest, largest);
        let failed = |doing| {
            let dir = options.dir.clone();
            move |source| SpoolError::Io { doing, dir, source }
        };
        std::fs::create_dir_all(&options.dir).map_err(failed("make a place"))?;
        let lock = File::create(options.dir.join("lock")).map_err(failed("make the lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => SpoolError::InUse(options.dir.clone()),
            TryLockError::Error(source) => failed("take the lock")(source),
        })?;
        let identity = identity::ensure(&options.dir).map_err(failed("make the identity"))?;
        options.source = format!("{}/{}", options.source, identity.simple());
        let Recovered { active, sealed, next, previous, ending } = recover(&options.dir).map_err(failed("recover"))?;
        let previous = previous.unwrap_or_else(|| Link::first(&options.source, Timestamp::default()).previous);
        let state = State {
            phase: Phase::Open,
            active,
            sealed,
            unsynced_sealed: Vec::new(),
            next,
            previous,
            batch: Batch::beginning(next, previous),
            unsynced: true,
            gaps: Gaps::default(),
            buffer: Vec::new(),
        };
        metrics.evidence_spool_limit_bytes.set(gauge(options.limit_bytes));
        let (state, folds, disk) = (Mutex::new(state), Mutex::default(), Disk::default());
        let spool = Self { options, identity, clock, metrics, state, folds, disk, _lock: lock };
        spool.begin(ending);
        Ok(spool)
    }

    /// The first events of a run. A spool that is full opens too: its reader may not have started
    /// yet. What does not fit now is declared later.
    fn begin(&self, ending: Ending) {
        let mut state = self.state.lock();
        if let Ending::Unclean { damage } = ending {
            let dir = self.options.dir.display();
            tracing::warn!(%dir, damage, "the spool was not closed cleanly; events of the last moment may be missing");
            self.note_gap(&mut state, Gap::unclean(damage));
        }
        let started = Event::new(EventKind::SystemStarted, self.clock.now(), TraceId::random());
        self.declare_gaps(&mut state);
        if let Err(error) = self.write(&mut state, &started) {
            tracing::warn!(%error, "the start of this process is not in evidence");
        }
    }

    /// The source of its events: this producer in this directory.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.options.source
    }

    /// The name of this stream of events: of this producer in this directory.
    #[must_use]
    pub fn identity(&self) -> String {
        self.identity.simple().to_string()
    }

    /// Writes an event. When this returns a receipt the event survives the death of the process;
    /// within 10 ms more it survives a loss of power.
    pub fn append(&self, event: &Event) -> Result<Receipt, SpoolError> {
        let mut state = self.state.lock();
        self.declare_gaps(&mut state);
        let placed = self.place_or_lose(&mut state, event, self.clock.now())?;
        self.flush(&mut state)?;
        drop(state);
        Ok(Receipt { sequence: placed.sequence() })
    }

    /// Writes the clean-shutdown record and waits for the disk. Later events are refused.
    pub fn close(&self) -> Result<(), SpoolError> {
        self.tell_folded();
        let mut state = self.state.lock();
        if state.phase == Phase::Closed {
            return Ok(());
        }
        self.declare_gaps(&mut state);
        let stopped = Event::new(EventKind::SystemStopped, self.clock.now(), TraceId::random());
        self.write(&mut state, &stopped)?;
        state.phase = Phase::Closed;
        let newest = state.active.file();
        drop(state);
        let synced = self.sync();
        room::give_back(&newest);
        synced
    }

    /// False when the next ordinary event would be refused. Settlements may still have room.
    #[must_use]
    pub fn writable(&self) -> bool {
        let state = self.state.lock();
        let longest = (BODY_MAX + HEADER) as u64;
        state.phase == Phase::Open && self.room(&state, Share::ThreeQuarters, longest).is_ok()
    }

    /// The sequence that its next event will have.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.state.lock().next
    }

    /// Bytes used, and the limit.
    #[must_use]
    pub fn usage(&self) -> (u64, u64) {
        (self.state.lock().used(), self.options.limit_bytes)
    }

    /// Deletes the segments that hold nothing but events before `sequence`.
    pub fn release_before(&self, sequence: u64) -> Result<(), SpoolError> {
        segment::release_before(&self.options.dir, sequence, Keep::NOT_AT_ALL)
            .map_err(|source| self.failed("release segments", source))?;
        self.measure()
    }

    /// Takes notice of segments that a reader in another process released.
    fn measure(&self) -> Result<(), SpoolError> {
        let mut state = self.state.lock();
        let segments = segment::list(&self.options.dir).map_err(|source| self.failed("list segments", source))?;
        let sealed = segments.iter().filter(|segment| segment.first != state.active.first());
        state.sealed = sealed.map(|segment| segment.bytes).sum();
        self.metrics.evidence_spool_bytes.set(gauge(state.used()));
        Ok(())
    }

    fn write(&self, state: &mut State, event: &Event) -> Result<(), SpoolError> {
        let _placed = self.encode(state, event, self.clock.now())?;
        self.flush(state)
    }

    fn room(&self, state: &State, share: Share, bytes: u64) -> Result<(), SpoolError> {
        let used = state.used();
        let limit = share.of_limit(self.options.limit_bytes);
        if used + bytes > limit { Err(SpoolError::Full { used, limit }) } else { Ok(()) }
    }

    /// Seals the active segment and begins the next one. No request waits for the disk here: that is
    /// the next sync's.
    fn roll(&self, state: &mut State) -> io::Result<()> {
        let fresh = Active::reopen(&self.options.dir, state.batch.first(), 0)?;
        state.sealed += state.active.bytes();
        let full = std::mem::replace(&mut state.active, fresh);
        state.unsynced_sealed.push(full.file());
        Ok(())
    }

    fn note_gap(&self, state: &mut State, gap: Gap) {
        self.metrics.evidence_gaps.with_label_values(&[gap.cause.as_str()]).inc();
        state.gaps.add(gap);
    }

    /// Writes what is known of lost events, unless there is still no room for it.
    fn declare_gaps(&self, state: &mut State) {
        while let Some(gap) = state.gaps.first() {
            let event = gap.event(self.clock.now());
            if self.write(state, &event).is_err() {
                return;
            }
            state.gaps.remove_first();
        }
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> SpoolError {
        SpoolError::Io { doing, dir: self.options.dir.clone(), source }
    }
}

fn gauge(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
