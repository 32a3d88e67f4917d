//! What is counted and logged of a request when it is over. Closed words and numbers alone: nothing that a
//! caller wrote.

use pingora::{Error, ErrorSource};

use crate::telemetry::access::Line;
use crate::telemetry::metrics::{code_class, method_name};
use crate::telemetry::traces::Ended;

use super::Gateway;
use super::downstream::Downstream;
use super::phase::Phase;
use super::state::{Context, Decided};

impl Gateway {
    pub(super) fn account(&self, session: &Downstream<'_>, error: Option<&Error>, ctx: &Context) {
        Phase::end();
        let metrics = &self.authority.metrics;
        let status = session.answered().unwrap_or(0);
        let labels = ["gateway", &*ctx.route, code_class(status), ctx.decision.label()];
        metrics.http_requests.with_label_values(&labels).inc();
        let now = self.authority.clock.monotonic();
        let seconds = now.seconds_since(ctx.started);
        metrics.http_duration.with_label_values(&["gateway", &*ctx.route]).observe(seconds);
        if let Some(own) = ctx.own_part(seconds) {
            metrics.overhead.total.observe(own);
        }
        let method = method_name(session.method());
        self.authority.end_trace(ctx.traced.as_ref(), || Ended {
            trace: ctx.trace,
            began: self.authority.clock.now().minus_millis(now.millis_since(ctx.started)),
            total_us: now.micros_since(ctx.started),
            route: ctx.route.clone(),
            method,
            status,
            decision: ctx.decision.label(),
            refused: match ctx.decision {
                Decided::Denied(code) => Some(code),
                _ => None,
            },
        });
        let Some(log) = &self.settings.access else { return };
        if !log.wants(matches!(ctx.decision, Decided::Denied(_))) {
            return;
        }
        let (by, why) = answered(status, error, ctx.decision);
        log.write(&Line {
            ts: self.authority.clock.now(),
            trace: ctx.trace.spelled().as_str(),
            listener: "gateway",
            route: &ctx.route,
            method,
            status,
            decision: ctx.decision.label(),
            by,
            why,
            bytes_out: session.body_bytes_sent(),
            total_us: now.micros_since(ctx.started),
            waited_us: ctx.waited.micros(),
        });
    }
}

/// Who answered, and why it was not the merchant.
fn answered(status: u16, error: Option<&Error>, decision: Decided) -> (&'static str, Option<&'static str>) {
    let left = error.is_some_and(|error| *error.esource() == ErrorSource::Downstream);
    match decision {
        Decided::Denied(code) if status != 0 => ("permyx", Some(code)),
        Decided::Replayed => ("permyx", Some("replayed")),
        _ if status == 0 => ("nobody", Some(if left { "caller_left" } else { "cut" })),
        _ if left => ("merchant", Some("caller_left")),
        _ => ("merchant", None),
    }
}

#[cfg(test)]
mod tests {
    use pingora::ErrorType;

    use super::*;

    #[test]
    fn who_left_and_what_broke_off_are_told_apart() {
        let left = Error::new(ErrorType::WriteError).into_down();
        let broke = Error::new(ErrorType::ConnectionClosed).into_up();
        for (status, error, decision, told) in [
            (0, Some(&left), Decided::Observed, ("nobody", Some("caller_left"))),
            (0, Some(&broke), Decided::Observed, ("nobody", Some("cut"))),
            (0, None, Decided::Denied("NO_TOKEN"), ("nobody", Some("cut"))),
            (200, Some(&left), Decided::Allowed, ("merchant", Some("caller_left"))),
            (200, None, Decided::Allowed, ("merchant", None)),
            (403, None, Decided::Denied("NO_TOKEN"), ("permyx", Some("NO_TOKEN"))),
            (200, None, Decided::Replayed, ("permyx", Some("replayed"))),
        ] {
            assert_eq!(answered(status, error.map(|error| &**error), decision), told);
        }
    }
}
