//! Issue of authority: judge the intent, record the decision, sign.

use crate::decide;
use crate::decide::policy::Mode;
use crate::model::event::{Event, EventKind};
use crate::model::ids::{AgentId, Jti, ProductId};
use crate::model::intent::Intent;
use crate::token::issue::{Grant, IssuedToken, issue};
use crate::token::keys::KeyError;

use super::{Authority, Call, Passage, Refused};

/// Why a token could not be issued though the call is allowed to have one.
#[derive(Debug, thiserror::Error)]
pub enum CannotIssue {
    #[error("this process holds no signing key")]
    NoKey,
    #[error("every signing key is revoked: make another one with `permyx keys rotate --lead 0s`")]
    Revoked,
    #[error("the signing key cannot sign")]
    Key(#[from] KeyError),
}

/// A refusal of the judgement, or a failure of our own.
#[derive(Debug)]
pub enum NotIssued {
    Refused(Refused),
    Failed(CannotIssue),
}

impl Authority {
    /// Judges the intent and issues a token for it. The record is written before the token leaves.
    pub async fn authorize(
        &self,
        call: &Call,
        intent: &Intent,
        agent: &AgentId,
        product: &ProductId,
    ) -> Result<IssuedToken, NotIssued> {
        // A token that the ledger would refuse is not issued.
        let counted = self.usage(call, agent).await.map_err(|error| NotIssued::Refused(error.into()))?;
        let listing = self.listing(&call.store, &intent.variant);
        let revoked = self.revocations.snapshot().find(&call.store, agent, None);
        if let Err(denial) = decide::authorize(intent, &call.policy, listing, revoked, counted, call.now) {
            return Err(NotIssued::Refused(self.not_authorized(call, intent, agent, denial.into())));
        }
        let (jti, token) = self.sign(call, intent, agent, product).map_err(NotIssued::Failed)?;
        let mut event = intent_event(call, EventKind::ExecutionAuthorized, intent, agent).of_token(jti);
        event.data.decision = Some("allowed");
        event.data.expires_at = Some(token.expires);
        if let Err(error) = self.write(&event).await
            && self.outage(call) == Passage::Closed
        {
            return Err(NotIssued::Refused(error.into()));
        }
        self.count_decision(call, None);
        self.metrics.tokens_issued.inc();
        Ok(token)
    }

    fn sign(
        &self,
        call: &Call,
        intent: &Intent,
        agent: &AgentId,
        product: &ProductId,
    ) -> Result<(Jti, IssuedToken), CannotIssue> {
        let issuer = self.issuer.as_ref().ok_or(CannotIssue::NoKey)?.snapshot();
        let jti = Jti::random();
        let lifetime = call.policy.token_lifetime();
        let grant = Grant { intent, agent, product: Some(product), jti, issued: call.now, lifetime };
        let revocations = self.revocations.snapshot();
        let signer = issuer.signers().find(|key| !revocations.has_key(key.kid())).ok_or(CannotIssue::Revoked)?;
        Ok((jti, issue(signer, &grant)?))
    }

    fn not_authorized(&self, call: &Call, intent: &Intent, agent: &AgentId, refused: Refused) -> Refused {
        self.count_decision(call, Some(refused.code()));
        let mut event = intent_event(call, EventKind::ExecutionDenied, intent, agent);
        let told = call.refused_event(None, &refused).data;
        event.data.decision = told.decision;
        event.data.reason_code = told.reason_code;
        event.data.rule = told.rule;
        event.data.observed = told.observed;
        event.data.limit = told.limit;
        self.record_refusal(&event, call.caller.clone());
        refused
    }
}

/// An authorisation is a judgement of the store's policy whatever its mode: observing a checkout
/// does not mean that everybody is given tokens.
fn intent_event(call: &Call, kind: EventKind, intent: &Intent, agent: &AgentId) -> Event {
    let mut event = call.event(kind, None);
    let data = &mut event.data;
    data.agent_id = Some(agent.clone());
    data.enforcement = Some(Mode::Enforce.as_str());
    data.scope = Some(intent.scope);
    data.intent_hash = Some(intent.hash());
    data.variant_id = Some(intent.variant.to_string().into());
    data.quantity = Some(intent.quantity.get());
    data.price = Some(intent.price.to_string().into());
    event
}
