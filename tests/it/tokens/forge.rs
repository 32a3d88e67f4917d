//! What an attacker has: everything public, a token that was real, and every way to write bytes.
//! What only the tests have: the trusted private key, so that a token can be wrong in one place.

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaEncoding};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use permyx::decide::policy::Policy;
use permyx::decide::velocity::Usage;
use permyx::decide::{Bid, Decision, Facts, Listing, Question, decide};
use permyx::model::ids::{AgentId, Jti, StoreId, VariantId};
use permyx::model::intent::{Intent, Quantity};
use permyx::model::money::Price;
use permyx::model::scope::Scope;
use permyx::model::several::Several;
use permyx::model::time::Timestamp;
use permyx::protocol::extract::{CheckoutFacts, Fact, Line};
use permyx::token::issue::{Grant, Lifetime, issue};
use permyx::token::keys::{KeyRing, SigningKey, key_set};
use permyx::token::verify::{Presented, TokenFault, verify};

pub const NOW: Timestamp = Timestamp::of_seconds(1_795_000_000);
pub const JTI: &str = "5b0e8a0e-3c58-4f6e-9a41-0c2d0a9b7e11";

/// The issuer's key, and the ring that trusts it.
pub struct Forge {
    pub key: SigningKey,
    pub pair: RsaKeyPair,
    pub ring: KeyRing,
}

pub static FORGE: LazyLock<Forge> = LazyLock::new(|| {
    let key = SigningKey::generate().unwrap();
    let pem = pem::parse(key.to_pem().unwrap()).unwrap();
    let pair = RsaKeyPair::from_pkcs8(pem.contents()).unwrap();
    let (ring, refused) = KeyRing::of_set(&key_set([key.public()]));
    assert!(refused.is_empty());
    Forge { key, pair, ring }
});

impl Forge {
    /// The public key as SubjectPublicKeyInfo, which is what a PEM file holds.
    pub fn spki(&self) -> Vec<u8> {
        self.pair.public_key().as_der().unwrap().as_ref().to_vec()
    }

    /// The public key as PKCS#1, without the envelope.
    pub fn pkcs1(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    pub fn modulus(&self) -> Vec<u8> {
        self.pair.public_key().modulus().big_endian_without_leading_zero().to_vec()
    }

    /// A signature of this message by the trusted key, with any padding and digest.
    pub fn sign_as(&self, encoding: &'static dyn RsaEncoding, message: &str) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(encoding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        signature
    }

    /// A token with this header and these claims, whatever they are, well signed.
    pub fn sign(&self, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.sign_as(&RSA_PKCS1_SHA256, &message);
        format!("{message}.{}", encode(signature))
    }

    /// A token that is right in everything, as the issuer writes it.
    pub fn good(&self) -> String {
        self.issued(&intent(), Jti::parse(JTI).unwrap())
    }

    pub fn issued(&self, intent: &Intent, jti: Jti) -> String {
        let agent = AgentId::parse("ak_demo").unwrap();
        let grant = Grant { intent, agent: &agent, product: None, jti, issued: NOW, lifetime: Lifetime::MAX };
        issue(&self.key, &grant).unwrap().text
    }
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The one purchase that the good token authorises.
pub fn intent() -> Intent {
    Intent {
        store: StoreId::parse("store-123").unwrap(),
        variant: VariantId::parse("shopify:variant:123456").unwrap(),
        quantity: Quantity::new(1).unwrap(),
        price: Price::parse_text("29.99 USD").unwrap(),
        scope: Scope::AgentExec,
    }
}

/// A JSON object as a list of members, so that one of them can be spelled wrongly.
#[derive(Clone)]
pub struct Members(Vec<(String, String)>);

impl Members {
    pub fn header() -> Self {
        Self::of(&[("alg", "\"RS256\""), ("kid", &format!("\"{}\"", FORGE.key.kid())), ("typ", "\"exec+jwt\"")])
    }

    pub fn claims() -> Self {
        let intent = intent();
        let sku = permyx::model::intent::sku_hash(&intent.store, &intent.variant);
        let text = |value: &dyn std::fmt::Display| format!("\"{value}\"");
        Self::of(&[
            ("iss", "\"permyx\""),
            ("sub", "\"ak_demo\""),
            ("storeId", &text(&intent.store)),
            ("variantId", &text(&intent.variant)),
            ("qty", "1"),
            ("price_amount", "29.99"),
            ("currency", "\"USD\""),
            ("sku_hash", &text(&sku)),
            ("execution_intent_hash", &text(&intent.hash())),
            ("scope", "\"agent_exec\""),
            ("jti", &text(&JTI)),
            ("iat", &NOW.seconds().to_string()),
            ("exp", &(NOW.seconds() + 120).to_string()),
            ("ver", "\"1\""),
        ])
    }

    fn of(members: &[(&str, &str)]) -> Self {
        Self(members.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// This member has this JSON text instead; one that is not there is added.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.0.retain(|(known, _)| known != name);
        self
    }

    /// The member stands once more, under a spelling of its name and with another value.
    pub fn and(mut self, spelling: &str, value: &str) -> Self {
        self.0.push((spelling.to_owned(), value.to_owned()));
        self
    }

    pub fn json(&self) -> String {
        let members: Vec<_> = self.0.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    }
}

/// A token with this header and the good claims, well signed.
pub fn headed(header: &Members) -> String {
    FORGE.sign(header.json(), Members::claims().json())
}

/// A token with the good header and these claims, well signed.
pub fn claiming(claims: &Members) -> String {
    FORGE.sign(Members::header().json(), claims.json())
}

/// What a store answers that is asked to sell the one purchase for this token: `ALLOWED`, a reason
/// code, or `431`.
pub fn answer(token: &str) -> &'static str {
    answer_in("store-123", token, NOW)
}

pub fn answer_at(now: Timestamp, token: &str) -> &'static str {
    answer_in("store-123", token, now)
}

pub fn answer_in(store: &str, token: &str, now: Timestamp) -> &'static str {
    let Ok(presented) = Presented::new(token) else { return "431" };
    let verified = match verify(presented, &FORGE.ring, now) {
        Ok(verified) => verified,
        Err(TokenFault::Expired(_)) => return "TOKEN_EXPIRED",
        Err(TokenFault::Invalid(_) | TokenFault::UnknownKey | TokenFault::RevokedKey) => return "INVALID_SIGNATURE",
    };
    let store = StoreId::parse(store).unwrap();
    let policy = Policy::observing(store.clone());
    let question = Question {
        bids: Several::one(Bid { token: &verified, listing: Listing::NoCatalog, revoked: None }),
        store: &store,
        needs: Scope::AgentExec,
        policy: &policy,
        counted: Usage::default(),
        now,
    };
    match decide(&question, Facts::Known(&cart())) {
        Decision::Allow(_) => "ALLOWED",
        Decision::Deny(denial) => denial.reason.as_str(),
    }
}

fn cart() -> CheckoutFacts {
    let intent = intent();
    let line = Line {
        variant: Fact::Stated(intent.variant),
        quantity: Fact::Stated(1),
        price: Fact::Stated(intent.price),
        currency: Fact::Stated(intent.price.currency()),
    };
    CheckoutFacts { lines: vec![line], total: Fact::NotBound }
}

/// Every case has this answer; all that have another are named at once.
pub fn all_answer(expected: &str, cases: impl IntoIterator<Item = (impl std::fmt::Display, String)>) {
    let told = cases.into_iter().map(|(name, token)| (name.to_string(), answer(&token)));
    let wrong: Vec<_> = told.filter(|(_, answer)| *answer != expected).collect();
    assert!(wrong.is_empty(), "these should be {expected}: {wrong:#?}");
}
