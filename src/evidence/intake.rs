//! Events that producers on other hosts deliver. Their place in the log is decided by the one thread
//! that writes the store; here they wait for it, a few deliveries at a time.

use std::sync::Arc;
use std::thread::Thread;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::record::{self, Next};
use super::store::{Hole, Producer, StoreError, Writer};
use super::stored::Body;
use super::tail::Read;
use crate::model::ids::StoreId;
use crate::model::time::Timestamp;
use crate::telemetry::metrics::Metrics;

/// Deliveries that wait.
const WAITING: usize = 16;
/// Most records of one delivery.
pub const RECORDS_MAX: usize = 512;
/// Most bytes of one delivery.
pub const DELIVERY_MAX: usize = 1 << 20;

/// Why a delivery is not taken. Nothing of it is in the store then.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error("the body is no sequence of whole records of a spool, from byte {0} on")]
    Malformed(usize),
    #[error("more than {RECORDS_MAX} records at once")]
    TooMany,
    #[error("record {0} does not follow the one before it")]
    Unordered(u64),
    #[error("record {0} is no event")]
    NoEvent(u64),
    #[error("record {sequence} is from `{source_}`, and this is the stream `{stream}`")]
    OtherSource { sequence: u64, source_: String, stream: String },
    #[error("record {sequence} is about store `{store}`, for which the key is not enrolled")]
    OtherStore { sequence: u64, store: String },
    #[error("too many deliveries wait; try again shortly")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Records of one stream, checked.
pub struct Delivery {
    identity: Uuid,
    /// The first number that comes next, where the stream was set back behind what was delivered.
    went_back: Option<u64>,
    records: Vec<Read>,
}

impl Delivery {
    /// Reads the bytes of a delivery. Its events are of gateways, of this stream, and of `stores`;
    /// `None` is all of them.
    pub fn read(
        identity: Uuid,
        bytes: &[u8],
        went_back: Option<u64>,
        stores: Option<&[StoreId]>,
    ) -> Result<Self, NotTaken> {
        let mut records: Vec<Read> = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let Next::Record(record) = record::next_at_once(rest) else {
                return Err(NotTaken::Malformed(bytes.len() - rest.len()));
            };
            if records.len() == RECORDS_MAX {
                return Err(NotTaken::TooMany);
            }
            if records.last().is_some_and(|last| last.sequence >= record.sequence) || record.sequence == 0 {
                return Err(NotTaken::Unordered(record.sequence));
            }
            may_deliver(identity, record.sequence, record.body, stores)?;
            records.push(Read { sequence: record.sequence, body: record.body.to_vec() });
            rest = rest.get(record.framed_len()..).unwrap_or_default();
        }
        Ok(Self { identity, went_back, records })
    }
}

/// A producer speaks for itself and for its stores, whatever its key could read.
fn may_deliver(identity: Uuid, sequence: u64, body: &[u8], stores: Option<&[StoreId]>) -> Result<(), NotTaken> {
    let event = Body::read(body).ok_or(NotTaken::NoEvent(sequence))?;
    let stream = identity.simple().to_string();
    let own = event.source.strip_prefix("/gateways/").and_then(|rest| rest.rsplit_once('/'));
    if own.is_none_or(|(_, of)| of != stream) {
        return Err(NotTaken::OtherSource { sequence, source_: event.source, stream });
    }
    let (Some(stores), Some(store)) = (stores, event.data.store_id) else { return Ok(()) };
    if stores.iter().any(|enrolled| enrolled.as_str() == store) {
        return Ok(());
    }
    Err(NotTaken::OtherStore { sequence, store: store.to_owned() })
}

/// A delivery on its way to the store.
pub(super) struct Waiting {
    delivery: Arc<Delivery>,
    by: Producer,
    answer: oneshot::Sender<Result<u64, StoreError>>,
}

/// Where deliveries are handed in.
#[derive(Clone)]
pub struct Inbox {
    waiting: mpsc::Sender<Waiting>,
    writer: Arc<Mutex<Option<Thread>>>,
}

impl Inbox {
    pub(super) fn new() -> (Self, mpsc::Receiver<Waiting>) {
        let (waiting, taken) = mpsc::channel(WAITING);
        (Self { waiting, writer: Arc::default() }, taken)
    }

    /// Wakes this thread when something comes.
    pub(super) fn wake(&self, thread: Thread) {
        *self.writer.lock() = Some(thread);
    }

    /// Waits until the records are in the store for good. Answers the next sequence that is wanted.
    pub async fn deliver(&self, delivery: Arc<Delivery>, by: Producer) -> Result<u64, NotTaken> {
        let (answer, answered) = oneshot::channel();
        self.waiting.try_send(Waiting { delivery, by, answer }).map_err(|_full| NotTaken::Busy)?;
        if let Some(thread) = self.writer.lock().as_ref() {
            thread.unpark();
        }
        Ok(answered.await.map_err(|_ended| NotTaken::Busy)??)
    }
}

impl Waiting {
    pub(super) fn take(self, writer: &mut Writer, metrics: &Metrics, now: Timestamp) {
        let taken = take(writer, &self.delivery, &self.by, metrics, now);
        if let Err(error) = &taken {
            tracing::warn!(stream = %self.delivery.identity.simple(), key = %self.by.key, %error, "a delivery is not taken");
        }
        // Whoever asked may have left; what was taken stays.
        let _ = self.answer.send(taken);
    }
}

fn take(
    writer: &mut Writer,
    delivery: &Delivery,
    by: &Producer,
    metrics: &Metrics,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let mut stream = writer.delivered(delivery.identity, by)?;
    if let Some(next) = delivery.went_back.filter(|next| *next < stream.next) {
        tracing::error!(stream = %delivery.identity.simple(), expected = stream.next, found = next, "a spool went back; was a copy of it restored?");
        metrics.evidence_gaps.with_label_values(&["went_back"]).inc();
        stream = writer.restart(delivery.identity, &stream, next, now)?;
    }
    // What came before came twice: an answer was lost.
    let fresh: Vec<_> = delivery.records.iter().filter(|record| record.sequence >= stream.next).cloned().collect();
    if fresh.is_empty() {
        return Ok(stream.next);
    }
    let timer = metrics.evidence_commit.start_timer();
    let holes = writer.commit(&mut stream, &fresh, now)?;
    timer.observe_duration();
    for Hole { from, to, cause } in holes {
        let (stream, cause) = (delivery.identity.simple(), cause.as_str());
        tracing::error!(%stream, from, to, cause, "delivered records are missing or do not fit");
        metrics.evidence_gaps.with_label_values(&[cause]).inc();
    }
    Ok(stream.next)
}
