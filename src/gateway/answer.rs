//! The way of an answer back to its caller, in the caller's own task. A caller may leave at any moment; what
//! is executed for it goes on.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONNECTION;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType};
use tokio::time::Instant;

use crate::clock::{Clock, Monotonic};

use super::downstream::{Downstream, stock};
use super::head::is_ours;
use super::patience::until;
use super::reply::{Framing, Told, put};
use super::state::Context;
use super::wire::AnswerHead;

/// Fields that are between two hops and not passed on (RFC 9110 §7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that frame an answer: not removed because `Connection` names them.
const FRAMES: [&str; 4] = ["connection", "content-length", "transfer-encoding", "upgrade"];

/// The caller's end.
pub struct Caller<'s, 'd> {
    session: &'s mut Downstream<'d>,
    ctx: &'s Context,
    /// Why nothing more reaches it.
    lost: Option<Box<Error>>,
}

impl<'s, 'd> Caller<'s, 'd> {
    pub(super) fn of(session: &'s mut Downstream<'d>, ctx: &'s Context) -> Self {
        Self { session, ctx, lost: None }
    }

    /// The caller was waited for since then.
    pub(super) fn waited_since(&self, clock: &Clock, began: Monotonic) {
        self.ctx.waited.since(clock, began);
    }

    /// The merchant had the request in this time.
    pub(super) fn merchant_had_it(&self, began: Monotonic, until: Monotonic) {
        self.ctx.merchant_had_it(began, until);
    }

    /// True when it is gone.
    pub(super) fn is_gone(&self) -> bool {
        self.lost.is_some()
    }

    pub(super) async fn tell_head(&mut self, head: &AnswerHead, deadline: Instant) {
        let Self { session, ctx, lost } = self;
        tell(lost, deadline, pin!(pass_on(session, head, ctx))).await;
    }

    /// A piece of the body, and whether it is the last one.
    pub(super) async fn tell_body(&mut self, piece: Option<Bytes>, is_last: bool, deadline: Instant) {
        let Self { session, lost, .. } = self;
        tell(lost, deadline, pin!(session.write_response_body(piece, is_last))).await;
    }

    /// Resolves when it leaves, and not before.
    pub(super) async fn leaves(&mut self) {
        self.lost = Some(self.session.leaves().await);
    }

    /// Why it is gone, if it is.
    pub(super) fn lost(self) -> pingora::Result<()> {
        self.lost.map_or(Ok(()), Err)
    }
}

/// A caller who takes nothing until the deadline is gone: nothing waits for it.
async fn tell(
    lost: &mut Option<Box<Error>>,
    deadline: Instant,
    write: Pin<&mut impl Future<Output = pingora::Result<()>>>,
) {
    if lost.is_some() {
        return;
    }
    *lost = match until(deadline, write).await {
        Ok(written) => written.err(),
        Err(_elapsed) => Some(Error::explain(ErrorType::WriteTimedout, "the caller takes nothing").into_down()),
    };
}

/// Runs it to its end, or to a panic: `None`.
pub(super) async fn caught<T>(mut run: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Some),
        Err(_panic) => Poll::Ready(None),
    })
    .await
}

/// Takes from a forwarded answer what was for us alone (RFC 9110 §7.6.1). Framing, `Connection`
/// and a change of protocols are pingora's.
pub(super) fn remove_hop_by_hop(response: &mut ResponseHeader) {
    if response.status == 101 {
        return;
    }
    let options = response.headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let nominated: Vec<_> =
        options.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
    let fixed = HOP_BY_HOP.into_iter();
    for name in fixed.chain(nominated.iter().map(String::as_str)).filter(|name| !FRAMES.contains(name)) {
        response.remove_header(name);
    }
}

/// The merchant's head for the caller: end-to-end fields as they came, ours set by us.
async fn pass_on(session: &mut Downstream<'_>, head: &AnswerHead, ctx: &Context) -> pingora::Result<()> {
    let plain = match session {
        Downstream::Plain(plain) => plain,
        Downstream::Pingora(session, _) => {
            let head = response_head(head, ctx, session.req_header().version)?;
            return stock(session.write_response_header(Box::new(head), false)).await;
        }
    };
    let framing = head.length().map_or(Framing::Chunked, Framing::Length);
    let is_dated = head.fields.has("date") && !head.nominates(b"date");
    let told = Told { status: head.status, reason: head.reason.as_deref(), framing, is_dated };
    let spell = |out: &mut Vec<u8>| {
        for (name, value) in end_to_end(head) {
            put(out, [name, b": ", value, b"\r\n"]);
        }
        if head.is_unbounded() {
            put(out, [b"Transfer-Encoding: chunked\r\n"]);
        }
        put(out, [b"Permyx-Trace: ", ctx.trace.spelled().as_str().as_bytes(), b"\r\n"]);
        put(out, [b"Permyx-Decision: ", ctx.decision.header().as_bytes(), b"\r\n"]);
    };
    plain.write_head(&told, spell).await
}

/// The same as pingora wants it.
fn response_head(head: &AnswerHead, ctx: &Context, version: http::Version) -> pingora::Result<ResponseHeader> {
    let mut out = ResponseHeader::build(head.status, Some(head.fields.count() + 2))?;
    out.set_reason_phrase(head.reason.as_deref())?;
    for (name, value) in end_to_end(head) {
        let value = HeaderValue::from_bytes(value).map_err(|_| Error::new(ErrorType::InvalidHTTPHeader))?;
        out.append_header(Bytes::copy_from_slice(name), value)?;
    }
    if head.is_unbounded() && version == http::Version::HTTP_11 {
        out.insert_header("Transfer-Encoding", "chunked")?;
    }
    ctx.mark(&mut out)?;
    Ok(out)
}

/// The fields that go on to the caller: neither those of this hop alone, nor any in our name.
fn end_to_end(head: &AnswerHead) -> impl Iterator<Item = (&[u8], &[u8])> {
    let nominates = head.fields.has("connection");
    head.fields.iter().filter(move |(name, _)| {
        let framed_by_us = head.is_unbounded() && name.eq_ignore_ascii_case(b"content-length");
        let named = |list: &[&str]| list.iter().any(|listed| name.eq_ignore_ascii_case(listed.as_bytes()));
        let one_hop = named(&HOP_BY_HOP) || (nominates && head.nominates(name) && !named(&FRAMES));
        !framed_by_us && !is_ours(name) && !one_hop
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught() {
        let run = async {
            tokio::task::yield_now().await;
            assert!(std::hint::black_box(false), "planted");
        };
        assert_eq!(caught(pin!(run)).await, None);
        assert_eq!(caught(pin!(async { 7 })).await, Some(7));
    }
}
