//! Administration of a running process, on a listener of its own that is reachable from this machine alone.
//!
//! Reading needs no secret and shows none. Whatever changes something needs the token of the data directory,
//! and is an event before it happens.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::decide::policy::Mode;
use crate::keystore::admin::AdminToken;
use crate::ledger::Ledger;
use crate::model::event::{Event, EventKind};
use crate::model::ids::{StoreId, TraceId};
use crate::reload::Nudges;
use crate::telemetry::logging;

use super::Ops;

/// How long another log level lasts, unless the command says otherwise, and at most.
const LEVEL_FOR_S: u64 = 600;
const LEVEL_MAX_S: u64 = 24 * 3600;

/// What administration needs besides what operators may ask.
#[derive(Clone)]
pub struct Admin {
    pub ops: Ops,
    /// The configuration in force; its secrets are in files that it only names.
    pub config: Arc<Value>,
    pub token: AdminToken,
    /// Tells whoever follows files to read them again.
    pub nudges: Nudges,
}

impl Admin {
    /// `/admin/…`
    pub fn router(self) -> Router {
        Router::new()
            .route("/admin/config", get(async |State(admin): State<Self>| axum::Json((*admin.config).clone())))
            .route("/admin/policy", get(async |State(admin): State<Self>| axum::Json(admin.policies())))
            .route("/admin/keys", get(async |State(admin): State<Self>| axum::Json(admin.keys())))
            .route("/admin/ledger", get(async |State(admin): State<Self>| axum::Json(admin.ledger())))
            .route("/admin/evidence", get(async |State(admin): State<Self>| axum::Json(admin.evidence())))
            .route("/admin/log-level", get(async || axum::Json(json!({ "filter": logging::filter() }))).post(log_level))
            .route("/admin/mode", post(mode))
            .route("/admin/drain", post(drain))
            .route("/admin/undrain", post(undrain))
            .route("/admin/reload", post(reload))
            .fallback(async || told(StatusCode::NOT_FOUND, "there is no such place; see docs/operations.md"))
            .layer(from_fn(from_this_machine))
            .with_state(self)
    }

    fn policies(&self) -> Value {
        let (book, policies) = (&self.ops.authority.policies, self.ops.authority.policies.snapshot());
        let mut list: Vec<_> = policies.iter().collect();
        list.sort_by_key(|policy| policy.store().as_str().to_owned());
        let one = |policy: &Arc<crate::decide::policy::Policy>| {
            json!({
                "store": policy.store().as_str(),
                "version": policy.version(),
                "hash": policy.hash().to_string(),
                "mode": policy.base().mode.as_str(),
                "mode_is_set_by_hand": book.is_set_by_hand(policy.store()),
            })
        };
        json!({
            "dir": book.dir().map(|dir| dir.display().to_string()),
            "policies": list.into_iter().map(one).collect::<Vec<_>>(),
            "last_error": book.last_error(),
        })
    }

    fn keys(&self) -> Value {
        let ring = self.ops.authority.keys.snapshot();
        let mut kids: Vec<_> = ring.kids().collect();
        kids.sort_unstable();
        json!({ "verifies_with": kids, "age_s": self.ops.authority.metrics.jwks_age.get() })
    }

    fn ledger(&self) -> Value {
        let health = self.ops.authority.ledger.health();
        json!({
            "backend": health.backend,
            "usable": health.usable.is_ok(),
            "problem": health.usable.err(),
            "entries": health.entries,
            "quarantine_s": health.quarantine_s,
            "shared": health.shared,
            "exactly_once": health.exactly_once,
            "clock_ahead_s": health.clock_ahead_s,
        })
    }

    fn evidence(&self) -> Value {
        let (spool, metrics) = (&self.ops.authority.evidence, &self.ops.authority.metrics);
        let (bytes, limit) = spool.usage();
        json!({
            "source": spool.source(),
            "writable": spool.writable(),
            "next_sequence": spool.next(),
            "spool_bytes": bytes,
            "spool_limit_bytes": limit,
            "lag_s": metrics.evidence_lag.get(),
        })
    }

    /// Who may change something, and that it is on record. What it does comes after.
    fn change(&self, headers: &HeaderMap, what: &str) -> Result<(), Response> {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if !shown.is_some_and(|shown| self.token.is(shown)) {
            return Err(told(
                StatusCode::UNAUTHORIZED,
                "send `Authorization: Bearer TOKEN`; TOKEN is in `admin.token` of the data directory",
            ));
        }
        let mut event = Event::new(EventKind::SystemAdministered, self.ops.authority.clock.now(), TraceId::random());
        event.data.by = Some("admin".into());
        event.data.cause = Some(what.to_owned().into());
        match self.ops.authority.evidence.append(&event) {
            Ok(_) => {
                tracing::warn!(what, "administered");
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, what, "not done: it could not be recorded");
                Err(told(StatusCode::SERVICE_UNAVAILABLE, "not done: it could not be recorded; see /admin/evidence"))
            }
        }
    }
}

/// Only by a name of this machine: a page in a browser that got another name resolved to it stays out.
async fn from_this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name =
        host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(n, _)| n);
    if matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
        return next.run(request).await;
    }
    told(StatusCode::MISDIRECTED_REQUEST, "ask for localhost, 127.0.0.1 or [::1]")
}

fn told(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({ "message": message }))).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelQuery {
    filter: String,
    ttl_s: Option<u64>,
}

async fn log_level(State(admin): State<Admin>, headers: HeaderMap, query: Query<LevelQuery>) -> Response {
    let Query(LevelQuery { filter, ttl_s }) = query;
    let ttl_s = ttl_s.unwrap_or(LEVEL_FOR_S);
    if !(1..=LEVEL_MAX_S).contains(&ttl_s) {
        return told(StatusCode::BAD_REQUEST, "`ttl_s` is a number of seconds from 1 to 86400");
    }
    if !logging::is_filter(&filter) {
        return told(StatusCode::BAD_REQUEST, "`filter` is not one; write it like `info,permyx::gateway=debug`");
    }
    if let Err(refused) = admin.change(&headers, &format!("log level {filter} for {ttl_s} s")) {
        return refused;
    }
    logging::set_for(&filter, Duration::from_secs(ttl_s));
    axum::Json(json!({ "filter": filter, "for_s": ttl_s })).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeQuery {
    store: String,
    /// `file`: as its policy file says.
    mode: String,
}

async fn mode(State(admin): State<Admin>, headers: HeaderMap, query: Query<ModeQuery>) -> Response {
    let mode = match query.mode.as_str() {
        "observe" => Some(Mode::Observe),
        "enforce" => Some(Mode::Enforce),
        "file" => None,
        _ => return told(StatusCode::BAD_REQUEST, "`mode` is `observe`, `enforce`, or `file` for what the file says"),
    };
    let policies = &admin.ops.authority.policies;
    let store = match StoreId::parse(&query.store) {
        Ok(store) if policies.snapshot().knows(&store) => store,
        _ => return told(StatusCode::NOT_FOUND, "there is no policy of this `store`; see /admin/policy"),
    };
    if let Err(refused) = admin.change(&headers, &format!("mode of {store}: {}", query.mode)) {
        return refused;
    }
    policies.set_by_hand(&store, mode, &admin.ops.authority.evidence);
    axum::Json(admin.policies()).into_response()
}

async fn drain(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    if let Err(refused) = admin.change(&headers, "drain") {
        return refused;
    }
    admin.ops.draining().set_by_hand(true);
    axum::Json(json!({ "draining": admin.ops.draining().is_on() })).into_response()
}

async fn undrain(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    if let Err(refused) = admin.change(&headers, "undrain") {
        return refused;
    }
    admin.ops.draining().set_by_hand(false);
    axum::Json(json!({ "draining": admin.ops.draining().is_on() })).into_response()
}

async fn reload(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    if let Err(refused) = admin.change(&headers, "reload") {
        return refused;
    }
    admin.nudges.nudge();
    axum::Json(json!({ "reloading": true })).into_response()
}
