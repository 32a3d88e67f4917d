//! The order of reasons, and that restrictions only restrict.

mod cart;

use proptest::prelude::*;

use super::velocity::Usage;
use super::*;
use crate::model::ids::VariantId;
use crate::model::intent::Quantity;
use crate::model::money::Currency;
use crate::model::revocation::Kind;
use crate::protocol::extract::{Fact, Line};
use crate::token::issue::{Grant, Lifetime, issue};
use crate::token::keys::{KeyRing, SigningKey, key_set};
use crate::token::verify::{Presented, verify};

const NOW: Timestamp = Timestamp::of_seconds(1_800_000_000);

fn usd(minor: i64) -> Price {
    Price::of_minor(minor, Currency::parse("USD").unwrap()).unwrap()
}

fn intent(quantity: i64, minor: i64) -> Intent {
    Intent {
        store: StoreId::parse("store-123").unwrap(),
        variant: VariantId::parse("shopify:variant:123456").unwrap(),
        quantity: Quantity::new(quantity).unwrap(),
        price: usd(minor),
        scope: Scope::AgentExec,
    }
}

fn signed(intent: &Intent) -> Verified {
    signed_for("ak_test", intent)
}

fn signed_for(agent: &str, intent: &Intent) -> Verified {
    static KEY: std::sync::LazyLock<SigningKey> = std::sync::LazyLock::new(|| SigningKey::generate().unwrap());
    let agent = AgentId::parse(agent).unwrap();
    let grant =
        Grant { intent, agent: &agent, product: None, jti: Jti::random(), issued: NOW, lifetime: Lifetime::MAX };
    let text = issue(&KEY, &grant).unwrap().text;
    let (ring, _) = KeyRing::of_set(&key_set([KEY.public()]));
    verify(Presented::new(&text).unwrap(), &ring, NOW).unwrap()
}

fn cart(quantity: i64, minor: i64) -> CheckoutFacts {
    let line = Line {
        variant: Fact::Stated(intent(1, 1).variant),
        quantity: Fact::Stated(quantity),
        price: Fact::Stated(usd(minor)),
        currency: Fact::Stated(Currency::parse("USD").unwrap()),
    };
    CheckoutFacts { lines: vec![line], total: Fact::NotBound }
}

fn policy(rest: &str) -> Policy {
    Policy::parse(&format!("store = \"store-123\"\ncurrency = \"USD\"\n{rest}")).unwrap()
}

fn ask<'a>(token: &'a Verified, store: &'a StoreId, policy: &'a Policy) -> Question<'a> {
    Question {
        bids: Several::one(Bid {
            token,
            listing: Listing::Listed { price: usd(2999), verified_at: NOW },
            revoked: None,
        }),
        store,
        needs: Scope::AgentExec,
        policy,
        counted: Usage::default(),
        now: NOW,
    }
}

fn reason(decision: Decision) -> Option<ReasonCode> {
    match decision {
        Decision::Allow(_) => None,
        Decision::Deny(denial) => Some(denial.reason),
    }
}

fn rule(decision: Decision) -> Option<String> {
    match decision {
        Decision::Deny(Denial { reason: ReasonCode::PolicyDenied, rule, .. }) => rule.map(String::from),
        Decision::Allow(_) | Decision::Deny(_) => None,
    }
}

/// Everything is wrong at first; mending the first reason uncovers the next of the contract.
#[test]
fn reasons_come_in_the_published_order() {
    let strict = policy("[velocity]\norders_per_hour = 1\n");
    let (here, elsewhere) = (StoreId::parse("store-123").unwrap(), StoreId::parse("store-9").unwrap());
    let token = signed(&intent(1, 2999));
    let (right, wrong) = (cart(1, 2999), cart(2, 2999));
    let bid =
        Bid { token: &token, listing: Listing::NotListed, revoked: Some(Revoked { kind: Kind::Agent, since: NOW }) };
    let listed = |verified_at| Bid { listing: Listing::Listed { price: usd(2999), verified_at }, ..bid };
    let mut q = Question {
        bids: Several::one(bid),
        needs: Scope::Cart,
        counted: Usage { orders_last_hour: 1, ..Usage::default() },
        ..ask(&token, &elsewhere, &strict)
    };
    assert_eq!(reason(decide(&q, Facts::Known(&wrong))), Some(ReasonCode::ScopeRestricted));
    q.needs = Scope::AgentExec;
    assert_eq!(reason(decide(&q, Facts::Known(&wrong))), Some(ReasonCode::StoreMismatch));
    q.store = &here;
    assert_eq!(reason(decide(&q, Facts::Known(&wrong))), Some(ReasonCode::IntentMismatch));
    assert_eq!(reason(decide(&q, Facts::Known(&right))), Some(ReasonCode::VariantNotFound));
    q.bids = Several::one(listed(NOW.plus_seconds(-6 * 3600 - 1)));
    assert_eq!(reason(decide(&q, Facts::Known(&right))), Some(ReasonCode::StalePrice));
    q.bids = Several::one(listed(NOW.plus_seconds(-6 * 3600)));
    assert_eq!(rule(decide(&q, Facts::Known(&right))).as_deref(), Some("revoked.agent"));
    q.bids = Several::one(Bid { revoked: None, ..listed(NOW) });
    assert_eq!(rule(decide(&q, Facts::Known(&right))).as_deref(), Some("velocity.orders_per_hour"));
    q.counted = Usage::default();
    assert_eq!(reason(decide(&q, Facts::Known(&right))), None);
}

#[test]
fn a_mismatch_says_what_differs() {
    let (token, store, policy) = (signed(&intent(1, 2999)), StoreId::parse("store-123").unwrap(), policy(""));
    let Decision::Deny(denial) = decide(&ask(&token, &store, &policy), Facts::Known(&cart(3, 2998))) else {
        panic!("allowed a changed cart");
    };
    let diff: Vec<_> =
        denial.diff.iter().map(|d| (d.path.as_ref(), d.authorized.as_ref(), d.actual.as_ref())).collect();
    assert_eq!(diff, [("/quantity", "1", "3"), ("/price/amount", "29.99 USD", "29.98 USD")]);
}

#[test]
fn a_mismatch_repeats_no_number_of_a_card() {
    let (token, store, policy) = (signed(&intent(1, 2999)), StoreId::parse("store-123").unwrap(), policy(""));
    let card = 4_242_424_242_424_242;
    let Decision::Deny(denial) = decide(&ask(&token, &store, &policy), Facts::Known(&cart(card, card))) else {
        panic!("allowed a changed cart");
    };
    assert_eq!(denial.diff.iter().map(|d| d.actual.as_ref()).collect::<Vec<_>>(), ["a very long number"; 2]);
}

#[test]
fn an_added_line_is_a_mismatch() {
    let (token, store, policy) = (signed(&intent(1, 2999)), StoreId::parse("store-123").unwrap(), policy(""));
    let mut facts = cart(1, 2999);
    facts.lines.push(Line { variant: Fact::Stated(VariantId::parse("other").unwrap()), ..facts.lines[0].clone() });
    assert_eq!(reason(decide(&ask(&token, &store, &policy), Facts::Known(&facts))), Some(ReasonCode::IntentMismatch));
}

#[test]
fn unknown_facts_are_denied_and_named() {
    let (token, store, policy) = (signed(&intent(1, 2999)), StoreId::parse("store-123").unwrap(), policy(""));
    let Decision::Deny(denial) = decide(&ask(&token, &store, &policy), Facts::Unknown("items_absent")) else {
        panic!("allowed what nobody saw");
    };
    assert_eq!((denial.reason, denial.rule.as_deref()), (ReasonCode::IntentMismatch, Some("intent_unknown")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Adding a restriction never turns a refusal into a permission.
    #[test]
    fn restrictions_only_restrict(
        quantity in 1i64..=5, minor in 1i64..5000, cap in 1i64..5000, orders in 0u32..3, most in 1i64..5,
    ) {
        let intent = intent(quantity, minor);
        let loose = policy("");
        let strict = policy(&format!(
            "[limits]\nmax_cart_value = \"{}.00 USD\"\nmax_quantity = {most}\n[velocity]\norders_per_hour = {most}\n", cap
        ));
        let listing = Listing::Listed { price: usd(minor), verified_at: NOW };
        let orders = Usage { orders_last_hour: orders, ..Usage::default() };
        let loosely = authorize(&intent, &loose, listing, None, orders, NOW);
        let strictly = authorize(&intent, &strict, listing, None, orders, NOW);
        prop_assert!(loosely.is_ok() || strictly.is_err());
        prop_assert_eq!(authorize(&intent, &strict, listing, None, orders, NOW), strictly);
    }
}

#[test]
fn a_limit_of_money_tells_the_sum_that_it_would_be() {
    let limits = "[velocity]\nspend_per_day = \"50.00 USD\"\n";
    let counted = Usage { spent_last_day: 2999, ..Usage::default() };
    let denial = authorize(&intent(1, 2999), &policy(limits), Listing::NoCatalog, None, counted, NOW).unwrap_err();
    let told = (denial.rule.as_deref(), denial.observed.as_deref(), denial.limit.as_deref());
    assert_eq!(told, (Some("velocity.spend_per_day"), Some("59.98 USD"), Some("50.00 USD")));
}
