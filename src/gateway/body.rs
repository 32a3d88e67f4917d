//! The body of a commit: read whole within bounds, and the tokens in it. What is sent on is the body
//! as it came.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::model::json::Value;
use crate::protocol::deny::Refusal;

use super::Gateway;
use super::downstream::Downstream;
use super::fields::text;
use super::route::Route;
use super::state::Context;
use super::tokens::Tokens;

/// Longest wait for the next byte of a caller.
pub(super) const CALLER_SILENCE: Duration = Duration::from_secs(15);
/// Longest wait for the next piece of a body, a little longer than HTTP/1 has it of its own.
const PIECE: Duration = CALLER_SILENCE.saturating_add(Duration::from_secs(1));

/// Why there is no body to look at.
pub(super) enum NoBody {
    /// Not a byte of it was read: it can still be passed on as it is.
    Untouched(Refusal),
    /// It broke off, came too slowly or grew too long while it was read.
    Broken(Refusal),
}

impl Gateway {
    /// Reads the whole body within its bounds.
    pub(super) async fn body(
        &self,
        session: &mut Downstream<'_>,
        ctx: &Context,
        enforced: bool,
    ) -> Result<Bytes, NoBody> {
        if let Some(body) = session.body_at_hand() {
            return Ok(body);
        }
        let too_long = || {
            Refusal::malformed(413, "body", format!("a body may have at most {} bytes here", self.settings.body_max))
        };
        let length = session.request().fields.first("content-length");
        let length = length.and_then(|length| text(length)?.parse::<usize>().ok());
        let empty = session.is_body_empty();
        match length {
            Some(length) if length > self.settings.body_max => return Err(NoBody::Untouched(too_long())),
            // A chunked body cannot be given back once it was read, so observing leaves it alone.
            None if !enforced && !empty => return Err(NoBody::Untouched(too_long())),
            _ => {}
        }
        if session.request().fields.has("expect") && !empty {
            session.write_continue_response().await;
        }
        let reading = async {
            // HTTP/2 has no limit of its own for a piece that does not come.
            let mut next = async || tokio::time::timeout(PIECE, session.read_request_body()).await;
            // Most bodies come in one piece, which is the body then.
            let mut body = Bytes::new();
            while let Some(piece) = next().await.map_err(|_| too_late())?.map_err(|_| cut_off())? {
                if body.len() + piece.len() > self.settings.body_max {
                    return Err(too_long());
                }
                body = if body.is_empty() { piece } else { joined(body, &piece, length) };
            }
            Ok(body)
        };
        // Observing blocks nothing: there a slow caller has as long as on an unguarded path.
        let deadline = if enforced { self.settings.body_deadline } else { Duration::MAX };
        match ctx.waited.during(&self.authority.clock, tokio::time::timeout(deadline, reading)).await {
            Ok(done) => done.map_err(NoBody::Broken),
            Err(_) => Err(NoBody::Broken(too_late())),
        }
    }
}

/// Both, with room for as many bytes as were announced.
fn joined(body: Bytes, piece: &[u8], length: Option<usize>) -> Bytes {
    let mut body = BytesMut::from(body);
    body.reserve(length.unwrap_or(0).saturating_sub(body.len()).max(piece.len()));
    body.extend_from_slice(piece);
    body.freeze()
}

fn too_late() -> Refusal {
    Refusal::malformed(408, "body", "send the whole body sooner")
}

fn cut_off() -> Refusal {
    Refusal::malformed(400, "body", "the body ended before its announced length, or its framing is not valid")
}

/// The tokens of a commit, from the header or from where the preset allows them in the body.
pub(super) fn tokens(
    route: &Arc<Route>,
    header: Option<Tokens>,
    body: Option<&Value<'_>>,
) -> Result<Option<Tokens>, Refusal> {
    let places = route.preset.token_pointers.iter();
    let found = body.and_then(|body| places.into_iter().find_map(|place| Some((place.as_str(), place.find(body)?))));
    let Some((pointer, value)) = found else { return Ok(header) };
    let texts = match value {
        Value::Array(items) => items.iter().map(Value::as_str).collect::<Option<Vec<_>>>(),
        value => value.as_str().map(|text| vec![text]),
    };
    let Some(texts) = texts else {
        return Err(Refusal::malformed(400, pointer, "write the token as a string, or several as an array of strings"));
    };
    let in_body = Tokens::of(pointer, texts.into_iter())?;
    match header {
        Some(header) if !header.are_those_of(&in_body) => {
            Err(Refusal::malformed(400, pointer, "the tokens in header and body differ"))
        }
        header => Ok(header.or(Some(in_body))),
    }
}
