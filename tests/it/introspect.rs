//! `POST /agents/v1/exec/introspect`: it looks, it never burns, and it tells nobody of the tokens
//! of others.

use permyx::keystore::agents::Role;
use permyx::model::intent::Sha256;
use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::plane::{AUTHORIZE, Held, INTROSPECT, Plane, common, names, purchase, refused};

fn look(plane: &Plane, held: &Held, token: &str) -> Answer {
    let answer = plane.post(INTROSPECT, held, &json!({ "executionToken": token }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    common(&answer);
    answer
}

/// The answer without what is new for every call.
fn told(plane: &Plane, held: &Held, token: &str) -> Value {
    let mut body = look(plane, held, token).json();
    body.as_object_mut().unwrap().remove("traceId");
    body
}

fn unknown() -> Value {
    json!({
        "valid": false, "expired": false, "claims": null, "replayStatus": "unknown",
        "policyDecision": "unknown", "expiresIn": null, "permyx_protocol_version": "1.5",
    })
}

#[test]
fn a_token_is_told_with_the_digits_that_were_signed() {
    let plane = Plane::new();
    let agent = plane.agent();
    let body = purchase().to_string().replace("29.99", "29.9");
    let token = plane.send("POST", AUTHORIZE, &agent, &[], &body).json()["executionToken"].as_str().unwrap().to_owned();
    plane.clock.advance(20_000);
    let answer = look(&plane, &agent, &token);
    assert!(answer.text().contains("\"priceAmount\":29.90,"), "{}", answer.text());
    let body = answer.json();
    let expected = [
        "claims",
        "expired",
        "expiresIn",
        "permyx_protocol_version",
        "policyDecision",
        "replayStatus",
        "traceId",
        "valid",
    ];
    assert_eq!(names(&body), expected);
    assert_eq!((&body["valid"], &body["expired"], &body["expiresIn"]), (&json!(true), &json!(false), &json!(100)));
    assert_eq!((&body["replayStatus"], &body["policyDecision"]), (&json!("unused"), &json!("allowed")));
    let claims = &body["claims"];
    assert_eq!(names(claims), ["currency", "intentHash", "priceAmount", "qty", "scope", "storeId", "variantId"]);
    let hash = Sha256::of(b"store-123|shopify:variant:123456|1|29.90|USD|agent_exec");
    assert_eq!((&claims["intentHash"], &claims["qty"]), (&json!(hash), &json!(1)));
}

#[test]
fn looking_never_burns() {
    let plane = Plane::new();
    let (agent, merchant) = (plane.agent(), plane.merchant());
    let token = plane.token(&agent);
    for _ in 0..3 {
        assert_eq!(told(&plane, &merchant, &token)["replayStatus"], "unused");
    }
    assert_eq!(plane.validate(&merchant, &token).status, 200);
    for held in [&agent, &merchant] {
        let after = told(&plane, held, &token);
        assert_eq!((&after["replayStatus"], &after["valid"]), (&json!("consumed"), &json!(true)));
    }
}

#[test]
fn an_expired_token_is_told_as_expired() {
    let plane = Plane::new();
    let agent = plane.agent();
    let token = plane.token(&agent);
    plane.clock.advance(125_000);
    let body = told(&plane, &agent, &token);
    assert_eq!((&body["valid"], &body["expired"], &body["expiresIn"]), (&json!(false), &json!(true), &Value::Null));
    assert_eq!((&body["policyDecision"], &body["claims"]["qty"]), (&json!("denied"), &json!(1)));
}

#[test]
fn the_tokens_of_others_are_told_as_unknown_ones() {
    let plane = Plane::new();
    let agent = plane.agent();
    let token = plane.token(&agent);
    for stranger in [plane.agent(), plane.key(Role::Merchant, &["store-9"])] {
        assert_eq!(told(&plane, &stranger, &token), unknown());
    }
    for forged in ["a.b.c", "x", &token[1..]] {
        assert_eq!(told(&plane, &agent, forged), unknown());
    }
    for role in [Role::Auditor, Role::Operator] {
        let held = plane.key(role, &["store-123"]);
        refused(&plane.post(INTROSPECT, &held, &json!({ "executionToken": token })), 403, "FORBIDDEN");
    }
}

#[test]
fn a_malformed_member_is_named() {
    let plane = Plane::new();
    let agent = plane.agent();
    let long = "a".repeat(4097);
    for (body, status) in [
        (json!({}), 400),
        (json!({ "executionToken": null }), 400),
        (json!({ "executionToken": "" }), 400),
        (json!({ "executionToken": [] }), 400),
        (json!({ "executionToken": long }), 431),
    ] {
        assert_eq!(refused(&plane.post(INTROSPECT, &agent, &body), status, "BAD_REQUEST")["member"], "executionToken");
    }
}
