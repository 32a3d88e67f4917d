//! What leaves us: limits of a connection, and the bytes of an exchange.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession as HttpSession;
use pingora::proxy::Session;

use crate::authority::cart::Cart;
use crate::authority::execute::Ending;
use crate::ledger::Settlement;

use super::Gateway;
use super::exchange::Outgoing;
use super::state::{Context, SeenOrder};

/// Longest wait for the next byte of a caller, and for a caller to take one.
const CALLER_SILENCE: Duration = Duration::from_secs(15);
const CALLER_TAKES: Duration = Duration::from_secs(30);
/// Time to read the rest of a body that is refused anyway.
const DRAIN: Duration = Duration::from_secs(2);

impl Gateway {
    pub(super) fn limit(&self, session: &mut Session) {
        let downstream = session.as_downstream_mut();
        downstream.set_read_timeout(Some(CALLER_SILENCE));
        downstream.set_write_timeout(Some(CALLER_TAKES));
        downstream.set_total_drain_timeout(Some(DRAIN));
        // One after the other, each judged by itself (RFC 9112 §9.3.2).
        if let HttpSession::H1(connection) = downstream {
            connection.set_pipelining_enabled(true);
        }
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
        self.authority.observe_order(&watch.call, None, &ending);
    }
}

/// The request of an exchange as one run of bytes: the caller's target, fields and body as they
/// came, hop-by-hop fields left out, ours added.
pub(super) fn outgoing(
    request: &RequestHeader,
    ctx: &Context,
    cart: Option<&Cart>,
    body: &Bytes,
) -> pingora::Result<Outgoing> {
    let mut head = request.clone();
    remove_hop_by_hop(&mut head);
    head.insert_header("Permyx-Trace", ctx.trace.to_string())?;
    head.insert_header("Permyx-Decision", ctx.decision.label())?;
    if let Some(cart) = cart {
        head.insert_header("Permyx-Agent", cart.leader().agent().as_str())?;
        let tokens = cart.tokens();
        let intents: Vec<_> =
            tokens.iter().filter_map(|token| token.intent()).map(|intent| intent.hash().to_string()).collect();
        if !intents.is_empty() {
            head.insert_header("Permyx-Intent", intents.join(","))?;
        }
    }
    if !body.is_empty() || request.headers.contains_key(CONTENT_LENGTH) {
        head.insert_header("Content-Length", body.len().to_string())?;
    }
    let mut bytes = BytesMut::with_capacity(1024 + body.len());
    bytes.put_slice(request.method.as_str().as_bytes());
    bytes.put_u8(b' ');
    bytes.put_slice(request.raw_path());
    bytes.put_slice(b" HTTP/1.1\r\n");
    head.header_to_h1_wire(&mut bytes);
    bytes.put_slice(b"\r\n");
    bytes.put_slice(body);
    Ok(Outgoing { method: request.method.as_str().to_owned(), bytes: bytes.freeze() })
}

/// RFC 9110 §7.6.1, and `Expect`, which we met ourselves.
pub(super) fn remove_hop_by_hop(head: &mut RequestHeader) {
    const FIXED: [&str; 6] = ["keep-alive", "proxy-connection", "proxy-authorization", "te", "trailer", "upgrade"];
    let nominated: Vec<String> = head
        .headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase())
        .filter(|name| !matches!(name.as_str(), "" | "host" | "content-length"))
        .collect();
    for name in nominated.iter().map(String::as_str).chain(FIXED) {
        head.remove_header(name);
    }
    for name in [CONNECTION, TRANSFER_ENCODING, EXPECT] {
        head.remove_header(&name);
    }
}
