//! The one place where our types become HTTP.

use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;

use crate::model::reason::Fault;
use crate::protocol::deny::Refusal;

use super::edge::Visit;

const JSON: &str = "application/json";
/// A day's worth of nothing: an answer is for its caller and its moment.
const NO_STORE: &str = "no-store";
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The answer to a call that succeeded: always 200.
pub(super) struct Reply {
    body: Vec<u8>,
    content_type: &'static str,
    caching: &'static str,
    /// True when it is the answer of an earlier call, told again.
    again: bool,
}

impl Reply {
    pub fn json(value: &impl Serialize) -> Result<Self, Refusal> {
        let mut body = serde_json::to_vec(value).map_err(|error| {
            tracing::error!(%error, "answer not written");
            Refusal::fault(Fault::Internal)
        })?;
        body.push(b'\n');
        Ok(Self { body, content_type: JSON, caching: NO_STORE, again: false })
    }

    /// The answer of an earlier call.
    pub fn told_again(self, again: bool) -> Self {
        Self { again, ..self }
    }

    /// A public document that may be kept for a while.
    pub fn document(self, content_type: &'static str, caching: &'static str) -> Self {
        Self { content_type, caching, ..self }
    }
}

/// Every answer of this API, good or bad.
pub(super) fn respond(visit: &Visit, outcome: Result<Reply, Refusal>) -> Response {
    match outcome {
        Ok(Reply { body, content_type, caching, again }) => {
            let mut response = answer(visit, StatusCode::OK, body);
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
            if again {
                headers.insert(REPLAYED, HeaderValue::from_static("true"));
            }
            response
        }
        Err(refusal) => refused(visit, &refusal),
    }
}

fn refused(visit: &Visit, refusal: &Refusal) -> Response {
    let mut body = refusal.published(visit.trace);
    if let Some(members) = body.as_object_mut() {
        members.insert("permyx_protocol_version".to_owned(), visit.version.as_str().into());
    }
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = answer(visit, status, format!("{body}\n").into_bytes());
    let headers = response.headers_mut();
    if let Some(seconds) = refusal.retry_after_s {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("ApiKey realm=\"permyx\", header=\"X-API-Key\""));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let methods: Vec<_> = visit.endpoint.methods.iter().map(Method::as_str).collect();
        if let Ok(methods) = HeaderValue::from_str(&methods.join(", ")) {
            headers.insert(ALLOW, methods);
        }
    }
    response
}

fn answer(visit: &Visit, status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(NO_STORE));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(LIMIT, visit.standing.limit.into());
    headers.insert(REMAINING, visit.standing.remaining.into());
    headers.insert(RESET, visit.standing.reset_unix_s.into());
    response
}
