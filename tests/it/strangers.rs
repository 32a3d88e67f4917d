//! Whatever strangers send, and whatever is written into a file by mistake: every reader answers,
//! none panics, and none takes long for what it is given.

use std::time::{Duration, Instant};

use permyx::decide::policy::Policy;
use permyx::model::document;
use permyx::model::ids::{Jti, StoreId, TraceId};
use permyx::model::intent::Quantity;
use permyx::model::json::{Value, read_object};
use permyx::model::money::{Currency, Decimal, Price};
use permyx::model::time::Timestamp;
use permyx::protocol::extract;
use permyx::protocol::order;
use permyx::protocol::path::{PathStyle, Pattern};
use permyx::protocol::pointer::Pointer;
use permyx::protocol::preset::{self, Basis, Preset};
use permyx::token::keys::{KeyRing, SigningKey, key_set};
use permyx::token::verify::{Presented, verify};
use proptest::prelude::*;

/// Far more than any of these readings needs, on any machine.
const LONG: Duration = Duration::from_secs(10);

/// Bytes that look like the language they will be read as, so that a reader gets past its start.
fn soup(pieces: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(pieces), 0..most).prop_map(|pieces| pieces.concat())
}

const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "\\",
    "\\u",
    "d800",
    "dc00",
    "0041",
    "1",
    "-",
    ".",
    "e",
    "true",
    "false",
    "null",
    " ",
    "\n",
    "a",
    "items",
    "variant",
    "quantity",
    "price",
    "currency",
    "USD",
    "é",
    "\u{10ffff}",
    "\0",
];

const TOML: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "=",
    "\n",
    " ",
    "\"",
    "'''",
    "\"\"\"",
    "{",
    "}",
    ",",
    ".",
    "#",
    "store",
    "mode",
    "enforce",
    "limits",
    "max_quantity",
    "\"1.00 USD\"",
    "phases",
    "complete",
    "POST /",
    "lines",
    "items",
    "1",
    "-1",
    "1e9",
    "true",
    "1979-05-27",
    "é",
    "\u{0}",
    "\\",
    "\\u00e9",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_body_of_any_bytes_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_object(&bytes);
    }

    #[test]
    fn a_body_that_looks_like_json_is_read_or_refused(text in soup(JSON, 60)) {
        if let Ok(object) = read_object(text.as_bytes()) {
            let object = Value::Object(object);
            let key = order::AnswerKey { name: "key".to_owned(), renamed: false };
            for preset in preset::built_in().unwrap().values() {
                let _ = extract::facts(preset, &object, Basis::Gross);
                let _ = order::read_answer(preset, 200, Some(text.as_bytes()), Some(&key), Basis::Net);
                let _ = Pointer::parse(&text).map(|pointer| pointer.find(&object).is_some());
            }
        }
    }

    #[test]
    fn a_token_of_any_text_is_refused(text in "\\PC{0,200}", json in soup(JSON, 20)) {
        let ring = KeyRing::default();
        let encode = |bytes: &str| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes);
        let shaped = format!("{}.{}.{}", encode(&json), encode(&text), encode(&json));
        for token in [&text, &shaped, &text.repeat(40)] {
            if let Ok(presented) = Presented::new(token) {
                prop_assert!(verify(presented, &ring, Timestamp::of_seconds(0)).is_err());
            }
        }
    }

    #[test]
    fn numbers_and_money_of_any_text_are_read_or_refused(text in "[-+0-9eE.,_ ]{0,60}|\\PC{0,10}") {
        if let Some(value) = Decimal::parse(&text) {
            prop_assert!(text.len() <= 40);
            prop_assert_eq!(value.to_string().parse::<f64>().is_ok(), true);
        }
        for currency in ["USD", "JPY", "KWD", "CLF"].map(|code| Currency::parse(code).unwrap()) {
            if let Ok(price) = Price::parse_major(&text, currency) {
                prop_assert!((0..=Price::MINOR_MAX).contains(&price.minor()));
            }
        }
        let _ = (Quantity::parse(&text), Currency::parse(&text), Price::parse_text(&text), Timestamp::parse(&text));
    }

    #[test]
    fn ids_of_any_text_are_read_or_refused(text in "\\PC{0,150}|[a-z:|*{}-]{0,150}|[0-9a-f-]{30,40}") {
        if let Ok(id) = StoreId::parse(&text) {
            prop_assert!(id.as_str() == text && !text.contains(['|', ' ', '\n']) && text.len() <= 128);
        }
        prop_assert!(Jti::parse(&text).is_none_or(|jti| jti.to_string() == text));
        let _ = TraceId::parse(&text);
    }

    #[test]
    fn a_pattern_of_any_text_is_read_or_refused(text in "\\PC{0,40}|(GET|POST) (/[a-z{}.~%]{0,10}){0,6}", path in "\\PC{0,60}|(/[a-z]{0,3}){0,6}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            prop_assert_eq!(Pattern::parse(&pattern.to_string()), Ok(pattern.clone()));
            let session = pattern.matches(pattern.method(), &path, PathStyle::default()).and_then(|found| found.session);
            prop_assert!(session.is_none_or(|session| !session.contains('/')));
        }
    }

    #[test]
    fn a_file_of_any_text_is_read_or_explained(text in soup(TOML, 50)) {
        for problems in [Policy::parse(&text).err(), Preset::parse(&text).err()].into_iter().flatten() {
            prop_assert!(!problems.is_empty());
            let shown = document::Problems::new("x.toml".as_ref(), &text, problems);
            prop_assert!(shown.list().len() <= 50 && !shown.to_string().is_empty() && !shown.one_line().is_empty());
        }
    }
}

fn in_time<T>(what: &str, read: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let value = read();
    assert!(started.elapsed() < LONG, "{what} took {:?}", started.elapsed());
    value
}

/// Shapes that cost a careless reader the square of their length, or its stack.
#[test]
fn the_worst_body_of_a_mebibyte_is_read_in_time() {
    let size = 1 << 20;
    let repeat = |piece: &str| piece.repeat(size / piece.len());
    let names: String = (0..size / 16).map(|n| format!("\"name{n}\":0,")).collect();
    let bodies = [
        ("brackets", repeat("["), false),
        ("braces", repeat("{\"a\":"), false),
        ("names", format!("{{{names}\"z\":0}}"), true),
        ("one name", format!("{{{}\"z\":0}}", repeat("\"a\":0,")), false),
        ("escapes", format!("{{\"a\":\"{}\"}}", repeat("\\u0041")), true),
        ("a string without an end", format!("{{\"a\":\"{}", repeat("x")), false),
        ("digits", format!("{{\"a\":{}}}", repeat("9")), true),
        ("white space", repeat(" "), false),
        ("items", format!("{{\"items\":[{}0]}}", repeat("0,")), true),
        ("empty objects", format!("{{\"a\":[{}{{}}]}}", repeat("{},")), true),
    ];
    for (what, body, good) in bodies {
        assert_eq!(in_time(what, || read_object(body.as_bytes()).is_ok()), good, "{what}");
    }
}

#[test]
fn the_worst_token_is_refused_in_time() {
    let key = SigningKey::generate().unwrap();
    let (ring, _) = KeyRing::of_set(&key_set([key.public()]));
    for piece in [".", "e30.", "A", "=", "\0", "é", "W1tb", "eyJhIjp7"] {
        let token = piece.repeat(4096 / piece.len());
        let refused =
            in_time(piece, || verify(Presented::new(&token).unwrap(), &ring, Timestamp::of_seconds(0)).is_err());
        assert!(refused, "{piece}");
    }
    assert!(Presented::new(&"A".repeat(4097)).is_err());
}

/// A file is written by its owner, but a mistake in it must not take the program down.
#[test]
fn the_worst_file_is_explained_in_time() {
    let files = [
        ("dotted keys", format!("{}a = 1", "a.".repeat(200_000))),
        ("nested arrays", format!("a = {}", "[".repeat(20_000))),
        ("nested tables", format!("a = {}", "{a = ".repeat(20_000))),
        ("unknown keys", (0..2_000).map(|n| format!("key{n} = 1\n")).collect()),
        ("unknown tables", (0..2_000).map(|n| format!("[table{n}]\nx = 1\n")).collect()),
        ("broken lines", "= = =\n".repeat(5_000)),
        ("a long line", format!("store = \"{}\"", "x".repeat(1 << 20))),
    ];
    for (what, text) in files {
        let problems = in_time(what, || Policy::parse(&text).unwrap_err());
        assert!(!problems.is_empty(), "{what}");
        assert!(!in_time(what, || Preset::parse(&text).unwrap_err()).is_empty(), "{what}");
    }
}
