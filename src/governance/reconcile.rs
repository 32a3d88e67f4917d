//! Follows the log and judges every order that something new is known of.
//!
//! A judgement is computed from the log alone and written only where the log does not say it already,
//! so looking twice at the same events writes nothing twice. No judgement is made before the one
//! before it has come from the spool into the store.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::durable::{self, FileError, Lock, Readers};
use crate::evidence::{Body, Clues, Spool, SpoolError, Store, StoreError, StoredEvent};
use crate::model::event::EventKind;
use crate::model::time::Timestamp;

use super::correlate::{Order, judge};

/// Events of one round.
const ROUND_MAX: usize = 256;
/// Orders that one round judges: after so many it goes on with the next round.
const JUDGED_MAX: usize = 256;
/// The place is saved whenever nothing is left to do, and after so many events.
const SAVE_EVERY: u64 = 4096;
/// A number has at most twenty digits.
const FILE_MAX: u64 = 32;

/// Why a round was not finished. The next one begins at the same place.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a judgement was not recorded")]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// The place in the log, and everything that is needed to go on from it.
pub struct Reconciler {
    store: Arc<Store>,
    spool: Arc<Spool>,
    file: PathBuf,
    /// Held as long as it runs: one process judges.
    lock: Lock,
    cursor: u64,
    saved: u64,
    /// The sequence in our own stream that the store must want before anything is judged.
    awaited: u64,
}

impl Reconciler {
    /// Goes on where an earlier run stopped. `file` keeps the place; without it, it begins with the
    /// first event.
    pub fn open(store: Arc<Store>, spool: Arc<Spool>, file: PathBuf) -> Result<Self, ReconcileError> {
        let lock = durable::lock(&file.with_extension("lock"))?;
        let kept = durable::read(&file, FILE_MAX)?.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        // A place behind the end is of a store that is no longer there.
        let cursor = if kept <= store.size()? { kept } else { 0 };
        let awaited = spool.next();
        Ok(Self { store, spool, file, lock, cursor, saved: cursor, awaited })
    }

    /// One round; true when there is more to do at once. Blocks the thread.
    pub fn round(&mut self, now: Timestamp) -> Result<bool, ReconcileError> {
        if self.store.wants(&self.spool.identity())? < self.awaited {
            return Ok(false);
        }
        let events = self.store.unreconciled(self.cursor, ROUND_MAX)?;
        let mut touched = BTreeSet::new();
        let mut cursor = self.cursor;
        for event in &events {
            touched.extend(self.touched_by(event)?);
            cursor = event.index;
            if touched.len() >= JUDGED_MAX {
                break;
            }
        }
        for (store, order) in &touched {
            self.reconcile(store, order, now)?;
        }
        self.cursor = cursor;
        let more = events.last().is_some_and(|last| last.index > cursor) || events.len() == ROUND_MAX;
        if self.cursor != self.saved && (!more || self.cursor - self.saved >= SAVE_EVERY) {
            durable::replace(&self.file, format!("{}\n", self.cursor).as_bytes(), Readers::Everyone, &self.lock)?;
            self.saved = self.cursor;
        }
        Ok(more)
    }

    fn reconcile(&mut self, store: &str, order: &str, now: Timestamp) -> Result<(), ReconcileError> {
        let Some(order) = Order::of(&self.store.order(store, order)?) else { return Ok(()) };
        let candidates = self.store.candidates(&order.clues())?;
        for event in judge(&order, &candidates).events(&order, now) {
            self.awaited = self.spool.append(&event)?.sequence() + 1;
        }
        Ok(())
    }

    /// The orders of which an event lets something new be known: each with its store.
    fn touched_by(&self, event: &StoredEvent) -> Result<Vec<(String, String)>, ReconcileError> {
        use EventKind::{
            ExecutionBypassed, ExecutionIndeterminate, ExecutionObserved, ExecutionValidated, OrderObserved,
        };
        let Some(body) = event.read() else { return Ok(Vec::new()) };
        let Some(store) = body.data.store_id else { return Ok(Vec::new()) };
        let mut orders = match (body.data.stage, body.kind()) {
            (Some("reconcile"), _) => return Ok(Vec::new()),
            (Some("webhook"), _) => BTreeSet::new(),
            (_, Some(ExecutionValidated | ExecutionIndeterminate)) => {
                self.store.orders_naming(store, &self.all_names(store, &body)?)?
            }
            (_, Some(ExecutionObserved | ExecutionBypassed | OrderObserved)) => {
                self.store.orders_naming(store, &names(&body))?
            }
            _ => return Ok(Vec::new()),
        };
        orders.extend(body.data.order_id.clone());
        let sighted = body.kind() == Some(ExecutionObserved) && body.data.token_id.is_none();
        let time = Timestamp::parse(body.time).filter(|_| sighted && body.data.variant_id.is_some());
        if let Some(time) = time {
            orders.extend(self.store.orders_near(store, time)?);
        }
        Ok(orders.into_iter().map(|order| (store.to_owned(), order)).collect())
    }

    /// What any event of the execution is named by: a token's cart may be known from its issue alone.
    fn all_names(&self, store: &str, body: &Body<'_>) -> Result<BTreeSet<String>, ReconcileError> {
        let carried = BTreeSet::from([body.correlation.to_owned()]);
        let events = self.store.candidates(&Clues { store: store.to_owned(), carried, ..Clues::default() })?;
        Ok(events.iter().filter_map(StoredEvent::read).flat_map(|body| names(&body)).collect())
    }
}

fn names(body: &Body<'_>) -> BTreeSet<String> {
    let ids = std::iter::once(body.correlation).chain(body.data.trace_id);
    ids.chain(body.data.refs.iter().copied()).map(str::to_owned).collect()
}
