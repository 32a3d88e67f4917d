//! Several tokens for one cart: exactly one line for each, in whatever order both stand.

use proptest::sample::Index;

use super::*;

/// What the tokens of these tests are for. Two of them are for one variant at two prices.
const OFFERS: [(&str, i64, i64); 6] =
    [("a", 1, 100), ("b", 2, 250), ("c", 3, 999), ("d", 1, 100), ("e", 5, 1), ("a", 2, 120)];

fn offer((variant, quantity, minor): (&str, i64, i64)) -> Intent {
    Intent { variant: VariantId::parse(variant).unwrap(), ..intent(quantity, minor) }
}

/// Signed once: the tests ask for them many times.
static TOKENS: std::sync::LazyLock<Vec<Verified>> =
    std::sync::LazyLock::new(|| OFFERS.into_iter().map(|each| signed(&offer(each))).collect());

fn line((variant, quantity, minor): (&str, i64, i64)) -> Line {
    let variant = Fact::Stated(VariantId::parse(variant).unwrap());
    Line { variant, ..cart(quantity, minor).lines.remove(0) }
}

fn answer(tokens: &[&Verified], lines: Vec<Line>, rest: &str) -> Result<Permit, Denial> {
    let (store, policy) = (StoreId::parse("store-123").unwrap(), policy(rest));
    let bids = tokens.iter().map(|token| Bid { token, listing: Listing::NoCatalog, revoked: None });
    let question = Question { bids: Several::of(bids).unwrap(), ..ask(tokens[0], &store, &policy) };
    match decide(&question, Facts::Known(&CheckoutFacts { lines, total: Fact::NotBound })) {
        Decision::Allow(permit) => Ok(permit),
        Decision::Deny(denial) => Err(denial),
    }
}

fn differences(denial: &Denial) -> Vec<(&str, &str, &str)> {
    denial.diff.iter().map(|diff| (diff.path.as_ref(), diff.authorized.as_ref(), diff.actual.as_ref())).collect()
}

/// One change after which a cart is another purchase.
#[derive(Clone, Debug)]
enum Change {
    Nothing,
    AddLine,
    RemoveLine(Index),
    Quantity(Index),
    UnitPrice(Index),
    Variant(Index),
    Senseless(Index),
    OneTokenTooMany,
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        3 => Just(Change::Nothing),
        1 => Just(Change::AddLine),
        1 => at().prop_map(Change::RemoveLine),
        1 => at().prop_map(Change::Quantity),
        1 => at().prop_map(Change::UnitPrice),
        1 => at().prop_map(Change::Variant),
        1 => at().prop_map(Change::Senseless),
        1 => Just(Change::OneTokenTooMany),
    ]
}

impl Change {
    fn made(&self, lines: &mut Vec<Line>) {
        match self {
            Self::Nothing | Self::OneTokenTooMany => {}
            Self::AddLine => lines.push(line(("other", 1, 1))),
            Self::RemoveLine(at) => drop(lines.remove(at.index(lines.len()))),
            Self::Quantity(at) => at.get_mut(lines).quantity = Fact::Stated(4),
            Self::UnitPrice(at) => at.get_mut(lines).price = Fact::Stated(usd(7)),
            Self::Variant(at) => at.get_mut(lines).variant = line(("other", 1, 1)).variant,
            Self::Senseless(at) => at.get_mut(lines).quantity = Fact::Senseless("1.5".into()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the order of tokens and lines is, the same purchase passes and every other does not.
    #[test]
    fn a_cart_is_bought_exactly_as_it_was_authorised(
        tokens in Just((0..OFFERS.len()).collect::<Vec<_>>()).prop_shuffle(),
        lines in Just((0..OFFERS.len()).collect::<Vec<_>>()).prop_shuffle(),
        count in 1..OFFERS.len(),
        change in change(),
    ) {
        let chosen = &tokens[..count];
        let mut cart: Vec<_> = lines.into_iter().filter(|n| chosen.contains(n)).map(|n| line(OFFERS[n])).collect();
        change.made(&mut cart);
        let shown = if matches!(change, Change::OneTokenTooMany) { count + 1 } else { count };
        let shown: Vec<_> = tokens[..shown].iter().map(|n| &TOKENS[*n]).collect();
        let answer = answer(&shown, cart, "");
        if matches!(change, Change::Nothing) {
            let sum: i64 = chosen.iter().map(|n| OFFERS[*n].1 * OFFERS[*n].2).sum();
            prop_assert_eq!(answer.unwrap().amount(), sum);
        } else {
            let denial = answer.unwrap_err();
            prop_assert_eq!(denial.reason, ReasonCode::IntentMismatch);
            prop_assert!(!denial.diff.is_empty());
        }
    }
}

#[test]
fn a_difference_names_its_token() {
    let (a, b) = (&TOKENS[0], &TOKENS[1]);
    let lines = |b, more: &[_]| [("b", b, 250), ("a", 1, 101)].iter().chain(more).map(|each| line(*each)).collect();
    let denial = answer(&[a, b], lines(9, &[]), "").unwrap_err();
    let expected = [("/lines/0/price/amount", "1.00 USD", "1.01 USD"), ("/lines/1/quantity", "2", "9")];
    assert_eq!(differences(&denial), expected);
    let denial = answer(&[a, b], lines(2, &[("x", 1, 1)]), "").unwrap_err();
    let unpaid = [("/lines", "2", "3"), expected[0], ("/lines/2", "none", "x")];
    assert_eq!(differences(&denial), unpaid);
    let denial = answer(&[a, b], vec![line(("b", 2, 250))], "").unwrap_err();
    assert_eq!(differences(&denial), [("/lines", "2", "1"), ("/lines/0", "a", "none")]);
}

#[test]
fn one_variant_at_two_prices_is_two_lines() {
    let (cheap, dear) = (&TOKENS[0], &TOKENS[5]);
    assert!(answer(&[dear, cheap], vec![line(OFFERS[0]), line(OFFERS[5])], "").is_ok());
    assert!(answer(&[dear, dear], vec![line(OFFERS[0]), line(OFFERS[5])], "").is_err());
}

/// Each line keeps the limits of a line, and all of them together the limit of a cart.
#[test]
fn a_cart_has_the_value_of_its_lines() {
    let lines = || vec![line(OFFERS[0]), line(OFFERS[1])];
    let rule = |rest| answer(&[&TOKENS[0], &TOKENS[1]], lines(), rest).map_err(|denial| denial.rule.unwrap());
    assert!(rule("[limits]\nmax_cart_value = \"6.00 USD\"\n").is_ok());
    assert_eq!(rule("[limits]\nmax_cart_value = \"5.99 USD\"\n").unwrap_err(), "limits.max_cart_value");
    assert_eq!(rule("[limits]\nmax_quantity = 1\n").unwrap_err(), "limits.max_quantity");
    let denial = answer(&[&TOKENS[0], &TOKENS[1]], lines(), "[catalog]\ndeny = [\"b\"]\n").unwrap_err();
    assert_eq!((denial.token, denial.rule.as_deref()), (Some(TOKENS[1].jti()), Some("catalog.deny")));
}

/// The first reason in the published order is told, whichever token it is about.
#[test]
fn of_two_refusals_the_first_in_the_order_of_reasons_is_told() {
    let (store, policy) = (StoreId::parse("store-123").unwrap(), policy(""));
    let (elsewhere, scoped) = (
        signed(&Intent { store: StoreId::parse("store-9").unwrap(), ..intent(1, 1) }),
        signed(&Intent { scope: Scope::Cart, ..intent(1, 1) }),
    );
    let bid = |token| Bid { token, listing: Listing::NoCatalog, revoked: None };
    for pair in [[&elsewhere, &scoped], [&scoped, &elsewhere]] {
        let bids = Several::of(pair.map(bid)).unwrap();
        let denial = screen(&Question { bids, ..ask(pair[0], &store, &policy) }).unwrap_err();
        assert_eq!((denial.reason, denial.token), (ReasonCode::ScopeRestricted, Some(scoped.jti())));
    }
    let old = Listing::Listed { price: usd(100), verified_at: NOW.plus_seconds(-7 * 3600) };
    let stale = Bid { listing: old, ..bid(&TOKENS[0]) };
    let unlisted = Bid { listing: Listing::NotListed, ..bid(&TOKENS[1]) };
    let facts = CheckoutFacts { lines: vec![line(OFFERS[0]), line(OFFERS[1])], total: Fact::NotBound };
    let question = Question { bids: Several::of([stale, unlisted]).unwrap(), ..ask(&TOKENS[0], &store, &policy) };
    assert_eq!(reason(decide(&question, Facts::Known(&facts))), Some(ReasonCode::VariantNotFound));
}

#[test]
fn the_tokens_of_two_agents_are_no_cart() {
    let (store, policy) = (StoreId::parse("store-123").unwrap(), policy(""));
    let theirs = signed_for("ak_other", &offer(OFFERS[1]));
    let bid = |token| Bid { token, listing: Listing::NoCatalog, revoked: None };
    let bids = Several::of([&TOKENS[0], &theirs].map(bid)).unwrap();
    let denial = screen(&Question { bids, ..ask(&TOKENS[0], &store, &policy) }).unwrap_err();
    assert_eq!((denial.reason, denial.rule.as_deref()), (ReasonCode::IntentMismatch, Some("cart.agent")));
    assert_eq!(denial.token, Some(theirs.jti()));
}
