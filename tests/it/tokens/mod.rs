//! The attacks on tokens, row by row. Every forged token is wrong in one thing only: what is not
//! named by the case is as the issuer would have written it, signature included.

mod claims;
mod forge;
mod keys;
mod oracle;
mod spelling;

use std::net::TcpListener;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA512,
};
use aws_lc_rs::{digest, hmac};

use forge::{FORGE, Members, all_answer, answer, encode, headed};

#[test]
fn a_good_token_buys() {
    assert_eq!(answer(&FORGE.good()), "ALLOWED");
    assert_eq!(answer(&FORGE.sign(Members::header().json(), Members::claims().json())), "ALLOWED");
}

#[test]
fn a_token_without_a_signature_is_no_token() {
    let names = ["none", "None", "NONE", "nOnE", "", "null"];
    let claims = encode(Members::claims().json());
    let mut cases = Vec::new();
    for alg in names {
        let header = encode(Members::header().with("alg", &format!("\"{alg}\"")).json());
        for (end, signature) in [("empty", "".to_owned()), ("two parts", "-".to_owned()), ("a byte", encode([0]))] {
            let token = format!("{header}.{claims}.{signature}");
            cases.push((format!("{alg}, {end}"), token.trim_end_matches(".-").to_owned()));
        }
    }
    let signed = FORGE.good();
    let (message, _) = signed.rsplit_once('.').unwrap();
    cases.push(("signature cut off".to_owned(), message.to_owned()));
    cases.push(("signature emptied".to_owned(), format!("{message}.")));
    cases.push(("only dots".to_owned(), "..".to_owned()));
    cases.push(("nothing".to_owned(), String::new()));
    all_answer("INVALID_SIGNATURE", cases);
}

#[test]
fn a_public_key_is_no_secret_to_sign_with() {
    let spki_pem = pem::encode(&pem::Pem::new("PUBLIC KEY", FORGE.spki()));
    let secrets: [(&str, Vec<u8>); 7] = [
        ("PEM", spki_pem.clone().into()),
        ("PEM without its last line end", spki_pem.trim_end().into()),
        ("DER", FORGE.spki()),
        ("PKCS#1", FORGE.pkcs1()),
        ("JWK", serde_json::to_vec(FORGE.key.public()).unwrap()),
        ("modulus", FORGE.modulus()),
        ("empty", Vec::new()),
    ];
    let mut cases = Vec::new();
    for (name, secret) in secrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        for alg in ["HS256", "RS256"] {
            let header = Members::header().with("alg", &format!("\"{alg}\"")).json();
            let message = format!("{}.{}", encode(header), encode(Members::claims().json()));
            let tag = hmac::sign(&key, message.as_bytes());
            cases.push((format!("{name}, {alg}"), format!("{message}.{}", encode(tag))));
        }
    }
    all_answer("INVALID_SIGNATURE", cases);
}

#[test]
fn rs256_and_nothing_else_signs() {
    let ecdsa = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let by = |alg: &str, message: &str| match alg {
        "PS256" => FORGE.sign_as(&RSA_PSS_SHA256, message),
        "PS512" => FORGE.sign_as(&RSA_PSS_SHA512, message),
        "RS384" => FORGE.sign_as(&RSA_PKCS1_SHA384, message),
        "RS512" => FORGE.sign_as(&RSA_PKCS1_SHA512, message),
        "ES256" => ecdsa.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec(),
        _ => digest::digest(&digest::SHA256, message.as_bytes()).as_ref().to_vec(),
    };
    let mut cases = Vec::new();
    for alg in ["PS256", "PS512", "RS384", "RS512", "ES256", "a bare digest"] {
        for named in [alg, "RS256"] {
            let header = Members::header().with("alg", &format!("\"{named}\"")).json();
            let message = format!("{}.{}", encode(header), encode(Members::claims().json()));
            let signature = encode(by(alg, &message));
            cases.push((format!("{alg}, header says {named}"), format!("{message}.{signature}")));
        }
    }
    for alg in ["rs256", "RS256 ", "EdDSA", "HS256", "RSA-OAEP"] {
        cases.push((
            format!("good signature, header says {alg:?}"),
            headed(&Members::header().with("alg", &format!("\"{alg}\""))),
        ));
    }
    for alg in ["[\"RS256\"]", "null", "256", "true", "{}"] {
        cases.push((format!("alg is {alg}"), headed(&Members::header().with("alg", alg))));
    }
    cases.push(("no alg".to_owned(), headed(&Members::header().without("alg"))));
    all_answer("INVALID_SIGNATURE", cases);
}

/// A key that came along is ignored, and nothing is fetched: the listener sees no connection.
#[test]
fn a_token_cannot_bring_its_own_key() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("\"http://{}/keys.json\"", listener.local_addr().unwrap());
    let jwk = serde_json::to_string(FORGE.key.public()).unwrap();
    let x5c = format!("[\"{}\"]", encode(FORGE.spki()));
    let members = [("jwk", jwk.as_str()), ("jku", &url), ("x5u", &url), ("x5c", &x5c), ("x5t#S256", "\"AA\"")];
    let mut cases = Vec::new();
    for (name, value) in members {
        cases.push((name, headed(&Members::header().with(name, value))));
        cases.push((name, headed(&Members::header().without("kid").with(name, value))));
    }
    all_answer("INVALID_SIGNATURE", cases);
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_kid_is_looked_up_exactly_and_never_used() {
    let kid = FORGE.key.kid();
    let flipped: String =
        kid.chars().map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect();
    let texts = [
        "",
        "../../dev/null",
        "/dev/null",
        "' OR '1'='1",
        "x' UNION SELECT 'key",
        "|cmd",
        "$(cmd)",
        "a\\u0000b",
        "a\\r\\nX-Forged: 1",
        "http://127.0.0.1/keys.json",
        &"k".repeat(129),
        &"k".repeat(2000),
        &format!("{kid} "),
        &format!(" {kid}"),
        &format!("{kid}\\u0000"),
        &kid[1..],
        &flipped,
    ];
    let mut cases: Vec<_> = texts.map(|text| (text.to_owned(), format!("\"{text}\""))).into();
    cases.extend(
        ["1", "null", "true", "[]", "{}", &format!("[\"{kid}\"]")].map(|value| (value.to_owned(), value.to_owned())),
    );
    let cases = cases.into_iter().map(|(name, value)| (name, headed(&Members::header().with("kid", &value))));
    all_answer("INVALID_SIGNATURE", cases.chain([("none".to_owned(), headed(&Members::header().without("kid")))]));
}

#[test]
fn a_header_says_nothing_that_we_do_not_know() {
    let members = [
        ("crit", "[\"exp\"]"),
        ("crit", "[\"unknown\"]"),
        ("crit", "[]"),
        ("crit", "\"exp\""),
        ("crit", "null"),
        ("b64", "false"),
        ("b64", "true"),
        ("zip", "\"DEF\""),
        ("enc", "\"A256GCM\""),
        ("cty", "\"JWT\""),
        ("ver", "\"1\""),
        ("", "\"\""),
    ];
    let named = members.map(|(name, value)| (format!("{name}: {value}"), headed(&Members::header().with(name, value))));
    let unencoded = headed(&Members::header().with("b64", "false").with("crit", "[\"b64\"]"));
    all_answer("INVALID_SIGNATURE", named.into_iter().chain([("b64 that is critical".to_owned(), unencoded)]));
}

#[test]
fn a_token_has_its_own_type() {
    let types = ["\"JWT\"", "\"at+jwt\"", "\"EXEC+JWT\"", "\"application/exec+jwt\"", "\"\"", "null", "[\"exec+jwt\"]"];
    let cases = types.map(|typ| (typ, headed(&Members::header().with("typ", typ))));
    all_answer("INVALID_SIGNATURE", cases.into_iter().chain([("none", headed(&Members::header().without("typ")))]));
}

#[test]
fn an_encrypted_or_nested_token_is_no_token() {
    let good = FORGE.good();
    let jwe = encode(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#);
    let five_parts = format!("{jwe}.{}.{}.{}.{}", encode([1; 256]), encode([2; 12]), encode([3; 64]), encode([4; 16]));
    let nested = FORGE.sign(Members::header().json(), &good);
    let json_form = format!(r#"{{"payload":"{}","signatures":[]}}"#, good.split('.').nth(1).unwrap());
    all_answer("INVALID_SIGNATURE", [("JWE", five_parts), ("nested", nested), ("JSON form", json_form)]);
}

/// The bound comes before anything is read: what is longer is refused however good it is.
#[test]
fn a_token_of_more_than_4_kib_is_not_even_read() {
    let padded = |length: usize| {
        let claims = Members::claims().with("pad", &format!("\"{}\"", "x".repeat(length)));
        FORGE.sign(Members::header().json(), claims.json())
    };
    let room = (4096 - padded(0).len()) * 3 / 4;
    let (fits, too_long) = (padded(room - 1), padded(room + 3));
    assert!(fits.len() <= 4096 && fits.len() > 4088 && too_long.len() > 4096);
    assert_eq!((answer(&fits), answer(&too_long)), ("ALLOWED", "431"));
    assert_eq!(answer(&"x".repeat(10_000_000)), "431");
}
