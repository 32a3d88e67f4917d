//! `POST /agents/v1/exec/observe`: what is told is recorded, and nothing is blocked.

use permyx::keystore::agents::Role;
use serde_json::json;

use crate::support::plane::{OBSERVE, Plane, common, names, refused};

#[test]
fn what_is_told_is_recorded() {
    let plane = Plane::new();
    let (agent, merchant) = (plane.agent(), plane.merchant());
    let body = json!({
        "storeId": "store-123", "hasToken": false, "sourceVariantId": "shopify:variant:1", "quantity": 2,
        "context": { "agentName": "Shopper \"1\"\r\n\u{1b}[31m", "reason": "x".repeat(500) },
    });
    let answer = plane.post(OBSERVE, &agent, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    common(&answer);
    let told = answer.json();
    assert_eq!(names(&told), ["observed", "permyx_protocol_version", "traceId"]);
    assert_eq!(told["observed"], true);
    let evidence = plane.evidence();
    let trace = told["traceId"].as_str().unwrap();
    for part in [
        "execution.observed",
        trace,
        "\"wouldDeny\":\"NO_TOKEN\"",
        "\"quantity\":2",
        "shopify:variant:1",
        &format!("agent: Shopper \\\"1\\\"\\r\\n\\u001b[31m; reason: {}\"", "x".repeat(128)),
    ] {
        assert!(evidence.contains(part), "{part}\n{evidence}");
    }
    let with_token =
        plane.post(OBSERVE, &merchant, &json!({ "storeId": "store-123", "hasToken": true, "context": null }));
    assert_eq!(with_token.status, 200);
}

#[test]
fn a_malformed_member_is_named() {
    let plane = Plane::new();
    let agent = plane.agent();
    for (body, member) in [
        (json!({ "hasToken": true }), "storeId"),
        (json!({ "storeId": "store-123" }), "hasToken"),
        (json!({ "storeId": "store-123", "hasToken": "true" }), "hasToken"),
        (json!({ "storeId": "store-123", "hasToken": null }), "hasToken"),
        (json!({ "storeId": "store-123", "hasToken": true, "quantity": 51 }), "quantity"),
        (json!({ "storeId": "store-123", "hasToken": true, "sourceVariantId": "a|b" }), "sourceVariantId"),
        (json!({ "storeId": "store-123", "hasToken": true, "context": 1 }), "context"),
        (json!({ "storeId": "store-123", "hasToken": true, "context": { "reason": 1 } }), "context.reason"),
    ] {
        assert_eq!(refused(&plane.post(OBSERVE, &agent, &body), 400, "BAD_REQUEST")["member"], member);
    }
}

#[test]
fn only_the_stores_own_may_tell() {
    let plane = Plane::new();
    let body = json!({ "storeId": "store-123", "hasToken": true });
    refused(&plane.post(OBSERVE, &plane.key(Role::Agent, &["store-9"]), &body), 403, "FORBIDDEN");
    refused(&plane.post(OBSERVE, &plane.key(Role::Auditor, &["store-123"]), &body), 403, "FORBIDDEN");
}

/// "Observed" is a claim that there is a record.
#[test]
fn without_a_record_nothing_was_observed() {
    let plane = Plane::new();
    let agent = plane.agent();
    plane.authority.evidence.close().unwrap();
    let body = json!({ "storeId": "store-123", "hasToken": true });
    refused(&plane.post(OBSERVE, &agent, &body), 503, "EVIDENCE_UNAVAILABLE");
}
