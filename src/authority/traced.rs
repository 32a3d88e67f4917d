//! How long the parts of a call take: in the metrics, and in its trace where it has one.

use std::sync::Arc;

use crate::clock::Monotonic;
use crate::model::trace_parent::TraceParent;
use crate::telemetry::traces::{Ended, Part, Span, Took};

use super::{Authority, Call};

/// The span of a call, and since when it runs.
#[derive(Clone)]
pub struct Traced {
    pub span: Arc<Span>,
    pub began: Monotonic,
}

impl Traced {
    /// A part that began at `from` is over.
    pub fn took(&self, part: Part, from: Monotonic, now: Monotonic) {
        let (from_us, us) = (from.micros_since(self.began), now.micros_since(from));
        self.span.took(Took { part, from_us, us });
    }
}

impl Authority {
    /// A request begins, which may be part of its caller's trace.
    #[must_use]
    pub fn begin_trace(&self, caller: Option<TraceParent>, began: Monotonic) -> Option<Traced> {
        let traces = self.traces.as_ref()?;
        Some(Traced { span: Arc::new(traces.begin(caller)), began })
    }

    /// It is over. One that was refused before it was begun has a span all the same.
    pub fn end_trace(&self, traced: Option<&Traced>, ended: impl FnOnce() -> Ended) {
        let Some(traces) = &self.traces else { return };
        match traced {
            Some(traced) => traces.end(&traced.span, ended()),
            None => traces.end(&traces.begin(None), ended()),
        }
    }

    /// A part of a call is over. Says how many seconds it took.
    pub(super) fn took(&self, call: &Call, part: Part, from: Monotonic) -> f64 {
        let (now, overhead) = (self.clock.monotonic(), &self.metrics.overhead);
        let seconds = now.seconds_since(from);
        match part {
            Part::Verify => overhead.verify.observe(seconds),
            Part::Policy => overhead.policy.observe(seconds),
            Part::Ledger => overhead.ledger.observe(seconds),
            Part::Evidence => overhead.evidence.observe(seconds),
            // Not our own time.
            Part::Session | Part::Merchant => {}
        }
        if let Some(traced) = &call.traced {
            traced.took(part, from, now);
        }
        seconds
    }
}
