//! Floor 6: the gateway. Bytes become our types here, and here alone; no word of policy.
//!
//! Commits go through [`exchange`]; everything else takes pingora's own way through.

mod account;
mod answer;
mod body;
pub mod books;
mod caller;
pub mod canonical;
mod commit;
mod conversation;
mod downgrade;
pub mod exchange;
mod execution;
mod facts;
mod forward;
mod guard;
pub mod head;
mod look;
mod pool;
mod respond;
pub mod route;
pub mod routes;
pub mod serve;
mod socket;
mod state;
mod steps;
mod tcp;
mod tokens;
pub mod upstream;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::Error;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use prometheus::IntGauge;

use crate::authority::Authority;
use crate::detect::{Nets, Tables};
use crate::draining::Draining;
use crate::sessions::Sessions;
use crate::telemetry::access::AccessLog;

use exchange::Exchange;
use routes::Routes;
use state::Context;

/// Longest body of a guarded request, unless the configuration says otherwise.
pub const BODY_MAX_DEFAULT: usize = 64 * 1024;

/// What the gateway is started with.
pub struct Settings {
    /// Largest body of a guarded request, in bytes.
    pub body_max: usize,
    /// Time for a whole request body.
    pub body_deadline: Duration,
    /// Time for a read of the merchant's session.
    pub session_deadline: Duration,
    /// How long a reservation may stay unsettled.
    pub lease: Duration,
    /// By what callers are recognised.
    pub tables: Arc<Tables>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Nets,
    /// While it is on, callers are asked to go elsewhere.
    pub draining: Draining,
    /// Gets a line for each request, where there is one.
    pub access: Option<Arc<AccessLog>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_max: BODY_MAX_DEFAULT,
            body_deadline: Duration::from_secs(15),
            session_deadline: Duration::from_secs(5),
            lease: Duration::from_secs(270),
            tables: Arc::new(Tables::built_in()),
            trusted_proxies: Nets::default(),
            draining: Draining::default(),
            access: None,
        }
    }
}

/// The proxy in front of a merchant's checkout.
pub struct Gateway {
    authority: Arc<Authority>,
    routes: Routes,
    settings: Settings,
    exchange: Arc<Exchange>,
    sessions: Sessions,
    in_flight: IntGauge,
}

impl Gateway {
    #[must_use]
    pub fn new(authority: Arc<Authority>, routes: Routes, settings: Settings) -> Self {
        let exchange = Arc::new(Exchange::within(
            settings.lease,
            authority.clock.clone(),
            authority.metrics.upstream_connect.clone(),
        ));
        let in_flight = authority.metrics.in_flight.with_label_values(&["gateway"]);
        Self { authority, routes, settings, exchange, sessions: Sessions::default(), in_flight }
    }

    fn exchange(&self) -> Arc<Exchange> {
        self.exchange.clone()
    }

    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(self.authority.clock.monotonic(), &self.in_flight)
    }

    /// No compression on the way: bodies are passed as they are.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> pingora::Result<bool> {
        self.limit(session);
        self.admit(session, ctx).await
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Context) -> pingora::Result<Box<HttpPeer>> {
        ctx.peer()
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        ctx.mark_request(request)
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        ctx.see_response(response);
        answer::remove_hop_by_hop(response);
        ctx.mark_response(response)
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Context,
    ) -> pingora::Result<Option<Duration>> {
        if let Some(order) = ctx.see_body(body.as_ref(), end) {
            self.record_order(ctx, &order);
        }
        Ok(None)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        self.failed(session, error, ctx).await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        self.account(session, error, ctx);
    }
}
