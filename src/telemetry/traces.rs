//! Traces: what each request cost and where, for whoever follows a purchase through several systems. They are no
//! evidence: what does not fit is dropped and counted, and no request waits for it.
//!
//! W3C Trace Context: a request that names its trace is part of it, and the merchant is told of ours. Whether a
//! request is sampled is known when it is over, so that every refusal can be, up to a rate.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::ids::TraceId;
use crate::model::time::Timestamp;
use crate::model::trace_parent::TraceParent;

/// Refusals that are sampled in a second whatever the share; a flood of them tells nothing new.
const REFUSALS_A_SECOND: u32 = 100;
/// Parts of one request that are kept. A cart of many tokens takes more.
const PARTS_MAX: usize = 64;

/// What a request spends its time with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    Verify,
    Policy,
    Ledger,
    Evidence,
    /// The merchant's session is read.
    Session,
    /// The merchant has the request.
    Merchant,
}

impl Part {
    /// The name of its span.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Policy => "policy",
            Self::Ledger => "ledger",
            Self::Evidence => "evidence",
            Self::Session => "session",
            Self::Merchant => "upstream",
        }
    }
}

/// One of them, in microseconds from the beginning of its request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Took {
    pub part: Part,
    pub from_us: i64,
    pub us: i64,
}

/// A request under way.
pub struct Span {
    /// Its own place in the trace.
    own: TraceParent,
    /// The span that it was called from.
    parent: Option<u64>,
    /// The place of its request to the merchant.
    onward: TraceParent,
    took: Mutex<Vec<Took>>,
}

impl Span {
    /// Its own place in the trace.
    #[must_use]
    pub fn own(&self) -> TraceParent {
        self.own
    }

    /// The place of its request to the merchant.
    #[must_use]
    pub fn onward(&self) -> TraceParent {
        self.onward
    }

    /// Whether the merchant is told ours instead of this header field. What vendors say of a trace (`tracestate`) goes
    /// on with that trace alone.
    #[must_use]
    pub fn replaces(&self, name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(TraceParent::FIELD.as_bytes())
            || (self.parent.is_none() && name.eq_ignore_ascii_case(b"tracestate"))
    }

    pub fn took(&self, took: Took) {
        let mut parts = self.took.lock();
        if parts.len() < PARTS_MAX {
            parts.push(took);
        }
    }
}

/// How a request ended.
pub struct Ended {
    pub trace: TraceId,
    pub began: Timestamp,
    pub total_us: i64,
    pub route: Arc<str>,
    pub method: &'static str,
    /// 0 where nothing was answered.
    pub status: u16,
    pub decision: &'static str,
    /// Why it was refused.
    pub refused: Option<&'static str>,
}

/// A request that is over and sampled.
pub struct Finished {
    pub own: TraceParent,
    pub parent: Option<u64>,
    pub onward: TraceParent,
    pub took: Vec<Took>,
    pub ended: Ended,
}

/// Where finished requests go. It takes them or drops them, at once.
pub trait Sink: Send + Sync {
    fn take(&self, finished: Finished);
}

/// What is traced.
pub struct Traces {
    /// Requests are sampled that name no trace and whose trace has a lower number.
    below: u64,
    sink: Box<dyn Sink>,
    /// Refusals of the current second that were sampled beyond the share.
    refusals: Mutex<(i64, u32)>,
}

impl Traces {
    /// `share` of requests, 0 to 1.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of all numbers; it saturates at both ends"
    )]
    pub fn new(share: f64, sink: Box<dyn Sink>) -> Self {
        Self { below: (share * u64::MAX as f64) as u64, sink, refusals: Mutex::default() }
    }

    /// A request begins. Whoever calls decides whether its trace is sampled, as W3C has it.
    #[must_use]
    pub fn begin(&self, caller: Option<TraceParent>) -> Span {
        let own = match caller {
            Some(caller) => caller.child(fresh()),
            None => {
                let low = fresh();
                TraceParent::new(u128::from(fresh()) << 64 | u128::from(low), fresh(), low < self.below)
            }
        };
        Span { own, parent: caller.map(TraceParent::span), onward: own.child(fresh()), took: Mutex::default() }
    }

    /// A request is over.
    pub fn end(&self, span: &Span, ended: Ended) {
        if span.own.is_sampled() || (ended.refused.is_some() && self.has_room(ended.began)) {
            let took = std::mem::take(&mut *span.took.lock());
            self.sink.take(Finished { own: span.own, parent: span.parent, onward: span.onward, took, ended });
        }
    }

    fn has_room(&self, now: Timestamp) -> bool {
        let (second, mut refusals) = (now.millis() / 1000, self.refusals.lock());
        // Those that began earlier and end now are counted with the newest.
        if second > refusals.0 {
            *refusals = (second, 0);
        }
        refusals.1 += 1;
        refusals.1 <= REFUSALS_A_SECOND
    }
}

/// A new number of a span. Never 0, which names nothing.
#[must_use]
pub fn fresh() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Finished>>>);

    impl Sink for Kept {
        fn take(&self, finished: Finished) {
            self.0.lock().push(finished);
        }
    }

    fn ended(second: i64, refused: Option<&'static str>) -> Ended {
        Ended {
            trace: TraceId::random(),
            began: Timestamp::of_seconds(second),
            total_us: 5,
            route: "checkout".into(),
            method: "POST",
            status: 200,
            decision: "allowed",
            refused,
        }
    }

    fn caller(flags: &str) -> Option<TraceParent> {
        TraceParent::parse(format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}").as_bytes())
    }

    #[test]
    fn a_request_is_part_of_the_trace_that_it_names() {
        let kept = Kept::default();
        let traces = Traces::new(0.0, Box::new(kept.clone()));
        let span = traces.begin(caller("01"));
        assert!(span.onward().to_string().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
        assert!(span.onward().to_string().ends_with("-01"));
        span.took(Took { part: Part::Verify, from_us: 1, us: 2 });
        traces.end(&span, ended(1, None));
        let finished = kept.0.lock().pop().unwrap();
        assert_eq!(
            (finished.parent, finished.own.trace()),
            (Some(0x00f0_67aa_0ba9_02b7), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736)
        );
        assert_ne!(finished.own.span(), finished.onward.span());
        assert_eq!(finished.took, [Took { part: Part::Verify, from_us: 1, us: 2 }]);
    }

    #[test]
    fn who_calls_decides_and_else_the_share() {
        let kept = Kept::default();
        let all = Traces::new(1.0, Box::new(kept.clone()));
        all.end(&all.begin(caller("00")), ended(1, None));
        assert!(kept.0.lock().is_empty());
        all.end(&all.begin(None), ended(1, None));
        assert_eq!(kept.0.lock().len(), 1);
        let half = Traces::new(0.5, Box::new(kept.clone()));
        (0..1000).for_each(|_| half.end(&half.begin(None), ended(1, None)));
        assert!((300..700).contains(&kept.0.lock().len()));
    }

    #[test]
    fn refusals_are_sampled_up_to_a_rate() {
        let kept = Kept::default();
        let none = Traces::new(0.0, Box::new(kept.clone()));
        for second in [1, 1, 2] {
            (0..80).for_each(|_| none.end(&none.begin(caller("00")), ended(second, Some("NO_TOKEN"))));
        }
        assert_eq!(kept.0.lock().len(), 180);
        none.end(&none.begin(None), ended(3, None));
        assert_eq!(kept.0.lock().len(), 180);
    }

    #[test]
    fn a_request_keeps_so_many_parts_and_no_more() {
        let kept = Kept::default();
        let all = Traces::new(1.0, Box::new(kept.clone()));
        let span = all.begin(None);
        (0..100).for_each(|n| span.took(Took { part: Part::Ledger, from_us: n, us: 1 }));
        all.end(&span, ended(1, None));
        assert_eq!(kept.0.lock()[0].took.len(), PARTS_MAX);
    }

    #[test]
    fn what_vendors_say_goes_on_with_the_trace_of_the_caller_alone() {
        let all = Traces::new(1.0, Box::new(Kept::default()));
        let (begun, joined) = (all.begin(None), all.begin(caller("01")));
        assert!(begun.replaces(b"Traceparent") && begun.replaces(b"tracestate"));
        assert!(joined.replaces(b"traceparent") && !joined.replaces(b"tracestate"));
        assert!(!begun.replaces(b"trace"));
    }
}
