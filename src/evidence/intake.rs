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
use crate::model::event::EventKind;
use crate::model::ids::StoreId;
use crate::model::time::Timestamp;
use crate::telemetry::metrics::Metrics;

/// Deliveries that wait.
const WAITING: usize = 16;
/// Most records of one delivery.
pub const RECORDS_MAX: usize = 512;
/// Largest number in an event, and so largest sequence: what every reader of JSON keeps.
const SEQUENCE_MAX: u64 = (1 << 53) - 1;
const SEQUENCE_DIGITS: usize = 20;
/// Most bytes of one delivery.
pub const DELIVERY_MAX: usize = 1 << 20;

/// Why a delivery is not taken. Nothing of it is in the store then.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error("the body is no sequence of whole records of a spool, from byte {0} on")]
    Malformed(usize),
    #[error("more than {RECORDS_MAX} records at once")]
    TooMany,
    #[error("record {0} does not follow the one before it, or is beyond {SEQUENCE_MAX}")]
    Unordered(u64),
    #[error("record {0} is no event in the canonical bytes of RFC 8785, with this number as its sequence")]
    NoEvent(u64),
    #[error("record {0} tells of no store: executions and orders are of one")]
    NoStore(u64),
    #[error("record {sequence} is from `{source_}`, and this is the stream `{stream}`")]
    OtherSource { sequence: u64, source_: String, stream: String },
    #[error("record {sequence} is a `{kind}`, which no gateway records")]
    OtherKind { sequence: u64, kind: String },
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
        let mut first_source = None;
        let mut rest = bytes;
        while !rest.is_empty() {
            let Next::Record(record) = record::next_at_once(rest) else {
                return Err(NotTaken::Malformed(bytes.len() - rest.len()));
            };
            if records.len() == RECORDS_MAX {
                return Err(NotTaken::TooMany);
            }
            let follows = records.last().is_none_or(|last| last.sequence < record.sequence);
            if !follows || !(1..=SEQUENCE_MAX).contains(&record.sequence) {
                return Err(NotTaken::Unordered(record.sequence));
            }
            let source = may_deliver(identity, record.sequence, record.body, stores)?;
            if source != *first_source.get_or_insert_with(|| source.clone()) {
                return Err(NotTaken::NoEvent(record.sequence));
            }
            records.push(Read { sequence: record.sequence, body: record.body.to_vec() });
            rest = rest.get(record.framed_len()..).unwrap_or_default();
        }
        Ok(Self { identity, went_back, records })
    }
}

/// A producer speaks for itself and for its stores, whatever its key could read.
/// Answers the source.
fn may_deliver(identity: Uuid, sequence: u64, body: &[u8], stores: Option<&[StoreId]>) -> Result<String, NotTaken> {
    let event = Body::read(body).filter(|_| is_canonical(body)).ok_or(NotTaken::NoEvent(sequence))?;
    if event.sequence.parse() != Ok(sequence) || event.sequence.len() != SEQUENCE_DIGITS {
        return Err(NotTaken::NoEvent(sequence));
    }
    let stream = identity.simple().to_string();
    let own = event.source.strip_prefix("/gateways/").and_then(|rest| rest.rsplit_once('/'));
    if own.is_none_or(|(_, of)| of != stream) {
        return Err(NotTaken::OtherSource { sequence, source_: event.source, stream });
    }
    let speaks_as_us = event.data.stage.is_some_and(|stage| !matches!(stage, "gateway" | "validate"));
    if !event.kind().is_some_and(is_a_gateways) || event.data.of.is_some() || speaks_as_us {
        return Err(NotTaken::OtherKind { sequence, kind: event.name().to_owned() });
    }
    let needs_store = event.name().starts_with("execution.") || event.name().starts_with("order.");
    let store = match event.data.store_id {
        None if needs_store => return Err(NotTaken::NoStore(sequence)),
        store => store,
    };
    let (Some(stores), Some(store)) = (stores, store) else { return Ok(event.source) };
    if stores.iter().any(|enrolled| enrolled.as_str() == store) {
        return Ok(event.source);
    }
    Err(NotTaken::OtherStore { sequence, store: store.to_owned() })
}

/// Whether these are the bytes that we would write: what an auditor would not take is not taken here.
fn is_canonical(body: &[u8]) -> bool {
    // Its objects are sorted and know each member once, and its texts are UTF-8 with the shortest escapes.
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else { return false };
    is_plain(&value) && value.to_string().as_bytes() == body
}

fn is_plain(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::Number(number) => number.as_u64().is_some_and(|number| number <= SEQUENCE_MAX),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(members) => members.iter().all(|(name, value)| name.is_ascii() && is_plain(value)),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// What a gateway decides and sees. Judgements of orders, keys, and what is missing of a stream are
/// told by the control plane: a gateway that could tell them could hide what another one did.
const fn is_a_gateways(kind: EventKind) -> bool {
    match kind {
        EventKind::ExecutionReserved
        | EventKind::ExecutionDenied
        | EventKind::ExecutionValidated
        | EventKind::ExecutionReleased
        | EventKind::ExecutionIndeterminate
        | EventKind::ExecutionExpired
        | EventKind::ExecutionReplayDetected
        | EventKind::ExecutionRetried
        | EventKind::ExecutionObserved
        | EventKind::ExecutionBypassed
        | EventKind::OrderObserved
        | EventKind::OrderDrifted
        | EventKind::PolicyActivated
        | EventKind::PolicyRejected
        | EventKind::RevocationAdded
        | EventKind::RevocationLifted
        | EventKind::LedgerEpochChanged
        | EventKind::EvidenceGap
        | EventKind::SystemAdministered
        | EventKind::SystemStarted
        | EventKind::SystemStopped => true,
        EventKind::ExecutionAuthorized
        | EventKind::ExecutionResolved
        | EventKind::OrderCorrelated
        | EventKind::OrderUnmatched
        | EventKind::OrderCorrelationRevised
        | EventKind::OrderCancelled
        | EventKind::OrderRefunded
        | EventKind::AttributionIngested
        | EventKind::KeyCreated
        | EventKind::KeyRetired
        | EventKind::AgentKeyCreated
        | EventKind::AgentKeyRevoked
        | EventKind::EvidenceLogOpened
        | EventKind::EvidenceExported => false,
    }
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
    let source = delivery.records.first().and_then(|first| Some(Body::read(&first.body)?.source));
    let mut stream = writer.delivered(delivery.identity, by, source.as_deref())?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{Event, Link};
    use crate::model::ids::TraceId;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::of_millis(1_795_000_000_123);

    fn identity() -> Uuid {
        Uuid::from_u128(7)
    }

    /// The framed record of an event, number 1 of the stream.
    fn record(source: &str, event: &Event) -> Vec<u8> {
        let mut out = Vec::new();
        record::encode(&mut out, 1, |body| event.write_json(body, Link::first(source, NOW))).unwrap();
        out
    }

    fn read(source: &str, event: &Event, stores: Option<&[StoreId]>) -> Result<Delivery, NotTaken> {
        Delivery::read(identity(), &record(source, event), None, stores)
    }

    #[test]
    fn a_producer_delivers_its_own_events_of_its_own_stores_and_no_judgement_of_ours() {
        let own = format!("/gateways/a/{}", identity().simple());
        let event = |kind| {
            let mut event = Event::new(kind, NOW, TraceId::random());
            event.data.store_id = StoreId::parse("shop").ok();
            event
        };
        let denied = event(EventKind::ExecutionDenied);
        let shop = [StoreId::parse("shop").unwrap()];
        assert!(read(&own, &denied, None).is_ok() && read(&own, &denied, Some(&shop)).is_ok());
        assert!(matches!(read(&own, &denied, Some(&[])), Err(NotTaken::OtherStore { .. })));
        for source in ["/gateways/a", "/log/00000000000000000000000000000007", "/gateways/a/8", "/servers/permyx/7"] {
            assert!(matches!(read(source, &denied, None), Err(NotTaken::OtherSource { .. })), "{source}");
        }
        let mut gap = event(EventKind::EvidenceGap);
        assert!(read(&own, &gap, None).is_ok());
        gap.data.of = Some("/gateways/b/9".into());
        for foreign in [gap, event(EventKind::EvidenceLogOpened), event(EventKind::OrderCorrelated)] {
            assert!(matches!(read(&own, &foreign, None), Err(NotTaken::OtherKind { .. })), "{foreign:?}");
        }
    }

    /// A log is for all: what one producer may not spoil is looked at before it is in.
    #[test]
    fn what_an_auditor_would_not_take_is_not_taken() {
        let own = format!("/gateways/a/{}", identity().simple());
        let mut event = Event::new(EventKind::ExecutionDenied, NOW, TraceId::random());
        let mut good = Vec::new();
        event.data.store_id = StoreId::parse("shop").ok();
        event.write_json(&mut good, Link::first(&own, NOW));
        let good = String::from_utf8(good).unwrap();
        let read = |sequence, body: &[u8]| {
            let mut out = Vec::new();
            record::encode(&mut out, sequence, |out| out.extend_from_slice(body)).unwrap();
            Delivery::read(identity(), &out, None, None).map(|_| ())
        };
        assert!(read(1, good.as_bytes()).is_ok());
        for bad in [
            good.replace("\",\"", "\", \""),
            good.replace("\"data\":{", "\"data\":{\"a\":1.5,"),
            good.replace("\"data\":{", "\"data\":{\"a\":9007199254740992,"),
            good.replace("\"data\":{", "\"data\":{\"z\":1,"),
        ] {
            assert!(matches!(read(1, bad.as_bytes()), Err(NotTaken::NoEvent(1))), "{bad}");
        }
        let torn: Vec<u8> = good.bytes().map(|byte| if byte == b'E' { 0xFF } else { byte }).collect();
        assert!(read(1, &torn).is_err() || !good.contains('E'));
        assert!(matches!(read(2, good.as_bytes()), Err(NotTaken::NoEvent(2))), "its own number is another");
        assert!(matches!(read(u64::MAX, good.as_bytes()), Err(NotTaken::Unordered(u64::MAX))));
        event.data.store_id = None;
        assert!(matches!(Delivery::read(identity(), &record(&own, &event), None, None), Err(NotTaken::NoStore(1))));
        event.data.store_id = StoreId::parse("shop").ok();
        event.data.stage = Some("webhook");
        let as_us = Delivery::read(identity(), &record(&own, &event), None, None);
        assert!(matches!(as_us, Err(NotTaken::OtherKind { .. })));
    }

    #[test]
    fn records_come_whole_in_order_and_not_too_many() {
        let own = format!("/gateways/a/{}", identity().simple());
        let one = record(&own, &Event::new(EventKind::SystemStarted, NOW, TraceId::random()));
        let read = |bytes: &[u8]| Delivery::read(identity(), bytes, None, None).map(|_| ());
        assert!(read(&[]).is_ok() && read(&one).is_ok());
        assert!(matches!(read(&one[..one.len() - 1]), Err(NotTaken::Malformed(0))));
        assert!(matches!(read(&[one.clone(), one].concat()), Err(NotTaken::Unordered(1))));
    }

    proptest! {
        #[test]
        fn junk_is_refused_without_panic(junk in prop::collection::vec(any::<u8>(), 1..400)) {
            prop_assert!(Delivery::read(identity(), &junk, None, None).is_err());
        }
    }
}
