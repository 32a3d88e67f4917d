//! `PUT /v1/catalog/{store}/variants`: a merchant states what it sells, at which price.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;

use crate::catalog::{CatalogError, VARIANTS_MAX, Variant};
use crate::keystore::agents::Role;
use crate::model::ids::{StoreId, TraceId, VariantId};
use crate::model::json::Value;
use crate::model::reason::Fault;
use crate::model::time::Timestamp;
use crate::protocol::deny::Refusal;

use super::authorize::price;
use super::edge::{self, Caller, Endpoint, Version};
use super::members::{self, Members};
use super::respond::Reply;
use super::schema;
use super::{Api, access};

/// A whole catalog comes in one body: about 160 bytes for each of 100,000 variants.
const ENDPOINT: Endpoint = Endpoint { body_max: 16 << 20, ..Endpoint::keyed("catalog", &[Method::PUT]) };
/// How far a price may be confirmed in the future: clocks differ.
const AHEAD_MAX_S: i64 = 300;

/// The catalog is in force and on the disk.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stocked {
    #[serde(rename = "permyx_protocol_version")]
    version: Version,
    #[schema(value_type = String)]
    store_id: StoreId,
    #[schema(value_type = String)]
    trace_id: TraceId,
    /// Number of variants of the catalog.
    variants: usize,
}

/// Replace a store's catalog. Prices that are not confirmed again turn stale after 6 hours.
#[utoipa::path(
    put, path = "/v1/catalog/{store}/variants", tag = "catalog", security(("apiKey" = [])),
    params(("store" = String, Path, description = "The store; `/` in it is written `%2F`")),
    request_body = schema::CatalogRequest,
    responses(
        (status = 200, description = "Replaced", body = Stocked),
        (status = "4XX", description = "Malformed, unknown key, not this key's store", body = schema::Refused),
    )
)]
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    edge::keyed(api, &ENDPOINT, request, |api, caller, body| replace(api, caller, path, body)).await
}

async fn replace(
    api: Arc<Api>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    body: Bytes,
) -> Result<Reply, Refusal> {
    access::role(&caller.key, &[Role::Merchant, Role::Operator])?;
    let wrong = |why: String| Refusal::malformed(400, "store", format!("`store` in the path {why}"));
    let Path(store) = path.map_err(|_rejected| wrong("is not UTF-8".to_owned()))?;
    let store = StoreId::parse(&store).map_err(|why| wrong(why.to_string()))?;
    access::store(&caller.key, &store)?;
    let (now, catalog, written) = (caller.now, api.authority.catalog.clone(), store.clone());
    // Reading and writing a large catalog takes long enough to be kept off the threads that serve.
    let put = move || {
        let variants = read(&body, now)?;
        catalog.put(&written, &variants).map(|()| variants.len()).map_err(|error| refusal(&error))
    };
    let put = tokio::task::spawn_blocking(put).await.map_err(|_panicked| Refusal::fault(Fault::Internal))?;
    Reply::json(&Stocked { version: caller.version, store_id: store, trace_id: caller.trace, variants: put? })
}

fn read(body: &Bytes, now: Timestamp) -> Result<Vec<Variant>, Refusal> {
    let object = members::object(body)?;
    let members = Members::of(&object);
    let list = members.required("variants")?.as_array();
    let list = list.ok_or_else(|| members.wrong("variants", "must be an array"))?;
    if list.len() > VARIANTS_MAX {
        return Err(members.wrong("variants", format!("must have at most {VARIANTS_MAX} items")));
    }
    list.iter().enumerate().map(|(n, item)| variant(n, item, now)).collect()
}

fn variant(n: usize, item: &Value<'_>, now: Timestamp) -> Result<Variant, Refusal> {
    let place = format!("variants.{n}");
    let wrong = || Refusal::malformed(400, place.clone(), format!("`{place}` must be an object"));
    let dotted = format!("{place}.");
    let members = Members::within(item.as_object().ok_or_else(wrong)?, &dotted);
    let id = members.parsed("sourceVariantId", VariantId::parse)?;
    let priced = format!("{dotted}price.");
    let price = price(&Members::within(members.object("price")?, &priced))?;
    let time = |text: &str| {
        let verified = Timestamp::parse(text).ok_or("must be a time of RFC 3339, like 2026-11-23T10:00:00Z")?;
        let early = verified.seconds() <= now.plus_seconds(AHEAD_MAX_S).seconds();
        if early { Ok(verified) } else { Err("must not be in the future") }
    };
    let verified_at = members.optional_parsed("verifiedAt", time)?.unwrap_or(now);
    Ok(Variant { id, price, verified_at })
}

fn refusal(error: &CatalogError) -> Refusal {
    match error {
        CatalogError::VariantTwice(_) | CatalogError::TooManyVariants => {
            Refusal::malformed(400, "variants", error.to_string())
        }
        CatalogError::NoDirectory => {
            Refusal { message: Some("this deployment keeps no catalogs".to_owned()), ..Refusal::fault(Fault::NotFound) }
        }
        CatalogError::File(_)
        | CatalogError::Directory { .. }
        | CatalogError::Faulty(_)
        | CatalogError::TooManyStores => {
            tracing::error!(%error, "catalog not written");
            Refusal::fault(Fault::Internal)
        }
    }
}
