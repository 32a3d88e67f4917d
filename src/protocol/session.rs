//! What is being bought: from the committing request, or from what the merchant's session read was
//! answered (README decisions 14 and 15). Where facts come from is the preset's word, never chance.

use crate::model::json::{Value, read_object};

use super::coding::decoded;
use super::extract::{CheckoutFacts, contradicts, facts};
use super::media::Coding;
use super::preset::{Basis, FactSource, Preset, SessionRead};

/// Longest session that is read, in bytes.
pub const SESSION_MAX: usize = 1024 * 1024;

/// Why the facts are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoFacts {
    /// The request or the session does not say.
    Unknown(&'static str),
    /// The merchant could not be asked.
    Unreachable(&'static str),
    /// The committing request names another purchase than the session.
    Contradicted,
}

/// What the read of a session was answered, whole.
#[derive(Debug, Clone, Copy)]
pub struct SessionAnswer<'b> {
    pub status: u16,
    /// `None`: a coding that we cannot undo.
    pub coding: Option<Coding>,
    pub body: &'b [u8],
}

/// The facts of a commit. `document` is the committing request's; `session` is `None` where the
/// preset reads none.
pub fn purchase(
    preset: &Preset,
    document: &Value<'_>,
    session: Option<SessionAnswer<'_>>,
    basis: Basis,
) -> Result<CheckoutFacts, NoFacts> {
    match (preset.source, &preset.session, session) {
        (FactSource::Request, ..) => facts(preset, document, basis).map_err(|unknown| NoFacts::Unknown(unknown.0)),
        (FactSource::Session, Some(read), Some(answer)) => {
            let facts = answer.facts(preset, read, basis)?;
            if contradicts(preset, document, &facts, basis) { Err(NoFacts::Contradicted) } else { Ok(facts) }
        }
        (FactSource::Session, ..) => Err(NoFacts::Unknown("session_cannot_be_read")),
    }
}

impl SessionAnswer<'_> {
    fn facts(self, preset: &Preset, read: &SessionRead, basis: Basis) -> Result<CheckoutFacts, NoFacts> {
        match self.status {
            200 => {}
            401 | 403 => return Err(NoFacts::Unknown("session_refused")),
            404 | 410 => return Err(NoFacts::Unknown("session_not_found")),
            500.. => return Err(NoFacts::Unreachable("session_error")),
            _ => return Err(NoFacts::Unknown("session_answer")),
        }
        let coding = self.coding.ok_or(NoFacts::Unknown("session_encoded"))?;
        let plain = decoded(self.body, coding, SESSION_MAX).map_err(|_| NoFacts::Unknown("session_encoded"))?;
        let answer = read_object(&plain).map_err(|_| NoFacts::Unknown("session_is_not_a_json_object"))?;
        let answer = Value::Object(answer);
        let session = read.root.find(&answer).filter(|session| **session != Value::Null);
        let session = session.ok_or(NoFacts::Unknown("session_not_found"))?;
        if read.over.is(session) {
            return Err(NoFacts::Unknown("session_over"));
        }
        facts(preset, session, basis).map_err(|unknown| NoFacts::Unknown(unknown.0))
    }
}
