//! `PUT /v1/catalog/{store}/variants`: a merchant states its prices, and they are judged by.

use std::time::Instant;

use permyx::keystore::agents::Role;
use permyx::model::ids::StoreId;
use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::http::{Answer, Connection};
use crate::support::plane::{AUTHORIZE, Held, Plane, common, names, purchase, refused};

const PATH: &str = "/v1/catalog/store-123/variants";

fn put(plane: &Plane, held: &Held, path: &str, body: &Value) -> Answer {
    plane.send("PUT", path, held, &[], &body.to_string())
}

fn variant(id: &str, amount: f64) -> Value {
    json!({ "sourceVariantId": id, "price": { "amount": amount, "currency": "USD" } })
}

#[test]
fn a_catalog_is_replaced_and_judged_by() {
    let plane = Plane::new();
    let (agent, merchant) = (plane.agent(), plane.merchant());
    let answer = put(&plane, &merchant, PATH, &json!({ "variants": [variant("shopify:variant:123456", 29.99)] }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    common(&answer);
    let body = answer.json();
    assert_eq!(names(&body), ["permyx_protocol_version", "storeId", "traceId", "variants"]);
    assert_eq!((&body["storeId"], &body["variants"]), (&json!("store-123"), &json!(1)));
    assert_eq!(plane.post(AUTHORIZE, &agent, &purchase()).status, 200);
    assert_eq!(put(&plane, &merchant, PATH, &json!({ "variants": [] })).status, 200);
    refused(&plane.post(AUTHORIZE, &agent, &purchase()), 403, "VARIANT_NOT_FOUND");
}

#[test]
fn a_price_that_was_confirmed_long_ago_is_stale_at_once() {
    let plane = Plane::new();
    let (agent, merchant) = (plane.agent(), plane.merchant());
    let mut old = variant("shopify:variant:123456", 29.99);
    old["verifiedAt"] = json!("2027-01-15T02:00:00Z");
    assert_eq!(put(&plane, &merchant, PATH, &json!({ "variants": [old] })).status, 200);
    refused(&plane.post(AUTHORIZE, &agent, &purchase()), 403, "STALE_PRICE");
}

#[test]
fn a_malformed_member_is_named_with_its_place_and_changes_nothing() {
    let plane = Plane::new();
    let merchant = plane.merchant();
    let good = variant("a", 1.0);
    let with = |name: &str, value: Value| {
        let mut variant = good.clone();
        variant[name] = value;
        json!({ "variants": [good, variant] })
    };
    for (body, member) in [
        (json!({}), "variants"),
        (json!({ "variants": {} }), "variants"),
        (json!({ "variants": [1] }), "variants.0"),
        (with("sourceVariantId", json!("a|b")), "variants.1.sourceVariantId"),
        (with("sourceVariantId", json!("a")), "variants"),
        (with("price", json!({ "amount": 1.001, "currency": "USD" })), "variants.1.price.amount"),
        (with("price", json!({ "amount": 1, "currency": "usd" })), "variants.1.price.currency"),
        (with("verifiedAt", json!("yesterday")), "variants.1.verifiedAt"),
        (with("verifiedAt", json!("2027-01-15T08:05:02Z")), "variants.1.verifiedAt"),
    ] {
        assert_eq!(refused(&put(&plane, &merchant, PATH, &body), 400, "BAD_REQUEST")["member"], member, "{body}");
    }
    assert!(!plane.authority.catalog.has(&StoreId::parse("store-123").unwrap()));
}

#[test]
fn only_the_stores_merchant_and_operators_may_put() {
    let plane = Plane::new();
    let body = json!({ "variants": [] });
    for (held, rule) in [
        (plane.agent(), "key.role"),
        (plane.key(Role::Auditor, &["store-123"]), "key.role"),
        (plane.key(Role::Merchant, &["store-9"]), "key.stores"),
    ] {
        assert_eq!(refused(&put(&plane, &held, PATH, &body), 403, "FORBIDDEN")["rule"], rule);
    }
    assert_eq!(put(&plane, &plane.key(Role::Operator, &["store-123"]), PATH, &body).status, 200);
    refused(&plane.post(PATH, &plane.merchant(), &body), 405, "BAD_REQUEST");
}

#[test]
fn a_stores_id_may_hold_a_slash_and_leads_nowhere() {
    let plane = Plane::new();
    let held = plane.key(Role::Merchant, &["eu/shop", "../../x"]);
    let body = json!({ "variants": [variant("a", 1.0)] });
    assert_eq!(put(&plane, &held, "/v1/catalog/eu%2Fshop/variants", &body).json()["storeId"], "eu/shop");
    assert_eq!(put(&plane, &held, "/v1/catalog/..%2F..%2Fx/variants", &body).status, 200);
    for bad in ["%FF", "a%7Cb", "%00"] {
        let told = refused(&put(&plane, &held, &format!("/v1/catalog/{bad}/variants"), &body), 400, "BAD_REQUEST");
        assert_eq!(told["member"], "store");
    }
}

/// A catalog is larger than a call: 100,000 variants come in one body.
#[test]
fn a_large_catalog_fits_and_a_larger_one_does_not() {
    let plane = Plane::new();
    let merchant = plane.merchant();
    let many = |count: usize| {
        let items: Vec<_> = (0..count).map(|n| variant(&format!("shopify:variant:{n}"), 29.99)).collect();
        json!({ "variants": items })
    };
    assert_eq!(put(&plane, &merchant, PATH, &many(100_000)).json()["variants"], 100_000);
    assert_eq!(refused(&put(&plane, &merchant, PATH, &many(100_001)), 400, "BAD_REQUEST")["member"], "variants");
    let padded = format!("{{\"variants\":[]{}}}", " ".repeat(16 << 20));
    refused(&plane.send("PUT", PATH, &merchant, &[], &padded), 413, "BAD_REQUEST");
}

/// Large bodies are bounded in number too: who comes while enough are being read comes back later.
#[test]
fn when_enough_large_bodies_are_being_read_the_next_one_is_sent_away() {
    let plane = Plane::new();
    let merchant = plane.merchant();
    let head = format!(
        "PUT {PATH} HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n",
        merchant.secret
    );
    let mut slow: Vec<_> = (0..5).map(|_| Connection::open(plane.address())).collect();
    slow.iter_mut().for_each(|connection| connection.send(&head));
    let deadline = Instant::now() + PATIENCE;
    let sent_away = plane.authority.metrics.api_requests.with_label_values(&["catalog", "4xx"]);
    while sent_away.get() == 0 {
        assert!(Instant::now() < deadline, "a fifth body is still read");
        std::thread::yield_now();
    }
    slow.iter_mut().for_each(|connection| connection.send("{\"variants\":[]}"));
    let mut answers: Vec<_> = slow.iter_mut().map(|connection| connection.answer().unwrap()).collect();
    answers.sort_by_key(|answer| answer.status);
    assert!(answers.iter().take(4).all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(refused(&answers[4], 429, "RATE_LIMITED")["rule"], "allowance.large_bodies");
    assert_eq!(answers[4].header("retry-after"), Some("1"));
    assert_eq!(put(&plane, &merchant, PATH, &json!({ "variants": [] })).status, 200);
}
