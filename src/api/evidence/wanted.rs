//! Which events a caller wants, as it stands in a query, checked.

use serde::Deserialize;

use super::published;
use super::{NoEvidence, malformed};
use crate::evidence::Filter;
use crate::governance::Viewer;
use crate::model::event::EventKind;
use crate::model::ids::{AgentId, StoreId};
use crate::model::reason::{Fault, ReasonCode};
use crate::model::time::Timestamp;

/// Events of one page, unless the caller says otherwise.
const PAGE: usize = 100;
const PAGE_MAX: usize = 500;

/// The query of `/events` and `/stream`, as it stands in the URL.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(in crate::api) struct Asked {
    store: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    decision: Option<String>,
    reason: Option<String>,
    agent: Option<String>,
    from: Option<String>,
    to: Option<String>,
    pub cursor: Option<u64>,
    pub limit: Option<usize>,
    pub shape: Option<Shape>,
}

/// How an event is told.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum Shape {
    /// As its producer wrote it.
    #[default]
    AsWritten,
    /// As the published data contract has it; kinds that it does not publish are left out.
    Contract,
}

/// The same, checked.
pub(in crate::api) struct Wanted {
    store: Option<StoreId>,
    kind: Option<EventKind>,
    decision: Option<String>,
    reason: Option<ReasonCode>,
    agent: Option<AgentId>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    pub cursor: u64,
    pub limit: usize,
    pub shape: Shape,
}

impl Wanted {
    pub(in crate::api) fn check(asked: Asked, viewer: &Viewer) -> Result<Self, NoEvidence> {
        let store = checked(asked.store, "store", "not the id of a store", |text| StoreId::parse(text).ok())?;
        if store.as_ref().is_some_and(|store| !viewer.sees(store)) {
            return Err(Fault::Forbidden.into());
        }
        let limit = asked.limit.unwrap_or(PAGE);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(malformed("limit", "a page has from 1 to 500 events"));
        }
        Ok(Self {
            store,
            kind: checked(asked.kind, "type", "not a type of event, such as `execution.denied`", kind_of)?,
            decision: checked(
                asked.decision,
                "decision",
                "not `allowed`, `denied`, `observed` or `bypassed`",
                |text| ["allowed", "denied", "observed", "bypassed"].contains(&text).then(|| text.to_owned()),
            )?,
            reason: checked(asked.reason, "reason", "not a reason code, such as `POLICY_DENIED`", |text| {
                ReasonCode::ALL.into_iter().find(|reason| reason.as_str() == text)
            })?,
            agent: checked(asked.agent, "agent", "not the id of an agent key", |text| AgentId::parse(text).ok())?,
            from: checked(asked.from, "from", "not a time of RFC 3339", Timestamp::parse)?,
            to: checked(asked.to, "to", "not a time of RFC 3339", Timestamp::parse)?,
            cursor: asked.cursor.unwrap_or(0),
            limit,
            shape: asked.shape.unwrap_or_default(),
        })
    }

    pub(in crate::api) fn filter<'a>(&'a self, viewer: &'a Viewer) -> Filter<'a> {
        Filter {
            visible: viewer.stores(),
            store: self.store.as_ref().map(StoreId::as_str),
            kind: self.kind.map(EventKind::name),
            kinds: if self.shape == Shape::Contract { published::KINDS } else { &[] },
            decision: self.decision.as_deref(),
            reason: self.reason.map(ReasonCode::as_str),
            agent: self.agent.as_ref().map(AgentId::as_str),
            from: self.from,
            to: self.to,
        }
    }
}

pub(super) fn checked<T>(
    text: Option<String>,
    member: &'static str,
    otherwise: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, NoEvidence> {
    text.map(|text| read(&text).ok_or_else(|| malformed(member, otherwise))).transpose()
}

/// `execution.denied`, or as it is on the wire: `io.permyx.execution.denied.v1`.
fn kind_of(text: &str) -> Option<EventKind> {
    let short = text.strip_prefix("io.permyx.").and_then(|rest| rest.strip_suffix(".v1")).unwrap_or(text);
    EventKind::parse(short)
}
