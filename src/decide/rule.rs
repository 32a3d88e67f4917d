//! One function for each rule. Each says the whole truth about its refusal.

use crate::model::ids::{StoreId, VariantId};
use crate::model::intent::Intent;
use crate::model::money::Price;
use crate::model::reason::ReasonCode;
use crate::model::revocation::Revoked;
use crate::model::scope::Scope;
use crate::model::several::Several;
use crate::model::time::Timestamp;
use crate::protocol::extract::CheckoutFacts;
use crate::token::verify::Verified;

use super::lines::differences;
use super::policy::Policy;
use super::velocity::{Exceeded, Usage};
use super::{Denial, Facts, Listing};

type Verdict = Result<(), Denial>;

pub(super) fn scope(signed: Option<Scope>, needed: Scope) -> Verdict {
    if signed == Some(needed) {
        return Ok(());
    }
    let signed = signed.map_or("an unknown scope", Scope::as_str);
    Err(Denial::by(ReasonCode::ScopeRestricted, "scope").found(signed, needed.as_str()))
}

pub(super) fn store(signed: &StoreId, here: &StoreId) -> Verdict {
    if signed == here {
        return Ok(());
    }
    Err(Denial::by(ReasonCode::StoreMismatch, "store").found(here.to_string(), signed.to_string()))
}

pub(super) fn facts(intents: &Several<&Intent>, facts: Facts<'_>) -> Verdict {
    match facts {
        Facts::Known(facts) => same_purchase(intents, facts),
        Facts::Unknown(cause) => {
            Err(Denial::by(ReasonCode::IntentMismatch, "intent_unknown").found(cause, "known facts"))
        }
        Facts::NotVisible => Ok(()),
    }
}

/// Exactly the variants, quantities, unit prices and currency that were authorised.
fn same_purchase(intents: &Several<&Intent>, facts: &CheckoutFacts) -> Verdict {
    let diff = differences(intents, &facts.lines);
    if diff.is_empty() {
        return Ok(());
    }
    Err(Denial { diff, ..Denial::by(ReasonCode::IntentMismatch, "intent") })
}

/// A cart belongs to one agent.
pub(super) fn one_agent(first: &Verified, other: &Verified) -> Verdict {
    if first.agent() == other.agent() {
        return Ok(());
    }
    let (first, other) = (first.agent().to_string(), other.agent().to_string());
    Err(Denial::by(ReasonCode::IntentMismatch, "cart.agent").found(other, first))
}

/// What is summed is of one currency, also where no fact of the cart says so.
pub(super) fn one_currency(intents: &Several<&Intent>) -> Verdict {
    let currency = intents.first().price.currency();
    match intents.more().iter().map(|intent| intent.price.currency()).find(|other| *other != currency) {
        Some(other) => {
            let denial = Denial::by(ReasonCode::IntentMismatch, "cart.currency");
            Err(denial.found(other.to_string(), currency.to_string()))
        }
        None => Ok(()),
    }
}

pub(super) fn listing(intent: &Intent, listing: Listing, policy: &Policy, now: Timestamp) -> Verdict {
    let (price, verified_at) = match listing {
        Listing::NoCatalog => return Ok(()),
        Listing::NotListed => {
            return Err(Denial::by(ReasonCode::VariantNotFound, "catalog.variant")
                .found(intent.variant.to_string(), "a listed variant"));
        }
        Listing::Listed { price, verified_at } => (price, verified_at),
    };
    let age_s = now.millis_since(verified_at) / 1000;
    if age_s > policy.price_max_age_s() {
        let limit = format!("{} s", policy.price_max_age_s());
        return Err(Denial::by(ReasonCode::StalePrice, "limits.price_max_age").found(format!("{age_s} s"), limit));
    }
    if price != intent.price {
        return Err(
            Denial::by(ReasonCode::StalePrice, "catalog.price").found(intent.price.to_string(), price.to_string())
        );
    }
    Ok(())
}

/// An operator's word counts before every limit.
pub(super) fn revoked(revoked: Option<Revoked>) -> Verdict {
    let Some(Revoked { kind, since }) = revoked else { return Ok(()) };
    Err(denied(kind.rule(), format!("revoked at {since}"), "not revoked"))
}

/// Everything that the policy says about one line by itself.
pub(super) fn line(intent: &Intent, policy: &Policy) -> Verdict {
    currency(intent, policy)?;
    variant(&intent.variant, policy)?;
    if let Some(most) = policy.max_quantity().filter(|most| intent.quantity.get() > *most) {
        return Err(denied("limits.max_quantity", intent.quantity, most));
    }
    if let Some(most) = policy.max_item_price().filter(|most| intent.price.minor() > most.minor()) {
        return Err(denied("limits.max_item_price", intent.price, most));
    }
    Ok(())
}

/// `total`: of all lines; `None` when it is too large for an amount.
pub(super) fn cart_value(total: Option<Price>, policy: &Policy) -> Verdict {
    let Some(most) = policy.max_cart_value() else { return Ok(()) };
    match total {
        Some(total) if total.minor() <= most.minor() => Ok(()),
        Some(total) => Err(denied("limits.max_cart_value", total, most)),
        None => Err(denied("limits.max_cart_value", "an amount out of range", most)),
    }
}

fn currency(intent: &Intent, policy: &Policy) -> Verdict {
    match policy.currency() {
        Some(only) if only != intent.price.currency() => Err(denied("currency", intent.price.currency(), only)),
        _ => Ok(()),
    }
}

fn variant(variant: &VariantId, policy: &Policy) -> Verdict {
    if let Some(pattern) = policy.denies_variant(variant) {
        return Err(denied("catalog.deny", variant, pattern));
    }
    if policy.allows_variant(variant) { Ok(()) } else { Err(denied("catalog.allow", variant, "an allowed variant")) }
}

pub(super) fn velocity(counted: Usage, amount: i64, policy: &Policy) -> Verdict {
    policy.velocity().admit(counted, amount).map_err(|exceeded| over_limit(exceeded, amount, policy))
}

/// The refusal of an order that would pass a limit. Of money it tells what the sum would be.
pub(super) fn over_limit(exceeded: Exceeded, amount: i64, policy: &Policy) -> Denial {
    let Exceeded { rule, counted, limit } = exceeded;
    let Some(currency) = policy.currency().filter(|_| rule.is_money()) else {
        return denied(rule.as_str(), counted, limit);
    };
    let told = |minor| {
        Price::of_minor(minor, currency).map_or_else(|| "an amount out of range".to_owned(), |price| price.to_string())
    };
    denied(rule.as_str(), told(counted.saturating_add(amount)), told(limit))
}

fn denied(rule: &'static str, observed: impl std::fmt::Display, limit: impl std::fmt::Display) -> Denial {
    Denial::by(ReasonCode::PolicyDenied, rule).found(observed.to_string(), limit.to_string())
}
