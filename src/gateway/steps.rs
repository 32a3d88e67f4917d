//! Requests whose body is read before it is known which step they are (GraphQL), and the reading.

use bytes::Bytes;

use crate::decide::Denial;
use crate::model::reason::ReasonCode;
use crate::model::signal::State;
use crate::protocol::body::does;
use crate::protocol::graphql::Does;
use crate::protocol::order::AnswerKey;
use crate::protocol::preset::Phase;

use super::Gateway;
use super::body::NoBody;
use super::downstream::Downstream;
use super::guard::Guarded;
use super::route::Kind;
use super::state::{Context, Decided};
use super::tokens::Tokens;

/// What became of a request whose body was to be read.
pub(super) enum Taken {
    Body(Box<Guarded>, Bytes),
    /// It was refused (`true`), or passes unread (`false`).
    Answered(bool),
}

impl Gateway {
    /// Reads the body. Where it cannot be read, enforcing refuses; observing passes the request as it
    /// is and records that.
    pub(super) async fn take_body(
        &self,
        session: &mut Downstream<'_>,
        ctx: &mut Context,
        mut guarded: Box<Guarded>,
        has_token: bool,
    ) -> pingora::Result<Taken> {
        let refusal = match self.body(session, ctx, guarded.enforced()).await {
            Ok(body) => return Ok(Taken::Body(guarded, body)),
            Err(NoBody::Untouched(_)) if !guarded.enforced() => {
                self.meet(session, &mut guarded, if has_token { State::Present } else { State::Absent });
                let cause = Denial::by(ReasonCode::IntentMismatch, "intent_unknown");
                let refused = has_token.then(|| cause.found("body_not_read", "a readable body").into());
                let _ = self.authority.observe(&guarded.call, &guarded.observed(None, refused.as_ref())).await;
                let onward = Box::pin(self.onward(session, ctx, guarded, Decided::Observed, None));
                return onward.await.map(Taken::Answered);
            }
            Err(NoBody::Untouched(refusal) | NoBody::Broken(refusal)) => refusal,
        };
        self.refuse(session, ctx, &refusal, guarded.dialect()).await.map(Taken::Answered)
    }

    /// Finds out from its body which step a request is, and takes it.
    pub(super) async fn by_body(
        &self,
        session: &mut Downstream<'_>,
        ctx: &mut Context,
        guarded: Box<Guarded>,
        tokens: Option<Tokens>,
    ) -> pingora::Result<bool> {
        let (mut guarded, body) = match self.take_body(session, ctx, guarded, tokens.is_some()).await? {
            Taken::Body(guarded, body) => (guarded, body),
            Taken::Answered(answered) => return Ok(answered),
        };
        let (preset, query) = (&guarded.step.route.preset, session.request().query());
        let does = does(preset, guarded.step.media, &body, query, self.settings.body_max);
        match (does, tokens) {
            (Does::Commit { key, renamed }, tokens) => {
                guarded.step.kind = Kind::Phase(Phase::Complete);
                guarded.key = Some(AnswerKey { name: key, renamed });
                match tokens {
                    None => self.tokenless(session, ctx, guarded, Some(body)).await,
                    tokens => self.commit(session, ctx, guarded, tokens, body).await,
                }
            }
            (Does::Amend, _) => {
                self.take_turn_to_amend(ctx, &guarded, Phase::Update).await;
                self.onward(session, ctx, guarded, Decided::Unguarded, Some(body)).await
            }
            (Does::Read, _) => self.onward(session, ctx, guarded, Decided::Unguarded, Some(body)).await,
            (Does::Unrecognised(cause), Some(_)) => self.unrecognised(session, ctx, guarded, cause, Some(body)).await,
            (Does::Unrecognised(_), None) => self.tokenless(session, ctx, guarded, Some(body)).await,
        }
    }
}
