//! `POST /agents/v1/exec/authorize`: an intent in, a token out.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;

use crate::authority::authorize::NotIssued;
use crate::authority::{Refused, Stage};
use crate::decide::Denial;
use crate::keystore::agents::Role;
use crate::model::ids::{ProductId, StoreId, TraceId, VariantId};
use crate::model::intent::{Intent, Quantity, Sha256};
use crate::model::json::Object;
use crate::model::money::{Currency, Price};
use crate::model::reason::{Fault, ReasonCode};
use crate::model::reference::reference;
use crate::model::scope::Scope;
use crate::model::time::Timestamp;
use crate::protocol::deny::Refusal;

use super::edge::{self, Caller, Endpoint, Version};
use super::members::{self, Members};
use super::respond::Reply;
use super::schema;
use super::{Api, access};

const ENDPOINT: Endpoint = Endpoint::keyed("authorize", &[Method::POST]);

/// A token for exactly this intent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Authorized {
    #[schema(example = "allowed")]
    decision: &'static str,
    /// RS256 JWT; send it as `Permyx-Execution-Token`. It buys once.
    execution_token: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    #[serde(rename = "permyx_protocol_version")]
    version: Version,
    #[schema(value_type = String, example = "trc_0199f3a16c1e7c559d0e2f6a4d1f9b10")]
    trace_id: TraceId,
}

/// Ask for the right to execute one intent.
#[utoipa::path(
    post, path = "/agents/v1/exec/authorize", tag = "execution", security(("apiKey" = [])),
    request_body = schema::AuthorizeRequest,
    responses(
        (status = 200, description = "Allowed: a token", body = Authorized),
        (status = 403, description = "Denied, with the reason", body = schema::Refused),
        (status = "4XX", description = "Malformed, unknown key, allowance used up", body = schema::Refused),
        (status = "5XX", description = "Could not be decided", body = schema::Refused),
    )
)]
pub(super) async fn authorize(State(api): State<Arc<Api>>, request: Request) -> Response {
    edge::keyed(api, &ENDPOINT, request, judge).await
}

async fn judge(api: Arc<Api>, caller: Caller, body: Bytes) -> Result<Reply, Refusal> {
    access::role(&caller.key, &[Role::Agent])?;
    let object = members::object(&body)?;
    let asked = Asked::read(&object)?;
    access::store(&caller.key, &asked.store)?;
    let mut call = api.call(&caller, Stage::Authorize, &asked.store);
    call.refs.clone_from(&asked.refs);
    let Some(intent) = asked.intent() else {
        let denial = Denial::by(ReasonCode::ScopeRestricted, "scope").found("another scope", Scope::AgentExec.as_str());
        let refused = Refused::from(denial);
        api.authority.refuse(&call, None, &refused);
        return Err(refused.refusal());
    };
    match api.authority.authorize(&call, &intent, &caller.key.id, &asked.product).await {
        Ok(token) => Reply::json(&Authorized {
            decision: "allowed",
            execution_token: token.text,
            expires_at: token.expires,
            version: caller.version,
            trace_id: caller.trace,
        }),
        Err(NotIssued::Refused(refused)) => Err(refused.refusal()),
        Err(NotIssued::Failed(error)) => {
            tracing::error!(trace = %caller.trace, %error, "token not issued");
            Err(Refusal::fault(Fault::Internal))
        }
    }
}

/// The request, each member checked.
struct Asked {
    store: StoreId,
    product: ProductId,
    variant: VariantId,
    quantity: Quantity,
    price: Price,
    /// `None`: a text that is no published scope.
    scope: Option<Scope>,
    /// Digests of the cart and the session that it is for.
    refs: Vec<Sha256>,
}

impl Asked {
    fn read(object: &Object<'_>) -> Result<Self, Refusal> {
        let body = Members::of(object);
        let store = body.parsed("storeId", StoreId::parse)?;
        let context = body.optional_texts("clientContext", &["cartId", "sessionId"])?;
        Ok(Self {
            refs: context.iter().map(|name| reference(&store, name)).collect(),
            store,
            product: body.parsed("permyxProductId", ProductId::parse)?,
            variant: body.parsed("sourceVariantId", VariantId::parse)?,
            quantity: quantity(&body)?,
            price: price(&Members::within(body.object("price")?, "price."))?,
            scope: Scope::parse(body.text("scope")?),
        })
    }

    fn intent(&self) -> Option<Intent> {
        let Self { store, variant, quantity, price, .. } = self;
        let (store, variant) = (store.clone(), variant.clone());
        Some(Intent { store, variant, quantity: *quantity, price: *price, scope: self.scope? })
    }
}

pub(super) fn quantity(body: &Members<'_, '_>) -> Result<Quantity, Refusal> {
    let must = || format!("must be a whole number from 1 to {}", Quantity::MAX);
    Quantity::parse(body.number("quantity")?).ok_or_else(|| body.wrong("quantity", must()))
}

/// `{amount, currency}`: the amount is read from its literal text and is never a float.
pub(super) fn price(members: &Members<'_, '_>) -> Result<Price, Refusal> {
    let unknown = "must be an ISO 4217 code in capitals, like `USD`";
    let currency = members.parsed("currency", |code| Currency::parse(code).ok_or(unknown))?;
    let amount = members.number("amount")?;
    let price = Price::parse_major(amount, currency).map_err(|why| members.wrong("amount", why))?;
    if price.minor() == 0 {
        return Err(members.wrong("amount", "must be greater than 0"));
    }
    Ok(price)
}
