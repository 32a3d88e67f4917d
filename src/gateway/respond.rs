//! Answers of our own. A refusal always has a body that says what to do next.

use bytes::Bytes;
use pingora::{Error, ErrorSource, ErrorType};

use crate::ledger::Answer;
use crate::model::ids::TraceId;
use crate::model::reason::Fault;
use crate::model::spell::Spelled;
use crate::protocol::deny::{Code, Refusal};
use crate::protocol::preset::Dialect;

use super::Gateway;
use super::downstream::Downstream;
use super::execution::Over;
use super::state::{Context, Decided};

impl Gateway {
    /// Answers with a refusal. The rest of the body is read first, within bounds, so that the
    /// connection lives and a flood of refusals costs no new connections. Who waits to be invited
    /// to send a body is not, and gets the refusal at once.
    pub(super) async fn refuse(
        &self,
        session: &mut Downstream<'_>,
        ctx: &mut Context,
        refusal: &Refusal,
        dialect: Dialect,
    ) -> pingora::Result<bool> {
        ctx.decision = Decided::Denied(refusal.code.as_str());
        if let Code::Fault(fault) = refusal.code {
            self.authority.metrics.faults.with_label_values(&["gateway", fault.as_str()]).inc();
        }
        let body = refusal.body(dialect, ctx.trace);
        let uninvited = session.request().fields.has("expect") && !session.is_body_done();
        let leave = refusal.status == 413 || uninvited;
        let drained =
            ctx.waited.during(&self.authority.clock, async { leave || session.drain_request_body().await.is_err() });
        if drained.await {
            session.close_after();
        }
        let after = refusal.retry_after_s.map(|seconds| seconds.to_string());
        let mut fields = vec![("Content-Type", dialect.media_type()), ("Cache-Control", "no-store")];
        fields.extend(after.as_deref().map(|seconds| ("Retry-After", seconds)));
        self.answer(session, ctx, refusal.status, fields, body.into()).await
    }

    /// Gives the answer of an earlier call again, to whoever lost it.
    pub(super) async fn answer_again(
        &self,
        session: &mut Downstream<'_>,
        ctx: &mut Context,
        first: TraceId,
        answer: Answer,
    ) -> pingora::Result<bool> {
        ctx.decision = Decided::Replayed;
        let first = first.spelled();
        let mut fields: Vec<_> = answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        fields.extend([("Idempotent-Replayed", "true"), ("Permyx-First-Trace", first.as_str())]);
        self.answer(session, ctx, answer.status, fields, answer.body).await
    }

    /// Answers with this and no more. `fields`: all but those that every answer has.
    async fn answer(
        &self,
        session: &mut Downstream<'_>,
        ctx: &Context,
        status: u16,
        mut fields: Vec<(&str, &str)>,
        body: Bytes,
    ) -> pingora::Result<bool> {
        let (length, trace) = (Spelled::<20>::of("").number(body.len() as u64), ctx.trace.spelled());
        let decision = ctx.decision.header();
        fields.extend([("Content-Length", length.as_str()), ("Permyx-Trace", trace.as_str())]);
        fields.push(("Permyx-Decision", &decision));
        session.write_own(status, &fields, body).await?;
        Ok(true)
    }

    /// What is left to do once an exchange is over; `None` where it was lost in a fault of ours.
    pub(super) async fn conclude(
        &self,
        session: &mut Downstream<'_>,
        ctx: &mut Context,
        over: Option<Over>,
        dialect: Dialect,
    ) -> pingora::Result<bool> {
        let lost = || Box::new(Refusal { status: 502, ..Refusal::fault(Fault::OutcomeUnknown) });
        match over.unwrap_or_else(|| Over::Failed(lost())) {
            Over::Told => Ok(true),
            Over::Failed(refusal) if session.answered().is_none() => self.refuse(session, ctx, &refusal, dialect).await,
            Over::Cut | Over::Failed(_) => {
                Err(Error::explain(ErrorType::ConnectionClosed, "the merchant's answer broke off"))
            }
        }
    }

    /// A forwarded request that got no answer. Nothing was burned for it. What the caller was told, if it was.
    pub(super) async fn failed(&self, session: &mut Downstream<'_>, error: &Error, ctx: &mut Context) -> Option<u16> {
        let answered = session.answered().is_some();
        let refusal = match error.esource() {
            _ if answered => None,
            ErrorSource::Upstream => Some(upstream_failure(error)),
            ErrorSource::Downstream => None,
            ErrorSource::Internal | ErrorSource::Unset => Some(Refusal::fault(Fault::Internal)),
        };
        let kind = error.etype().as_str();
        match error.esource() {
            ErrorSource::Downstream => tracing::debug!(trace = %ctx.trace, route = %ctx.route, kind, "the caller left"),
            _ => tracing::warn!(trace = %ctx.trace, route = %ctx.route, kind, "request not answered by the merchant"),
        }
        let refusal = refusal?;
        let _ = self.refuse(session, ctx, &refusal, Dialect::Permyx).await;
        Some(refusal.status)
    }
}

fn upstream_failure(error: &Error) -> Refusal {
    match error.etype() {
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => {
            Refusal { status: 504, ..Refusal::fault(Fault::OutcomeUnknown) }
        }
        ErrorType::ConnectTimedout
        | ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::ConnectError
        | ErrorType::ConnectProxyFailure
        | ErrorType::TLSHandshakeFailure
        | ErrorType::TLSHandshakeTimedout => Refusal::fault(Fault::UpstreamUnavailable),
        _ => Refusal { status: 502, ..Refusal::fault(Fault::OutcomeUnknown) },
    }
}
