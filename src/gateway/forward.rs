//! What leaves us for a merchant: requests that are passed on, and the bytes of an exchange.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::Method;
use tokio::time::Instant;

use crate::authority::cart::Cart;
use crate::authority::execute::Ending;
use crate::ledger::Settlement;
use crate::model::spell::Spelled;
use crate::model::trace_parent::TraceParent;
use crate::protocol::preset::Dialect;

use super::Gateway;
use super::answer::Caller;
use super::body::NoBody;
use super::downstream::Downstream;
use super::exchange::{Errand, Exchange, Outgoing, SendFault};
use super::execution::{Over, SILENCE};
use super::fields::{Fields, text};
use super::reply::put;
use super::request::Request;
use super::state::{Context, SeenOrder};
use super::upstream::Upstream;

/// Room for a head as agents send it, token and all.
const HEAD_ROOM: usize = 2048;

impl Gateway {
    /// Passes a request on that nothing was decided about. Where it can be sent whole it is, on a
    /// connection of ours (`true`); streams, upgrades and whatever else is left to pingora (`false`).
    pub(super) async fn forward(
        &self,
        session: &mut Downstream<'_>,
        ctx: &mut Context,
        upstream: Arc<Upstream>,
    ) -> pingora::Result<bool> {
        if !self.is_whole(session) {
            ctx.forward = Some(upstream);
            return Ok(false);
        }
        let body = match self.body(session, ctx, false).await {
            Ok(body) => body,
            Err(NoBody::Untouched(refusal) | NoBody::Broken(refusal)) => {
                return self.refuse(session, ctx, &refusal, Dialect::Permyx).await;
            }
        };
        let out = outgoing(session.request(), ctx, None, &body, Errand::Forward);
        let mut caller = Caller::of(session, ctx);
        let (clock, began) = (&self.authority.clock, self.authority.clock.monotonic());
        let over = self.carry(&upstream, &out, &mut caller).await;
        caller.merchant_had_it(began, clock.monotonic());
        caller.lost()?;
        self.conclude(session, ctx, Some(over), Dialect::Permyx).await
    }

    /// True of a request whose body is short, and of which nothing has to be said before it is here.
    pub(super) fn is_whole(&self, session: &mut Downstream<'_>) -> bool {
        if matches!(session, Downstream::Plain(_)) {
            return true;
        }
        let bodiless = session.is_body_empty();
        let request = session.request();
        let fields = &request.fields;
        let short = |length: &[u8]| {
            text(length).is_some_and(|text| text.parse().is_ok_and(|length: usize| length <= self.settings.body_max))
        };
        let streams = ["upgrade", "expect", "transfer-encoding"].iter().any(|name| fields.has(name));
        request.method != Method::CONNECT && !streams && (bodiless || fields.first("content-length").is_some_and(short))
    }

    /// Each piece goes on as it comes. A caller that leaves ends it, at whatever moment.
    async fn carry(&self, upstream: &Upstream, out: &Outgoing, caller: &mut Caller<'_, '_>) -> Over {
        let sent = tokio::select! {
            biased;
            sent = self.exchange.send(upstream, out, SILENCE) => sent,
            () = caller.leaves() => return Over::Cut,
        };
        let (mut incoming, mut head) = match sent {
            Ok(sent) => sent,
            Err(fault) => return Over::Failed(Box::new(fault.refusal())),
        };
        let in_time = || Instant::now() + SILENCE;
        while head.is_interim() {
            caller.tell_head(&head, in_time()).await;
            let next = tokio::select! {
                biased;
                next = incoming.next_head(&out.method) => next,
                () = caller.leaves() => return Over::Cut,
            };
            head = match next {
                Ok(next) => next,
                Err(fault) => return Over::Failed(Box::new(SendFault::Sent(fault).refusal())),
            };
        }
        if incoming.is_over() {
            // Before the caller can send its next request, which may then use it.
            Exchange::finish(upstream, incoming);
            caller.tell_head(&head, in_time()).await;
            caller.tell_body(None, true, in_time()).await;
            return Over::Told;
        }
        caller.tell_head(&head, in_time()).await;
        while !caller.is_gone() {
            let piece = tokio::select! {
                biased;
                piece = incoming.piece() => piece,
                () = caller.leaves() => return Over::Cut,
            };
            match piece {
                Ok(Some(piece)) if !incoming.is_over() => caller.tell_body(Some(piece), false, in_time()).await,
                Ok(last) => {
                    Exchange::finish(upstream, incoming);
                    caller.tell_body(last, true, in_time()).await;
                    return Over::Told;
                }
                Err(_fault) => return Over::Cut,
            }
        }
        Over::Cut
    }

    /// The order that a forwarded answer told of.
    pub(super) fn record_order(&self, ctx: &Context, seen: &SeenOrder) {
        let Some(watch) = &ctx.watch else { return };
        let ending = Ending {
            settlement: Settlement::Burned,
            status: Some(seen.status),
            cause: "observed".into(),
            order: seen.order.clone(),
            client_gone: false,
        };
        self.authority.observe_order(&watch.call, &ending);
    }
}

/// The request of an exchange as one run of bytes: the caller's target, fields and body as they
/// came, hop-by-hop fields left out, ours added.
pub(super) fn outgoing(
    request: &Request,
    ctx: &Context,
    cart: Option<&Cart>,
    body: &Bytes,
    errand: Errand,
) -> Outgoing {
    let mut bytes = BytesMut::with_capacity(HEAD_ROOM + request.target.len() + body.len());
    let out = &mut bytes;
    put(out, [request.method.as_str().as_bytes(), b" ", &request.target, b" HTTP/1.1\r\n"]);
    let (hops, length) = (Hops::of(&request.fields), Spelled::<20>::of("").number(body.len() as u64));
    let onward = ctx.traced.as_ref().map(|traced| traced.span.onward().spelled());
    let mut framed = false;
    for (name, value) in request.fields.iter() {
        if name.eq_ignore_ascii_case(b"content-length") {
            // Once, and as long as the body is.
            if !std::mem::replace(&mut framed, true) {
                put(out, [name, b": ", length.as_str().as_bytes(), b"\r\n"]);
            }
        } else if ctx.traced.as_ref().is_some_and(|traced| traced.span.replaces(name)) {
            // Ours stands for it.
        } else if !hops.contain(name) {
            put(out, [name, b": ", value, b"\r\n"]);
        }
    }
    if !framed && !body.is_empty() {
        put(out, [b"Content-Length: ", length.as_str().as_bytes(), b"\r\n"]);
    }
    if let Some(onward) = &onward {
        put(out, [TraceParent::FIELD.as_bytes(), b": ", onward.as_str().as_bytes(), b"\r\n"]);
    }
    put(out, [b"Permyx-Trace: ", ctx.trace.spelled().as_str().as_bytes(), b"\r\n"]);
    put(out, [b"Permyx-Decision: ", ctx.decision.label().as_bytes(), b"\r\n"]);
    if let Some(cart) = cart {
        put_cart(out, cart);
    }
    put(out, [b"\r\n", body]);
    Outgoing { method: request.method.clone(), bytes: bytes.freeze(), errand }
}

/// What the merchant is told of the tokens.
fn put_cart(out: &mut BytesMut, cart: &Cart) {
    put(out, [b"Permyx-Agent: ", cart.leader().agent().as_str().as_bytes(), b"\r\n"]);
    let tokens = cart.tokens();
    let mut lead: &[u8] = b"Permyx-Intent: ";
    for hash in tokens.iter().filter_map(|token| token.intent_hash()) {
        put(out, [lead, hash.spelled().as_str().as_bytes()]);
        lead = b",";
    }
    if lead == b"," {
        out.put_slice(b"\r\n");
    }
}

/// The fields that are between a caller and us and go no further: those of RFC 9110 §7.6.1, those that
/// `Connection` names, and `Expect`, which we met ourselves.
struct Hops(Vec<String>);

impl Hops {
    fn of(fields: &Fields) -> Self {
        let named = fields.all("connection").flat_map(|value| value.split(|byte| *byte == b','));
        let named = named.map(<[u8]>::trim_ascii).filter(|name| !is_hop(name) && !is_kept(name));
        Self(named.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    fn contain(&self, name: &[u8]) -> bool {
        is_hop(name) || self.0.iter().any(|named| named.as_bytes().eq_ignore_ascii_case(name))
    }
}

fn is_hop(name: &[u8]) -> bool {
    const FIXED: [&[u8]; 9] = [
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ];
    FIXED.iter().any(|fixed| name.eq_ignore_ascii_case(fixed))
}

/// What `Connection` may not take away.
fn is_kept(name: &[u8]) -> bool {
    name.is_empty() || [&b"host"[..], b"content-length"].iter().any(|kept| name.eq_ignore_ascii_case(kept))
}

/// The same without the fields that go no further.
pub(super) fn without_hops(request: &Request) -> Request {
    let (mut request, hops) = (request.clone(), Hops::of(&request.fields));
    request.fields.retain(|name| !hops.contain(name));
    request
}
