//! What is remembered of one request between pingora's phases.

use std::borrow::Cow;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};

use bytes::{Bytes, BytesMut};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use prometheus::IntGauge;

use crate::authority::Call;
use crate::authority::traced::Traced;
use crate::clock::{Clock, Monotonic};
use crate::model::ids::TraceId;
use crate::model::trace_parent::TraceParent;
use crate::protocol::media::{Coding, Media};
use crate::protocol::order::OrderFacts;
use crate::protocol::outcome::Outcome;
use crate::sessions::{BoundedTurn, Turn};
use crate::telemetry::metrics::Counted;
use crate::telemetry::traces::Part;

use super::books::{COPY_MAX, Reading};
use super::head::is_ours;
use super::upstream::Upstream;

/// One request on its way.
pub struct Context {
    pub(super) trace: TraceId,
    pub(super) started: Monotonic,
    /// How much of the time since then went by while we waited for others.
    pub(super) waited: Waited,
    _counted: Counted,
    pub(super) traced: Option<Traced>,
    /// The route's name, for metrics; `none` where nothing is guarded.
    pub(super) route: Arc<str>,
    /// What is told in `Permyx-Decision` and counted.
    pub(super) decision: Decided,
    /// Where it is forwarded, if it is.
    pub(super) forward: Option<Arc<Upstream>>,
    /// Set on forwarded commits: the order in the answer is recorded.
    pub(super) watch: Option<Watch>,
    /// Held by a commit until it is over: changes of one session come one after the other.
    pub(super) turn: Option<Turn>,
    /// Held by an amend, for a bounded time.
    pub(super) amending: Option<BoundedTurn>,
}

/// Microseconds for which a request's caller or its merchant was waited for.
#[derive(Default)]
pub(super) struct Waited(AtomicI64);

impl Waited {
    /// Waits for somebody else.
    pub(super) async fn during<T>(&self, clock: &Clock, other: impl Future<Output = T>) -> T {
        let began = clock.monotonic();
        let came = other.await;
        self.since(clock, began);
        came
    }

    pub(super) fn since(&self, clock: &Clock, began: Monotonic) {
        self.between(began, clock.monotonic());
    }

    fn between(&self, began: Monotonic, now: Monotonic) {
        self.0.fetch_add(now.micros_since(began), Ordering::Relaxed);
    }

    pub(super) fn micros(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    #[expect(clippy::cast_precision_loss, reason = "a duration, exact far beyond any that occurs")]
    fn seconds(&self) -> f64 {
        self.micros() as f64 / 1e6
    }
}

/// What `Permyx-Decision` says. A closed set, so it is a label too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decided {
    /// Nothing to decide on this path.
    Unguarded,
    Allowed,
    Observed,
    Bypassed,
    /// The answer of an earlier call was given again.
    Replayed,
    Denied(&'static str),
}

impl Decided {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Unguarded => "none",
            Self::Allowed => "allowed",
            Self::Observed => "observed",
            Self::Bypassed => "bypassed",
            Self::Replayed => "replayed",
            Self::Denied(_) => "denied",
        }
    }

    pub(super) fn header(self) -> Cow<'static, str> {
        match self {
            Self::Denied(code) => format!("denied; reason={code}").into(),
            other => other.label().into(),
        }
    }
}

/// A forwarded commit whose answer is looked at as it passes.
pub(super) struct Watch {
    pub(super) call: Call,
    reading: Reading,
    status: u16,
    coding: Option<Coding>,
    /// `None` when the answer is too long to keep.
    copy: Option<BytesMut>,
}

impl Watch {
    pub(super) fn new(call: Call, reading: Reading) -> Self {
        Self { call, reading, status: 0, coding: None, copy: None }
    }
}

/// An order that a forwarded answer told of.
pub(super) struct SeenOrder {
    pub(super) status: u16,
    pub(super) order: OrderFacts,
}

impl Context {
    pub(super) fn new(started: Monotonic, in_flight: &IntGauge) -> Self {
        static NONE: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("none"));
        Self {
            trace: TraceId::random(),
            started,
            waited: Waited::default(),
            _counted: Counted::one(in_flight),
            traced: None,
            route: NONE.clone(),
            decision: Decided::Unguarded,
            forward: None,
            watch: None,
            turn: None,
            amending: None,
        }
    }

    /// The part of these seconds that we needed ourselves; unknown where pingora passed the request on.
    pub(super) fn own_part(&self, seconds: f64) -> Option<f64> {
        self.forward.is_none().then(|| (seconds - self.waited.seconds()).max(0.0))
    }

    /// The merchant had the request in this time.
    pub(super) fn merchant_had_it(&self, began: Monotonic, until: Monotonic) {
        self.waited.between(began, until);
        if let Some(traced) = &self.traced {
            traced.took(Part::Merchant, began, until);
        }
    }

    pub(super) fn peer(&self) -> pingora::Result<Box<HttpPeer>> {
        let upstream = self.forward.as_ref().ok_or_else(|| Error::new(ErrorType::InternalError))?;
        Ok(Box::new(upstream.peer()))
    }

    /// What the merchant sees of us on a forwarded request.
    pub(super) fn mark_request(&self, request: &mut RequestHeader) -> pingora::Result<()> {
        if let Some(traced) = &self.traced {
            // How long the merchant has it is not known here: it is called from the request itself.
            for name in [TraceParent::FIELD, "tracestate"].iter().filter(|name| traced.span.replaces(name.as_bytes())) {
                request.remove_header(*name);
            }
            request.insert_header(TraceParent::FIELD, traced.span.own().to_string())?;
        }
        request.insert_header("Permyx-Trace", self.trace.to_string())?;
        request.insert_header("Permyx-Decision", self.decision.label())
    }

    /// What the caller sees of us; what a merchant says in our name is dropped.
    pub(super) fn mark_response(&self, response: &mut ResponseHeader) -> pingora::Result<()> {
        let forged: Vec<_> = response.headers.keys().filter(|name| is_ours(name.as_str())).cloned().collect();
        for name in &forged {
            response.remove_header(name);
        }
        self.mark(response)
    }

    /// The same where there is nothing in our name yet.
    pub(super) fn mark(&self, response: &mut ResponseHeader) -> pingora::Result<()> {
        response.insert_header("Permyx-Trace", self.trace.spelled().as_bytes())?;
        response.insert_header("Permyx-Decision", self.decision.header().as_ref())
    }

    pub(super) fn see_response(&mut self, response: &ResponseHeader) {
        let Some(watch) = &mut self.watch else { return };
        if response.status.is_informational() {
            return;
        }
        watch.status = response.status.as_u16();
        watch.coding = Media::of(&response.headers).coding;
        watch.copy = watch.coding.map(|_| BytesMut::new());
    }

    /// Keeps a piece of a watched answer; at its end, tells the order that is in it.
    pub(super) fn see_body(&mut self, body: Option<&Bytes>, end: bool) -> Option<SeenOrder> {
        let watch = self.watch.as_mut()?;
        if let Some(piece) = body {
            match &mut watch.copy {
                Some(copy) if copy.len() + piece.len() <= COPY_MAX => copy.extend_from_slice(piece),
                copy => *copy = None,
            }
        }
        let copy = if end { watch.copy.take()? } else { return None };
        match watch.reading.read(watch.status, watch.coding, Some(&copy)) {
            (Outcome::Committed | Outcome::Pending, order) => Some(SeenOrder { status: watch.status, order }),
            (Outcome::Failed | Outcome::NotExecuted, _) => None,
        }
    }
}
