//! A look at the head of a request: whose route it is, and what it says before its body is read.

use std::sync::Arc;

use crate::authority::policies::Policies;
use crate::authority::retry::IdempotencyKey;
use crate::decide::policy::Mode;
use crate::model::ids::TraceId;
use crate::model::trace_parent::TraceParent;
use crate::protocol::deny::Refusal;

use super::downstream::Downstream;
use super::request::Request;
use super::route::{Body, Route, Step};
use super::tokens::Tokens;
use super::{Gateway, canonical, head};

/// What the head of a request says, before its body is read.
pub(super) struct Looked {
    pub(super) step: Option<Step>,
    pub(super) tokens: Result<Option<Tokens>, Refusal>,
    pub(super) retry: Result<Retrying, Refusal>,
    pub(super) oddity: Option<&'static str>,
    pub(super) trace_parent: Option<TraceParent>,
}

/// What a request says of an earlier one.
#[derive(Default)]
pub(super) struct Retrying {
    pub(super) key: Option<IdempotencyKey>,
    pub(super) confirmed: Option<TraceId>,
    /// Method and canonical target, where there is a key to compare them for.
    pub(super) line: String,
}

impl Retrying {
    fn read(request: &Request, path: &str) -> Result<Self, Refusal> {
        let key = IdempotencyKey::sent(request.fields.all("idempotency-key"))?;
        let query = request.query().unwrap_or_default();
        let line = key.as_ref().map_or_else(String::new, |_| format!("{} {path}?{query}", request.method));
        Ok(Self { key, confirmed: head::confirmed(&request.fields)?, line })
    }
}

impl Gateway {
    /// Reads the head. Ambiguity is refused where something is enforced on this host.
    pub(super) fn look(
        &self,
        session: &Downstream<'_>,
        bodiless: bool,
        policies: &Policies,
    ) -> Result<Looked, Refusal> {
        let request = session.request();
        let fields = &request.fields;
        head::well_formed(fields, request.is_http11)?;
        let host = head::host_name(fields);
        if host.is_empty() && self.routes.by_host() {
            return Err(Refusal::malformed(400, "Host", "say which host this is for"));
        }
        let raw = session.raw();
        let target = canonical::target(request_target(&raw));
        let guards = self.routes.on_host(&host);
        let enforced = |route: &Arc<Route>| mode_of(policies, route) == Mode::Enforce;
        let strict = policies.enforce_something() && guards.routes().any(enforced);
        if strict {
            head::unambiguous(&raw, fields)?;
            method_is_plain(request.method.as_str())?;
            let case = guards.is_case_variant(&target.path).then_some("the path differs from a guarded one in case");
            if let Some(name) = guards.reroutes(request.query().unwrap_or_default()) {
                return Err(Refusal::malformed(400, name, "name the path in the request line, not in a parameter"));
            }
            if let Some(why) = target.oddity.or(case) {
                return Err(Refusal::malformed(400, "path", format!("send the path in its canonical form: {why}")));
            }
        }
        let step = guards.find(request.method.as_str(), &target.path, Body { fields, bodiless });
        if step.is_none() && policies.enforce_something() && self.routes.elsewhere(&host, &target.path).any(enforced) {
            // The server behind may be the same: another name for it is no way around its guard.
            return Err(Refusal::malformed(421, "Host", "this path is guarded, and not served under this host name"));
        }
        if let Some(route) = step.as_ref().map(|step| &step.route).filter(|route| enforced(route)) {
            let read = route.preset.session.as_ref();
            head::guardable(fields, read.map_or(&[], |read| read.credentials.as_slice()))?;
        }
        let retry = Retrying::read(request, &target.path);
        let trace_parent = TraceParent::sent(fields.all(TraceParent::FIELD));
        Ok(Looked { step, tokens: head::tokens(fields), retry, oddity: target.oddity, trace_parent })
    }
}

fn mode_of(policies: &Policies, route: &Route) -> Mode {
    policies.of(&route.store).route(&route.name).mode
}

/// The target exactly as it stood in the request line.
fn request_target(raw: &[u8]) -> &[u8] {
    raw.split(|b| *b == b' ').nth(1).unwrap_or_default()
}

fn method_is_plain(method: &str) -> Result<(), Refusal> {
    if method.eq_ignore_ascii_case("TRACE") {
        return Err(Refusal::malformed(405, "method", "TRACE is not served here"));
    }
    if method.bytes().all(|b| b.is_ascii_uppercase()) {
        return Ok(());
    }
    Err(Refusal::malformed(400, "method", "methods are written in capitals"))
}
