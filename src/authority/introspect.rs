//! Looking at a token without using it. Never burns, and never tells of other people's tokens.

use crate::decide::{self, Decision, Facts};
use crate::ledger::{Ledger, Namespace, Slot, Spent, State};
use crate::model::several::Several;
use crate::token::verify::{Presented, TokenFault, Verified};

use super::{Authority, Call};

/// What is known of a token.
#[derive(Debug)]
pub struct Introspection {
    /// Signed by a trusted key and within its time.
    pub valid: bool,
    pub expired: bool,
    /// The token, when a trusted key signed it. The edge decides who may see it.
    pub token: Option<Verified>,
    pub replay: ReplayStatus,
    /// Whether the policy would allow it now; `None` when nothing can be said.
    pub policy_allows: Option<bool>,
}

/// `replayStatus` of the published API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplayStatus {
    Unused,
    Consumed,
    Unknown,
}

impl ReplayStatus {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Consumed => "consumed",
            Self::Unknown => "unknown",
        }
    }
}

impl Authority {
    /// Looks at a token. `call_of` makes the call for the store that the verified token names.
    pub async fn introspect(
        &self,
        token: Presented<'_>,
        now: crate::model::time::Timestamp,
        call_of: impl FnOnce(&Verified) -> Call,
    ) -> Introspection {
        let (token, expired) = match self.read(token, now) {
            Ok(token) => (token, false),
            Err(TokenFault::Expired(token)) => (*token, true),
            Err(TokenFault::Invalid(_) | TokenFault::UnknownKey | TokenFault::RevokedKey) => {
                return Introspection {
                    valid: false,
                    expired: false,
                    token: None,
                    replay: ReplayStatus::Unknown,
                    policy_allows: None,
                };
            }
        };
        let call = call_of(&token);
        let counted = self.usage(&call, token.agent()).await.unwrap_or_default();
        let allowed = match decide::decide(&self.question(&call, &Several::one(&token), counted), Facts::NotVisible) {
            Decision::Allow(_) => true,
            Decision::Deny(_) => false,
        };
        let replay = self.replay_status(&token).await;
        Introspection { valid: !expired, expired, token: Some(token), replay, policy_allows: Some(allowed && !expired) }
    }

    async fn replay_status(&self, token: &Verified) -> ReplayStatus {
        let slot = Slot { namespace: Namespace::Enforce, store: token.store().clone(), jti: token.jti() };
        match self.ledger.entry(&slot).await.map(|entry| entry.map(|entry| entry.state)) {
            Ok(None) => ReplayStatus::Unused,
            Ok(Some(State::Spent(Spent::Burned | Spent::Indeterminate | Spent::Unexecuted))) => ReplayStatus::Consumed,
            Ok(Some(State::Reserved)) | Err(_) => ReplayStatus::Unknown,
        }
    }
}
