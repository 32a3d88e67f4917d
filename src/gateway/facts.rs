//! What is being bought: from the request, or from the merchant's session just before the commit
//! (README decisions 14 and 15). Where facts come from is the preset's word, never chance.

use bytes::BytesMut;
use http::HeaderMap;

use crate::model::json::{Object, read_object};
use crate::protocol::extract::{CheckoutFacts, facts};
use crate::protocol::preset::{FactSource, SessionRead};

use super::Gateway;
use super::exchange::{Outgoing, SendFault};
use super::route::{Route, Step};
use super::wire::AnswerFault;

/// Longest session that is read.
const SESSION_MAX: usize = 1024 * 1024;

/// Why the facts are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoFacts {
    /// The request or the session does not say.
    Unknown(&'static str),
    /// The merchant could not be asked.
    Unreachable(&'static str),
    /// The committing request names another purchase than the session.
    Contradicted,
}

impl Gateway {
    /// The facts of a commit. `body` is the committing request's, `headers` are the caller's.
    pub(super) async fn facts(&self, step: &Step, headers: &HeaderMap, body: &[u8]) -> Result<CheckoutFacts, NoFacts> {
        let route = &step.route;
        match (route.preset.source, &route.preset.session) {
            (FactSource::Request, _) => {
                let body = read_object(body).map_err(|_| NoFacts::Unknown("body_is_not_a_json_object"))?;
                facts(&route.preset, &body).map_err(|unknown| NoFacts::Unknown(unknown.0))
            }
            (FactSource::Session, Some(read)) => {
                let facts = self.read_session(route, read, step.session.as_deref(), headers).await?;
                contradicted(route, body, &facts)?;
                Ok(facts)
            }
            (FactSource::Session, None) => Err(NoFacts::Unknown("session_cannot_be_read")),
        }
    }

    async fn read_session(
        &self,
        route: &Route,
        read: &SessionRead,
        session: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<CheckoutFacts, NoFacts> {
        let out = session_request(route, read, session, headers);
        let reading = self.exchange_whole(route, &out);
        let whole = tokio::time::timeout(self.settings.session_deadline, reading).await;
        let (status, body) = whole.map_err(|_| NoFacts::Unreachable("session_timeout"))??;
        match status {
            200 => {}
            401 | 403 => return Err(NoFacts::Unknown("session_refused")),
            404 | 410 => return Err(NoFacts::Unknown("session_not_found")),
            500.. => return Err(NoFacts::Unreachable("session_error")),
            _ => return Err(NoFacts::Unknown("session_answer")),
        }
        let body = read_object(&body).map_err(|_| NoFacts::Unknown("session_is_not_a_json_object"))?;
        facts(&route.preset, &body).map_err(|unknown| NoFacts::Unknown(unknown.0))
    }

    async fn exchange_whole(&self, route: &Route, out: &Outgoing) -> Result<(u16, BytesMut), NoFacts> {
        let unreachable = |fault: AnswerFault| match fault {
            AnswerFault::TimedOut => NoFacts::Unreachable("session_timeout"),
            _ => NoFacts::Unreachable("session_failed"),
        };
        let sent = self.exchange.send(&route.upstream, out, self.settings.session_deadline).await;
        let (mut incoming, head) = sent.map_err(|fault| match fault {
            SendFault::NotSent => NoFacts::Unreachable("session_not_sent"),
            SendFault::Sent(fault) => unreachable(fault),
        })?;
        let mut body = BytesMut::new();
        while let Some(piece) = incoming.piece().await.map_err(unreachable)? {
            if body.len() + piece.len() > SESSION_MAX {
                return Err(NoFacts::Unknown("session_too_long"));
            }
            body.extend_from_slice(&piece);
        }
        self.exchange.finish(&route.upstream, incoming);
        Ok((head.status, body))
    }
}

/// The read carries the preset's credential headers and Host, and nothing else of the caller's.
fn session_request(route: &Route, read: &SessionRead, session: Option<&str>, headers: &HeaderMap) -> Outgoing {
    let mut bytes = Vec::with_capacity(512);
    let path = read.pattern.path_for(session);
    bytes.extend_from_slice(format!("{} {}{path} HTTP/1.1\r\n", read.pattern.method(), route.prefix).as_bytes());
    let host = headers.get_all(http::header::HOST).iter().map(|value| ("Host", value));
    let credentials = read.credentials.iter();
    let credentials = credentials.flat_map(|name| headers.get_all(name).iter().map(|value| (name.as_str(), value)));
    for (name, value) in host.chain(credentials) {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    Outgoing { method: read.pattern.method().to_owned(), bytes: bytes.into() }
}

/// Items in a session commit are never facts; but if they are there and say something else, the
/// caller and the merchant do not mean the same purchase.
fn contradicted(route: &Route, body: &[u8], session: &CheckoutFacts) -> Result<(), NoFacts> {
    let body = if body.trim_ascii().is_empty() { Ok(Object::default()) } else { read_object(body) };
    let body = body.map_err(|_| NoFacts::Unknown("body_is_not_a_json_object"))?;
    if body.pointer(&route.preset.lines.items).is_none() {
        return Ok(());
    }
    let lines_only = |facts: &CheckoutFacts| -> Vec<_> {
        facts.lines.iter().map(|line| (line.variant.clone(), line.quantity.clone())).collect()
    };
    let mut preset = route.preset.clone();
    let agrees = match facts(&preset, &body) {
        Ok(stated) => stated == *session,
        Err(_) => {
            // Without prices the items still have to be the same.
            (preset.lines.price, preset.lines.currency) = (None, None);
            facts(&preset, &body).is_ok_and(|stated| lines_only(&stated) == lines_only(session))
        }
    };
    if agrees { Ok(()) } else { Err(NoFacts::Contradicted) }
}
