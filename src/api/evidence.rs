//! What happened, for machines: the events as they were written, and the timeline of one execution.

mod coverage;

use std::fmt::Display;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::evidence::{Filter, Store, StoreError, StoredEvent};
use crate::governance::{Timeline, Viewer};
use crate::keystore::agents::{ApiKey, ApiKeys};
use crate::model::event::EventKind;
use crate::model::ids::{AgentId, StoreId};
use crate::model::reason::{Fault, ReasonCode};
use crate::model::time::Timestamp;
use crate::reload::Reloaded;

/// Events of one page, unless the caller says otherwise.
const PAGE: usize = 100;
const PAGE_MAX: usize = 500;
/// Longest id of a timeline.
const ID_MAX: usize = 256;

/// What the evidence API answers from.
#[derive(Clone)]
pub struct EvidenceApi {
    pub store: Arc<Store>,
    pub keys: Arc<Reloaded<ApiKeys>>,
}

/// `GET /v1/evidence/events`, `GET /v1/evidence/timeline/{id}` and `GET /v1/evidence/coverage`.
pub fn evidence_router(api: EvidenceApi) -> Router {
    Router::new()
        .route("/v1/evidence/events", get(events))
        .route("/v1/evidence/timeline/{id}", get(timeline))
        .route("/v1/evidence/coverage", get(coverage::coverage))
        .with_state(api)
}

/// Why there is no evidence in the answer.
pub(super) struct NoEvidence {
    fault: Fault,
    /// The part of the request that is malformed, and what would be right.
    malformed: Option<(&'static str, String)>,
}

impl NoEvidence {
    /// The same for a request that is well-formed, and not this key's to make.
    pub(super) fn forbidden(self) -> Self {
        Self { fault: Fault::Forbidden, ..self }
    }
}

impl From<Fault> for NoEvidence {
    fn from(fault: Fault) -> Self {
        Self { fault, malformed: None }
    }
}

impl From<StoreError> for NoEvidence {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = ?error, "the evidence store did not answer");
        match error {
            StoreError::Busy => Fault::EvidenceUnavailable.into(),
            _ => Fault::Internal.into(),
        }
    }
}

impl IntoResponse for NoEvidence {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.fault.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = match (&self.malformed, self.fault) {
            (Some((_, message)), _) => message.as_str(),
            (None, Fault::EvidenceUnavailable) => "too many questions at once; try again shortly",
            (None, fault) => fault.message(),
        };
        let member = self.malformed.as_ref().map(|(member, _)| *member);
        let body = json!({ "error": { "code": self.fault.as_str(), "message": message }, "member": member });
        let mut answer = (status, json_answer(&body)).into_response();
        if self.fault == Fault::EvidenceUnavailable {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

pub(super) fn malformed(member: &'static str, message: impl Into<String>) -> NoEvidence {
    NoEvidence { fault: Fault::BadRequest, malformed: Some((member, message.into())) }
}

/// Whose key it is. Unknown keys are 401.
pub(super) fn key_of(keys: &Reloaded<ApiKeys>, headers: &HeaderMap) -> Result<Arc<ApiKey>, NoEvidence> {
    let mut presented = headers.get_all("x-api-key").iter();
    let (Some(one), None) = (presented.next(), presented.next()) else { return Err(Fault::Unauthorized.into()) };
    let key = one.to_str().ok().and_then(|text| keys.snapshot().authenticate(text));
    key.ok_or_else(|| Fault::Unauthorized.into())
}

/// Who asks. Keys that see no evidence are 403.
pub(super) fn viewer_of(keys: &Reloaded<ApiKeys>, headers: &HeaderMap) -> Result<Viewer, NoEvidence> {
    let key = key_of(keys, headers)?;
    Viewer::of(&key).ok_or_else(|| Fault::Forbidden.into())
}

/// The query of `/events`, as it stands in the URL.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    store: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    decision: Option<String>,
    reason: Option<String>,
    agent: Option<String>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<u64>,
    limit: Option<usize>,
}

/// The same, checked.
struct Wanted {
    store: Option<StoreId>,
    kind: Option<EventKind>,
    decision: Option<String>,
    reason: Option<ReasonCode>,
    agent: Option<AgentId>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    cursor: u64,
    limit: usize,
}

impl Wanted {
    fn check(asked: Asked, viewer: &Viewer) -> Result<Self, NoEvidence> {
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
        })
    }

    fn filter<'a>(&'a self, viewer: &'a Viewer) -> Filter<'a> {
        Filter {
            visible: viewer.stores(),
            store: self.store.as_ref().map(StoreId::as_str),
            kind: self.kind.map(EventKind::name),
            decision: self.decision.as_deref(),
            reason: self.reason.map(ReasonCode::as_str),
            agent: self.agent.as_ref().map(AgentId::as_str),
            from: self.from,
            to: self.to,
        }
    }
}

fn checked<T>(
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

/// A page of events.
#[derive(Serialize)]
struct Page<'a> {
    events: Vec<Numbered<'a>>,
    /// The cursor of the next page. It stays good: later events come after it.
    next: u64,
    /// True when there is a next page now.
    more: bool,
}

#[derive(Serialize)]
struct Numbered<'a> {
    index: u64,
    /// The exact bytes that the producer wrote.
    event: &'a RawValue,
}

async fn events(
    State(api): State<EvidenceApi>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, NoEvidence> {
    let viewer = viewer_of(&api.keys, &headers)?;
    let Query(asked) = asked.map_err(|rejection| malformed("query", rejection.body_text()))?;
    let wanted = Wanted::check(asked, &viewer)?;
    let (cursor, limit) = (wanted.cursor, wanted.limit);
    // One more than asked for tells whether there is a next page.
    let mut found = api.store.ask(move |store| store.events(&wanted.filter(&viewer), cursor, limit + 1)).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().map_or(cursor, |last| last.index);
    Ok(json_answer(&Page { events: found.iter().filter_map(numbered).collect(), next, more }))
}

fn numbered(event: &StoredEvent) -> Option<Numbered<'_>> {
    Some(Numbered { index: event.index, event: serde_json::from_str(&event.body).ok()? })
}

async fn timeline(
    State(api): State<EvidenceApi>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, NoEvidence> {
    let viewer = viewer_of(&api.keys, &headers)?;
    if id.len() > ID_MAX {
        return Err(malformed("id", "longer than any id"));
    }
    let joined = api.store.ask(move |store| store.timeline(&id, viewer.stores())).await?;
    if joined.events.is_empty() {
        return Err(Fault::NotFound.into());
    }
    let timeline = Timeline::of(&joined.events, joined.truncated);
    Ok(answer_in_form(&headers, &timeline))
}

/// As text where the caller asks for text, else as JSON.
fn answer_in_form(headers: &HeaderMap, value: &(impl Serialize + Display)) -> Response {
    let wants_text = headers.get(header::ACCEPT).is_some_and(|accept| accept == "text/plain");
    if wants_text {
        let head = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
        return (head, value.to_string()).into_response();
    }
    json_answer(value)
}

pub(super) fn json_answer(value: &impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], axum::Json(value)).into_response()
}

#[cfg(test)]
mod tests;
