//! `GET /openapi.json`: the API described for machines, written from the types that answer.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::Method;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::edge::{self, Endpoint};
use super::respond::Reply;
use super::{Api, authorize, catalog, discover, introspect, observe, orders, revocations, validate};

const ENDPOINT: Endpoint = Endpoint::open("openapi", &[Method::GET]);

#[derive(OpenApi)]
#[openapi(
    info(title = "Permyx", description = "Execution authorization and evidence for AI-initiated commerce."),
    paths(
        authorize::authorize,
        validate::validate,
        observe::observe,
        introspect::introspect,
        catalog::put,
        revocations::add,
        revocations::list,
        revocations::lift,
        orders::tell,
        discover::jwks,
        discover::protocols,
        discover::compliance,
        openapi,
    ),
    modifiers(&Keys)
)]
struct Described;

struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut Document) {
        let key = ApiKeyValue::with_description("X-API-Key", "`permyx_<role>_…`, made with `permyx agent-key create`");
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("apiKey", SecurityScheme::ApiKey(ApiKey::Header(key)));
    }
}

/// The document of the execution API. Others may merge theirs into it.
#[must_use]
pub fn document() -> Document {
    Described::openapi()
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "discovery",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(super) async fn openapi(State(api): State<Arc<Api>>, request: Request) -> Response {
    edge::open(api, &ENDPOINT, request, |_api, _version| {
        Ok(Reply::json(&document())?.document("application/json", "public, max-age=300"))
    })
}
