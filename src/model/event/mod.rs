//! What is recorded: one event for each decision, settlement, order and change of rule.
//!
//! The wire shape is CloudEvents 1.0 structured JSON with its members in alphabetical order.
//! Numbers have no fractions and money is text, so that canonical bytes are the same everywhere.

mod data;
mod kind;
mod wire;

use std::borrow::Cow;

use serde::Serialize;
use uuid::Uuid;

pub use data::EventData;
pub use kind::EventKind;
pub use wire::Link;

use super::ids::{Correlation, Jti, TraceId};
use super::json::write::object;
use super::signal::Signal;
use super::time::Timestamp;
use super::trace_parent::TraceParent;

/// Text that is either known when the program is written or shared.
pub type Text = Cow<'static, str>;

/// An event before its producer gave it an id and a place in the log.
#[derive(Clone, Debug)]
pub struct Event {
    pub kind: EventKind,
    pub time: Timestamp,
    pub correlation: Correlation,
    /// The event that this one follows from or revises.
    pub causation: Option<Uuid>,
    /// The caller's own name for its trace.
    pub trace_parent: Option<TraceParent>,
    pub data: EventData,
}

impl Event {
    /// An event of this call. The rest of the data is the caller's to fill in.
    #[must_use]
    pub fn new(kind: EventKind, time: Timestamp, trace: TraceId) -> Self {
        let data =
            EventData { event_type: kind.name(), timestamp: Some(time), trace_id: Some(trace), ..EventData::default() };
        Self { kind, time, correlation: trace.correlation(), causation: None, trace_parent: None, data }
    }

    /// The same event at another instant: what is recorded later than its call began.
    #[must_use]
    pub fn at(mut self, time: Timestamp) -> Self {
        self.time = time;
        self.data.timestamp = Some(time);
        self
    }

    /// How many calls it tells of: those that were folded have a first one, and a count.
    #[must_use]
    pub fn folded(&self) -> u64 {
        self.data.since.and(self.data.count).unwrap_or(1)
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

/// One line of an order. Alphabetical, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderedLine {
    /// Unit prices that the store states: one, or the one without tax and the one with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<Text>,
    pub quantity: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant_id: Option<Text>,
}

object!(Diff { actual: "actual", authorized: "authorized", path: "path", kind: word "type" });
object!(OrderedLine { prices: "prices", quantity: "quantity", variant_id: "variantId" });
object!(Signal { digest: "digest", name: word "name", state: "state", value: "value" });

#[cfg(test)]
mod tests;
