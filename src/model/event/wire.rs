//! The bytes of an event, as they are written once and kept for good.

use uuid::Uuid;

use super::{Event, EventData};
use crate::model::ids::{AgentId, Correlation, Jti};
use crate::model::intent::Sha256;
use crate::model::json::write::{Wire, object};
use crate::model::spell::Spelled;
use crate::model::time::Timestamp;
use crate::model::trace_parent::TraceParent;

/// Where an event stands in the stream of its producer.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// The producer and its stream (`/gateways/eu-1/0199…`).
    pub source: &'a str,
    /// Counted from 1, without holes.
    pub sequence: u64,
    /// The leaf hash of the event before it; of the first, the SHA-256 of `source`.
    pub previous: Sha256,
    /// When it is written.
    pub recorded: Timestamp,
}

impl Link<'_> {
    /// The first of a stream.
    #[must_use]
    pub fn first(source: &str, recorded: Timestamp) -> Link<'_> {
        Link { source, sequence: 1, previous: Sha256::of(source.as_bytes()), recorded }
    }
}

/// The envelope as it is written to the spool: a CloudEvent, alphabetical. `pmxprev` chains the events
/// of one stream; it is ours, the other members are of CloudEvents and its registered extensions.
struct Envelope<'a> {
    authid: Option<&'a AgentId>,
    causationid: Option<Uuid>,
    correlationid: Correlation,
    data: &'a EventData,
    datacontenttype: &'static str,
    id: Uuid,
    pmxprev: Sha256,
    recordedtime: Timestamp,
    sequence: Spelled<20>,
    source: &'a str,
    specversion: &'static str,
    subject: Subject,
    time: Timestamp,
    traceparent: Option<TraceParent>,
    kind: Spelled<64>,
}

object!(Envelope<'_> {
    authid: "authid",
    causationid: "causationid",
    correlationid: "correlationid",
    data: "data",
    datacontenttype: word "datacontenttype",
    id: "id",
    pmxprev: "pmxprev",
    recordedtime: "recordedtime",
    sequence: "sequence",
    source: "source",
    specversion: word "specversion",
    subject: "subject",
    time: "time",
    traceparent: "traceparent",
    kind: "type",
});

/// The token that an event is about, or the execution.
enum Subject {
    Token(Jti),
    Execution(Correlation),
}

impl Wire for Subject {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Token(jti) => jti.subject().put(out),
            Self::Execution(execution) => execution.put(out),
        }
    }
}

impl Event {
    /// Appends the event's JSON to `out`: the canonical bytes of RFC 8785, which are never written
    /// in another way again.
    pub fn write_json(&self, out: &mut Vec<u8>, link: Link<'_>) {
        let envelope = Envelope {
            authid: self.data.agent_id.as_ref(),
            causationid: self.causation,
            correlationid: self.correlation,
            data: &self.data,
            datacontenttype: "application/json",
            id: id_at(link.recorded),
            pmxprev: link.previous,
            recordedtime: link.recorded,
            sequence: Spelled::of("").digits(link.sequence, 20),
            source: link.source,
            specversion: "1.0",
            subject: self.data.token_id.map_or(Subject::Execution(self.correlation), Subject::Token),
            time: self.time,
            traceparent: self.trace_parent,
            kind: Spelled::of("io.permyx.").text(self.kind.name()).text(".v1"),
        };
        envelope.put(out);
    }
}

/// An id that sorts by the time of its record. It reads no clock of its own.
fn id_at(recorded: Timestamp) -> Uuid {
    let seconds = u64::try_from(recorded.seconds()).unwrap_or_default();
    // INVARIANT: less than a thousand milliseconds.
    let nanos = recorded.millis().rem_euclid(1000) as u32 * 1_000_000;
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
}
