//! Events as they are read back: exact bytes, and what they say.

use serde::Deserialize;

use crate::model::event::EventKind;

/// An event of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEvent {
    /// Its place in the log. Order is by this, never by wall time.
    pub index: u64,
    /// The exact bytes that the producer wrote.
    pub body: String,
}

impl StoredEvent {
    /// What the event says; `None` when the bytes are not an event.
    #[must_use]
    pub fn read(&self) -> Option<Body<'_>> {
        Body::read(self.body.as_bytes())
    }
}

/// The envelope of an event, as far as it is read back.
#[derive(Clone, Deserialize, Debug)]
pub struct Body<'a> {
    #[serde(rename = "causationid", default)]
    pub causation: Option<&'a str>,
    #[serde(rename = "correlationid")]
    pub correlation: &'a str,
    pub data: Data<'a>,
    pub id: &'a str,
    /// Leaf hash of the event before it in its stream; events of before version 0.2 have none.
    #[serde(rename = "pmxprev", default)]
    pub previous: Option<&'a str>,
    #[serde(rename = "recordedtime", default)]
    pub recorded: Option<&'a str>,
    #[serde(default)]
    pub sequence: &'a str,
    pub source: String,
    /// RFC 3339.
    pub time: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
}

impl<'a> Body<'a> {
    /// Reads the bytes of one event.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The short name of its type (`execution.denied`).
    #[must_use]
    pub fn name(&self) -> &'a str {
        let short = self.kind.strip_prefix("io.permyx.").and_then(|rest| rest.strip_suffix(".v1"));
        short.unwrap_or(self.kind)
    }

    /// Its kind, unless a newer version wrote one that is not known here.
    #[must_use]
    pub fn kind(&self) -> Option<EventKind> {
        EventKind::parse(self.name())
    }
}

/// The data of an event, as [`crate::model::event::EventData`] writes it. Words of a closed
/// alphabet are borrowed; texts of others may hold escapes and are owned.
#[derive(Clone, Default, Deserialize, Debug)]
#[serde(rename_all = "camelCase", default)]
pub struct Data<'a> {
    pub agent_confidence: Option<u16>,
    pub agent_id: Option<&'a str>,
    pub agent_name: Option<String>,
    pub agent_signal: Option<&'a str>,
    pub by: Option<String>,
    pub carried: Option<&'a str>,
    pub cause: Option<String>,
    pub channel: Option<String>,
    pub checkpoint: Option<String>,
    pub client_gone: bool,
    pub count: Option<u64>,
    pub decision: Option<&'a str>,
    pub delivery: Option<&'a str>,
    pub diff: Vec<Difference>,
    pub enforcement: Option<&'a str>,
    pub expires_at: Option<&'a str>,
    pub flags: Vec<String>,
    pub from_sequence: Option<u64>,
    pub http_status: Option<u16>,
    pub intent_hash: Option<&'a str>,
    pub level: Option<&'a str>,
    pub limit: Option<String>,
    pub lines: Option<Vec<LineSeen>>,
    pub method: Option<String>,
    pub observed: Option<String>,
    pub of: Option<String>,
    pub order_confidence: Option<u16>,
    pub order_id: Option<String>,
    pub order_status: Option<String>,
    pub order_total: Option<String>,
    pub policy_hash: Option<&'a str>,
    pub price: Option<String>,
    pub quantity: Option<u32>,
    pub rating_version: Option<u16>,
    pub reason_code: Option<&'a str>,
    pub refs: Vec<&'a str>,
    pub route: Option<String>,
    pub rule: Option<String>,
    pub scope: Option<&'a str>,
    pub signals: Vec<SignalSeen<'a>>,
    pub since: Option<&'a str>,
    pub stage: Option<&'a str>,
    pub store_id: Option<&'a str>,
    pub subject: Option<String>,
    pub to_sequence: Option<u64>,
    pub token_id: Option<&'a str>,
    pub trace_id: Option<&'a str>,
    pub variant_id: Option<String>,
    pub would_deny: Option<&'a str>,
}

/// One signal, as [`crate::model::signal::Signal`] writes it.
#[derive(Clone, PartialEq, Eq, Deserialize, serde::Serialize, Debug)]
pub struct SignalSeen<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub digest: Option<&'a str>,
    pub name: &'a str,
    pub state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// One line of an order, as [`crate::model::event::OrderedLine`] writes it.
#[derive(Clone, PartialEq, Eq, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct LineSeen {
    #[serde(default)]
    pub prices: Vec<String>,
    pub quantity: u32,
    #[serde(default)]
    pub variant_id: Option<String>,
}

/// One difference between what was authorised and what was found.
#[derive(Clone, PartialEq, Eq, Deserialize, serde::Serialize, Debug)]
pub struct Difference {
    pub actual: String,
    pub authorized: String,
    pub path: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{Diff, Event, Link};
    use crate::model::ids::{AgentId, Jti, StoreId, TraceId};
    use crate::model::reason::ReasonCode;
    use crate::model::time::Timestamp;

    #[test]
    fn what_is_written_reads_back() {
        let (trace, jti) = (TraceId::random(), Jti::random());
        let now = Timestamp::of_millis(1_795_000_000_123);
        let mut event = Event::new(EventKind::ExecutionDenied, now, trace).of_token(jti);
        event.data.agent_id = Some(AgentId::parse("ak_7f3c").unwrap());
        event.data.store_id = Some(StoreId::parse("a/b").unwrap());
        event.data.reason_code = Some(ReasonCode::IntentMismatch);
        event.data.order_id = Some("\"o\\1\"\u{7f}é\n".into());
        event.data.diff.push(Diff {
            actual: "\t3".into(),
            authorized: "1".into(),
            path: "/quantity".into(),
            kind: "integer",
        });
        let mut bytes = Vec::new();
        event.write_json(&mut bytes, Link { sequence: 7, ..Link::first("/gateways/\"a\"", now) });
        let stored = StoredEvent { index: 1, body: String::from_utf8(bytes).unwrap() };
        let body = stored.read().unwrap();
        assert_eq!(body.kind(), Some(EventKind::ExecutionDenied));
        assert_eq!((body.source.as_str(), body.time), ("/gateways/\"a\"", "2026-11-18T11:06:40.123Z"));
        assert_eq!(body.correlation, format!("exec_{jti}"));
        assert_eq!(body.data.trace_id, Some(trace.to_string().as_str()));
        assert_eq!((body.data.agent_id, body.data.store_id), (Some("ak_7f3c"), Some("a/b")));
        assert_eq!(body.data.reason_code, Some("INTENT_MISMATCH"));
        assert_eq!(body.data.order_id.as_deref(), Some("\"o\\1\"\u{7f}é\n"));
        assert_eq!(body.data.diff[0].actual, "\t3");
    }
}
