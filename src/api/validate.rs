//! `POST /agents/v1/exec/validate`: a merchant without a gateway burns a token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;

use crate::authority::retry::Asked;
use crate::authority::validate::Validated;
use crate::authority::{Refused, Stage};
use crate::decide::Denial;
use crate::keystore::agents::Role;
use crate::model::ids::{StoreId, TraceId};
use crate::model::json::Value;
use crate::model::reason::{Fault, ReasonCode};
use crate::model::reference::reference;
use crate::protocol::deny::Refusal;
use crate::token::verify::Presented;

use super::edge::{self, Caller, Endpoint, Version};
use super::members::{self, Members};
use super::respond::Reply;
use super::schema;
use super::{Api, access};

const ENDPOINT: Endpoint = Endpoint::keyed("validate", &[Method::POST]);

/// The token was valid and is now used up.
#[derive(Serialize, ToSchema)]
#[schema(as = Validated)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    #[schema(example = true)]
    allowed: bool,
    #[serde(rename = "permyx_protocol_version")]
    version: Version,
    /// Always null here.
    reason_code: Option<&'static str>,
    #[schema(example = true)]
    token_consumed: bool,
    #[schema(value_type = String)]
    trace_id: TraceId,
}

/// Burn a token: whoever gets `allowed: true` may execute its intent once. A merchant uses this or
/// the gateway for one purchase, never both. A retry with the same Idempotency-Key gets the first answer.
#[utoipa::path(
    post, path = "/agents/v1/exec/validate", tag = "execution", security(("apiKey" = [])),
    request_body = schema::ValidateRequest,
    responses(
        (status = 200, description = "Allowed and burned", body = Told),
        (status = 403, description = "Denied, with the reason code", body = schema::Refused),
        (status = 409, description = "Another call with this token is under way", body = schema::Refused),
        (status = "4XX", description = "Malformed, unknown key, allowance used up", body = schema::Refused),
        (status = "5XX", description = "Could not be decided: nothing was burned", body = schema::Refused),
    )
)]
pub(super) async fn validate(State(api): State<Arc<Api>>, request: Request) -> Response {
    edge::keyed(api, &ENDPOINT, request, judge).await
}

async fn judge(api: Arc<Api>, caller: Caller, body: Bytes) -> Result<Reply, Refusal> {
    access::role(&caller.key, &[Role::Agent, Role::Merchant])?;
    let object = members::object(&body)?;
    let members = Members::of(&object);
    let store = members.parsed("storeId", StoreId::parse)?;
    let token = token(&members)?;
    let context = members.optional_texts("checkoutContext", &["cartToken", "checkoutId"])?;
    access::store(&caller.key, &store)?;
    let mut call = api.call(&caller, Stage::Validate, &store);
    call.refs = context.iter().map(|name| reference(&store, name)).collect();
    let Some(token) = token else {
        let refused = Refused::from(Denial::of(ReasonCode::NoToken));
        api.authority.refuse(&call, None, &refused);
        return Err(refused.refusal());
    };
    let key = caller.idempotency?;
    let (owner, text, sent) = (caller.key.clone(), token.text().to_owned(), body.clone());
    // In a task of its own: a caller that leaves does not leave a burn half done.
    let burning = tokio::spawn(async move {
        let request: [&[u8]; 2] = [b"validate", &sent];
        let asked = Asked { key, request: &request, ..Asked::default() };
        let token = Presented::new(&text).map_err(|_too_long| Refusal::fault(Fault::Internal))?;
        let validated = api.authority.validate(&call, token, access::holder(&owner), &asked).await;
        validated.map_err(|refused| refused.refusal())
    });
    let validated = burning.await.map_err(|_broken_off| Refusal::fault(Fault::Internal))??;
    let first = match validated {
        Validated::Now => None,
        Validated::Before { first } => Some(first),
    };
    let reply = Reply::json(&Told {
        allowed: true,
        version: caller.version,
        reason_code: None,
        token_consumed: true,
        trace_id: first.unwrap_or(caller.trace),
    })?;
    Ok(reply.told_again(first.is_some()))
}

/// `executionToken`. Leaving it out is malformed; a merchant that passes on what an agent did not
/// send (`null` or an empty text) is told NO_TOKEN.
pub(super) fn token<'o>(members: &Members<'o, '_>) -> Result<Option<Presented<'o>>, Refusal> {
    if *members.required("executionToken")? == Value::Null {
        return Ok(None);
    }
    let text = members.text("executionToken")?;
    let too_long = |why| Refusal { status: 431, ..members.wrong("executionToken", format!("is too long: {why}")) };
    if text.is_empty() { Ok(None) } else { Presented::new(text).map(Some).map_err(too_long) }
}
