//! `/v1/revocations`: an operator revokes a token, an agent, a signing key or a store, and lifts it.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;

use crate::keystore::agents::{ApiKey, Role};
use crate::model::ids::TraceId;
use crate::model::reason::Fault;
use crate::model::revocation::{NoCommand, Note, Revocation, Subject};
use crate::model::time::Timestamp;
use crate::protocol::deny::Refusal;
use crate::revocation::RevocationError;

use super::edge::{self, Caller, Endpoint, Version};
use super::members::{self, Members};
use super::respond::Reply;
use super::schema;
use super::{Api, access};

const ALL: Endpoint = Endpoint::keyed("revocations", &[Method::GET, Method::POST]);
const ONE: Endpoint = Endpoint::keyed("revocations", &[Method::DELETE]);

/// The latest command about one subject.
#[derive(Serialize, ToSchema)]
pub(super) struct Record {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The key that commanded it, or `command line`.
    by: String,
    reason: String,
    /// False when it was lifted.
    #[schema(example = true)]
    revoked: bool,
    #[schema(example = "agent:ak_0123456789ab")]
    subject: String,
}

impl Record {
    fn of(record: &Revocation) -> Self {
        let Revocation { at, by, reason, revoked, subject } = record;
        let (by, reason, subject) = (by.to_string(), reason.to_string(), subject.to_string());
        Self { at: *at, by, reason, revoked: *revoked, subject }
    }
}

/// A command that was carried out.
#[derive(Serialize, ToSchema)]
pub(super) struct Commanded {
    #[serde(rename = "permyx_protocol_version")]
    version: Version,
    #[serde(flatten)]
    record: Record,
    #[serde(rename = "traceId")]
    #[schema(value_type = String)]
    trace_id: TraceId,
}

/// What is known of revocations.
#[derive(Serialize, ToSchema)]
pub(super) struct Listed {
    #[serde(rename = "permyx_protocol_version")]
    version: Version,
    /// Lifted ones included; those of tokens for five minutes.
    revocations: Vec<Record>,
    #[serde(rename = "traceId")]
    #[schema(value_type = String)]
    trace_id: TraceId,
}

/// Revoke a token, an agent, a signing key or a store. It is in force here when this returns, and
/// elsewhere about a second later. What is revoked already stays as it is.
#[utoipa::path(
    post, path = "/v1/revocations", tag = "operation", security(("apiKey" = [])),
    request_body = schema::RevocationRequest,
    responses(
        (status = 200, description = "Revoked", body = Commanded),
        (status = "4XX", description = "Malformed, unknown key, not an operator's", body = schema::Refused),
        (status = 500, description = "In force here, but not written: it would not survive a restart", body = schema::Refused),
    )
)]
pub(super) async fn add(State(api): State<Arc<Api>>, request: Request) -> Response {
    edge::keyed(api, &ALL, request, revoke).await
}

async fn revoke(api: Arc<Api>, caller: Caller, body: Bytes) -> Result<Reply, Refusal> {
    access::role(&caller.key, &[Role::Operator])?;
    let object = members::object(&body)?;
    let members = Members::of(&object);
    let subject = members.parsed("subject", Subject::parse)?;
    let reason = members.optional_parsed("reason", Note::parse)?.unwrap_or_default();
    own_store(&caller.key, &subject)?;
    command(api, caller, move |api, caller| api.authority.revoke(caller.trace, subject, reason, &caller.key.id)).await
}

/// Lift a revocation.
#[utoipa::path(
    delete, path = "/v1/revocations/{subject}", tag = "operation", security(("apiKey" = [])),
    params(("subject" = String, Path, description = "As it was revoked, percent-encoded: `agent:ak_…`")),
    responses(
        (status = 200, description = "Lifted", body = Commanded),
        (status = "4XX", description = "Malformed, unknown key, not an operator's, not revoked", body = schema::Refused),
        (status = 500, description = "In force here, but not written: it would not survive a restart", body = schema::Refused),
    )
)]
pub(super) async fn lift(
    State(api): State<Arc<Api>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    edge::keyed(api, &ONE, request, |api, caller, _body| restore(api, caller, path)).await
}

async fn restore(api: Arc<Api>, caller: Caller, path: Result<Path<String>, PathRejection>) -> Result<Reply, Refusal> {
    access::role(&caller.key, &[Role::Operator])?;
    let wrong = |why: String| Refusal::malformed(400, "subject", format!("`subject` in the path {why}"));
    let Path(subject) = path.map_err(|_rejected| wrong("is not UTF-8".to_owned()))?;
    let subject = Subject::parse(&subject).map_err(|why| wrong(why.to_string()))?;
    own_store(&caller.key, &subject)?;
    command(api, caller, move |api, caller| api.authority.lift(caller.trace, subject, &caller.key.id)).await
}

/// List what is revoked and what was lifted.
#[utoipa::path(
    get, path = "/v1/revocations", tag = "operation", security(("apiKey" = [])),
    responses(
        (status = 200, description = "The latest command about each subject", body = Listed),
        (status = "4XX", description = "Unknown key, not an operator's", body = schema::Refused),
    )
)]
pub(super) async fn list(State(api): State<Arc<Api>>, request: Request) -> Response {
    edge::keyed(api, &ALL, request, async |api: Arc<Api>, caller: Caller, _body| {
        access::role(&caller.key, &[Role::Operator])?;
        let revocations = api.authority.revocations.snapshot().records().map(Record::of).collect();
        Reply::json(&Listed { version: caller.version, revocations, trace_id: caller.trace })
    })
    .await
}

/// An operator who looks after some stores commands no others.
fn own_store(key: &ApiKey, subject: &Subject) -> Result<(), Refusal> {
    match subject {
        Subject::Store(store) => access::store(key, store),
        Subject::Token(_) | Subject::Agent(_) | Subject::Key(_) => Ok(()),
    }
}

/// Carries a command out, off the threads that serve: it waits for the disk.
async fn command(
    api: Arc<Api>,
    caller: Caller,
    give: impl FnOnce(&Api, &Caller) -> Result<Revocation, RevocationError> + Send + 'static,
) -> Result<Reply, Refusal> {
    let given = tokio::task::spawn_blocking(move || {
        let given = give(&api, &caller);
        (caller, given)
    });
    let (caller, given) = given.await.map_err(|_panicked| Refusal::fault(Fault::Internal))?;
    let record = Record::of(&given.map_err(|error| refusal(&error))?);
    Reply::json(&Commanded { version: caller.version, record, trace_id: caller.trace })
}

fn refusal(error: &RevocationError) -> Refusal {
    match error {
        RevocationError::NoCommand(NoCommand::NotRevoked(_)) => {
            Refusal { message: Some(error.to_string()), ..Refusal::fault(Fault::NotFound) }
        }
        RevocationError::NoCommand(NoCommand::Full) => Refusal::malformed(400, "subject", error.to_string()),
        RevocationError::File(_) | RevocationError::Damaged { .. } => {
            tracing::error!(%error, "revocation in force and not written");
            let message = "it is in force here, but it was not written: it would not survive a restart".to_owned();
            Refusal { message: Some(message), ..Refusal::fault(Fault::Internal) }
        }
    }
}
