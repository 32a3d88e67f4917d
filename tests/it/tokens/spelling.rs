//! One token has one spelling. What two readers could take for different things is refused, and
//! no other text carries the same authority, so a burned token cannot come back respelled.

use proptest::prelude::*;

use super::forge::{FORGE, Members, all_answer, answer, claiming, encode};

#[test]
fn a_part_is_canonical_base64url() {
    let good = FORGE.good();
    let standard = "+/".chars().zip("-_".chars());
    let mut cases: Vec<(String, String)> =
        standard.map(|(std, url)| (format!("{std}"), respell(&good, url, std))).collect();
    let (start, last) = good.split_at(good.len() - 1);
    // The last character of 256 bytes carries two bits that mean nothing: sixteen spellings of four.
    let same_bits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars();
    cases.extend(same_bits.filter(|c| !last.starts_with(*c)).map(|c| (format!("last {c}"), format!("{start}{c}"))));
    for noise in ["=", "==", " ", "\t", "\r\n", "\n", "\0", "\"", "'", ".", "A", "é", "\u{200b}"] {
        for at in [0, 10, good.find('.').unwrap(), good.find('.').unwrap() + 1, good.rfind('.').unwrap(), good.len()] {
            let (before, after) = good.split_at(at);
            cases.push((format!("{noise:?} at {at}"), format!("{before}{noise}{after}")));
        }
    }
    all_answer("INVALID_SIGNATURE", cases);
}

/// The first `from` behind the header becomes `to`; a signature without one is left as it is and
/// then is not a case, so a token that has one is made.
fn respell(good: &str, from: char, to: char) -> String {
    let token = (0..).map(|n| claiming(&Members::claims().with("pad", &format!("{n}"))));
    let token = token.map(|token| token.to_string()).find(|token| token.rsplit('.').next().unwrap().contains(from));
    assert_eq!(answer(good), "ALLOWED");
    token.unwrap().replace(from, &to.to_string())
}

#[test]
fn a_token_stands_alone() {
    let good = FORGE.good();
    let texts = [
        format!("Bearer {good}"),
        format!("Bearer Bearer {good}"),
        format!("\"{good}\""),
        format!("{good},{good}"),
        format!("{good}.{good}"),
        format!(".{good}"),
        format!("{good}."),
        good.replacen('.', "..", 1),
        good.replace('.', "%2E"),
        good.to_uppercase(),
        good.chars().rev().collect(),
    ];
    all_answer("INVALID_SIGNATURE", texts.map(|text| (text.chars().take(20).collect::<String>(), text)));
}

/// Readers disagree about these: some take the first name, some the last, some neither.
#[test]
fn what_json_readers_disagree_about_is_refused() {
    let header = Members::header();
    let claims = Members::claims();
    let headers: Vec<(&str, Vec<u8>)> = vec![
        ("alg twice", header.clone().and("alg", "\"none\"").json().into()),
        ("alg twice, the same", header.clone().and("alg", "\"RS256\"").json().into()),
        ("alg twice, once escaped", header.clone().and("\\u0061lg", "\"none\"").json().into()),
        ("alg in other case", header.clone().and("ALG", "\"none\"").json().into()),
        ("kid in other case", header.clone().and("Kid", "\"x\"").json().into()),
    ];
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("qty twice", claims.clone().and("qty", "50").json().into()),
        ("qty twice, the same", claims.clone().and("qty", "1").json().into()),
        ("qty twice, once escaped", claims.clone().and("\\u0071ty", "50").json().into()),
        ("qty in other case", claims.clone().and("QTY", "50").json().into()),
        ("exp in other case", claims.clone().and("Exp", "9999999999").json().into()),
        ("storeId in other case", claims.clone().and("storeid", "\"other\"").json().into()),
    ];
    let broken = |good: &Members| -> Vec<(&'static str, Vec<u8>)> {
        let json = good.json();
        let wrapped = |before: &[u8], after: &[u8]| [before, json.as_bytes(), after].concat();
        let with = |value: &[u8]| [&json.as_bytes()[..json.len() - 1], b",\"x\":", value, b"}"].concat();
        vec![
            ("byte order mark", wrapped(b"\xef\xbb\xbf", b"")),
            ("UTF-16", json.encode_utf16().flat_map(u16::to_be_bytes).collect()),
            ("invalid UTF-8", with(b"\"\xff\"")),
            ("overlong UTF-8", with(b"\"\xc0\xae\"")),
            ("lone surrogate", with(b"\"\\ud800\"")),
            ("control character", with(b"\"\n\"")),
            ("trailing bytes", wrapped(b"", b"x")),
            ("trailing NUL", wrapped(b"", b"\0")),
            ("two documents", wrapped(b"", json.as_bytes())),
            ("trailing comma", [&json.as_bytes()[..json.len() - 1], b",}"].concat()),
            ("comment", wrapped(b"/**/", b"")),
            ("an array", wrapped(b"[", b"]")),
            ("a string", b"\"text\"".to_vec()),
            ("null", b"null".to_vec()),
            ("empty", Vec::new()),
            ("deep nesting", with("[".repeat(700).as_bytes())),
            ("deep and closed", with(("[".repeat(500) + &"]".repeat(500)).as_bytes())),
        ]
    };
    let cases = headers
        .into_iter()
        .chain(broken(&header))
        .map(|(name, header)| ("header", name, FORGE.sign(header, claims.json())));
    let more =
        bodies.into_iter().chain(broken(&claims)).map(|(name, body)| ("claims", name, FORGE.sign(header.json(), body)));
    all_answer("INVALID_SIGNATURE", cases.chain(more).map(|(part, name, token)| (format!("{part}: {name}"), token)));
}

#[test]
fn an_rsa_value_has_one_spelling() {
    let good = FORGE.good();
    let (message, signature) = good.rsplit_once('.').unwrap();
    let signature = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature).unwrap();
    let modulus = FORGE.modulus();
    let less_one = {
        let mut n = modulus.clone();
        *n.last_mut().unwrap() -= 1;
        n
    };
    let flipped = |at: usize| {
        let mut s = signature.clone();
        s[at] ^= 1;
        s
    };
    let values: Vec<(&str, Vec<u8>)> = vec![
        ("s + n", sum(&signature, &modulus)),
        ("leading zero byte", [&[0], &signature[..]].concat()),
        ("first byte cut off", signature[1..].to_vec()),
        ("last byte cut off", signature[..255].to_vec()),
        ("byte appended", [&signature[..], &[0]].concat()),
        ("twice", signature.repeat(2)),
        ("reversed", signature.iter().rev().copied().collect()),
        ("0", vec![0; 256]),
        ("1", [vec![0; 255], vec![1]].concat()),
        ("short 1", vec![1]),
        ("n - 1", less_one),
        ("n", modulus),
        ("all ones", vec![0xff; 256]),
        ("first bit flipped", flipped(0)),
        ("last bit flipped", flipped(255)),
    ];
    all_answer("INVALID_SIGNATURE", values.into_iter().map(|(name, s)| (name, format!("{message}.{}", encode(s)))));
}

/// `a + b`, big-endian.
fn sum(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut out: Vec<u8> = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .map(|(a, b)| {
            let digit = u16::from(*a) + u16::from(*b) + carry;
            carry = digit >> 8;
            digit as u8
        })
        .collect();
    out.push(carry as u8);
    out.reverse();
    out
}

#[derive(Debug, Clone)]
enum Edit {
    Replace(usize, char),
    Insert(usize, char),
    Delete(usize),
    Swap(usize, usize),
}

fn edits() -> impl Strategy<Value = Edit> {
    let place = 0..2000usize;
    let letter = prop::sample::select("ABCabc019-_=+/. \r\n\0%\"é".chars().collect::<Vec<_>>());
    prop_oneof![
        (place.clone(), letter.clone()).prop_map(|(at, c)| Edit::Replace(at, c)),
        (place.clone(), letter).prop_map(|(at, c)| Edit::Insert(at, c)),
        place.clone().prop_map(Edit::Delete),
        (place.clone(), place).prop_map(|(a, b)| Edit::Swap(a, b)),
    ]
}

fn edited(good: &str, edits: &[Edit]) -> String {
    let mut text: Vec<char> = good.chars().collect();
    for edit in edits {
        let length = text.len().max(1);
        match edit {
            Edit::Replace(at, c) => text[at % length] = *c,
            Edit::Insert(at, c) => text.insert(at % length, *c),
            Edit::Delete(at) => drop(text.remove(at % length)),
            Edit::Swap(a, b) => text.swap(a % length, b % length),
        }
    }
    text.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is done to a good token, it is either the same text or no token.
    #[test]
    fn no_other_text_has_the_authority_of_a_token(edits in prop::collection::vec(edits(), 1..4)) {
        let good = FORGE.good();
        let text = edited(&good, &edits);
        prop_assert_eq!(answer(&text), if text == good { "ALLOWED" } else { "INVALID_SIGNATURE" });
    }
}
