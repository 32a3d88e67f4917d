//! What is refused, what is bounded, and that a library reads the same.

use super::*;
use proptest::prelude::*;

#[test]
fn names_that_some_reader_takes_for_one_are_twins() {
    let twins = |text: &str| read_object(text.as_bytes()).unwrap().has_case_twins();
    for text in [
        r#"{"items":1,"Items":2}"#,
        r#"{"a":[{"b":{"price":1,"PRICE":2}}]}"#,
        r#"{"items":1,"item\u017f":2}"#,
        r#"{"\u212aey":1,"key":2}"#,
        r#"{"items":1,"items\u0000x":2}"#,
    ] {
        assert!(twins(text), "{text}");
    }
    assert!(!twins(r#"{"a":{"b":1},"b":{"a":1},"c":[{"a":1},{"a":2}],"A b":1}"#));
}

#[test]
fn ambiguity_is_refused() {
    let refused: &[&[u8]] = &[
        b"",
        b"1",
        b"[]",
        b"{}{}",
        b"{} x",
        b"{\"a\":1,}",
        b"{a:1}",
        b"{'a':1}",
        b"{\"a\":01}",
        b"{\"a\":+1}",
        b"{\"a\":.5}",
        b"{\"a\":1.}",
        b"{\"a\":NaN}",
        b"{\"a\":1 /*x*/}",
        b"{\"a\":1,\"a\":2}",
        b"{\"a\":1,\"\\u0061\":2}",
        b"\xef\xbb\xbf{}",
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\\ud800\"}",
        b"{\"a\":\"\\ud800\\u0041\"}",
        b"{\"a\":\"\\udc00\"}",
        b"{\"a\":\"\n\"}",
        b"{\"a\":\"\\x\"}",
        b"{\"a\":tru}",
        b"{\"a\"",
        b"{\"a\":\"",
        b"{\"a\":\"\\u00",
    ];
    for text in refused {
        assert!(read_object(text).is_err(), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn a_summary_repeats_nothing_that_may_be_a_secret() {
    let told = |value: &str| {
        let text = format!("{{\"a\":{value}}}");
        read_object(text.as_bytes()).unwrap().get("a").unwrap().summary().into_owned()
    };
    for plain in ["\"usd\"", "\"29,99 EUR\"", "1.5", "2.999E+1", "true", "null"] {
        assert_eq!(told(plain), plain.trim_matches('"'));
    }
    assert_eq!(told("\"a@b.example\""), "a text of 11 bytes");
    assert_eq!(told("\"4242424242424242\""), "a text of 16 bytes");
    assert_eq!(told("4242424242424242.5"), "a very long number");
    assert_eq!((told("[1]"), told("{}")), ("an array".to_owned(), "an object".to_owned()));
}

#[test]
fn a_second_name_is_found_among_many() {
    let many: String = (0..100).map(|i| format!("\"k{i}\":{i},")).collect();
    assert!(read_object(format!("{{{many}\"z\":0}}").as_bytes()).is_ok());
    let twice = format!("{{{many}\"k\\u0037\":0}}");
    assert!(matches!(read_object(twice.as_bytes()), Err(JsonError::DuplicateName(_))));
}

#[test]
fn depth_is_bounded() {
    let nested = |n: usize| format!("{{\"a\":{}1{}}}", "[".repeat(n), "]".repeat(n));
    assert!(read_object(nested(31).as_bytes()).is_ok());
    assert_eq!(read_object(nested(32).as_bytes()), Err(JsonError::TooDeep));
    assert_eq!(read_object(nested(20_000).as_bytes()), Err(JsonError::TooDeep));
}

/// The value as serde_json has it, where that can hold it.
fn same(ours: &Value<'_>, theirs: &serde_json::Value) -> bool {
    match (ours, theirs) {
        (Value::Null, serde_json::Value::Null) => true,
        (Value::Bool(a), serde_json::Value::Bool(b)) => a == b,
        (Value::Number(a), serde_json::Value::Number(b)) => a.parse::<f64>().ok() == b.as_f64(),
        (Value::String(a), serde_json::Value::String(b)) => a == b,
        (Value::Array(a), serde_json::Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), serde_json::Value::Object(b)) => {
            a.0.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| same(v, w)))
        }
        _ => false,
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::hash_map(any::<String>(), inner, 0..8)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn it_reads_what_a_library_reads(value in any_json()) {
        let text = serde_json::json!({ "v": value }).to_string();
        let ours = read_object(text.as_bytes()).unwrap();
        prop_assert!(same(ours.get("v").unwrap(), &value));
    }

    #[test]
    fn what_it_accepts_a_library_accepts(bytes in prop::collection::vec(prop::sample::select(b"{}[]\":,\\u0019aetrfalsn.-+E \n".to_vec()), 0..40)) {
        if read_object(&bytes).is_ok() {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
        }
    }
}
