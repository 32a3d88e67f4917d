//! A second reader: what jsonwebtoken takes and refuses.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use proptest::prelude::*;
use serde_json::Value;

use permyx::model::ids::{AgentId, Jti, ProductId, StoreId, VariantId};
use permyx::model::intent::{Intent, Quantity};
use permyx::model::money::{Currency, Price};
use permyx::model::scope::Scope;
use permyx::token::issue::{Grant, Lifetime, issue};
use permyx::token::verify::{Presented, verify};

use super::forge::{FORGE, Members, NOW, answer, claiming, headed};

fn oracle(token: &str) -> Option<Value> {
    let key = DecodingKey::from_jwk(FORGE.key.public()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_issuer(&["permyx"]);
    validation.set_required_spec_claims(&["exp", "iss", "sub"]);
    // Its own clock is not ours: time is judged by the tests of the claims.
    validation.validate_exp = false;
    validation.validate_aud = false;
    decode::<Value>(token, &key, &validation).ok().map(|data| data.claims)
}

fn intents() -> impl Strategy<Value = Intent> {
    let id = "[A-Za-z0-9._:/-]{1,40}";
    let currency = prop::sample::select(vec!["USD", "EUR", "JPY", "KWD", "CLF"]);
    (id, id, 1i64..=50, 0i64..=Price::MINOR_MAX, currency).prop_map(|(store, variant, quantity, minor, code)| Intent {
        store: StoreId::parse(&store).unwrap(),
        variant: VariantId::parse(&variant).unwrap(),
        quantity: Quantity::new(quantity).unwrap(),
        price: Price::of_minor(minor, Currency::parse(code).unwrap()).unwrap(),
        scope: Scope::AgentExec,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// What we issue we take back unchanged, and another library reads the same from it.
    #[test]
    fn what_is_issued_is_what_everyone_reads(intent in intents(), seconds in 1i64..=120, agent in "[A-Za-z0-9_]{1,30}") {
        let (agent, product) = (AgentId::parse(&agent).unwrap(), ProductId::parse("p:1").unwrap());
        let (jti, lifetime) = (Jti::random(), Lifetime::seconds(seconds).unwrap());
        let grant = Grant { intent: &intent, agent: &agent, product: Some(&product), jti, issued: NOW, lifetime };
        let token = issue(&FORGE.key, &grant).unwrap();

        let ours = verify(Presented::new(&token.text).unwrap(), &FORGE.ring, NOW).unwrap();
        prop_assert_eq!(ours.intent(), Some(&intent));
        prop_assert_eq!((ours.jti(), ours.agent(), ours.store()), (jti, &agent, &intent.store));
        prop_assert_eq!((ours.issued(), ours.expires(), token.expires), (NOW, NOW.plus_seconds(seconds), ours.expires()));

        let theirs = oracle(&token.text).unwrap();
        prop_assert_eq!(&theirs["execution_intent_hash"], &intent.hash().to_string());
        prop_assert_eq!((&theirs["qty"], &theirs["exp"]), (&intent.quantity.get().into(), &token.expires.seconds().into()));
        prop_assert_eq!((&theirs["jti"], &theirs["ver"], &theirs["pid"]), (&jti.to_string().into(), &"1".into(), &"p:1".into()));
        let header = decode_header(&token.text).unwrap();
        prop_assert_eq!((header.kid.as_deref(), header.typ.as_deref()), (Some(FORGE.key.kid()), Some("exec+jwt")));
    }

    /// We are never more lenient than the library: what it refuses, we refuse.
    #[test]
    fn what_the_oracle_refuses_we_refuse(
        part in prop::sample::select(vec!["header", "claims"]),
        name in prop::sample::select(vec!["alg", "kid", "typ", "crit", "iss", "sub", "exp", "iat", "jti", "scope", "qty"]),
        value in prop::sample::select(vec!["null", "1", "\"\"", "\"x\"", "[]", "{}", "true", "\"none\"", "[\"exp\"]", "1e9"]),
    ) {
        let token = match part {
            "header" => headed(&Members::header().with(name, value)),
            _ => claiming(&Members::claims().with(name, value)),
        };
        prop_assert!(oracle(&token).is_some() || answer(&token) != "ALLOWED", "{part} {name}: {value}");
    }
}

/// The oracle is awake: it takes the good token and none with a changed bit.
#[test]
fn the_oracle_knows_a_good_token_from_a_forged_one() {
    let good = FORGE.good();
    assert!(oracle(&good).is_some());
    let forged = good.replacen("eyJ", "eyK", 1);
    assert!(oracle(&forged).is_none() && answer(&forged) == "INVALID_SIGNATURE");
}
