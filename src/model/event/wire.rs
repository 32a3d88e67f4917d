//! The bytes of an event, as they are written once and kept for good.

use serde::Serialize;
use uuid::Uuid;

use super::{Event, EventData, EventKind};
use crate::model::ids::{AgentId, Correlation};
use crate::model::intent::Sha256;
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
#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    authid: Option<&'a AgentId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<Uuid>,
    correlationid: Correlation,
    data: &'a EventData,
    datacontenttype: &'static str,
    id: Uuid,
    pmxprev: Sha256,
    recordedtime: Timestamp,
    sequence: Sequence,
    source: &'a str,
    specversion: &'static str,
    subject: Subject<'a>,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<TraceParent>,
    #[serde(rename = "type")]
    kind: TypeName,
}

struct Sequence(u64);

impl Serialize for Sequence {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(Spelled::<20>::of("").digits(self.0, 20).as_str())
    }
}

struct Subject<'a>(&'a Event);

impl Serialize for Subject<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0.data.token_id {
            Some(jti) => s.serialize_str(jti.subject().as_str()),
            None => self.0.correlation.serialize(s),
        }
    }
}

struct TypeName(EventKind);

impl Serialize for TypeName {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(Spelled::<64>::of("io.permyx.").text(self.0.name()).text(".v1").as_str())
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
            id: Uuid::now_v7(),
            pmxprev: link.previous,
            recordedtime: link.recorded,
            sequence: Sequence(link.sequence),
            source: link.source,
            specversion: "1.0",
            subject: Subject(self),
            time: self.time,
            traceparent: self.trace_parent,
            kind: TypeName(self.kind),
        };
        // INVARIANT: no member can fail to serialise, and a Vec takes every write.
        let _ = serde_json::to_writer(out, &envelope);
    }
}
