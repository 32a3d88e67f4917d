//! The reading of the merchant's session just before a commit, where the preset says that it tells
//! what is being bought.

use bytes::BytesMut;
use http::Method;

use crate::model::json::Value;
use crate::protocol::extract::CheckoutFacts;
use crate::protocol::media::Media;
use crate::protocol::preset::{Basis, FactSource, SessionRead};
use crate::protocol::session::{NoFacts, SESSION_MAX, SessionAnswer, purchase};

use super::Gateway;
use super::exchange::{Errand, Exchange, Outgoing, SendFault};
use super::fields::Fields;
use super::request::Request;
use super::route::{Route, Step};
use super::state::Waited;
use super::wire::AnswerFault;

/// What a session's read was answered, as it came.
struct Whole {
    status: u16,
    media: Media,
    body: BytesMut,
}

impl Gateway {
    /// The facts of a commit, whose head and body these are.
    pub(super) async fn facts(
        &self,
        step: &Step,
        head: &Request,
        body: &Value<'_>,
        basis: Basis,
        waited: &Waited,
    ) -> Result<CheckoutFacts, NoFacts> {
        let preset = &step.route.preset;
        let read = preset.session.as_ref().filter(|_| preset.source == FactSource::Session);
        let Some(read) = read else { return purchase(preset, body, None, basis) };
        let out = session_request(step, read, head);
        let reading = self.exchange_whole(&step.route, read, &head.fields, &out);
        let whole = tokio::time::timeout(self.settings.session_deadline, reading);
        let whole = waited.during(&self.authority.clock, whole).await;
        let Whole { status, media, body: answered } = whole.map_err(|_| NoFacts::Unreachable("session_timeout"))??;
        let answer = SessionAnswer { status, coding: media.coding, body: &answered };
        purchase(preset, body, Some(answer), basis)
    }

    async fn exchange_whole(
        &self,
        route: &Route,
        read: &SessionRead,
        fields: &Fields,
        out: &Outgoing,
    ) -> Result<Whole, NoFacts> {
        let unreachable = |fault: AnswerFault| match fault {
            AnswerFault::TimedOut => NoFacts::Unreachable("session_timeout"),
            _ => NoFacts::Unreachable("session_failed"),
        };
        let sent = self.exchange.send(&route.upstream, out, self.settings.session_deadline).await;
        let (mut incoming, head) = sent.map_err(|fault| match fault {
            SendFault::NotSent => NoFacts::Unreachable("session_not_sent"),
            SendFault::Sent(fault) => unreachable(fault),
        })?;
        if read.rotates.iter().any(|name| head.fields.first(name).is_some_and(|new| !names(fields, read, new))) {
            return Err(NoFacts::Unknown("session_rotated"));
        }
        let mut body = BytesMut::new();
        while let Some(piece) = incoming.piece().await.map_err(unreachable)? {
            if body.len() + piece.len() > SESSION_MAX {
                return Err(NoFacts::Unknown("session_too_long"));
            }
            body.extend_from_slice(&piece);
        }
        Exchange::finish(&route.upstream, incoming);
        Ok(Whole { status: head.status, media: head.media(), body })
    }
}

/// The read carries the preset's credential headers and Host, and nothing else of the caller's.
fn session_request(step: &Step, read: &SessionRead, head: &Request) -> Outgoing {
    let fields = &head.fields;
    let mut bytes = Vec::with_capacity(512);
    let method = Method::from_bytes(read.pattern.method().as_bytes()).unwrap_or_default();
    let path = read.pattern.path_for(step.session.as_deref());
    let query = head.query().filter(|_| read.same_query).map_or_else(String::new, |query| format!("?{query}"));
    bytes.extend_from_slice(format!("{method} {}{path}{query} HTTP/1.1\r\n", step.route.prefix).as_bytes());
    let host = fields.all("host").map(|value| ("Host", value));
    let credentials = read.credentials.iter();
    let credentials = credentials.flat_map(|name| fields.all(name).map(|value| (name.as_str(), value)));
    for (name, value) in host.chain(credentials) {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    if let Some(body) = &read.body {
        let length = body.len();
        let framing = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
        bytes.extend_from_slice(framing.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(read.body.as_deref().unwrap_or_default().as_bytes());
    Outgoing { method, bytes: bytes.into(), errand: Errand::Execution }
}

/// True when the caller's credentials already hold this session: then it is no other one.
fn names(fields: &Fields, read: &SessionRead, session: &[u8]) -> bool {
    let mut sent = read.credentials.iter().flat_map(|name| fields.all(name));
    !session.is_empty() && sent.any(|value| value.windows(session.len()).any(|part| part == session))
}
