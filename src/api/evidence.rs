//! What happened, for machines: the events as they were written, and the timeline of one execution.

mod coverage;
mod published;
pub(super) mod wanted;

use std::fmt::Display;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::evidence::{Store, StoreError, StoredEvent};
use crate::governance::{Timeline, Viewer};
use crate::keystore::agents::{ApiKey, ApiKeys};
use crate::model::reason::Fault;
use crate::reload::Reloaded;

use published::Published;
use wanted::{Asked, Shape, Wanted};

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

/// A page of events.
#[derive(Serialize)]
struct Page<E> {
    events: Vec<Numbered<E>>,
    /// The cursor of the next page. It stays good: later events come after it.
    next: u64,
    /// True when there is a next page now.
    more: bool,
}

#[derive(Serialize)]
struct Numbered<E> {
    index: u64,
    event: E,
}

async fn events(
    State(api): State<EvidenceApi>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, NoEvidence> {
    let viewer = viewer_of(&api.keys, &headers)?;
    let Query(asked) = asked.map_err(|rejection| malformed("query", rejection.body_text()))?;
    let wanted = Wanted::check(asked, &viewer)?;
    let (cursor, limit, shape) = (wanted.cursor, wanted.limit, wanted.shape);
    // One more than asked for tells whether there is a next page.
    let mut found = api.store.ask(move |store| store.events(&wanted.filter(&viewer), cursor, limit + 1)).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().map_or(cursor, |last| last.index);
    Ok(match shape {
        // The exact bytes that the producer wrote.
        Shape::AsWritten => json_answer(&Page::<&RawValue> { events: numbered(&found, exact), next, more }),
        Shape::Contract => json_answer(&Page { events: numbered(&found, Published::of), next, more }),
    })
}

fn numbered<'a, E>(found: &'a [StoredEvent], told: impl Fn(&'a str) -> Option<E>) -> Vec<Numbered<E>> {
    found.iter().filter_map(|stored| Some(Numbered { index: stored.index, event: told(&stored.body)? })).collect()
}

fn exact(body: &str) -> Option<&RawValue> {
    serde_json::from_str(body).ok()
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
pub(super) mod tests;
