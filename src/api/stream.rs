//! `GET /v1/evidence/stream`: events as they reach the store, in the order of the log, as server-sent
//! events.
//!
//! The id of each is its index. Whoever is cut off comes back with `Last-Event-ID` and misses nothing:
//! a stream is only a place in the log, and holds at most one piece of it. One task looks whether the
//! log has grown, for all streams.

mod body;
mod frame;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::{Semaphore, watch};

use super::Events;
use super::evidence::wanted::{Asked, Shape, Wanted};
use super::evidence::{NoEvidence, key_of, malformed};
use crate::evidence::{Store, StoreError};
use crate::governance::Viewer;
use crate::keystore::agents::ApiKeys;
use crate::model::reason::Fault;
use crate::reload::Reloaded;

use body::{Follow, Pulled};

/// Streams at once.
const STREAMS: usize = 64;
/// How often the log is looked at, while there is a stream.
const LOOK: Duration = Duration::from_millis(100);
/// After a look that failed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What streams are served from.
#[derive(Clone)]
pub struct StreamApi {
    store: Arc<Store>,
    keys: Arc<Reloaded<ApiKeys>>,
    turns: Arc<Semaphore>,
    /// How many events the log holds, while somebody listens.
    size: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
}

impl StreamApi {
    /// With the task that looks at the log; without it no stream moves. All streams end when `stop`
    /// turns true.
    pub fn new(
        store: Arc<Store>,
        keys: Arc<Reloaded<ApiKeys>>,
        stop: watch::Receiver<bool>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (seen, size) = watch::channel(0);
        let looking = look(store.clone(), seen);
        (Self { store, keys, turns: Arc::new(Semaphore::new(STREAMS)), size, stop }, looking)
    }

    /// Whether somebody looks at the log.
    #[must_use]
    pub fn state(&self) -> Events {
        if self.size.has_changed().is_ok() { Events::Streaming } else { Events::NotServed }
    }
}

/// Tells the streams when the log has grown.
async fn look(store: Arc<Store>, seen: watch::Sender<u64>) {
    loop {
        tokio::time::sleep(LOOK).await;
        // One receiver is that of the API itself.
        if seen.receiver_count() <= 1 {
            continue;
        }
        match store.ask(Store::size).await {
            Ok(size) => drop(seen.send_if_modified(|known| std::mem::replace(known, size) != size)),
            Err(StoreError::Busy) => {}
            Err(error) => {
                tracing::error!(error = ?error, "the evidence store cannot be followed");
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }
}

pub fn stream_router(api: StreamApi) -> Router {
    Router::new().route("/v1/evidence/stream", get(stream)).with_state(api)
}

async fn stream(
    State(api): State<StreamApi>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, NoEvidence> {
    let key = key_of(&api.keys, &headers)?;
    let viewer = Viewer::of(&key).ok_or(Fault::Forbidden)?;
    let Query(asked) = asked.map_err(|rejection| malformed("query", rejection.body_text()))?;
    if asked.limit.is_some() {
        return Err(malformed("limit", "a stream has no pages"));
    }
    let place = last_event_id(&headers)?.or(asked.cursor);
    let wanted = Wanted::check(asked, &viewer)?;
    if wanted.shape != Shape::AsWritten {
        return Err(malformed("shape", "a stream tells events as they were written"));
    }
    let turn = api.turns.clone().try_acquire_owned().map_err(|_| Fault::EvidenceUnavailable)?;
    let end = api.store.ask(Store::size).await?;
    let cursor = place.unwrap_or(end);
    if cursor > end {
        return Err(malformed("cursor", format!("the log ends at {end}: this place is one of another log")));
    }
    let follow = Follow {
        store: api.store,
        keys: api.keys,
        size: api.size,
        stop: api.stop,
        key: key.id.clone(),
        wanted: Arc::new(wanted),
        cursor,
        _turn: turn,
    };
    let head = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that gather an answer before they pass it on would hold everything back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((head, Body::new(Pulled::begin(follow))).into_response())
}

/// Where a reader that was cut off had come to.
fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, NoEvidence> {
    let Some(sent) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let index = sent.to_str().ok().and_then(|text| text.parse().ok());
    index.map(Some).ok_or_else(|| malformed("Last-Event-ID", "not the index of an event"))
}

#[cfg(test)]
mod tests;
