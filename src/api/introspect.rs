//! `POST /agents/v1/exec/introspect`: look at a token without using it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::Method;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::authority::Stage;
use crate::authority::introspect::{Introspection, ReplayStatus};
use crate::keystore::agents::Role;
use crate::model::ids::{StoreId, TraceId, VariantId};
use crate::model::intent::{Intent, Sha256};
use crate::protocol::deny::Refusal;

use super::edge::{self, Caller, Endpoint, Version};
use super::members::{self, Members};
use super::respond::Reply;
use super::schema;
use super::validate::token;
use super::{Api, access};

const ENDPOINT: Endpoint = Endpoint::keyed("introspect", &[Method::POST]);

/// What is known of a token that the caller may see.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Introspected {
    claims: Option<Claims>,
    expired: bool,
    /// Whole seconds; null unless the token is valid.
    expires_in: Option<i64>,
    #[serde(rename = "permyx_protocol_version")]
    version: Version,
    /// Whether the store's policy would allow it now: `allowed`, `denied` or `unknown`.
    #[schema(example = "allowed")]
    policy_decision: &'static str,
    /// `unused`, `consumed` or `unknown`.
    #[schema(example = "unused")]
    replay_status: &'static str,
    #[schema(value_type = String)]
    trace_id: TraceId,
    valid: bool,
}

/// What the token authorises.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Claims {
    #[schema(example = "USD")]
    currency: &'static str,
    #[schema(value_type = String)]
    intent_hash: Sha256,
    /// In major units, with exactly the currency's fraction digits.
    #[schema(value_type = f64, format = "decimal", example = json!(29.99))]
    price_amount: Box<RawValue>,
    qty: u32,
    #[schema(example = "agent_exec")]
    scope: &'static str,
    #[schema(value_type = String)]
    store_id: StoreId,
    #[schema(value_type = String)]
    variant_id: VariantId,
}

impl Claims {
    fn of(intent: &Intent) -> Option<Self> {
        Some(Self {
            currency: intent.price.currency().code(),
            intent_hash: intent.hash(),
            // The literal digits: a number that went through a float would not be the signed one.
            price_amount: RawValue::from_string(intent.price.major().to_string()).ok()?,
            qty: intent.quantity.get(),
            scope: intent.scope.as_str(),
            store_id: intent.store.clone(),
            variant_id: intent.variant.clone(),
        })
    }
}

/// Look at a token. It is never burned. A token that is not yours is told as an unknown one.
#[utoipa::path(
    post, path = "/agents/v1/exec/introspect", tag = "execution", security(("apiKey" = [])),
    request_body = schema::IntrospectRequest,
    responses(
        (status = 200, description = "What is known", body = Introspected),
        (status = "4XX", description = "Malformed, unknown key, allowance used up", body = schema::Refused),
    )
)]
pub(super) async fn introspect(State(api): State<Arc<Api>>, request: Request) -> Response {
    edge::keyed(api, &ENDPOINT, request, look).await
}

async fn look(api: Arc<Api>, caller: Caller, body: Bytes) -> Result<Reply, Refusal> {
    access::role(&caller.key, &[Role::Agent, Role::Merchant])?;
    let object = members::object(&body)?;
    let members = Members::of(&object);
    let token = token(&members)?.ok_or_else(|| members.wrong("executionToken", "must not be empty"))?;
    let call_of = |store: &StoreId| api.call(&caller, Stage::Validate, store);
    let found = api.authority.introspect(token, caller.now, |token| call_of(token.store())).await;
    let seen = found.token.as_ref().is_some_and(|token| access::sees(&caller.key, token));
    Reply::json(&if seen { known(&found, &caller) } else { unknown(&caller) })
}

fn known(found: &Introspection, caller: &Caller) -> Introspected {
    let token = found.token.as_ref();
    let left = |at: i64| (at - caller.now.seconds()).max(0);
    Introspected {
        claims: token.and_then(|token| token.intent()).and_then(Claims::of),
        expired: found.expired,
        expires_in: token.filter(|_| found.valid).map(|token| left(token.expires().seconds())),
        policy_decision: match found.policy_allows {
            Some(true) => "allowed",
            Some(false) => "denied",
            None => "unknown",
        },
        replay_status: found.replay.as_str(),
        valid: found.valid,
        ..unknown(caller)
    }
}

/// What is said of a forged token, and of one that is none of the caller's business.
fn unknown(caller: &Caller) -> Introspected {
    Introspected {
        claims: None,
        expired: false,
        expires_in: None,
        version: caller.version,
        policy_decision: "unknown",
        replay_status: ReplayStatus::Unknown.as_str(),
        trace_id: caller.trace,
        valid: false,
    }
}
