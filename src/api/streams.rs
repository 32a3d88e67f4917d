//! `POST /v1/evidence/streams/{identity}`: gateways on other hosts deliver their events.
//!
//! A delivery is answered when its records are in the store for good, with the sequence that is wanted
//! next. The same delivery again changes nothing.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::post;
use serde_json::json;
use uuid::Uuid;

use crate::evidence::intake::{DELIVERY_MAX, Delivery, Inbox, NotTaken};
use crate::evidence::{Producer, RECORDS, StoreError, WENT_BACK};
use crate::keystore::agents::{ApiKey, ApiKeys, Enrolment, Role};
use crate::model::reason::Fault;
use crate::reload::Reloaded;

use super::evidence::{NoEvidence, json_answer, key_of, malformed};

/// A delivery whose bytes take longer is given up.
const BODY_TIME: Duration = Duration::from_secs(10);

/// What takes deliveries.
#[derive(Clone)]
pub struct StreamsApi {
    pub inbox: Inbox,
    pub keys: Arc<Reloaded<ApiKeys>>,
}

pub fn streams_router(api: StreamsApi) -> Router {
    Router::new().route("/v1/evidence/streams/{identity}", post(take)).with_state(api)
}

async fn take(
    State(api): State<StreamsApi>,
    Path(identity): Path<String>,
    request: Request,
) -> Result<Response, NoEvidence> {
    let (head, body) = request.into_parts();
    let key = key_of(&api.keys, &head.headers)?;
    if key.terms.role != Role::Gateway {
        return Err(Fault::Forbidden.into());
    }
    let identity = Uuid::try_parse(&identity).map_err(|_| malformed("identity", "not the identity of a stream"))?;
    let went_back = went_back(&head.headers)?;
    if head.headers.get(header::CONTENT_TYPE).is_none_or(|sent| sent != RECORDS) {
        return Err(malformed("Content-Type", format!("must be `{RECORDS}`")));
    }
    let reading = tokio::time::timeout(BODY_TIME, to_bytes(body, DELIVERY_MAX)).await;
    let body = reading.ok().and_then(Result::ok);
    let body =
        body.ok_or_else(|| malformed("body", format!("must be here within 10 s, with at most {DELIVERY_MAX} bytes")))?;
    let stores = match &key.terms.stores {
        Enrolment::AllStores => None,
        Enrolment::Only(stores) => Some(stores.as_slice()),
    };
    let delivery = Arc::new(Delivery::read(identity, &body, went_back, stores)?);
    let next = deliver(&api, delivery, &key).await?;
    Ok(json_answer(&json!({ "next": next })))
}

fn went_back(headers: &HeaderMap) -> Result<Option<u64>, NoEvidence> {
    let Some(sent) = headers.get(&WENT_BACK) else { return Ok(None) };
    let next = sent.to_str().ok().and_then(|text| text.parse().ok()).filter(|next| *next > 0);
    next.map(Some).ok_or_else(|| malformed("Permyx-Went-Back", "not a sequence"))
}

/// A stream belongs to the key that began it; when that is revoked, one for all stores goes on with it.
async fn deliver(api: &StreamsApi, delivery: Arc<Delivery>, key: &ApiKey) -> Result<u64, NotTaken> {
    let by = |inherits| Producer { key: key.id.clone(), inherits };
    match api.inbox.deliver(delivery.clone(), by(false)).await {
        // Whose stores the old key was for is not known any more: only a key for all of them may go on.
        Err(NotTaken::Store(StoreError::Foreign(owner)))
            if key.terms.stores == Enrolment::AllStores && api.keys.snapshot().by_id(&owner).is_none() =>
        {
            tracing::warn!(%owner, key = %key.id, "a stream goes on with another key, since its own is revoked");
            api.inbox.deliver(delivery, by(true)).await
        }
        taken => taken,
    }
}

impl From<NotTaken> for NoEvidence {
    fn from(error: NotTaken) -> Self {
        match error {
            NotTaken::Busy => Fault::EvidenceUnavailable.into(),
            NotTaken::Store(StoreError::Foreign(_) | StoreError::Local | StoreError::OtherSource) => {
                malformed("identity", error.to_string()).forbidden()
            }
            NotTaken::OtherStore { .. } => malformed("storeId", error.to_string()).forbidden(),
            NotTaken::Store(error) => error.into(),
            error => malformed("body", error.to_string()),
        }
    }
}
