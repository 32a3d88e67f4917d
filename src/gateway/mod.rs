//! Floor 6: the gateway. Bytes become our types here, and here alone; no word of policy.
//!
//! Plain requests come and go on connections of ours ([`plain`], [`exchange`]); everything else takes pingora's own way
//! through ([`proxied`]).

mod account;
mod answer;
mod body;
pub mod books;
mod caller;
pub mod canonical;
mod commit;
mod conversation;
mod downgrade;
mod downstream;
pub mod exchange;
mod execution;
mod facts;
pub mod fields;
mod forward;
mod guard;
pub mod head;
mod look;
mod patience;
mod phase;
mod plain;
pub mod plain_head;
mod pool;
mod proxied;
mod reply;
pub mod request;
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

    fn context(&self) -> Context {
        Context::new(self.authority.clock.monotonic(), &self.in_flight)
    }

    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }
}
