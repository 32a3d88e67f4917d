//! `POST /agents/v1/exec/observe`: tell of what happens without a judgement.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;

use crate::authority::{Refused, Stage};
use crate::keystore::agents::Role;
use crate::model::event::{Event, EventKind, Text};
use crate::model::ids::{StoreId, TraceId, VariantId};
use crate::model::json::Object;
use crate::model::reason::ReasonCode;
use crate::protocol::deny::Refusal;

use super::authorize::quantity;
use super::edge::{self, Caller, Endpoint, Version};
use super::members::{self, Members};
use super::respond::Reply;
use super::schema;
use super::{Api, access};

const ENDPOINT: Endpoint = Endpoint::keyed("observe", &[Method::POST]);
/// Longest text of the caller's that is recorded; the rest is cut.
const TEXT_MAX: usize = 128;

/// It is recorded.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Observed {
    #[schema(example = true)]
    observed: bool,
    #[serde(rename = "permyx_protocol_version")]
    version: Version,
    #[schema(value_type = String)]
    trace_id: TraceId,
}

/// Record an action that no token was used for. It blocks nothing.
#[utoipa::path(
    post, path = "/agents/v1/exec/observe", tag = "execution", security(("apiKey" = [])),
    request_body = schema::ObserveRequest,
    responses(
        (status = 200, description = "Recorded", body = Observed),
        (status = "4XX", description = "Malformed, unknown key, allowance used up", body = schema::Refused),
        (status = "5XX", description = "Not recorded", body = schema::Refused),
    )
)]
pub(super) async fn observe(State(api): State<Arc<Api>>, request: Request) -> Response {
    edge::keyed(api, &ENDPOINT, request, record).await
}

async fn record(api: Arc<Api>, caller: Caller, body: Bytes) -> Result<Reply, Refusal> {
    access::role(&caller.key, &[Role::Agent, Role::Merchant])?;
    let object = members::object(&body)?;
    let (store, event) = read(&object, &caller)?;
    access::store(&caller.key, &store)?;
    let call = api.call(&caller, Stage::Authorize, &store);
    // "Observed" is a claim that there is a record, so without one it is not made.
    api.authority.observe_call(&call, event).await.map_err(|cannot| Refused::Cannot(cannot).refusal())?;
    Reply::json(&Observed { observed: true, version: caller.version, trace_id: caller.trace })
}

fn read(object: &Object<'_>, caller: &Caller) -> Result<(StoreId, Event), Refusal> {
    let body = Members::of(object);
    let store = body.parsed("storeId", StoreId::parse)?;
    let mut event = Event::new(EventKind::ExecutionObserved, caller.now, caller.trace);
    let data = &mut event.data;
    data.would_deny = if body.boolean("hasToken")? { None } else { Some(ReasonCode::NoToken) };
    let variant = body.optional_parsed("sourceVariantId", VariantId::parse)?;
    data.variant_id = variant.map(|variant| variant.to_string().into());
    if body.optional("quantity").is_some() {
        data.quantity = Some(quantity(&body)?.get());
    }
    if let Some(context) = body.optional("context") {
        let context = context.as_object().ok_or_else(|| body.wrong("context", "must be an object"))?;
        data.cause = told(&Members::within(context, "context."))?;
    }
    data.agent_id = Some(caller.key.id.clone());
    Ok((store, event))
}

/// What the caller says of the agent and of why: a claim, recorded as one.
fn told(context: &Members<'_, '_>) -> Result<Option<Text>, Refusal> {
    let part = |name: &str, label: &str| {
        let text = context.optional_text(name)?;
        Ok(text.map(|text| format!("{label}: {}", text.chars().take(TEXT_MAX).collect::<String>())))
    };
    let parts: Vec<String> = [part("agentName", "agent")?, part("reason", "reason")?].into_iter().flatten().collect();
    Ok((!parts.is_empty()).then(|| parts.join("; ").into()))
}
