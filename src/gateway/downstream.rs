//! The caller's side of one request: on our own lane if it is a plain one, in pingora's hands if it is any other.
//! What judges requests knows no difference.

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::OnceLock;

use bytes::Bytes;
use http::Method;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use crate::protocol::deny::Refusal;

use super::Gateway;
use super::body::CALLER_SILENCE;
use super::downgrade::{as_http1, stay_http1};
use super::fields::{Fields, text};
use super::head::is_ours;
use super::phase::Phase;
use super::plain::{DRAIN, Plain};
use super::reply::{Framing, Told, put};
use super::request::Request;
use super::socket::CALLER_TAKES;

/// See the module.
pub(super) enum Downstream<'c> {
    Pingora(&'c mut Session, OnceLock<Box<Request>>),
    Plain(Plain<'c>),
}

impl Gateway {
    /// The head of a request is here: its limits begin.
    pub(super) fn begin(&self, session: &mut Downstream<'_>) {
        match session {
            Downstream::Plain(plain) => Phase::begin(Some(plain.head_length()), || Some(plain.body_length())),
            Downstream::Pingora(..) => Phase::begin(None, || body_length(&session.request().fields)),
        }
        if let Downstream::Pingora(session, _) = session {
            limit(session.as_downstream_mut());
        }
        if self.settings.draining.is_on() {
            session.close_after();
        }
    }

    /// Serves a plain request. True if its connection is left for another one.
    pub(super) async fn serve(&self, plain: Plain<'_>) -> bool {
        let (mut session, mut ctx) = (Downstream::Plain(plain), self.context());
        self.begin(&mut session);
        // A plain request is sent whole: none of them is left to pingora.
        let unanswered = || Error::explain(ErrorType::InternalError, "nobody answered it");
        let answered = self.admit(&mut session, &mut ctx).await;
        let error = answered.and_then(|answered| if answered { Ok(()) } else { Err(unanswered()) }).err();
        if let Some(error) = &error {
            session.close_after();
            self.failed(&mut session, error, &mut ctx).await;
        }
        self.account(&session, error.as_deref(), &ctx);
        // Its turn is over before the next request may want one.
        drop(ctx);
        match session {
            Downstream::Plain(plain) => plain.finish().await,
            Downstream::Pingora(..) => false,
        }
    }
}

/// What [`Plain`] has of its own.
fn limit(session: &mut ServerSession) {
    session.set_read_timeout(Some(CALLER_SILENCE));
    session.set_write_timeout(Some(CALLER_TAKES));
    session.set_total_drain_timeout(Some(DRAIN));
    // One after the other, each judged by itself (RFC 9112 §9.3.2).
    if let ServerSession::H1(connection) = session {
        connection.set_pipelining_enabled(true);
    }
}

impl<'c> Downstream<'c> {
    pub(super) fn of_pingora(session: &'c mut Session) -> Self {
        Self::Pingora(session, OnceLock::new())
    }
}

impl Downstream<'_> {
    pub(super) fn request(&self) -> &Request {
        match self {
            Self::Pingora(session, read) => {
                read.get_or_init(|| Box::new(Request::read_by_pingora(session.req_header())))
            }
            Self::Plain(plain) => plain.request(),
        }
    }

    pub(super) fn method(&self) -> &Method {
        match self {
            Self::Pingora(session, _) => &session.req_header().method,
            Self::Plain(plain) => &plain.request().method,
        }
    }

    /// Says it as HTTP/1.1 says it, and offers nothing else: a plain request does.
    pub(super) fn as_http1(&mut self) -> Result<(), Refusal> {
        let Self::Pingora(session, read) = self else { return Ok(()) };
        let head = session.req_header_mut();
        if as_http1(head)? | stay_http1(head) {
            *read = OnceLock::new();
        }
        Ok(())
    }

    /// Drops what only we may say.
    pub(super) fn retain_theirs(&mut self) {
        match self {
            Self::Pingora(session, read) => {
                let head = session.req_header_mut();
                let ours: Vec<_> = head.headers.keys().filter(|name| is_ours(name)).cloned().collect();
                for name in &ours {
                    head.remove_header(name);
                }
                if let Some(request) = read.get_mut() {
                    request.fields.retain(|name| !is_ours(name));
                }
            }
            Self::Plain(plain) => plain.request_mut().fields.retain(|name| !is_ours(name)),
        }
    }

    /// The head as it came; of HTTP/2, as HTTP/1.1 says it.
    pub(super) fn raw(&self) -> Bytes {
        match self {
            Self::Pingora(session, _) => session.to_h1_raw(),
            Self::Plain(plain) => plain.raw(),
        }
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Pingora(session, _) => session.client_addr()?.as_inet().copied(),
            Self::Plain(plain) => Some(plain.peer()),
        }
    }

    /// True where no body was announced.
    pub(super) fn is_body_empty(&mut self) -> bool {
        match self {
            Self::Pingora(session, _) => session.as_downstream_mut().is_body_empty(),
            Self::Plain(plain) => plain.is_bodiless(),
        }
    }

    /// True when the whole body was read.
    pub(super) fn is_body_done(&mut self) -> bool {
        match self {
            Self::Pingora(session, _) => session.as_downstream_mut().is_body_done(),
            Self::Plain(plain) => plain.is_read(),
        }
    }

    /// The whole body, where nothing of it has to be waited for.
    pub(super) fn body_at_hand(&mut self) -> Option<Bytes> {
        match self {
            Self::Pingora(..) => None,
            Self::Plain(plain) => plain.at_hand(),
        }
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn read_request_body(&mut self) -> pingora::Result<Option<Bytes>> {
        match self {
            Self::Pingora(session, _) => stock(session.as_downstream_mut().read_request_body()).await,
            Self::Plain(plain) => plain.read().await,
        }
    }

    /// Reads what is left of the body, within bounds.
    pub(super) async fn drain_request_body(&mut self) -> pingora::Result<()> {
        match self {
            Self::Pingora(session, _) => stock(session.as_downstream_mut().drain_request_body()).await,
            Self::Plain(plain) => plain.drain().await,
        }
    }

    /// Invites a caller who waits for it to send the body; a plain request has none of them.
    pub(super) async fn write_continue_response(&mut self) {
        if let Self::Pingora(session, _) = self {
            let _ = stock(session.as_downstream_mut().write_continue_response()).await;
        }
    }

    /// Resolves when the caller leaves, and not before. The body was read.
    pub(super) async fn leaves(&mut self) -> Box<Error> {
        let gone = match self {
            Self::Pingora(session, _) => stock(session.as_downstream_mut().read_body_or_idle(true)).await.err(),
            Self::Plain(plain) => Some(plain.leaves().await),
        };
        match gone {
            Some(error) => error.into_down(),
            None => pending().await,
        }
    }

    pub(super) async fn write_response_body(&mut self, piece: Option<Bytes>, is_last: bool) -> pingora::Result<()> {
        match self {
            Self::Pingora(session, _) => stock(session.write_response_body(piece, is_last)).await,
            Self::Plain(plain) => plain.write_body(piece.as_deref().unwrap_or_default(), is_last).await,
        }
    }

    /// Answers with this, whole. A field says how long the body is.
    pub(super) async fn write_own(&mut self, status: u16, fields: &[(&str, &str)], body: Bytes) -> pingora::Result<()> {
        match self {
            Self::Pingora(session, _) => {
                let mut head = ResponseHeader::build(status, Some(fields.len() + 2))?;
                for (name, value) in fields {
                    head.append_header((*name).to_owned(), *value)?;
                }
                stock(session.write_response_header(Box::new(head), false)).await?;
                stock(session.write_response_body(Some(body), true)).await
            }
            Self::Plain(plain) => {
                let framing = Framing::Length(body.len() as u64);
                let spell = |out: &mut Vec<u8>| {
                    let line =
                        |(name, value): &(&str, &str)| put(out, [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
                    fields.iter().for_each(line);
                };
                plain.write_head(&Told { status, reason: None, framing, is_dated: false }, spell).await?;
                plain.write_body(&body, true).await
            }
        }
    }

    /// The status of the answer, once it was told.
    pub(super) fn answered(&self) -> Option<u16> {
        match self {
            Self::Pingora(session, _) => session.response_written().map(|head| head.status.as_u16()),
            Self::Plain(plain) => plain.answered(),
        }
    }

    /// Bytes of the answer's body so far.
    pub(super) fn body_bytes_sent(&self) -> usize {
        match self {
            Self::Pingora(session, _) => session.body_bytes_sent(),
            Self::Plain(plain) => plain.sent(),
        }
    }

    /// No request follows on this connection.
    pub(super) fn close_after(&mut self) {
        match self {
            Self::Pingora(session, _) => session.as_downstream_mut().set_keepalive(None),
            Self::Plain(plain) => plain.close_after(),
        }
    }
}

/// pingora's futures are large: they would make those of every plain request as large.
pub(super) async fn stock<T>(step: impl Future<Output = pingora::Result<T>>) -> pingora::Result<T> {
    Box::pin(step).await
}

/// How many bytes the body of a request has; none where only its end tells.
fn body_length(fields: &Fields) -> Option<u64> {
    let mut lengths = fields.all("content-length");
    let body = match (lengths.next(), lengths.next()) {
        (None, _) => 0,
        (Some(only), None) => text(only)?.parse().ok()?,
        (Some(_), Some(_)) => return None,
    };
    let streams = fields.has("transfer-encoding") || fields.has("upgrade");
    if streams { None } else { Some(body) }
}
