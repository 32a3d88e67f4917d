//! Floor 2: judgement. Pure functions over values: no clock, no file, no randomness, no waiting.
//!
//! [`screen`] and [`decide`] hold the order of reasons: the order of their lines IS the published
//! precedence. A denial is a value; what cannot be decided never comes here.

mod lines;
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
use crate::model::several::Several;
use crate::model::time::Timestamp;
use crate::protocol::extract::CheckoutFacts;
use crate::protocol::order::OrderFacts;
use crate::token::verify::Verified;

use policy::Policy;
use velocity::{Exceeded, Limits, Usage};

/// One token of a purchase, and what is known of what it buys.
#[derive(Clone, Copy)]
pub struct Bid<'a> {
    pub token: &'a Verified,
    pub listing: Listing,
    /// What of this token is revoked.
    pub revoked: Option<Revoked>,
}

/// Everything that a judgement of a purchase depends on. One policy snapshot, one instant.
#[derive(Clone)]
pub struct Question<'a> {
    /// In the order in which the tokens were presented.
    pub bids: Several<Bid<'a>>,
    /// The store whose checkout this is.
    pub store: &'a StoreId,
    /// The scope that the route needs.
    pub needs: Scope,
    pub policy: &'a Policy,
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

/// The right to try to burn the tokens of one purchase. Only [`decide`] makes one.
#[derive(Debug)]
pub struct Permit {
    agent: AgentId,
    price_verified: bool,
    limits: Limits,
    amount: i64,
}

impl Permit {
    /// To whom all of the tokens belong.
    #[must_use]
    pub fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// What the policy limits, for the ledger to count against.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Quantity × unit price of all lines, in minor units.
    #[must_use]
    pub fn amount(&self) -> i64 {
        self.amount
    }

    /// False where no catalog could confirm a price.
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
    /// The token that it is about, where it is about one of several.
    pub token: Option<Jti>,
}

impl Denial {
    #[must_use]
    pub fn of(reason: ReasonCode) -> Self {
        Self { reason, rule: None, observed: None, limit: None, diff: Vec::new(), token: None }
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

    #[must_use]
    pub fn about(mut self, token: &Verified) -> Self {
        self.token = Some(token.jti());
        self
    }
}

/// Of several refusals the first in the order of reasons is told, and whose it is.
fn each<'a>(verdicts: impl Iterator<Item = (&'a Verified, Result<(), Denial>)>) -> Result<(), Denial> {
    let mut told: Result<(), Denial> = Ok(());
    for (token, verdict) in verdicts {
        if let Err(denial) = verdict
            && told.as_ref().err().is_none_or(|earlier| denial.reason < earlier.reason)
        {
            told = Err(denial.about(token));
        }
    }
    told
}

/// The judgements that need no facts of the cart and come before those that do. Asked before a
/// session is read, so that a hopeless token costs the merchant nothing.
pub fn screen(q: &Question<'_>) -> Result<(), Denial> {
    let tokens = || q.bids.iter().map(|bid| bid.token);
    each(tokens().map(|token| (token, rule::scope(token.scope(), q.needs))))?;
    each(tokens().map(|token| (token, rule::store(token.store(), q.store))))?;
    each(tokens().map(|token| (token, rule::one_agent(q.bids.first().token, token))))
}

/// What is revoked is refused, whatever could not be found out about the purchase.
pub fn unrevoked(revoked: Option<Revoked>) -> Result<(), Denial> {
    rule::revoked(revoked)
}

/// Judges tokens against what is being bought. The order of the lines is the precedence.
pub fn decide(q: &Question<'_>, facts: Facts<'_>) -> Decision {
    match judge(q, facts) {
        Ok(permit) => Decision::Allow(permit),
        Err(denial) => Decision::Deny(denial),
    }
}

fn judge(q: &Question<'_>, facts: Facts<'_>) -> Result<Permit, Denial> {
    screen(q)?;
    let no_intent = |token| Denial::by(ReasonCode::IntentMismatch, "token.intent").about(token);
    let intents = q.bids.try_map(|bid| bid.token.intent().ok_or_else(|| no_intent(bid.token)))?;
    same_purchase(&intents, facts)?;
    let bids = || q.bids.iter().zip(intents.iter());
    each(bids().map(|(bid, intent)| (bid.token, rule::listing(intent, bid.listing, q.policy, q.now))))?;
    each(bids().map(|(bid, _)| (bid.token, rule::revoked(bid.revoked))))?;
    each(bids().map(|(bid, intent)| (bid.token, rule::line(intent, q.policy))))?;
    let total = total(&intents);
    rule::cart_value(total, q.policy)?;
    let amount = amount(total);
    rule::velocity(q.counted, amount, q.policy)?;
    Ok(Permit {
        agent: q.bids.first().token.agent().clone(),
        price_verified: q.bids.iter().all(|bid| matches!(bid.listing, Listing::Listed { .. })),
        limits: q.policy.velocity(),
        amount,
    })
}

/// What was ordered and differs from what was authorised, or costs another total than what was
/// `read` just before; nothing where the two agree. `None` where the answer repeats neither.
#[must_use]
pub fn drift(intents: &Several<&Intent>, read: Option<Price>, ordered: &OrderFacts) -> Option<Vec<Diff>> {
    lines::drift(intents, read, ordered)
}

/// Whether exactly what was authorised is bought, and in one currency.
pub fn same_purchase(intents: &Several<&Intent>, facts: Facts<'_>) -> Result<(), Denial> {
    rule::facts(intents, facts)?;
    rule::one_currency(intents)
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
    rule::line(intent, policy)?;
    let total = total(&Several::one(intent));
    rule::cart_value(total, policy)?;
    rule::velocity(counted, amount(total), policy)
}

/// What all lines cost together; `None` when it is too large for an amount.
fn total(intents: &Several<&Intent>) -> Option<Price> {
    let price = |intent: &&Intent| intent.price.times(intent.quantity.get());
    intents.more().iter().try_fold(price(intents.first())?, |sum, intent| sum.plus(price(intent)?))
}

/// What an order spends. One that is too large for an amount passes every limit of money.
fn amount(total: Option<Price>) -> i64 {
    total.map_or(i64::MAX, Price::minor)
}

/// The refusal of an order that the ledger found to pass a limit.
#[must_use]
pub fn over_limit(exceeded: Exceeded, permit: &Permit, policy: &Policy) -> Denial {
    rule::over_limit(exceeded, permit.amount, policy)
}

#[cfg(test)]
mod tests;
