//! The way of every request: its method, its key, its allowance, its version, its body. What goes
//! wrong on the way is answered here, and every answer carries the allowance.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method};
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use utoipa::ToSchema;

use crate::authority::retry::IdempotencyKey;
use crate::authority::traced::Traced;
use crate::clock::Monotonic;
use crate::keystore::agents::ApiKey;
use crate::model::ids::TraceId;
use crate::model::reason::{Fault, ReasonCode};
use crate::model::time::Timestamp;
use crate::model::trace_parent::TraceParent;
use crate::protocol::deny::Refusal;
use crate::quota::allowance::{Standing, Verdict};
use crate::telemetry::metrics::{code_class, method_name};
use crate::telemetry::traces::Ended;

use super::Api;
use super::members;
use super::respond::{Reply, respond};

/// Longest body of a call; the catalog has its own.
pub(super) const BODY_MAX: usize = 64 * 1024;
/// A body that takes longer is given up.
const BODY_TIME: Duration = Duration::from_secs(15);
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TRACE_PARENT: HeaderName = HeaderName::from_static(TraceParent::FIELD);
const ACCEPT_VERSION: HeaderName = HeaderName::from_static("accept-version");

/// One place of the API.
pub(super) struct Endpoint {
    /// Its name in metrics.
    pub name: &'static str,
    /// The methods that it has; none: whatever the method, it is not there.
    pub methods: &'static [Method],
    pub body_max: usize,
}

impl Endpoint {
    /// One that needs a key and takes a body.
    pub const fn keyed(name: &'static str, methods: &'static [Method]) -> Self {
        Self { name, methods, body_max: BODY_MAX }
    }

    /// One that anybody may read.
    pub const fn open(name: &'static str, methods: &'static [Method]) -> Self {
        Self { name, methods, body_max: 0 }
    }
}

/// A version of the published contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub(super) enum Version {
    #[serde(rename = "1.0")]
    V1_0,
    #[serde(rename = "1.5")]
    V1_5,
}

impl Version {
    pub const ALL: [Self; 2] = [Self::V1_0, Self::V1_5];
    pub const NEWEST: Self = Self::V1_5;

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_5 => "1.5",
        }
    }

    /// What the caller asks for; the newest when it does not say.
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let Some(asked) = headers.get(&ACCEPT_VERSION) else { return Ok(Self::NEWEST) };
        let found = Self::ALL.into_iter().find(|version| asked == version.as_str());
        let message = "`Accept-Version` must be `1.0` or `1.5`, or be left out";
        found.ok_or_else(|| Refusal::malformed(400, "Accept-Version", message))
    }
}

/// Who calls, once all of the call is here.
pub(super) struct Caller {
    pub key: Arc<ApiKey>,
    pub trace: TraceId,
    pub trace_parent: Option<TraceParent>,
    pub traced: Option<Traced>,
    pub version: Version,
    /// The call's one instant, read after its body was complete.
    pub now: Timestamp,
    /// Its Idempotency-Key, for the calls that take one.
    pub idempotency: Result<Option<IdempotencyKey>, Refusal>,
}

/// What is known of a request while it is answered.
pub(super) struct Visit {
    pub trace: TraceId,
    pub version: Version,
    /// What the allowance headers say.
    pub standing: Standing,
    pub endpoint: &'static Endpoint,
    started: Monotonic,
    method: &'static str,
    trace_parent: Option<TraceParent>,
    traced: Option<Traced>,
}

impl Visit {
    fn new(api: &Api, endpoint: &'static Endpoint, method: &Method, headers: &HeaderMap) -> Self {
        let clock = &api.authority.clock;
        let (started, trace_parent) = (clock.monotonic(), TraceParent::sent(headers.get_all(&TRACE_PARENT).iter()));
        Self {
            trace: TraceId::random(),
            version: Version::NEWEST,
            standing: Standing::unmetered(clock.now()),
            endpoint,
            started,
            method: method_name(method),
            trace_parent,
            traced: api.authority.begin_trace(trace_parent, started),
        }
    }

    fn end(&self, api: &Api, outcome: Result<Reply, Refusal>) -> Response {
        let refused = outcome.as_ref().err().map(|refusal| refusal.code.as_str());
        let response = respond(self, outcome);
        let (metrics, clock) = (&api.authority.metrics, &api.authority.clock);
        let (name, status, now) = (self.endpoint.name, response.status().as_u16(), clock.monotonic());
        metrics.api_requests.with_label_values(&[name, code_class(status)]).inc();
        metrics.http_duration.with_label_values(&["api", name]).observe(now.seconds_since(self.started));
        api.authority.end_trace(self.traced.as_ref(), || Ended {
            trace: self.trace,
            began: clock.now().minus_millis(now.millis_since(self.started)),
            total_us: now.micros_since(self.started),
            route: name.into(),
            method: self.method,
            status,
            decision: if refused.is_some() { "refused" } else { "answered" },
            refused,
        });
        response
    }
}

/// Answers a call that needs a key.
pub(super) async fn keyed<F, Fut>(api: Arc<Api>, endpoint: &'static Endpoint, request: Request, handle: F) -> Response
where
    F: FnOnce(Arc<Api>, Caller, Bytes) -> Fut,
    Fut: Future<Output = Result<Reply, Refusal>>,
{
    let (head, body) = request.into_parts();
    let mut visit = Visit::new(&api, endpoint, &head.method, &head.headers);
    let outcome = async {
        method_of(endpoint, &head.method)?;
        let key = authenticate(&api, &head.headers)?;
        visit.standing = charge(&api, &key).map_err(|(standing, refusal)| {
            visit.standing = standing;
            refusal
        })?;
        visit.version = Version::of(&head.headers)?;
        let _room = room(&api, endpoint)?;
        // These have no body whose type could be told.
        if !matches!(head.method, Method::GET | Method::HEAD | Method::DELETE) {
            members::content_type(&head.headers)?;
        }
        let body = whole(&head.headers, body, endpoint.body_max).await?;
        let now = api.authority.clock.now();
        let idempotency = IdempotencyKey::sent(head.headers.get_all(&IDEMPOTENCY_KEY));
        let Visit { trace, trace_parent, version, .. } = visit;
        let traced = visit.traced.clone();
        let caller = Caller { key, trace, trace_parent, traced, version, now, idempotency };
        handle(api.clone(), caller, body).await
    }
    .await;
    visit.end(&api, outcome)
}

/// A delivery of a store, once all of it is here.
pub(super) struct Delivered {
    /// The caller's key, where it sent one; else whoever handles this has to know it by something else.
    pub key: Option<Arc<ApiKey>>,
    pub headers: HeaderMap,
    pub trace: TraceId,
    pub trace_parent: Option<TraceParent>,
    pub version: Version,
    pub now: Timestamp,
}

/// Answers a delivery that need not have a key. A key that is sent has to be a good one.
pub(super) async fn delivered<F, Fut>(
    api: Arc<Api>,
    endpoint: &'static Endpoint,
    room: &Semaphore,
    request: Request,
    handle: F,
) -> Response
where
    F: FnOnce(Delivered, Bytes) -> Fut,
    Fut: Future<Output = Result<Reply, Refusal>>,
{
    let (head, body) = request.into_parts();
    let mut visit = Visit::new(&api, endpoint, &head.method, &head.headers);
    let outcome = async {
        method_of(endpoint, &head.method)?;
        let key = head.headers.contains_key(API_KEY).then(|| authenticate(&api, &head.headers)).transpose()?;
        if let Some(key) = &key {
            visit.standing = charge(&api, key).map_err(|(standing, refusal)| {
                visit.standing = standing;
                refusal
            })?;
        }
        visit.version = Version::of(&head.headers)?;
        let _room = room.try_acquire().map_err(|_none_left| crowded())?;
        members::content_type(&head.headers)?;
        let body = whole(&head.headers, body, endpoint.body_max).await?;
        let now = api.authority.clock.now();
        let Visit { trace, trace_parent, version, .. } = visit;
        handle(Delivered { key, headers: head.headers, trace, trace_parent, version, now }, body).await
    }
    .await;
    visit.end(&api, outcome)
}

/// The whole body, in time.
async fn whole(headers: &HeaderMap, body: Body, max: usize) -> Result<Bytes, Refusal> {
    let reading = members::read_body(headers, body, max);
    tokio::time::timeout(BODY_TIME, reading).await.map_err(|_elapsed| {
        Refusal::malformed(408, "body", format!("the body was not complete within {} s", BODY_TIME.as_secs()))
    })?
}

/// Answers a request that anybody may make. Its body, if it has one, is not read.
pub(super) fn open(
    api: Arc<Api>,
    endpoint: &'static Endpoint,
    request: Request,
    handle: impl FnOnce(&Api, Version) -> Result<Reply, Refusal>,
) -> Response {
    let mut visit = Visit::new(&api, endpoint, request.method(), request.headers());
    let outcome = method_of(endpoint, request.method()).and_then(|()| {
        visit.version = Version::of(request.headers())?;
        handle(&api, visit.version)
    });
    visit.end(&api, outcome)
}

/// HEAD is a GET whose answer's body is left out.
fn method_of(endpoint: &Endpoint, method: &Method) -> Result<(), Refusal> {
    let has = |method: &Method| endpoint.methods.contains(method);
    if endpoint.methods.is_empty() || has(method) || (method == Method::HEAD && has(&Method::GET)) {
        return Ok(());
    }
    let methods: Vec<_> = endpoint.methods.iter().map(Method::as_str).collect();
    Err(Refusal::malformed(405, "method", format!("this path answers {}", methods.join(", "))))
}

/// One answer, whatever is wrong with the key.
fn authenticate(api: &Api, headers: &HeaderMap) -> Result<Arc<ApiKey>, Refusal> {
    let mut sent = headers.get_all(&API_KEY).iter();
    let only = sent.next().filter(|_| sent.next().is_none());
    let known = only.and_then(|value| value.to_str().ok()).and_then(|text| api.keys.snapshot().authenticate(text));
    known.ok_or_else(|| Refusal::fault(Fault::Unauthorized))
}

fn charge(api: &Api, key: &ApiKey) -> Result<Standing, (Standing, Refusal)> {
    let allowance = key.terms.allowance;
    let now = api.authority.clock.now();
    match api.allowances.take(&key.id, allowance.per_minute, allowance.per_month, now) {
        Verdict::Granted(standing) => Ok(standing),
        Verdict::Exceeded { standing, window, retry_after_s } => {
            api.authority.metrics.api_rate_limited.with_label_values(&[window.as_str()]).inc();
            let refusal = Refusal {
                rule: Some(format!("allowance.{}", window.as_str())),
                limit: Some(standing.limit.to_string()),
                retry_after_s: u64::try_from(retry_after_s).ok(),
                ..Refusal::reason(ReasonCode::RateLimited)
            };
            Err((standing, refusal))
        }
    }
}

/// Large bodies wait for nobody: when enough are being read, the next one comes back later.
fn room<'a>(api: &'a Api, endpoint: &Endpoint) -> Result<Option<SemaphorePermit<'a>>, Refusal> {
    if endpoint.body_max <= BODY_MAX {
        return Ok(None);
    }
    api.large_bodies.try_acquire().map(Some).map_err(|_none_left| crowded())
}

fn crowded() -> Refusal {
    Refusal {
        message: Some("enough large bodies are being read; try again shortly".to_owned()),
        rule: Some("allowance.large_bodies".to_owned()),
        retry_after_s: Some(1),
        ..Refusal::reason(ReasonCode::RateLimited)
    }
}
