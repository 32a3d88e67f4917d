//! The kill switch in the lane: what is revoked is refused, and each command is recorded once, by
//! the process that it was given to.

use crate::model::event::{Event, EventKind};
use crate::model::ids::{AgentId, TraceId};
use crate::model::revocation::{Note, Revocation, Revoked, Subject};
use crate::model::time::Timestamp;
use crate::revocation::RevocationError;
use crate::token::verify::{Presented, TokenFault, Verified, verify};

use super::{Authority, Call};

impl Authority {
    /// Revokes by the word of an operator. What is revoked already stays as it is. Blocks the
    /// thread.
    pub fn revoke(
        &self,
        trace: TraceId,
        subject: Subject,
        reason: Note,
        by: &AgentId,
    ) -> Result<Revocation, RevocationError> {
        let (record, new) = self.revocations.revoke(subject, reason, by.into())?;
        if new {
            self.record(&revocation_event(&record, trace));
        }
        Ok(record)
    }

    /// Takes a revocation back. Blocks the thread.
    pub fn lift(&self, trace: TraceId, subject: Subject, by: &AgentId) -> Result<Revocation, RevocationError> {
        let record = self.revocations.lift(subject, Note::default(), by.into())?;
        self.record(&revocation_event(&record, trace));
        Ok(record)
    }

    pub(super) fn revoked(&self, call: &Call, token: &Verified) -> Option<Revoked> {
        self.revocations.snapshot().find(&call.store, token.agent(), Some(token.jti()))
    }

    /// Reads a token; a key that was revoked since signs nothing any more, not even what expired.
    pub(super) fn read(&self, token: Presented<'_>, now: Timestamp) -> Result<Verified, TokenFault> {
        let read = verify(token, &self.keys.snapshot(), now);
        let kid = match &read {
            Ok(token) => token.kid(),
            Err(TokenFault::Expired(token)) => token.kid(),
            Err(_) => return read,
        };
        if self.revocations.snapshot().has_key(kid) { Err(TokenFault::RevokedKey) } else { read }
    }
}

/// The record of a command.
#[must_use]
pub fn revocation_event(record: &Revocation, trace: TraceId) -> Event {
    let kind = if record.revoked { EventKind::RevocationAdded } else { EventKind::RevocationLifted };
    let mut event = Event::new(kind, record.at, trace);
    event.data.by = Some(record.by.to_string().into());
    event.data.cause =
        Some(record.reason.to_string().into()).filter(|cause: &crate::model::event::Text| !cause.is_empty());
    event.data.subject = Some(record.subject.to_string().into());
    match &record.subject {
        Subject::Token(jti) => event.of_token(*jti),
        Subject::Store(store) => {
            event.data.store_id = Some(store.clone());
            event
        }
        Subject::Agent(_) | Subject::Key(_) => event,
    }
}
