//! What does a judgement cost once the token is verified, and what does reading the cart?
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up ends")]

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use permyx::decide::policy::Policy;
use permyx::decide::velocity::Usage;
use permyx::decide::{Bid, Decision, Facts, Listing, Question, decide};
use permyx::model::ids::StoreId;
use permyx::model::json::{Value, read_object};
use permyx::model::revocation::{Kind, Note, RECORDS_MAX, Revocation, Revocations, Subject};
use permyx::model::scope::Scope;
use permyx::model::several::Several;
use permyx::protocol::extract::{self, CheckoutFacts};
use permyx::protocol::preset::{Basis, Preset, built_in};
use permyx::token::keys::{KeyRing, SigningKey, key_set};
use permyx::token::verify::{Presented, verify};

use support::NOW;

const CART: &str = r#"{"currency":"USD","items":[{"variant":"shopify:variant:123456","quantity":1,"price":29.99}]}"#;

fn facts(preset: &Preset, cart: &str) -> CheckoutFacts {
    extract::facts(preset, &Value::Object(read_object(cart.as_bytes()).unwrap()), Basis::Net).unwrap()
}

fn judgements(c: &mut Criterion) {
    let key = SigningKey::generate().unwrap();
    let (ring, _) = KeyRing::of_set(&key_set([key.public()]));
    let token = verify(Presented::new(&support::token(&key)).unwrap(), &ring, NOW).unwrap();
    let (store, elsewhere) = (StoreId::parse("store-123").unwrap(), StoreId::parse("store-9").unwrap());
    let policy = "store = \"store-123\"\nmode = \"enforce\"\ncurrency = \"USD\"\n[limits]\nmax_cart_value = \"250.00 USD\"\n\
        max_quantity = 3\n[velocity]\norders_per_hour = 10\n[catalog]\nallow = [\"shopify:variant:*\"]\ndeny = [\"shopify:variant:999*\"]\n";
    let policy = Policy::parse(policy).unwrap();
    let presets = built_in().unwrap();
    let preset = presets.get("oneshot-json").unwrap();
    let (cart, other) = (facts(preset, CART), facts(preset, &CART.replace("\"quantity\":1", "\"quantity\":2")));
    let bid = Bid { token: &token, listing: Listing::NoCatalog, revoked: None };
    let not_listed = Several::one(Bid { listing: Listing::NotListed, ..bid });
    let right = Question {
        bids: Several::one(bid),
        store: &store,
        needs: Scope::AgentExec,
        policy: &policy,
        counted: Usage::default(),
        now: NOW,
    };
    let cases = [
        ("allowed", right.clone(), &cart),
        ("denied: other store", Question { store: &elsewhere, ..right.clone() }, &cart),
        ("denied: other cart", right.clone(), &other),
        ("denied: not listed", Question { bids: not_listed, ..right.clone() }, &cart),
        ("denied: velocity", Question { counted: Usage { orders_last_hour: 10, ..Usage::default() }, ..right }, &cart),
    ];
    let mut group = c.benchmark_group("decide");
    for (name, question, cart) in cases {
        let allowed = matches!(decide(&question, Facts::Known(cart)), Decision::Allow(_));
        assert_eq!(allowed, name == "allowed", "{name}");
        group.bench_function(name, |b| b.iter(|| decide(black_box(&question), Facts::Known(black_box(cart)))));
    }
    let agents = (0..RECORDS_MAX).map(|n| Revocation {
        at: NOW,
        by: Note::default(),
        reason: Note::default(),
        revoked: true,
        subject: Subject::of(Kind::Agent, &format!("ak_{n}")).unwrap(),
    });
    for (name, revocations) in [("revoked: none", Revocations::default()), ("revoked: 10,000 others", agents.collect())]
    {
        let find = || black_box(&revocations).find(&store, token.agent(), Some(token.jti()));
        assert_eq!(find(), None);
        group.bench_function(name, |b| b.iter(find));
    }
    group.bench_function("read the cart", |b| b.iter(|| facts(preset, black_box(CART))));
    group.finish();
}

criterion_group!(benches, judgements);
criterion_main!(benches);
