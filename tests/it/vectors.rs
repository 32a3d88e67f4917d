//! The vectors under `tests/vectors`: we keep to them, and so does a reader in another language.

use std::path::PathBuf;
use std::process::Command;

use permyx::decide::policy::Policy;
use permyx::decide::velocity::Usage;
use permyx::decide::{Bid, Decision, Facts, Listing, Question, decide};
use permyx::model::ids::{AgentId, Jti, StoreId, VariantId};
use permyx::model::intent::{Intent, Quantity, sku_hash};
use permyx::model::money::{Currency, Price};
use permyx::model::scope::Scope;
use permyx::model::several::Several;
use permyx::model::time::Timestamp;
use permyx::token::issue::{Grant, Lifetime, issue};
use permyx::token::keys::{KeyRing, SigningKey, key_set};
use permyx::token::verify::{Presented, TokenFault, verify};
use serde_json::{Value, json};

use crate::support::repository;

const NOW: Timestamp = Timestamp::of_seconds(1_795_000_000);

fn path(name: &str) -> PathBuf {
    repository().join("tests/vectors").join(name)
}

/// The vectors of a file. With `UPDATE=1` they are written first.
fn vectors(name: &str, made: impl FnOnce() -> Value) -> Value {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path(name), format!("{:#}\n", made())).unwrap();
    }
    serde_json::from_slice(&std::fs::read(path(name)).unwrap()).unwrap()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {value}"))
}

fn intent(store: &str, variant: &str, quantity: i64, amount: &str, code: &str) -> Intent {
    Intent {
        store: StoreId::parse(store).unwrap(),
        variant: VariantId::parse(variant).unwrap(),
        quantity: Quantity::new(quantity).unwrap(),
        price: Price::parse_major(amount, Currency::parse(code).unwrap()).unwrap(),
        scope: Scope::AgentExec,
    }
}

fn make_intents() -> Value {
    let (longest, odd) = ("v".repeat(128), "A-Z/a.z_0:9");
    let intents = [
        intent("store-123", "shopify:variant:123456", 1, "29.99", "USD"),
        intent("store-123", "shopify:variant:123456", 1, "29.90", "USD"),
        intent("store-123", "shopify:variant:123456", 50, "120.00", "EUR"),
        intent("store-123", "sku:jp", 1, "5000", "JPY"),
        intent("store-123", "sku:kw", 1, "1.250", "KWD"),
        intent("store-123", "sku:cl", 1, "0.0001", "CLF"),
        intent("store-123", "sku:free", 1, "0.00", "USD"),
        intent("store-123", "sku:dear", 1, "90071992547409.91", "USD"),
        intent(odd, odd, 7, "0.01", "GBP"),
        intent(&longest, &longest, 1, "1.00", "CHF"),
    ];
    let vector = |intent: Intent| {
        json!({
            "storeId": intent.store, "variantId": intent.variant, "quantity": intent.quantity.get(),
            "amount": intent.price.major().to_string(), "currency": intent.price.currency().code(),
            "scope": intent.scope.as_str(), "canonical": intent.canonical(),
            "execution_intent_hash": intent.hash(), "sku_hash": sku_hash(&intent.store, &intent.variant),
        })
    };
    json!({ "intents": intents.map(vector) })
}

#[test]
fn intents_hash_as_the_vectors_say() {
    let vectors = vectors("intents.json", make_intents);
    let vectors = vectors["intents"].as_array().unwrap();
    assert!(vectors.len() >= 10);
    for vector in vectors {
        let quantity = vector["quantity"].as_i64().unwrap();
        let (amount, currency) = (text(vector, "amount"), text(vector, "currency"));
        let intent = intent(text(vector, "storeId"), text(vector, "variantId"), quantity, amount, currency);
        assert_eq!(intent.canonical(), text(vector, "canonical"));
        assert_eq!(intent.hash().to_string(), text(vector, "execution_intent_hash"));
        assert_eq!(sku_hash(&intent.store, &intent.variant).to_string(), text(vector, "sku_hash"));
    }
}

/// A token as the issuer writes it, taken apart so that a case can change it.
struct Parts {
    key: SigningKey,
    header: String,
    claims: String,
}

impl Parts {
    fn new() -> Self {
        let (key, agent) = (SigningKey::generate().unwrap(), AgentId::parse("ak_demo").unwrap());
        let intent = intent("store-123", "shopify:variant:123456", 1, "29.90", "USD");
        let jti = Jti::parse("5b0e8a0e-3c58-4f6e-9a41-0c2d0a9b7e11").unwrap();
        let grant = Grant { intent: &intent, agent: &agent, product: None, jti, issued: NOW, lifetime: Lifetime::MAX };
        let token = issue(&key, &grant).unwrap().text;
        let part = |n| String::from_utf8(decode(token.split('.').nth(n).unwrap())).unwrap();
        Self { header: part(0), claims: part(1), key }
    }

    fn signed(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        format!("{message}.{}", encode(self.key.sign(message.as_bytes()).unwrap()))
    }

    /// The token with one thing in its claims written otherwise, well signed.
    fn claiming(&self, from: &str, to: &str) -> String {
        assert!(self.claims.contains(from), "{from} in {}", self.claims);
        self.signed(&self.header, &self.claims.replacen(from, to, 1))
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes)
}

fn decode(text: &str) -> Vec<u8> {
    base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text).unwrap()
}

fn make_tokens() -> Value {
    let parts = Parts::new();
    let good = parts.signed(&parts.header, &parts.claims);
    let (iat, exp) = (NOW.seconds(), NOW.seconds() + 120);
    let old = |by: i64| {
        parts
            .claims
            .replace(&iat.to_string(), &(iat - by).to_string())
            .replace(&exp.to_string(), &(exp - by).to_string())
    };
    let unsigned = format!("{}.{}.", encode(parts.header.replace("RS256", "none")), encode(&parts.claims));
    let other_key = Parts::new();
    let cases = [
        ("good", good.clone()),
        ("at the end of the leeway", parts.signed(&parts.header, &old(124))),
        ("past the leeway", parts.signed(&parts.header, &old(125))),
        ("issued in six seconds", parts.signed(&parts.header, &old(-6))),
        ("alive for 121 seconds", parts.claiming(&exp.to_string(), &(exp + 1).to_string())),
        ("without a signature", unsigned),
        ("signed by another key", other_key.signed(&parts.header, &parts.claims)),
        ("a claim that stands twice", parts.claiming("\"qty\":1", "\"qty\":1,\"qty\":50")),
        ("a header member too many", parts.signed(&parts.header.replace('}', ",\"crit\":[\"exp\"]}"), &parts.claims)),
        ("padded", format!("{good}=")),
        ("a jti in capitals", parts.claiming("5b0e8a0e", "5B0E8A0E")),
        ("more pieces than the hash binds", parts.claiming("\"qty\":1", "\"qty\":2")),
        ("another price than the hash binds", parts.claiming("29.90", "29.91")),
        ("another variant than the hash binds", parts.claiming("variant:123456", "variant:123457")),
    ];
    let (ring, _) = KeyRing::of_set(&key_set([parts.key.public()]));
    let vector = |(name, token): (&str, String)| {
        let (answer, canonical) = judge(&token, &ring);
        let mut vector = json!({ "name": name, "answer": answer, "token": token });
        canonical.into_iter().for_each(|text| vector["canonical"] = text.into());
        vector
    };
    json!({ "now": NOW.seconds(), "jwks": key_set([parts.key.public()]), "tokens": cases.map(vector) })
}

/// What a store answers, and what the token authorises if it is valid.
fn judge(token: &str, ring: &KeyRing) -> (&'static str, Option<String>) {
    let verified = match Presented::new(token).map(|presented| verify(presented, ring, NOW)) {
        Ok(Ok(verified)) => verified,
        Ok(Err(TokenFault::Expired(_))) => return ("TOKEN_EXPIRED", None),
        _ => return ("INVALID_SIGNATURE", None),
    };
    let store = verified.store().clone();
    let question = Question {
        bids: Several::one(Bid { token: &verified, listing: Listing::NoCatalog, revoked: None }),
        store: &store,
        needs: Scope::AgentExec,
        policy: &Policy::observing(store.clone()),
        counted: Usage::default(),
        now: NOW,
    };
    match decide(&question, Facts::NotVisible) {
        Decision::Allow(_) => ("VALID", verified.intent().map(Intent::canonical)),
        Decision::Deny(denial) => (denial.reason.as_str(), None),
    }
}

#[test]
fn tokens_are_judged_as_the_vectors_say() {
    let vectors = vectors("tokens.json", make_tokens);
    let (ring, refused) = KeyRing::of_set(&serde_json::from_value(vectors["jwks"].clone()).unwrap());
    assert!(refused.is_empty() && vectors["now"] == NOW.seconds());
    let cases = vectors["tokens"].as_array().unwrap();
    for case in cases {
        let expected = (text(case, "answer"), case["canonical"].as_str().map(str::to_owned));
        assert_eq!(judge(text(case, "token"), &ring), expected, "{}", text(case, "name"));
    }
    let answered = |answer| cases.iter().filter(|case| case["answer"] == answer).count();
    let counts = ["VALID", "TOKEN_EXPIRED", "INTENT_MISMATCH", "INVALID_SIGNATURE"].map(answered);
    assert_eq!(counts, [2, 1, 3, 8]);
}

#[test]
fn a_reader_in_another_language_agrees() {
    let checked = Command::new("python3").arg(path("check.py")).output();
    let checked = checked.expect("python3 is missing: apt-get install -y --no-install-recommends python3");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && said.contains("10 intents and 14 tokens, 0 wrong"), "{said}{checked:?}");
}
