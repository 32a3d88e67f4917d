//! What an event says of its subject.

use std::sync::Arc;

use super::{Diff, OrderedLine, Text};
use crate::model::ids::{AgentId, Jti, StoreId, TraceId};
use crate::model::intent::Sha256;
use crate::model::json::write::object;
use crate::model::reason::ReasonCode;
use crate::model::scope::Scope;
use crate::model::signal::Signal;
use crate::model::time::Timestamp;

/// The body of an event. Alphabetical, as it is written; absent members are left out.
#[derive(Clone, Debug, Default)]
pub struct EventData {
    /// How sure it is that an agent is behind the call, in basis points (ladder of `detect`).
    pub agent_confidence: Option<u16>,
    pub agent_id: Option<AgentId>,
    /// The table's name of the agent that the call claims to be.
    pub agent_name: Option<Text>,
    /// How the caller presents itself: `none`, `ua`, `signature`. Evidence, never identity.
    pub agent_signal: Option<&'static str>,
    /// Who commanded it: the id of an operator's key, or the command line.
    pub by: Option<Text>,
    /// The execution or trace that the order carries in its notes. Anybody may have written it there.
    pub carried: Option<Text>,
    /// More about the reason: why facts were unknown, why a ledger did not answer.
    pub cause: Option<Text>,
    /// Where the call came from as its signals say, or the order as the merchant's platform says
    /// (`chatgpt`).
    pub channel: Option<Text>,
    /// The last checkpoint of the log before this one.
    pub checkpoint: Option<Text>,
    /// True when the caller left before the answer was complete.
    pub client_gone: bool,
    /// How many calls or records it tells of, where it is not one.
    pub count: Option<u64>,
    /// `allowed`, `denied`, `observed`, `bypassed`.
    pub decision: Option<&'static str>,
    /// Digest of the delivery that told of it: the same one is taken once.
    pub delivery: Option<Sha256>,
    pub diff: Vec<Diff>,
    /// `enforce` or `observe`.
    pub enforcement: Option<&'static str>,
    pub event_type: &'static str,
    pub expires_at: Option<Timestamp>,
    /// What is odd about the caller (`spoof_suspected`). A closed set.
    pub flags: Vec<&'static str>,
    /// First missing sequence of the stream that `of` names.
    pub from_sequence: Option<u64>,
    /// Status of the merchant's answer.
    pub http_status: Option<u16>,
    pub intent_hash: Option<Sha256>,
    /// Level of the rating table (`proven`).
    pub level: Option<&'static str>,
    pub limit: Option<Text>,
    /// What was ordered, where the store tells it line by line.
    pub lines: Option<Vec<OrderedLine>>,
    pub method: Option<Text>,
    pub observed: Option<Text>,
    /// The stream that a gap is in.
    pub of: Option<Text>,
    /// How sure it is that the order and the execution are one purchase, in basis points.
    pub order_confidence: Option<u16>,
    pub order_id: Option<Text>,
    /// State that the merchant gave the order.
    pub order_status: Option<Text>,
    pub order_total: Option<Text>,
    pub policy_hash: Option<Sha256>,
    pub price: Option<Text>,
    pub quantity: Option<u32>,
    /// Version of the table that the confidence is from.
    pub rating_version: Option<u16>,
    pub reason_code: Option<ReasonCode>,
    /// Digests of the cart, checkout and session that the call names.
    pub refs: Vec<Sha256>,
    pub route: Option<Arc<str>>,
    pub rule: Option<Text>,
    pub scope: Option<Scope>,
    /// Everything that was looked at to find out who calls, with what was found.
    pub signals: Vec<Signal>,
    /// The first of `count` calls that are told as one.
    pub since: Option<Timestamp>,
    /// Where it was decided: `authorize`, `validate`, `gateway`.
    pub stage: Option<&'static str>,
    pub store_id: Option<StoreId>,
    /// What was revoked (`agent:ak_…`).
    pub subject: Option<Text>,
    pub timestamp: Option<Timestamp>,
    /// Last missing sequence of the stream that `of` names.
    pub to_sequence: Option<u64>,
    /// The jti of a verified token, or of one that an operator revoked.
    pub token_id: Option<Jti>,
    pub trace_id: Option<TraceId>,
    pub variant_id: Option<Text>,
    /// In observe mode: the reason for which enforcement would have refused.
    pub would_deny: Option<ReasonCode>,
}

object!(EventData {
    agent_confidence: "agentConfidence",
    agent_id: "agentId",
    agent_name: "agentName",
    agent_signal: word "agentSignal",
    by: "by",
    carried: "carried",
    cause: "cause",
    channel: "channel",
    checkpoint: "checkpoint",
    client_gone: "clientGone",
    count: "count",
    decision: word "decision",
    delivery: "delivery",
    diff: "diff",
    enforcement: word "enforcement",
    event_type: word "eventType",
    expires_at: "expiresAt",
    flags: "flags",
    from_sequence: "fromSequence",
    http_status: "httpStatus",
    intent_hash: "intentHash",
    level: word "level",
    limit: "limit",
    lines: "lines",
    method: "method",
    observed: "observed",
    of: "of",
    order_confidence: "orderConfidence",
    order_id: "orderId",
    order_status: "orderStatus",
    order_total: "orderTotal",
    policy_hash: "policyHash",
    price: "price",
    quantity: "quantity",
    rating_version: "ratingVersion",
    reason_code: "reasonCode",
    refs: "refs",
    route: "route",
    rule: "rule",
    scope: "scope",
    signals: "signals",
    since: "since",
    stage: word "stage",
    store_id: "storeId",
    subject: "subject",
    timestamp: "timestamp",
    to_sequence: "toSequence",
    token_id: "tokenId",
    trace_id: "traceId",
    variant_id: "variantId",
    would_deny: "wouldDeny",
});
