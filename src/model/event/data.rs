//! What an event says of its subject.

use std::sync::Arc;

use serde::Serialize;

use super::{Diff, OrderedLine, Text};
use crate::model::ids::{AgentId, Jti, StoreId, TraceId};
use crate::model::intent::Sha256;
use crate::model::reason::ReasonCode;
use crate::model::scope::Scope;
use crate::model::signal::Signal;
use crate::model::time::Timestamp;

/// The body of an event. Alphabetical, as it is written; absent members are left out.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventData {
    /// How sure it is that an agent is behind the call, in basis points (ladder of `detect`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_confidence: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// The table's name of the agent that the call claims to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<Text>,
    /// How the caller presents itself: `none`, `ua`, `signature`. Evidence, never identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_signal: Option<&'static str>,
    /// Who commanded it: the id of an operator's key, or the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Text>,
    /// The execution or trace that the order carries in its notes. Anybody may have written it there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carried: Option<Text>,
    /// More about the reason: why facts were unknown, why a ledger did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Text>,
    /// Where the call came from as its signals say, or the order as the merchant's platform says
    /// (`chatgpt`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Text>,
    /// The last checkpoint of the log before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Text>,
    /// True when the caller left before the answer was complete.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub client_gone: bool,
    /// How many calls or records it tells of, where it is not one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// `allowed`, `denied`, `observed`, `bypassed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<&'static str>,
    /// Digest of the delivery that told of it: the same one is taken once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Sha256>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diff: Vec<Diff>,
    /// `enforce` or `observe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<&'static str>,
    pub event_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What is odd about the caller (`spoof_suspected`). A closed set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<&'static str>,
    /// First missing sequence of the stream that `of` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_sequence: Option<u64>,
    /// Status of the merchant's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent_hash: Option<Sha256>,
    /// Level of the rating table (`proven`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Text>,
    /// What was ordered, where the store tells it line by line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lines: Option<Vec<OrderedLine>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<Text>,
    /// The stream that a gap is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<Text>,
    /// How sure it is that the order and the execution are one purchase, in basis points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_confidence: Option<u16>,
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
    /// Version of the table that the confidence is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rating_version: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<ReasonCode>,
    /// Digests of the cart, checkout and session that the call names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<Sha256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "scope_text")]
    pub scope: Option<Scope>,
    /// Everything that was looked at to find out who calls, with what was found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<Signal>,
    /// The first of `count` calls that are told as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
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
    /// Last missing sequence of the stream that `of` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_sequence: Option<u64>,
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
