use super::*;
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign as hash};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

const SECRET: &[u8] = b"a secret of this store";
const BODY: &[u8] = br#"{"id":1}"#;
const NOW: Timestamp = Timestamp::of_seconds(1_795_000_000);

fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, String)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    pairs.iter().map(pair).collect()
}

fn tag(secret: &[u8], signed: &[u8]) -> Vec<u8> {
    hash(&Key::new(HMAC_SHA256, secret), signed).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The headers of a good delivery of this body at this second.
fn signed(platform: Platform, secret: &[u8], body: &[u8], second: i64) -> HeaderMap {
    let stamped = |name| {
        let signed = [format!("{second}.").as_bytes(), body].concat();
        headers(&[(name, format!("t={second},v1={}", hex(&tag(secret, &signed))))])
    };
    match platform {
        Platform::Shopify => headers(&[("x-shopify-hmac-sha256", STANDARD.encode(tag(secret, body)))]),
        Platform::WooCommerce => headers(&[("x-wc-webhook-signature", STANDARD.encode(tag(secret, body)))]),
        Platform::Acp => stamped("merchant-signature"),
        Platform::Generic => stamped("x-permyx-signature"),
        Platform::Ucp => {
            let signed = [format!("msg_1.{second}.").as_bytes(), body].concat();
            headers(&[
                ("webhook-id", "msg_1".to_owned()),
                ("webhook-timestamp", second.to_string()),
                ("webhook-signature", format!("v2,AA== v1,{}", STANDARD.encode(tag(secret, &signed)))),
            ])
        }
    }
}

fn verified(platform: Platform, headers: &HeaderMap, body: &[u8]) -> Result<(), Unsigned> {
    sign::verify(platform, SECRET, headers, body, NOW)
}

#[test]
fn a_delivery_is_taken_with_the_signature_of_its_platform_and_with_no_other() {
    for platform in Platform::ALL {
        let good = signed(platform, SECRET, BODY, NOW.seconds());
        assert_eq!(verified(platform, &good, BODY), Ok(()), "{platform:?}");
        assert!(matches!(verified(platform, &good, br#"{"id":2}"#), Err(Unsigned::Forged(_))), "{platform:?}");
        let foreign = signed(platform, b"another secret", BODY, NOW.seconds());
        assert!(matches!(verified(platform, &foreign, BODY), Err(Unsigned::Forged(_))), "{platform:?}");
        assert!(matches!(verified(platform, &HeaderMap::new(), BODY), Err(Unsigned::Unreadable(_))), "{platform:?}");
        let mut twice = good.clone();
        for (name, value) in &good {
            twice.append(name, value.clone());
        }
        assert!(matches!(verified(platform, &twice, BODY), Err(Unsigned::Unreadable(_))), "{platform:?}");
    }
}

#[test]
fn a_signature_with_a_time_is_good_for_five_minutes_on_either_side() {
    for platform in [Platform::Acp, Platform::Ucp, Platform::Generic] {
        for (off, good) in [(300, true), (301, false), (-300, true), (-301, false)] {
            let made = signed(platform, SECRET, BODY, NOW.seconds() + off);
            let found = verified(platform, &made, BODY);
            assert_eq!(found.is_ok(), good, "{platform:?} {off}");
            assert!(good || matches!(found, Err(Unsigned::Stale(_))), "{platform:?} {off}");
        }
    }
}

#[test]
fn while_a_secret_is_changed_either_of_two_signatures_is_enough() {
    let new = signed(Platform::Acp, SECRET, BODY, NOW.seconds());
    let new = new["merchant-signature"].to_str().unwrap().replace(&format!("t={},", NOW.seconds()), "");
    let both = format!("t={},v1={},{new}", NOW.seconds(), "0".repeat(64));
    assert_eq!(verified(Platform::Acp, &headers(&[("merchant-signature", both)]), BODY), Ok(()));
}

#[test]
fn a_secret_of_standard_webhooks_is_base64_after_its_prefix() {
    let secret = format!("whsec_{}", STANDARD.encode(SECRET));
    let made = signed(Platform::Ucp, SECRET, BODY, NOW.seconds());
    assert_eq!(sign::verify(Platform::Ucp, secret.as_bytes(), &made, BODY, NOW), Ok(()));
}

fn noticed(platform: Platform, body: &str) -> Result<OrderNotice, NotANotice> {
    read(platform, &StoreId::parse("s").unwrap(), &Naming::default(), &HeaderMap::new(), body.as_bytes())
}

fn wrong(platform: Platform, body: &str) -> String {
    noticed(platform, body).unwrap_err().to_string()
}

#[test]
fn what_is_malformed_is_named() {
    for (platform, body, told) in [
        (Platform::Shopify, "[]", "the body must be one JSON object"),
        (Platform::Shopify, r#"{"currency":"USD"}"#, "`id` is missing"),
        (Platform::Shopify, r#"{"id":1}"#, "`currency` is missing"),
        (Platform::Shopify, r#"{"id":1,"currency":"USD","total_price":"a"}"#, "`total_price` must be an amount"),
        (Platform::Shopify, r#"{"id":1,"currency":"USD","line_items":[{"quantity":1.5}]}"#, "`line_items.0.quantity`"),
        (Platform::Shopify, r#"{"id":1.5,"currency":"USD"}"#, "`id` must be a text or a whole number"),
        (Platform::WooCommerce, r#"{"id":1,"status":"publish"}"#, "`currency` is missing"),
        (Platform::WooCommerce, r#"{"id":1,"date_created_gmt":"today"}"#, "`date_created_gmt` must be a time"),
        (Platform::Acp, r#"{"type":"x"}"#, "`type` must be `order_create` or `order_update`"),
        (Platform::Acp, r#"{"type":"order_create","data":{"id":"1"}}"#, "`data.checkout_session_id` is missing"),
        (Platform::Ucp, r#"{"id":"o","line_items":[{}]}"#, "`line_items.0.item` is missing"),
        (Platform::Generic, r#"{"happened":"made"}"#, "`happened` must be"),
        (Platform::Generic, r#"{"happened":"created","currency":"USD","orderId":"1"}"#, "`time` is missing"),
    ] {
        assert!(wrong(platform, body).contains(told), "{platform:?} {body}: {}", wrong(platform, body));
    }
}

#[test]
fn what_happened_is_read_from_the_body_and_never_from_a_header() {
    let shop = |more: &str| noticed(Platform::Shopify, &format!(r#"{{"id":1,"currency":"USD"{more}}}"#)).unwrap();
    assert_eq!(shop("").happened, Happened::Created);
    assert_eq!(shop(r#","cancelled_at":"2026-11-18T11:00:00Z""#).happened, Happened::Cancelled);
    assert_eq!(shop(r#","financial_status":"partially_refunded""#).happened, Happened::Refunded);
    let later = r#","created_at":"2026-11-18T11:00:00Z","updated_at":"2026-11-18T12:00:00Z""#;
    assert_eq!(shop(later).happened, Happened::Updated);
    let woo = |status| format!(r#"{{"id":1,"currency":"EUR","status":"{status}"}}"#);
    let woo = |status| noticed(Platform::WooCommerce, &woo(status)).unwrap().happened;
    assert_eq!(
        [woo("processing"), woo("cancelled"), woo("refunded")],
        [Happened::Created, Happened::Cancelled, Happened::Refunded]
    );
    assert_eq!(noticed(Platform::WooCommerce, r#"{"id":1}"#).unwrap().happened, Happened::Cancelled);
}

#[test]
fn deliveries_of_other_kinds_are_refused() {
    let store = StoreId::parse("s").unwrap();
    let read_as = |platform, name, topic: &str| {
        let headers = headers(&[(name, topic.to_owned())]);
        read(platform, &store, &Naming::default(), &headers, br#"{"id":1,"currency":"USD","status":"x"}"#)
    };
    assert!(read_as(Platform::Shopify, "x-shopify-topic", "orders/create").is_ok());
    assert!(read_as(Platform::Shopify, "x-shopify-topic", "products/create").is_err());
    assert!(read_as(Platform::WooCommerce, "x-wc-webhook-topic", "order.updated").is_ok());
    assert!(read_as(Platform::WooCommerce, "x-wc-webhook-topic", "product.updated").is_err());
}

#[test]
fn money_is_read_in_minor_units_of_its_currency() {
    let total = |platform, body: &str| noticed(platform, body).unwrap().total.map(|total| total.to_string());
    let shop = |currency, amount| format!(r#"{{"id":1,"currency":"{currency}","total_price":{amount}}}"#);
    assert_eq!(total(Platform::Shopify, &shop("USD", "\"29.90\"")).as_deref(), Some("29.90 USD"));
    assert_eq!(total(Platform::Shopify, &shop("JPY", "\"5000\"")).as_deref(), Some("5000 JPY"));
    assert_eq!(total(Platform::Shopify, &shop("KWD", "\"1.25\"")).as_deref(), Some("1.250 KWD"));
    // Finer than the currency, and less than nothing: not known, and never rounded.
    assert_eq!(total(Platform::Shopify, &shop("USD", "\"0.001\"")), None);
    assert_eq!(total(Platform::Shopify, &shop("USD", "-1")), None);
    let session = r#"{"type":"order_create","data":{"checkout_session_id":"1","currency":"usd","totals":[{"type":"total","amount":2990}]}}"#;
    assert_eq!(total(Platform::Acp, session).as_deref(), Some("29.90 USD"));
}

#[test]
fn a_long_order_is_cut_and_says_so() {
    let line = r#"{"variant_id":1,"quantity":1}"#;
    let body = format!(r#"{{"id":1,"currency":"USD","line_items":[{}]}}"#, [line; 60].join(","));
    let lines = noticed(Platform::Shopify, &body).unwrap().lines.unwrap();
    assert_eq!((lines.first.len(), lines.all), (LINES_MAX, 60));
}

#[test]
fn where_attribution_is_off_nothing_is_absent() {
    let signals = noticed(Platform::WooCommerce, r#"{"id":1,"currency":"EUR","status":"processing"}"#).unwrap().signals;
    assert!(signals.iter().all(|signal| signal.state == State::FeatureOff), "{signals:?}");
}

#[test]
fn an_id_of_ours_is_carried_in_every_spelling_that_we_write() {
    let jti = "5b0e8a0e-3c58-4f6e-9a41-0c2d0a9b7e11";
    let execution = Some(format!("exec_{jti}"));
    let told = |text: &str| Carried::parse(text).map(|carried| carried.to_string());
    assert_eq!(told(jti), execution);
    assert_eq!(told(&format!("exec_{jti}")), execution);
    let trace = "trc_0199f3a16c1e7c559d0e2f6a4d1f9b10";
    assert_eq!(told(trace).as_deref(), Some(trace));
    assert_eq!(told("order 1001; DROP TABLE"), None);
}

fn any_platform() -> impl Strategy<Value = Platform> {
    prop::sample::select(Platform::ALL.to_vec())
}

/// Objects with the names that readers look for, and any values.
fn any_body() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "id",
        "order_id",
        "orderId",
        "type",
        "data",
        "status",
        "happened",
        "currency",
        "total",
        "total_price",
        "totals",
        "line_items",
        "lines",
        "quantity",
        "item",
        "meta_data",
        "note_attributes",
        "adjustments",
        "created_at",
        "time",
    ]);
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("\"USD\"".to_owned()),
        Just("\"order_create\"".to_owned()),
        "-?[0-9]{1,20}(\\.[0-9]{1,6})?(e[0-9]{1,3})?".prop_map(|number| number),
        "[ -~é]{0,12}".prop_map(|text| serde_json::json!(text).to_string()),
    ];
    leaf.prop_recursive(4, 64, 6, move |inner| {
        let members = prop::collection::vec((name.clone(), inner.clone()), 0..6).prop_map(|members| {
            let members: std::collections::BTreeMap<_, _> = members.into_iter().collect();
            let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        });
        prop_oneof![members, prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(",")))]
    })
}

proptest! {
    #[test]
    fn junk_is_refused_without_panic(platform in any_platform(), junk in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(platform, &StoreId::parse("s").unwrap(), &Naming::default(), &HeaderMap::new(), &junk);
        prop_assert!(verified(platform, &HeaderMap::new(), &junk).is_err());
    }

    #[test]
    fn any_object_is_read_or_refused_and_what_is_kept_is_bounded(platform in any_platform(), body in any_body()) {
        if let Ok(notice) = noticed(platform, &body) {
            prop_assert!(!notice.order.is_empty() && notice.order.len() <= 128);
            prop_assert!(notice.refs.len() <= 3);
            prop_assert!(notice.lines.is_none_or(|lines| lines.first.len() <= LINES_MAX));
        }
    }

    #[test]
    fn no_signature_of_strangers_is_taken(platform in any_platform(), told in "[ -~]{0,120}") {
        let name = match platform {
            Platform::Shopify => "x-shopify-hmac-sha256",
            Platform::WooCommerce => "x-wc-webhook-signature",
            Platform::Acp => "merchant-signature",
            Platform::Ucp => "webhook-signature",
            Platform::Generic => "x-permyx-signature",
        };
        let sent = headers(&[(name, told), ("webhook-id", "a".to_owned()), ("webhook-timestamp", NOW.seconds().to_string())]);
        prop_assert!(verified(platform, &sent, BODY).is_err());
    }
}
