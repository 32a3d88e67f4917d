//! Claims that a trusted key signed and that are wrong all the same.

use permyx::model::ids::{Jti, StoreId, VariantId};
use permyx::model::intent::{Intent, Quantity};
use permyx::model::money::Price;
use permyx::model::time::Timestamp;

use super::forge::{FORGE, JTI, Members, NOW, all_answer, answer, answer_at, answer_in, claiming, intent};

/// Tokens that differ from the good one in the value of this claim.
fn each<'a>(name: &'a str, values: &'a [&'a str]) -> impl Iterator<Item = (String, String)> + 'a {
    values.iter().map(move |value| (format!("{name}: {value}"), claiming(&Members::claims().with(name, value))))
}

fn missing(name: &str) -> (String, String) {
    (format!("no {name}"), claiming(&Members::claims().without(name)))
}

/// Texts for "this many seconds from now".
fn at(seconds: i64) -> String {
    (NOW.seconds() + seconds).to_string()
}

#[test]
fn a_time_is_a_whole_number_of_seconds_or_nothing() {
    let values = [
        "null",
        "\"1795000100\"",
        "true",
        "[1795000100]",
        "{}",
        "0",
        "-1",
        "1795000100000",
        "1e400",
        "1.7950001e9",
        "18446744073709551616",
        "1795000100.5",
        "1795000100.0",
        "NaN",
        "01795000100",
        "+1795000100",
        "253402300800",
    ];
    for name in ["exp", "iat", "nbf"] {
        all_answer("INVALID_SIGNATURE", each(name, &values));
    }
    all_answer("INVALID_SIGNATURE", [missing("exp"), missing("iat")]);
    assert_eq!(answer(&claiming(&Members::claims().with("nbf", &at(0)))), "ALLOWED");
}

#[test]
fn no_token_lives_longer_than_120_seconds() {
    let lives = [121, 3600, 315_360_000, 0, -1, -120];
    let cases = lives.map(|life| (life, claiming(&Members::claims().with("exp", &at(life)))));
    all_answer("INVALID_SIGNATURE", cases);
    assert_eq!(answer(&claiming(&Members::claims().with("exp", &at(1)))), "ALLOWED");
    assert_eq!(answer(&claiming(&Members::claims().with("exp", &at(120)))), "ALLOWED");
}

#[test]
fn clocks_may_differ_by_five_seconds_and_no_more() {
    let issued = |seconds| claiming(&Members::claims().with("iat", &at(seconds)).with("exp", &at(seconds + 120)));
    assert_eq!(answer(&issued(5)), "ALLOWED");
    assert_eq!(answer(&issued(6)), "INVALID_SIGNATURE");
    assert_eq!(answer(&claiming(&Members::claims().with("nbf", &at(5)))), "ALLOWED");
    assert_eq!(answer(&claiming(&Members::claims().with("nbf", &at(6)))), "INVALID_SIGNATURE");
    let good = FORGE.good();
    let later = |millis| answer_at(Timestamp::of_millis(NOW.millis() + millis), &good);
    assert_eq!((later(124_999), later(125_000), later(86_400_000)), ("ALLOWED", "TOKEN_EXPIRED", "TOKEN_EXPIRED"));
    assert_eq!(answer_at(NOW.plus_seconds(-6), &good), "INVALID_SIGNATURE");
}

#[test]
fn the_issuer_and_the_version_are_ours() {
    let values = ["\"Permyx\"", "[\"permyx\"]", "\"permyx\\u0000\"", "\"permyx \"", "\"\"", "null", "1"];
    all_answer("INVALID_SIGNATURE", each("iss", &values));
    all_answer("INVALID_SIGNATURE", each("ver", &["1", "\"2\"", "\"01\"", "null", "[\"1\"]"]));
    all_answer("INVALID_SIGNATURE", [missing("iss"), missing("ver")]);
}

#[test]
fn only_the_scope_agent_exec_buys() {
    all_answer("INVALID_SIGNATURE", each("scope", &["[\"agent_exec\"]", "null", "1", "{}", "true"]));
    all_answer("INVALID_SIGNATURE", [missing("scope")]);
    let others =
        ["chat", "compare", "cart", "ads", "", "AGENT_EXEC", "agent_exec chat", "agent_exec ", "agent_exec\\u0000"];
    let others = others.map(|scope| format!("\"{scope}\""));
    all_answer("SCOPE_RESTRICTED", each("scope", &others.each_ref().map(String::as_str)));
}

/// A jti becomes a ledger key, so there is one spelling of it.
#[test]
fn a_jti_is_a_canonical_uuid_or_nothing() {
    let upper = JTI.to_uppercase();
    let long = "a".repeat(1500);
    let texts = [
        "",
        "*",
        "{}",
        &upper,
        &JTI.replace('-', ""),
        &format!("{{{JTI}}}"),
        &format!("urn:uuid:{JTI}"),
        &format!("{JTI} "),
        &format!("{JTI}\\u0000"),
        &format!("{JTI}\\r\\nSET x 1"),
        &JTI.replace("-4f6e-", "-1f6e-"),
        &JTI.replace("-9a41-", "-1a41-"),
        "00000000-0000-0000-0000-000000000000",
        &long,
    ];
    let quoted = texts.map(|text| format!("\"{text}\""));
    all_answer("INVALID_SIGNATURE", each("jti", &quoted.each_ref().map(String::as_str)));
    all_answer("INVALID_SIGNATURE", each("jti", &["null", "1", "[]", "true"]));
    all_answer("INVALID_SIGNATURE", [missing("jti")]);
}

#[test]
fn ids_keep_their_alphabet() {
    let long = format!("\"{}\"", "a".repeat(129));
    let values = ["\"\"", "\"a|b\"", "\"a b\"", "\"a\\u0000\"", "\"a\\nb\"", "\"é\"", &long, "null", "7", "[\"a\"]"];
    for name in ["sub", "storeId"] {
        all_answer("INVALID_SIGNATURE", each(name, &values).chain([missing(name)]));
    }
    all_answer("INTENT_MISMATCH", each("variantId", &values).chain([missing("variantId")]));
}

#[test]
fn a_quantity_is_a_whole_number_from_1_to_50() {
    let values = ["0", "-1", "51", "1.5", "\"1\"", "true", "1e400", "null", "[]", "1e-1", "99999999999999999999"];
    all_answer("INTENT_MISMATCH", each("qty", &values).chain([missing("qty")]));
    all_answer("INVALID_SIGNATURE", each("qty", &["NaN", "01", "+1", "0x1", "1.", ".5", "Infinity"]));
    all_answer("ALLOWED", each("qty", &["1.0", "1e0", "10e-1"]));
}

#[test]
fn a_price_is_an_amount_of_its_currency() {
    let values = ["-29.99", "\"29.99\"", "1e400", "null", "29.990", "29.9899999999999999", "2999", "0", "{}"];
    all_answer("INTENT_MISMATCH", each("price_amount", &values).chain([missing("price_amount")]));
    all_answer("INVALID_SIGNATURE", each("price_amount", &["NaN", "029.99", "29,99", "29.99 USD"]));
    let currencies = ["\"usd\"", "\"US$\"", "\"USD \"", "\"EUR\"", "\"ΕUR\"", "\"XTS\"", "840", "null"];
    all_answer("INTENT_MISMATCH", each("currency", &currencies).chain([missing("currency")]));
}

/// The hashes bind the members to each other: one that was changed alone is not authorised.
#[test]
fn a_changed_member_is_not_what_the_hash_binds() {
    all_answer("INTENT_MISMATCH", each("qty", &["2"]));
    all_answer("INTENT_MISMATCH", each("price_amount", &["29.98", "30.00"]));
    all_answer("INTENT_MISMATCH", each("variantId", &["\"shopify:variant:123457\""]));
    let hash = intent().hash();
    let spellings = [
        hash.hex(),
        format!("sha256:{}", hash.hex().to_uppercase()),
        format!("SHA256:{}", hash.hex()),
        format!("{hash}0"),
        format!("sha256:{}", "0".repeat(64)),
        String::new(),
    ];
    let quoted = spellings.map(|text| format!("\"{text}\""));
    for name in ["execution_intent_hash", "sku_hash"] {
        let cases = each(name, &quoted.each_ref().map(String::as_str)).collect::<Vec<_>>();
        all_answer("INTENT_MISMATCH", cases.into_iter().chain([missing(name)]));
    }
}

#[test]
fn a_token_buys_only_what_it_was_issued_for() {
    let token = |change: &dyn Fn(&mut Intent)| {
        let mut other = intent();
        change(&mut other);
        FORGE.issued(&other, Jti::random())
    };
    let others = [
        ("quantity", token(&|intent| intent.quantity = Quantity::new(2).unwrap())),
        ("variant", token(&|intent| intent.variant = VariantId::parse("shopify:variant:1").unwrap())),
        ("price", token(&|intent| intent.price = Price::parse_text("29.98 USD").unwrap())),
        ("currency", token(&|intent| intent.price = Price::parse_text("29.99 EUR").unwrap())),
    ];
    all_answer("INTENT_MISMATCH", others);
    let elsewhere = token(&|intent| intent.store = StoreId::parse("store-9").unwrap());
    assert_eq!(answer(&elsewhere), "STORE_MISMATCH");
    assert_eq!(answer_in("store-9", &FORGE.good(), NOW), "STORE_MISMATCH");
}

/// What a later issuer may add does not stop us: it is signed, and nothing of it is read.
#[test]
fn an_additional_claim_changes_nothing() {
    let added = [("pid", "\"product-1\""), ("aud", "\"x\""), ("nested", "{\"qty\":50}"), ("__proto__", "{\"qty\":50}")];
    let cases = added.map(|(name, value)| (name, claiming(&Members::claims().with(name, value))));
    all_answer("ALLOWED", cases);
}
