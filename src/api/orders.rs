//! `POST /v1/orders`: a store tells of an order, by a webhook of its platform or with a key.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use http::Method;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use crate::authority::Refused;
use crate::authority::orders::Telling;
use crate::durable;
use crate::evidence::Store;
use crate::keystore::agents::Role;
use crate::model::ids::{StoreId, TraceId};
use crate::model::reason::Fault;
use crate::protocol::deny::Refusal;
use crate::protocol::webhook::{self, Naming, NotANotice, OrderNotice, Platform, sign};

use super::edge::{self, Delivered, Endpoint, Version};
use super::respond::Reply;
use super::schema;
use super::{Api, access};

/// An order of some hundred lines has as many kilobytes.
const ENDPOINT: Endpoint = Endpoint { body_max: 256 << 10, ..Endpoint::keyed("orders", &[Method::POST]) };
/// Bodies that are read at once: 16 MiB at most, from whoever.
const AT_ONCE: usize = 64;
/// Deliveries that are remembered until the store has them.
const REMEMBERED: u64 = 10_000;
const SECRET_MAX: u64 = 4096;

/// How one store's platform tells of orders.
#[derive(Clone, Debug)]
pub struct Hook {
    pub store: StoreId,
    pub platform: Platform,
    /// Read at each delivery, so that a changed secret counts at once.
    pub secret_file: PathBuf,
    pub naming: Naming,
}

/// What the intake of orders needs.
pub struct OrdersApi {
    api: Arc<Api>,
    store: Arc<Store>,
    hooks: Vec<Hook>,
    room: Semaphore,
    /// Digests of what was taken just now: the store hears of it a moment later.
    taken: Cache<String, ()>,
}

impl OrdersApi {
    #[must_use]
    pub fn new(api: Arc<Api>, store: Arc<Store>, hooks: Vec<Hook>) -> Self {
        Self { api, store, hooks, room: Semaphore::new(AT_ONCE), taken: Cache::new(REMEMBERED) }
    }

    fn hook(&self, asked: &Asked) -> Option<&Hook> {
        self.hooks.iter().find(|hook| hook.store == asked.store && hook.platform == asked.platform)
    }
}

/// `POST /v1/orders`.
pub fn orders_router(orders: OrdersApi) -> Router {
    Router::new().route("/v1/orders", any(tell)).with_state(Arc::new(orders))
}

/// The query of the call.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Where {
    store: Option<String>,
    platform: Option<String>,
}

/// The same, checked.
struct Asked {
    store: StoreId,
    platform: Platform,
}

impl Asked {
    fn check(query: Result<Query<Where>, QueryRejection>) -> Result<Self, Refusal> {
        let wrong = |member: &str, must: String| {
            Refusal::malformed(400, member.to_owned(), format!("`{member}` in the query {must}"))
        };
        let Query(asked) =
            query.map_err(|rejected| wrong("query", format!("is not read: {}", rejected.body_text())))?;
        let store = asked.store.ok_or_else(|| wrong("store", "is missing".to_owned()))?;
        let store = StoreId::parse(&store).map_err(|why| wrong("store", why.to_string()))?;
        let names = || Platform::ALL.map(Platform::as_str).join("`, `");
        let platform = asked.platform.as_deref().and_then(Platform::parse);
        let platform = platform.ok_or_else(|| wrong("platform", format!("must be one of `{}`", names())))?;
        Ok(Self { store, platform })
    }
}

/// The order is in evidence. Which execution it is, is judged a moment later.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    #[schema(example = true)]
    accepted: bool,
    /// True when the same delivery was taken before: then nothing was written again.
    duplicate: bool,
    #[schema(example = "1001")]
    order_id: String,
    #[serde(rename = "permyx_protocol_version")]
    version: Version,
    #[schema(value_type = String)]
    trace_id: TraceId,
}

/// Tell of an order. The call is known by a merchant's key or by the signature of the platform's webhook.
#[utoipa::path(
    post, path = "/v1/orders", tag = "evidence", security(("apiKey" = []), ()),
    params(
        ("store" = String, Query, description = "The store whose order it is"),
        ("platform" = String, Query, description = "`shopify`, `woocommerce`, `acp`, `ucp` or `generic`"),
    ),
    request_body(content = Object, description = "The order as the platform writes it; see docs/orders.md"),
    responses(
        (status = 200, description = "In evidence, now or before", body = Told),
        (status = 401, description = "Neither a key nor a good signature", body = schema::Refused),
        (status = "4XX", description = "Malformed, with the member", body = schema::Refused),
        (status = "5XX", description = "Not recorded: tell it again", body = schema::Refused),
    )
)]
pub(super) async fn tell(
    State(orders): State<Arc<OrdersApi>>,
    query: Result<Query<Where>, QueryRejection>,
    request: Request,
) -> Response {
    let (api, room) = (orders.api.clone(), &orders.room);
    edge::delivered(api, &ENDPOINT, room, request, |delivered, body| take(&orders, query, delivered, body)).await
}

async fn take(
    orders: &OrdersApi,
    query: Result<Query<Where>, QueryRejection>,
    delivered: Delivered,
    body: Bytes,
) -> Result<Reply, Refusal> {
    let asked = Asked::check(query)?;
    let hook = orders.hook(&asked);
    admit(hook, &asked, &delivered, &body).await?;
    let naming = hook.map(|hook| hook.naming.clone()).unwrap_or_default();
    let notice = webhook::read(asked.platform, &asked.store, &naming, &delivered.headers, &body).map_err(malformed)?;
    let duplicate = !record(orders, asked.store, &delivered, &notice).await?;
    Reply::json(&Told {
        accepted: true,
        duplicate,
        order_id: notice.order,
        version: delivered.version,
        trace_id: delivered.trace,
    })
}

/// By a key of the merchant, or by the signature that the delivery says it has.
async fn admit(hook: Option<&Hook>, asked: &Asked, delivered: &Delivered, body: &[u8]) -> Result<(), Refusal> {
    if let Some(key) = &delivered.key {
        access::role(key, &[Role::Merchant, Role::Operator])?;
        return access::store(key, &asked.store);
    }
    let unknown = |why: String| Refusal { message: Some(why), ..Refusal::fault(Fault::Unauthorized) };
    let Some(hook) = hook else {
        return Err(unknown("send a merchant's key, or set up [[orders.webhooks]] for this store and platform".into()));
    };
    let file = hook.secret_file.clone();
    let secret = tokio::task::spawn_blocking(move || durable::read(&file, SECRET_MAX)).await;
    let Ok(Ok(Some(secret))) = secret else {
        tracing::error!(store = %hook.store, file = %hook.secret_file.display(), "the secret of a webhook cannot be read");
        return Err(Refusal::fault(Fault::Internal));
    };
    let secret = secret.trim().as_bytes();
    if secret.is_empty() {
        tracing::error!(store = %hook.store, file = %hook.secret_file.display(), "the secret of a webhook is empty");
        return Err(Refusal::fault(Fault::Internal));
    }
    sign::verify(asked.platform, secret, &delivered.headers, body, delivered.now)
        .map_err(|unsigned| unknown(unsigned.to_string()))
}

/// False when the same delivery was taken before.
async fn record(
    orders: &OrdersApi,
    store: StoreId,
    delivered: &Delivered,
    notice: &OrderNotice,
) -> Result<bool, Refusal> {
    let digest = notice.delivery.to_string();
    let asked = digest.clone();
    let known = orders.store.ask(move |store| store.has_delivery(&asked)).await.map_err(|error| {
        tracing::error!(error = ?error, "the evidence store did not answer");
        Refusal::fault(Fault::EvidenceUnavailable)
    })?;
    if known || !orders.taken.entry(digest.clone()).or_insert(()).is_fresh() {
        return Ok(false);
    }
    let telling = Telling { store, trace: delivered.trace, trace_parent: delivered.trace_parent, now: delivered.now };
    orders.api.authority.hear_order(&telling, notice).map(|()| true).map_err(|cannot| {
        orders.taken.invalidate(&digest);
        Refused::Cannot(cannot).refusal()
    })
}

fn malformed(why: NotANotice) -> Refusal {
    let message = why.to_string();
    match why {
        NotANotice::Json(_) => Refusal::malformed(400, "body", message),
        NotANotice::Member { member, .. } => Refusal::malformed(400, member, message),
    }
}
