//! Floor 2: judgement. Pure functions over values: no clock, no file, no randomness, no waiting.
//!
//! [`screen`] and [`decide`] hold the order of reasons: the order of their lines IS the published
//! precedence. A denial is a value; what cannot be decided never comes here.

pub mod policy;
mod rule;
pub mod velocity;

use crate::model::event::{Diff, Text};
use crate::model::ids::{AgentId, Jti, StoreId};
use crate::model::intent::Intent;
use crate::model::money::Price;
use crate::model::reason::ReasonCode;
use crate::model::revocation::Revoked;
use crate::model::scope::Scope;
use crate::model::time::Timestamp;
use crate::protocol::extract::CheckoutFacts;
use crate::token::verify::Verified;

use policy::Policy;
use velocity::{Exceeded, Limits, Usage};

/// Everything that a judgement of a token depends on. One policy snapshot, one instant.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub token: &'a Verified,
    /// The store whose checkout this is.
    pub store: &'a StoreId,
    /// The scope that the route needs.
    pub needs: Scope,
    pub policy: &'a Policy,
    pub listing: Listing,
    /// What of this token is revoked.
    pub revoked: Option<Revoked>,
    /// What was counted for this agent in this store, where it is known before the ledger counts.
    pub counted: Usage,
    pub now: Timestamp,
}

/// What the store's catalog says of the variant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listing {
    /// The store has no catalog here: price and variant are not judged (README decision 18).
    NoCatalog,
    /// The catalog does not have this variant.
    NotListed,
    Listed {
        price: Price,
        verified_at: Timestamp,
    },
}

/// What is being bought, as far as it can be seen here.
#[derive(Clone, Copy, Debug)]
pub enum Facts<'a> {
    Known(&'a CheckoutFacts),
    /// It should be visible here and is not; the text says why.
    Unknown(&'static str),
    /// The published `validate` call cannot see the cart.
    NotVisible,
}

/// A judgement.
#[must_use]
#[derive(Debug)]
pub enum Decision {
    Allow(Permit),
    Deny(Denial),
}

/// The right to try to burn one token. Only [`decide`] makes one.
#[derive(Debug)]
pub struct Permit {
    jti: Jti,
    intent: Intent,
    agent: AgentId,
    issued: Timestamp,
    price_verified: bool,
    limits: Limits,
    amount: i64,
}

impl Permit {
    #[must_use]
    pub fn jti(&self) -> Jti {
        self.jti
    }

    #[must_use]
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    #[must_use]
    pub fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// When the token was issued.
    #[must_use]
    pub fn issued(&self) -> Timestamp {
        self.issued
    }

    /// What the policy limits, for the ledger to count against.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Quantity × unit price, in minor units.
    #[must_use]
    pub fn amount(&self) -> i64 {
        self.amount
    }

    /// False where no catalog could confirm the price.
    #[must_use]
    pub fn price_verified(&self) -> bool {
        self.price_verified
    }
}

/// A refusal with what explains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub reason: ReasonCode,
    /// The rule that decided (`limits.max_quantity`), where there is a more precise one.
    pub rule: Option<Text>,
    pub observed: Option<Text>,
    pub limit: Option<Text>,
    pub diff: Vec<Diff>,
}

impl Denial {
    #[must_use]
    pub fn of(reason: ReasonCode) -> Self {
        Self { reason, rule: None, observed: None, limit: None, diff: Vec::new() }
    }

    #[must_use]
    pub fn by(reason: ReasonCode, rule: impl Into<Text>) -> Self {
        Self { rule: Some(rule.into()), ..Self::of(reason) }
    }

    #[must_use]
    pub fn found(mut self, observed: impl Into<Text>, limit: impl Into<Text>) -> Self {
        self.observed = Some(observed.into());
        self.limit = Some(limit.into());
        self
    }
}

/// The judgements that need no facts of the cart and come before those that do. Asked before a
/// session is read, so that a hopeless token costs the merchant nothing.
pub fn screen(q: &Question<'_>) -> Result<(), Denial> {
    rule::scope(q.token.scope(), q.needs)?;
    rule::store(q.token.store(), q.store)
}

/// What is revoked is refused, whatever could not be found out about the purchase.
pub fn unrevoked(revoked: Option<Revoked>) -> Result<(), Denial> {
    rule::revoked(revoked)
}

/// Judges a token against what is being bought. The order of the lines is the precedence.
pub fn decide(q: &Question<'_>, facts: Facts<'_>) -> Decision {
    match judge(q, facts) {
        Ok(permit) => Decision::Allow(permit),
        Err(denial) => Decision::Deny(denial),
    }
}

fn judge(q: &Question<'_>, facts: Facts<'_>) -> Result<Permit, Denial> {
    screen(q)?;
    let intent = q.token.intent().ok_or_else(|| Denial::by(ReasonCode::IntentMismatch, "token.intent"))?;
    rule::facts(intent, facts)?;
    rule::listing(intent, q.listing, q.policy, q.now)?;
    rule::revoked(q.revoked)?;
    rule::limits(intent, q.policy)?;
    let amount = amount(intent);
    rule::velocity(q.counted, amount, q.policy)?;
    Ok(Permit {
        jti: q.token.jti(),
        intent: intent.clone(),
        agent: q.token.agent().clone(),
        issued: q.token.issued(),
        price_verified: matches!(q.listing, Listing::Listed { .. }),
        limits: q.policy.velocity(),
        amount,
    })
}

/// Judges a request for a token. The same rules in the same order, without a token or a cart.
pub fn authorize(
    intent: &Intent,
    policy: &Policy,
    listing: Listing,
    revoked: Option<Revoked>,
    counted: Usage,
    now: Timestamp,
) -> Result<(), Denial> {
    rule::scope(Some(intent.scope), Scope::AgentExec)?;
    rule::listing(intent, listing, policy, now)?;
    rule::revoked(revoked)?;
    rule::limits(intent, policy)?;
    rule::velocity(counted, amount(intent), policy)
}

/// What an order spends. One that is too large for an amount passes every limit of money.
fn amount(intent: &Intent) -> i64 {
    intent.price.times(intent.quantity.get()).map_or(i64::MAX, Price::minor)
}

/// The refusal of an order that the ledger found to pass a limit.
#[must_use]
pub fn over_limit(exceeded: Exceeded, permit: &Permit, policy: &Policy) -> Denial {
    rule::over_limit(exceeded, permit.amount, policy)
}

#[cfg(test)]
mod tests;
