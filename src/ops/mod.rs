//! Floor 6: what operators ask: metrics and health. Read only, on a listener of its own.

pub mod admin;

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::draining::Draining;
use crate::ledger::Ledger;

/// What readiness looks at.
#[derive(Clone)]
pub struct Ops {
    authority: Arc<Authority>,
    /// True where this process burns tokens, so that a ledger which cannot is not ready.
    burns: bool,
    draining: Draining,
}

impl Ops {
    #[must_use]
    pub fn new(authority: Arc<Authority>, burns: bool, draining: Draining) -> Self {
        Self { authority, burns, draining }
    }

    /// While it is on, the process is not ready.
    #[must_use]
    pub fn draining(&self) -> &Draining {
        &self.draining
    }

    /// Lets the ledger take what it did not take in time.
    pub async fn settle_rest(&self, patience: std::time::Duration) {
        self.authority.ledger.drain(patience).await;
    }

    /// Whether requests may be sent here; if not, what is missing and how to mend it.
    pub fn ready(&self) -> Result<(), String> {
        let failing = failing(&self.checks());
        if failing.is_empty() { Ok(()) } else { Err(failing.join("; ")) }
    }

    /// `/metrics`, `/livez`, `/readyz[?verbose]`, `/startupz`.
    pub fn router(self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/startupz", get(startupz))
            .with_state(self)
    }

    fn checks(&self) -> Vec<Check> {
        let ledger = self.authority.ledger.health();
        let keys = self.authority.keys.snapshot().len();
        let mut checks = vec![
            Check::of("draining", !self.draining.is_on(), || self.draining.why().unwrap_or_default().to_owned()),
            Check::of("keys", keys > 0, || {
                "no key that verifies tokens is loaded; see `permyx keys` or [keys]".to_owned()
            }),
            Check::of("evidence", self.authority.evidence.writable(), || {
                "the spool takes no events; free its disk or raise evidence.spool_limit".to_owned()
            }),
            Check::of("revocations", self.authority.revocations.has_met(), || {
                "what other hosts revoked was not read yet: Redis does not answer".to_owned()
            }),
        ];
        if self.burns {
            checks.push(Check::of("ledger", ledger.usable.is_ok(), || ledger.usable.clone().err().unwrap_or_default()));
            checks.push(Check::of("quarantine", ledger.quarantine_s == 0, || {
                format!("tokens from before the start are refused for {} s more", ledger.quarantine_s)
            }));
        }
        checks
    }

    /// True state, told but not a reason to be sent no requests: the policies before are in force.
    fn notes(&self) -> Value {
        let ledger = self.authority.ledger.health();
        json!({
            "ledger": { "backend": ledger.backend, "entries": ledger.entries, "shared": ledger.shared },
            "policy_error": self.authority.policies.last_error(),
        })
    }

    fn gauges(&self) {
        let (metrics, ledger) = (&self.authority.metrics, self.authority.ledger.health());
        metrics.ledger_entries.set(i64::try_from(ledger.entries).unwrap_or(i64::MAX));
        metrics.ledger_quarantine.set(i64::try_from(ledger.quarantine_s).unwrap_or(i64::MAX));
        metrics.ledger_capacity.set(i64::try_from(ledger.capacity).unwrap_or(i64::MAX));
        // A ledger that is somebody else's is not down.
        metrics.ledger_up.set(i64::from(!self.burns || ledger.usable.is_ok()));
        metrics.draining.set(i64::from(self.draining.is_on()));
        metrics.evidence_checkpoint_age.set(metrics.evidence_sealed.age_s(self.authority.clock.now()));
        if let Some(ahead_s) = ledger.clock_ahead_s {
            metrics.clock_skew.with_label_values(&[ledger.backend]).set(ahead_s);
        }
        metrics.jwks_keys.set(i64::try_from(self.authority.keys.snapshot().len()).unwrap_or(i64::MAX));
    }
}

struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

impl Check {
    fn of(name: &'static str, ok: bool, detail: impl FnOnce() -> String) -> Self {
        Self { name, ok, detail: if ok { String::new() } else { detail() } }
    }
}

fn failing(checks: &[Check]) -> Vec<String> {
    checks.iter().filter(|check| !check.ok).map(|check| format!("{}: {}", check.name, check.detail)).collect()
}

async fn metrics(State(ops): State<Ops>) -> impl IntoResponse {
    ops.gauges();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], ops.authority.metrics.render())
}

async fn readyz(State(ops): State<Ops>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let checks = ops.checks();
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let failing = failing(&checks);
    if query.as_deref() != Some("verbose") {
        let text = if ready { "ok\n".to_owned() } else { failing.join("\n") + "\n" };
        return (status, text).into_response();
    }
    let told: Vec<_> = checks.iter().map(|c| json!({ "check": c.name, "ok": c.ok, "detail": c.detail })).collect();
    (status, axum::Json(json!({ "ready": ready, "checks": told, "notes": ops.notes() }))).into_response()
}

/// Started means: it has keys and policies, whatever happens to them later.
async fn startupz(State(ops): State<Ops>) -> impl IntoResponse {
    if ops.authority.keys.snapshot().is_empty() {
        return (StatusCode::SERVICE_UNAVAILABLE, "no keys yet\n");
    }
    (StatusCode::OK, "ok\n")
}
