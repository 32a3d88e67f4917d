//! Events that are written together: those of all requests that are ready in the same turn of a thread
//! go to the file in one write, and either all of them stand in it or none.

use std::io;
use std::sync::{Arc, OnceLock};

use super::{Cause, Event, EventKind, Gap, Receipt, Sha256, Spool, SpoolError, State, gauge};
use crate::evidence::active::Fault;
use crate::evidence::record::{self, HEADER};
use crate::model::event::Link;
use crate::model::time::Timestamp;

use super::{Phase, Share};

/// More bytes than this wait for nobody else.
const BATCH_MAX: usize = 256 * 1024;

/// What is encoded and not yet written.
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Where the stream stood before it.
    first: u64,
    before: Sha256,
    kinds: Vec<EventKind>,
    /// How many calls its events tell of.
    calls: u64,
    fate: Arc<Fate>,
}

impl Batch {
    pub(super) fn beginning(first: u64, before: Sha256) -> Self {
        Self { bytes: Vec::new(), first, before, kinds: Vec::new(), calls: 0, fate: Arc::default() }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The sequence of its first event.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    fn begin(&mut self, first: u64, before: Sha256) {
        self.bytes.clear();
        self.kinds.clear();
        (self.first, self.before, self.calls, self.fate) = (first, before, 0, Arc::default());
    }
}

/// What became of a batch; empty until it is written.
#[derive(Default)]
struct Fate(OnceLock<Result<(), Lost>>);

/// Why a batch is not in the file.
struct Lost {
    doing: &'static str,
    code: Option<i32>,
    kind: io::ErrorKind,
}

/// An event that waits to be written. It is not in evidence yet.
#[must_use = "what waits is not in evidence yet"]
pub struct Placed {
    sequence: u64,
    fate: Arc<Fate>,
}

/// Of several events not all were written.
#[derive(Debug)]
pub struct NotAll {
    /// How many of the first of them were.
    pub written: usize,
    pub error: SpoolError,
}

impl Placed {
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }
}

impl Spool {
    /// Gives an event its place in the stream. It is written with whatever else waits, at the latest when
    /// somebody waits for it with [`Spool::written`]. What finds no place is declared as a gap.
    pub fn place(&self, event: &Event) -> Result<Placed, SpoolError> {
        let recorded = self.clock.now();
        let mut state = self.state.lock();
        self.declare_gaps(&mut state);
        self.place_or_lose(&mut state, event, recorded)
    }

    /// Waits until the event is written, together with those of others who are ready now.
    pub async fn written(&self, placed: Placed) -> Result<Receipt, SpoolError> {
        if placed.fate.0.get().is_none() {
            tokio::task::yield_now().await;
        }
        if placed.fate.0.get().is_none() {
            let _ = self.flush(&mut self.state.lock());
        }
        self.outcome(&placed.fate).map(|()| Receipt { sequence: placed.sequence })
    }

    /// Places all of these, one behind the other. Answers the last place, and how many of those before it
    /// are written already: a batch that became full was. The clock is read once, before the first: who fails
    /// in reading it has placed nothing.
    pub fn place_all(&self, events: impl IntoIterator<Item = Event>) -> Result<Option<(Placed, usize)>, NotAll> {
        let recorded = self.clock.now();
        // Nobody else comes between: what is written of them is always the first ones.
        let mut state = self.state.lock();
        self.declare_gaps(&mut state);
        let (mut written, mut waiting, mut last) = (0, 0, None::<Placed>);
        for event in events {
            let next = self.place_or_lose(&mut state, &event, recorded);
            let same = matches!((&last, &next), (Some(last), Ok(next)) if Arc::ptr_eq(&last.fate, &next.fate));
            if let Some(last) = last.filter(|_| !same) {
                // Where the event found no place, what was placed before it still waits.
                let _ = self.flush(&mut state);
                self.outcome(&last.fate).map_err(|error| NotAll { written, error })?;
                written += std::mem::take(&mut waiting);
            }
            last = Some(next.map_err(|error| NotAll { written, error })?);
            waiting += 1;
        }
        Ok(last.map(|last| (last, written)))
    }

    pub(super) fn place_or_lose(
        &self,
        state: &mut State,
        event: &Event,
        recorded: Timestamp,
    ) -> Result<Placed, SpoolError> {
        self.encode(state, event, recorded).inspect_err(|error| {
            let cause = Cause::of(error);
            if state.gaps.is_empty() {
                tracing::error!(%error, cause = cause.as_str(), "evidence is being lost");
            }
            self.note_gap(state, Gap::lost(cause, event.folded()));
        })
    }

    /// Puts an event behind what waits.
    pub(super) fn encode(&self, state: &mut State, event: &Event, recorded: Timestamp) -> Result<Placed, SpoolError> {
        state.check()?;
        let sequence = state.next;
        let link = Link { source: &self.options.source, sequence, previous: state.previous, recorded };
        record::encode(&mut state.buffer, sequence, |body| event.write_json(body, link))?;
        let bytes = state.buffer.len() as u64;
        self.room(state, Share::of(event.kind), bytes)?;
        let full = state.active.bytes() + state.batch.bytes() + bytes > self.options.segment_bytes;
        if full || state.batch.bytes.len() + state.buffer.len() > BATCH_MAX {
            self.flush(state)?;
        }
        let batch = &mut state.batch;
        batch.bytes.extend_from_slice(&state.buffer);
        batch.kinds.push(event.kind);
        // That a gap is not declared yet is no further loss.
        batch.calls += if event.kind == EventKind::EvidenceGap { 0 } else { event.folded() };
        state.next += 1;
        state.previous = Sha256::of_leaf(state.buffer.get(HEADER..).unwrap_or_default());
        Ok(Placed { sequence, fate: batch.fate.clone() })
    }

    /// Writes what waits. Where that fails nothing of it was written, and its loss is noted.
    pub(super) fn flush(&self, state: &mut State) -> Result<(), SpoolError> {
        if state.batch.bytes.is_empty() {
            return Ok(());
        }
        let done = self.write_batch(state);
        if let Err((doing, source)) = &done {
            let lost = Lost { doing, code: source.raw_os_error(), kind: source.kind() };
            let _ = state.batch.fate.0.set(Err(lost));
            (state.next, state.previous) = (state.batch.first, state.batch.before);
            if state.batch.calls > 0 {
                self.note_gap(state, Gap::lost(Cause::WriteFailed, state.batch.calls));
            }
            tracing::error!(error = %source, doing, broken = state.phase == Phase::Broken, "the spool fails");
        } else {
            let _ = state.batch.fate.0.set(Ok(()));
            state.unsynced = true;
            for kind in &state.batch.kinds {
                self.metrics.evidence_events.with_label_values(&[kind.name()]).inc();
            }
        }
        let (next, previous) = (state.next, state.previous);
        state.batch.begin(next, previous);
        self.metrics.evidence_spool_bytes.set(gauge(state.used()));
        done.map_err(|(doing, source)| self.failed(doing, source))
    }

    fn write_batch(&self, state: &mut State) -> Result<(), (&'static str, io::Error)> {
        let bytes = state.batch.bytes();
        if state.active.bytes() > 0 && state.active.bytes() + bytes > self.options.segment_bytes {
            self.roll(state).map_err(|source| ("begin a segment", source))?;
        }
        state.active.append(&state.batch.bytes).map_err(|fault| match fault {
            Fault::Undone(source) => ("write", source),
            Fault::Torn(source) => {
                // A good record after a torn one would be found only by searching.
                state.phase = Phase::Broken;
                ("write", source)
            }
        })
    }

    fn outcome(&self, fate: &Fate) -> Result<(), SpoolError> {
        match fate.0.get() {
            Some(Ok(())) => Ok(()),
            Some(Err(Lost { doing, code, kind })) => {
                let source = code.map_or_else(|| (*kind).into(), io::Error::from_raw_os_error);
                Err(self.failed(doing, source))
            }
            None => Err(SpoolError::Closed),
        }
    }
}
