//! Why a call was refused. Two closed sets: judgements ([`ReasonCode`], published) and everything
//! that is not a judgement ([`Fault`], ours). contract.md holds names, statuses and precedence.

use std::fmt;

/// The published reason codes, in the order of precedence: of several, the first is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum ReasonCode {
    NoToken,
    InvalidSignature,
    TokenExpired,
    ScopeRestricted,
    StoreMismatch,
    IntentMismatch,
    VariantNotFound,
    StalePrice,
    RateLimited,
    PolicyDenied,
    ReplayDetected,
    /// A path that cannot be enforced; never an outage.
    EnforceNotAvailable,
}

impl ReasonCode {
    pub const ALL: [Self; 12] = [
        Self::NoToken,
        Self::InvalidSignature,
        Self::TokenExpired,
        Self::ScopeRestricted,
        Self::StoreMismatch,
        Self::IntentMismatch,
        Self::VariantNotFound,
        Self::StalePrice,
        Self::RateLimited,
        Self::PolicyDenied,
        Self::ReplayDetected,
        Self::EnforceNotAvailable,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "NO_TOKEN",
            Self::InvalidSignature => "INVALID_SIGNATURE",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::ScopeRestricted => "SCOPE_RESTRICTED",
            Self::StoreMismatch => "STORE_MISMATCH",
            Self::IntentMismatch => "INTENT_MISMATCH",
            Self::VariantNotFound => "VARIANT_NOT_FOUND",
            Self::StalePrice => "STALE_PRICE",
            Self::RateLimited => "RATE_LIMITED",
            Self::PolicyDenied => "POLICY_DENIED",
            Self::ReplayDetected => "REPLAY_DETECTED",
            Self::EnforceNotAvailable => "ENFORCE_NOT_AVAILABLE",
        }
    }

    /// HTTP status of a refusal for this reason.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::RateLimited => 429,
            _ => 403,
        }
    }

    /// What happened, in one sentence for the caller.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::NoToken => "this request needs an execution token and carries none",
            Self::InvalidSignature => "the execution token is malformed or not signed by a key that is trusted here",
            Self::TokenExpired => "the execution token has expired",
            Self::ScopeRestricted => "the scope of this call or token does not allow an execution",
            Self::StoreMismatch => "the execution token was issued for another store",
            Self::IntentMismatch => "what is being bought is not what the token authorises",
            Self::VariantNotFound => "the store does not sell this variant",
            Self::StalePrice => "the price of this variant was not confirmed recently enough",
            Self::RateLimited => "the allowance of this API key is used up for now",
            Self::PolicyDenied => "the policy of the store does not allow this",
            Self::ReplayDetected => "this execution token was already used",
            Self::EnforceNotAvailable => "this path cannot be enforced",
        }
    }

    /// What the caller can do next.
    #[must_use]
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::NoToken => {
                "request a token with POST /agents/v1/exec/authorize and send it as Permyx-Execution-Token"
            }
            Self::InvalidSignature => "request a new token with POST /agents/v1/exec/authorize and send it unchanged",
            Self::TokenExpired | Self::ReplayDetected => "request a new token with POST /agents/v1/exec/authorize",
            Self::ScopeRestricted => "request a token with scope agent_exec",
            Self::StoreMismatch => "request a token for this store",
            Self::IntentMismatch => "buy exactly what was authorised, or request a token for what is in the cart",
            Self::VariantNotFound => "check sourceVariantId against the store's catalog",
            Self::StalePrice => "read the current price from the store and authorize again",
            Self::RateLimited => "wait for the time in Retry-After",
            Self::PolicyDenied => "see `rule`, `observed` and `limit`; stay within the limit or ask the store",
            Self::EnforceNotAvailable => "use a checkout path that the store protects",
        }
    }

    /// True when the same call may succeed later with nothing but time or a fresh token.
    #[must_use]
    pub const fn retryable(self) -> bool {
        matches!(self, Self::TokenExpired | Self::StalePrice | Self::RateLimited)
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for ReasonCode {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// What is not a judgement: outages, conflicts with an execution under way, malformed requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Fault {
    LedgerUnavailable,
    LedgerQuarantine,
    EvidenceUnavailable,
    SessionUnavailable,
    InFlight,
    AlreadyExecuted,
    OutcomeUnknown,
    UpstreamUnavailable,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    Internal,
}

impl Fault {
    pub const ALL: [Self; 13] = [
        Self::LedgerUnavailable,
        Self::LedgerQuarantine,
        Self::EvidenceUnavailable,
        Self::SessionUnavailable,
        Self::InFlight,
        Self::AlreadyExecuted,
        Self::OutcomeUnknown,
        Self::UpstreamUnavailable,
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Internal,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LedgerUnavailable => "LEDGER_UNAVAILABLE",
            Self::LedgerQuarantine => "LEDGER_QUARANTINE",
            Self::EvidenceUnavailable => "EVIDENCE_UNAVAILABLE",
            Self::SessionUnavailable => "SESSION_UNAVAILABLE",
            Self::InFlight => "IN_FLIGHT",
            Self::AlreadyExecuted => "ALREADY_EXECUTED",
            Self::OutcomeUnknown => "OUTCOME_UNKNOWN",
            Self::UpstreamUnavailable => "UPSTREAM_UNAVAILABLE",
            Self::BadRequest => "BAD_REQUEST",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::Internal => "INTERNAL",
        }
    }

    /// Status unless the edge knows a more precise one (400, 405, 413, …; 502 or 504).
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::LedgerUnavailable | Self::LedgerQuarantine | Self::EvidenceUnavailable | Self::SessionUnavailable => {
                503
            }
            Self::InFlight | Self::AlreadyExecuted | Self::OutcomeUnknown => 409,
            Self::UpstreamUnavailable => 502,
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Internal => 500,
        }
    }

    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::LedgerUnavailable => "the burn ledger cannot be reached, so nothing was executed; try again shortly",
            Self::LedgerQuarantine => {
                "tokens issued before the ledger started are refused; request a new token after Retry-After"
            }
            Self::EvidenceUnavailable => "evidence cannot be written, so nothing was executed; try again shortly",
            Self::SessionUnavailable => {
                "the checkout session could not be read from the merchant, so nothing was executed"
            }
            Self::InFlight => "an execution with this token is under way; retry after Retry-After to learn its outcome",
            Self::AlreadyExecuted => "this execution was already carried out",
            Self::OutcomeUnknown => {
                "the request was sent to the merchant and no complete answer came back; it is never sent again"
            }
            Self::UpstreamUnavailable => "the merchant could not be reached and nothing was sent; the token is unused",
            Self::BadRequest => "the request is malformed",
            Self::Unauthorized => "a valid key is needed in X-API-Key",
            Self::Forbidden => "this key may not do this",
            Self::NotFound => "there is nothing here",
            Self::Internal => "something went wrong on our side; it is logged under this trace",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// contract.md, "Precedence, fixed and golden-tested".
    #[test]
    fn precedence_is_the_contract() {
        let order = ReasonCode::ALL.map(ReasonCode::as_str).join(" ");
        assert_eq!(
            order,
            "NO_TOKEN INVALID_SIGNATURE TOKEN_EXPIRED SCOPE_RESTRICTED STORE_MISMATCH INTENT_MISMATCH \
             VARIANT_NOT_FOUND STALE_PRICE RATE_LIMITED POLICY_DENIED REPLAY_DETECTED ENFORCE_NOT_AVAILABLE"
        );
        assert!(ReasonCode::ALL.is_sorted());
    }

    #[test]
    fn every_reason_is_403_but_the_allowance() {
        for reason in ReasonCode::ALL {
            let expected = if reason == ReasonCode::RateLimited { 429 } else { 403 };
            assert_eq!(reason.status(), expected);
        }
    }
}
