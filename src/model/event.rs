//! What is recorded: one event for each decision, settlement, order and change of rule.
//!
//! The wire shape is CloudEvents 1.0 structured JSON with its members in alphabetical order.
//! Numbers have no fractions and money is text, so that canonical bytes are the same everywhere.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use super::ids::{AgentId, Correlation, Jti, StoreId, TraceId};
use super::intent::Sha256;
use super::reason::ReasonCode;
use super::scope::Scope;
use super::time::Timestamp;

/// The kinds of event. Names are `io.permyx.<name>.v1` on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum EventKind {
    ExecutionAuthorized,
    ExecutionDenied,
    ExecutionReserved,
    ExecutionValidated,
    ExecutionReleased,
    ExecutionIndeterminate,
    ExecutionExpired,
    ExecutionReplayDetected,
    ExecutionRetried,
    ExecutionObserved,
    ExecutionBypassed,
    OrderObserved,
    OrderDrifted,
    PolicyActivated,
    PolicyRejected,
    KeyCreated,
    KeyRetired,
    AgentKeyCreated,
    AgentKeyRevoked,
    RevocationAdded,
    RevocationLifted,
    LedgerEpochChanged,
    EvidenceGap,
    SystemStarted,
    SystemStopped,
}

impl EventKind {
    pub const ALL: [Self; 25] = [
        Self::ExecutionAuthorized,
        Self::ExecutionDenied,
        Self::ExecutionReserved,
        Self::ExecutionValidated,
        Self::ExecutionReleased,
        Self::ExecutionIndeterminate,
        Self::ExecutionExpired,
        Self::ExecutionReplayDetected,
        Self::ExecutionRetried,
        Self::ExecutionObserved,
        Self::ExecutionBypassed,
        Self::OrderObserved,
        Self::OrderDrifted,
        Self::PolicyActivated,
        Self::PolicyRejected,
        Self::KeyCreated,
        Self::KeyRetired,
        Self::AgentKeyCreated,
        Self::AgentKeyRevoked,
        Self::RevocationAdded,
        Self::RevocationLifted,
        Self::LedgerEpochChanged,
        Self::EvidenceGap,
        Self::SystemStarted,
        Self::SystemStopped,
    ];

    /// The short name, as the published data contract has it (`execution.authorized`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExecutionAuthorized => "execution.authorized",
            Self::ExecutionDenied => "execution.denied",
            Self::ExecutionReserved => "execution.reserved",
            Self::ExecutionValidated => "execution.validated",
            Self::ExecutionReleased => "execution.released",
            Self::ExecutionIndeterminate => "execution.indeterminate",
            Self::ExecutionExpired => "execution.expired",
            Self::ExecutionReplayDetected => "execution.replay_detected",
            Self::ExecutionRetried => "execution.retried",
            Self::ExecutionObserved => "execution.observed",
            Self::ExecutionBypassed => "execution.bypassed",
            Self::OrderObserved => "order.observed",
            Self::OrderDrifted => "order.drifted",
            Self::PolicyActivated => "policy.activated",
            Self::PolicyRejected => "policy.rejected",
            Self::KeyCreated => "key.created",
            Self::KeyRetired => "key.retired",
            Self::AgentKeyCreated => "agent_key.created",
            Self::AgentKeyRevoked => "agent_key.revoked",
            Self::RevocationAdded => "revocation.added",
            Self::RevocationLifted => "revocation.lifted",
            Self::LedgerEpochChanged => "ledger.epoch_changed",
            Self::EvidenceGap => "evidence.gap",
            Self::SystemStarted => "system.started",
            Self::SystemStopped => "system.stopped",
        }
    }

    /// Reservations and settlements: they may use the part of the spool that is kept for them.
    #[must_use]
    pub const fn is_settlement(self) -> bool {
        matches!(
            self,
            Self::ExecutionReserved | Self::ExecutionValidated | Self::ExecutionReleased | Self::ExecutionIndeterminate
        )
    }
}

/// Text that is either known when the program is written or shared.
pub type Text = Cow<'static, str>;

/// An event before its producer gave it an id and a place in the log.
#[derive(Clone, Debug)]
pub struct Event {
    pub kind: EventKind,
    pub time: Timestamp,
    pub correlation: Correlation,
    pub data: EventData,
}

impl Event {
    /// An event of this call. The rest of the data is the caller's to fill in.
    #[must_use]
    pub fn new(kind: EventKind, time: Timestamp, trace: TraceId) -> Self {
        let data =
            EventData { event_type: kind.name(), timestamp: Some(time), trace_id: Some(trace), ..EventData::default() };
        Self { kind, time, correlation: trace.correlation(), data }
    }

    /// The same event at another instant: what is recorded later than its call began.
    #[must_use]
    pub fn at(mut self, time: Timestamp) -> Self {
        self.time = time;
        self.data.timestamp = Some(time);
        self
    }

    /// Joins the event to the execution of a *verified* token.
    #[must_use]
    pub fn of_token(mut self, jti: Jti) -> Self {
        self.correlation = jti.into();
        self.data.token_id = Some(jti);
        self
    }

    /// Joins the event to this execution: that of a cart has the name of one of its tokens.
    #[must_use]
    pub fn in_execution(mut self, execution: impl Into<Correlation>) -> Self {
        self.correlation = execution.into();
        self
    }
}

/// One difference between what was authorised and what was found. `path` is a JSON Pointer into
/// the intent (`/quantity`), or into a cart of several tokens (`/lines/1/quantity`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diff {
    pub actual: Text,
    pub authorized: Text,
    pub path: Text,
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// The body of an event. Alphabetical, as it is written; absent members are left out.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventData {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// How the caller presents itself: `none`, `ua`, `signature`. Evidence, never identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_signal: Option<&'static str>,
    /// Who commanded it: the id of an operator's key, or the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Text>,
    /// More about the reason: why facts were unknown, why a ledger did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Text>,
    /// True when the caller left before the answer was complete.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub client_gone: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// `allowed`, `denied`, `observed`, `bypassed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diff: Vec<Diff>,
    /// `enforce` or `observe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<&'static str>,
    pub event_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Status of the merchant's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent_hash: Option<Sha256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<Text>,
    /// State that the merchant gave the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_status: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_total: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<Sha256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<ReasonCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "scope_text")]
    pub scope: Option<Scope>,
    /// Where it was decided: `authorize`, `validate`, `gateway`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_id: Option<StoreId>,
    /// What was revoked (`agent:ak_…`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// The jti of a verified token, or of one that an operator revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<Jti>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant_id: Option<Text>,
    /// In observe mode: the reason for which enforcement would have refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_deny: Option<ReasonCode>,
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn scope_text<S: serde::Serializer>(scope: &Option<Scope>, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(scope.map_or("", Scope::as_str))
}

/// The envelope as it is written to the spool: a CloudEvent, alphabetical.
#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    authid: Option<&'a AgentId>,
    correlationid: Correlation,
    data: &'a EventData,
    datacontenttype: &'static str,
    id: uuid::Uuid,
    sequence: Sequence,
    source: &'a str,
    specversion: &'static str,
    subject: Subject<'a>,
    time: Timestamp,
    #[serde(rename = "type")]
    kind: TypeName,
}

struct Sequence(u64);

impl Serialize for Sequence {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{:020}", self.0))
    }
}

struct Subject<'a>(&'a Event);

impl Serialize for Subject<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0.data.token_id {
            Some(jti) => s.collect_str(&format_args!("jti/{jti}")),
            None => s.collect_str(&self.0.correlation),
        }
    }
}

struct TypeName(EventKind);

impl Serialize for TypeName {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("io.permyx.{}.v1", self.0.name()))
    }
}

impl Event {
    /// Appends the event's JSON to `out`, as number `sequence` of `source`.
    pub fn write_json(&self, out: &mut Vec<u8>, source: &str, sequence: u64) {
        let envelope = Envelope {
            authid: self.data.agent_id.as_ref(),
            correlationid: self.correlation,
            data: &self.data,
            datacontenttype: "application/json",
            id: uuid::Uuid::now_v7(),
            sequence: Sequence(sequence),
            source,
            specversion: "1.0",
            subject: Subject(self),
            time: self.time,
            kind: TypeName(self.kind),
        };
        // INVARIANT: no member can fail to serialise, and a Vec takes every write.
        let _ = serde_json::to_writer(out, &envelope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_alphabetical_and_hold_no_fraction() {
        let trace = TraceId::random();
        let mut event = Event::new(EventKind::ExecutionDenied, Timestamp::of_millis(1), trace).of_token(Jti::random());
        event.data.diff.push(Diff {
            actual: "3".into(),
            authorized: "1".into(),
            path: "/quantity".into(),
            kind: "integer",
        });
        event.data.scope = Some(Scope::AgentExec);
        event.data.client_gone = true;
        let mut bytes = Vec::new();
        event.write_json(&mut bytes, "/gateways/a", 7);
        let text = String::from_utf8(bytes).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        // serde_json's own map is sorted: equal text means our order is sorted too.
        assert_eq!(value.to_string(), text);
        assert_eq!(value["sequence"], "00000000000000000007");
        assert_eq!(value["type"], "io.permyx.execution.denied.v1");
    }
}
