//! Floor 6: the execution API. Bytes of HTTP become our types here, and our types become HTTP.
//!
//! Every request takes the same way (`edge`): method, key, allowance, version, body. The handlers
//! know members and answers and nothing of HTTP; `respond` alone makes responses.

mod access;
mod authorize;
mod catalog;
mod discover;
mod edge;
pub mod evidence;
mod introspect;
pub mod log;
mod members;
mod observe;
pub mod openapi;
pub mod orders;
mod respond;
mod revocations;
#[expect(dead_code, reason = "these types exist for the document: bodies are read strictly, member by member")]
mod schema;
pub mod stream;
pub mod streams;
mod validate;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use tokio::sync::Semaphore;

use crate::authority::{Authority, Call, Stage};
use crate::decide::policy::{Mode, RouteRules};
use crate::keystore::agents::ApiKeys;
use crate::model::ids::StoreId;
use crate::model::reason::Fault;
use crate::model::scope::Scope;
use crate::protocol::deny::Refusal;
use crate::quota::allowance::Allowances;
use crate::reload::Reloaded;

/// Large bodies that are read at the same time.
const LARGE_BODIES: usize = 4;

/// What `/v1/compliance` says of the parts that run beside the API. Nothing is claimed by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Beside {
    pub log: Log,
    pub events: Events,
}

/// The evidence log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Log {
    /// Not signed, or not verified, or the last verification failed.
    #[default]
    Unproven,
    /// Signed, and its last verification held.
    Verified,
}

/// The stream of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Events {
    #[default]
    NotServed,
    Streaming,
}

/// Looks at what runs beside the API, whenever somebody asks.
pub type Look = Box<dyn Fn() -> Beside + Send + Sync>;

/// Everything that the execution API needs.
pub struct Api {
    authority: Arc<Authority>,
    keys: Arc<Reloaded<ApiKeys>>,
    allowances: Arc<Allowances>,
    beside: Look,
    large_bodies: Semaphore,
}

impl Api {
    #[must_use]
    pub fn new(
        authority: Arc<Authority>,
        keys: Arc<Reloaded<ApiKeys>>,
        allowances: Arc<Allowances>,
        beside: Look,
    ) -> Self {
        Self { authority, keys, allowances, beside, large_bodies: Semaphore::new(LARGE_BODIES) }
    }

    /// A call for this store. Whoever asks the API asks for a judgement that counts: a store that
    /// only observes its checkout still does not burn into the observers' namespace.
    fn call(&self, caller: &edge::Caller, stage: Stage, store: &StoreId) -> Call {
        let policy = self.authority.policies.snapshot().of(store);
        let rules = RouteRules { mode: Mode::Enforce, ..policy.base() };
        Call {
            trace: caller.trace,
            trace_parent: caller.trace_parent,
            traced: caller.traced.clone(),
            caller: crate::evidence::Caller::Key(caller.key.id.clone()),
            now: caller.now,
            stage,
            store: store.clone(),
            policy,
            rules,
            route: None,
            needs: Scope::AgentExec,
            presence: None,
            refs: Vec::new(),
        }
    }
}

/// The routes of the execution API. It has no fallback, so that it merges with other routers; see
/// [`closed`].
pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/agents/v1/exec/authorize", any(authorize::authorize))
        .route("/agents/v1/exec/validate", any(validate::validate))
        .route("/agents/v1/exec/observe", any(observe::observe))
        .route("/agents/v1/exec/introspect", any(introspect::introspect))
        .route("/.well-known/jwks.json", any(discover::jwks))
        .route("/v1/protocols", any(discover::protocols))
        .route("/v1/compliance", any(discover::compliance))
        .route("/v1/catalog/{store}/variants", any(catalog::put))
        .route("/v1/revocations", any(revocations::list).post(revocations::add))
        .route("/v1/revocations/{subject}", any(revocations::lift))
        .route("/openapi.json", any(openapi::openapi))
        .with_state(api)
}

/// The router with an answer for every path that it does not have, in the shape of all errors.
pub fn closed(router: Router, api: Arc<Api>) -> Router {
    router.fallback_service(any(nothing_here).with_state(api))
}

async fn nothing_here(State(api): State<Arc<Api>>, request: Request) -> Response {
    const NOWHERE: edge::Endpoint = edge::Endpoint::open("none", &[]);
    edge::open(api, &NOWHERE, request, |_, _| Err(Refusal::fault(Fault::NotFound)))
}
