//! The gateway as pingora calls it, for every request that is not a plain one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::Error;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;

use super::Gateway;
use super::answer::remove_hop_by_hop;
use super::downstream::Downstream;
use super::state::Context;

/// See the module.
pub(super) struct Proxied(pub(super) Arc<Gateway>);

#[async_trait]
impl ProxyHttp for Proxied {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        self.0.context()
    }

    /// No compression on the way: bodies are passed as they are.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> pingora::Result<bool> {
        let mut session = Downstream::of_pingora(session);
        self.0.begin(&mut session);
        self.0.admit(&mut session, ctx).await
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
        remove_hop_by_hop(response);
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
            self.0.record_order(ctx, &order);
        }
        Ok(None)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        let status = self.0.failed(&mut Downstream::of_pingora(session), error, ctx).await;
        FailToProxy { error_code: status.unwrap_or(0), can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        self.0.account(&Downstream::of_pingora(session), error, ctx);
    }
}
