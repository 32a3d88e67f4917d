//! `POST /agents/v1/exec/validate`: a token is burned once, and only when everything else is right.

use permyx::keystore::agents::Role;
use permyx::token::keys::KeyRing;
use serde_json::{Value, json};

use crate::support::plane::{Held, Plane, Setup, VALIDATE, common, names, refused};

#[test]
fn a_token_is_burned_once() {
    let plane = Plane::new();
    let (agent, merchant) = (plane.agent(), plane.merchant());
    let token = plane.token(&agent);
    let body = json!({ "storeId": "store-123", "executionToken": token, "checkoutContext": { "cartToken": "c" } });
    let first = plane.post(VALIDATE, &merchant, &body);
    assert_eq!(first.status, 200, "{}", first.text());
    common(&first);
    let told = first.json();
    assert_eq!(names(&told), ["allowed", "permyx_protocol_version", "reasonCode", "tokenConsumed", "traceId"]);
    assert_eq!(
        (&told["allowed"], &told["reasonCode"], &told["tokenConsumed"]),
        (&json!(true), &Value::Null, &json!(true))
    );
    let second = refused(&plane.validate(&merchant, &token), 403, "REPLAY_DETECTED");
    assert!(second["observed"].as_str().unwrap().contains(told["traceId"].as_str().unwrap()), "it names the first use");
}

#[test]
fn of_many_at_once_one_passes() {
    let plane = Plane::new();
    let (agent, merchant) = (plane.agent(), plane.merchant());
    let token = plane.token(&agent);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..16).map(|_| scope.spawn(|| plane.validate(&merchant, &token).status)).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 403 | 409)), "{statuses:?}");
}

#[test]
fn an_agent_uses_its_own_tokens_and_a_refusal_burns_nothing() {
    let plane = Plane::new();
    let (agent, thief, merchant) = (plane.agent(), plane.agent(), plane.merchant());
    let token = plane.token(&agent);
    assert_eq!(refused(&plane.validate(&thief, &token), 403, "POLICY_DENIED")["rule"], "token.subject");
    assert_eq!(plane.validate(&agent, &token).status, 200);
    refused(&plane.validate(&merchant, &token), 403, "REPLAY_DETECTED");
    assert_eq!(plane.validate(&merchant, &plane.token(&agent)).status, 200, "a merchant uses any agent's");
}

#[test]
fn a_token_is_for_its_store() {
    let plane = Plane::new();
    let agent = plane.agent();
    let chain = plane.key(Role::Merchant, &["store-123", "store-9"]);
    let token = plane.token(&agent);
    let other = json!({ "storeId": "store-9", "executionToken": token });
    assert_eq!(refused(&plane.post(VALIDATE, &chain, &other), 403, "STORE_MISMATCH")["rule"], "store");
    let stranger = plane.key(Role::Merchant, &["store-9"]);
    assert_eq!(refused(&plane.validate(&stranger, &token), 403, "FORBIDDEN")["rule"], "key.stores");
    assert_eq!(plane.validate(&chain, &token).status, 200);
}

#[test]
fn a_token_ends_with_its_time() {
    let plane = Plane::new();
    let (agent, merchant) = (plane.agent(), plane.merchant());
    let (in_time, late) = (plane.token(&agent), plane.token(&agent));
    plane.clock.advance(124_000);
    assert_eq!(plane.validate(&merchant, &in_time).status, 200);
    plane.clock.advance(1000);
    assert_eq!(refused(&plane.validate(&merchant, &late), 403, "TOKEN_EXPIRED")["retryable"], true);
}

#[test]
fn what_is_no_token_is_no_authority() {
    let plane = Plane::new();
    let (agent, merchant) = (plane.agent(), plane.merchant());
    let token = plane.token(&agent);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    for forged in ["a", "a.b.c", signed, &format!("{token} "), &format!("{signed}.{}A", &signature[1..])] {
        refused(&plane.validate(&merchant, forged), 403, "INVALID_SIGNATURE");
    }
    assert_eq!(plane.validate(&merchant, &token).status, 200);
}

#[test]
fn no_token_at_all_is_told_as_such() {
    let plane = Plane::new();
    let merchant = plane.merchant();
    for none in [Value::Null, json!("")] {
        let told = refused(
            &plane.post(VALIDATE, &merchant, &json!({ "storeId": "store-123", "executionToken": none })),
            403,
            "NO_TOKEN",
        );
        assert!(told["next"].as_str().unwrap().contains("authorize"));
    }
    let missing = refused(&plane.post(VALIDATE, &merchant, &json!({ "storeId": "store-123" })), 400, "BAD_REQUEST");
    assert_eq!(missing["member"], "executionToken");
}

#[test]
fn a_malformed_member_is_named() {
    let plane = Plane::new();
    let merchant = plane.merchant();
    let long = "a".repeat(4097);
    for (body, status, member) in [
        (json!({ "executionToken": "a" }), 400, "storeId"),
        (json!({ "storeId": "a b", "executionToken": "a" }), 400, "storeId"),
        (json!({ "storeId": "store-123", "executionToken": 7 }), 400, "executionToken"),
        (json!({ "storeId": "store-123", "executionToken": long }), 431, "executionToken"),
        (json!({ "storeId": "store-123", "executionToken": "a", "checkoutContext": [] }), 400, "checkoutContext"),
        (
            json!({ "storeId": "store-123", "executionToken": "a", "checkoutContext": { "checkoutId": 1 } }),
            400,
            "checkoutContext.checkoutId",
        ),
    ] {
        assert_eq!(refused(&plane.post(VALIDATE, &merchant, &body), status, "BAD_REQUEST")["member"], member);
    }
    for role in [Role::Auditor, Role::Operator] {
        refused(&plane.validate(&plane.key(role, &["store-123"]), "a"), 403, "FORBIDDEN");
    }
}

/// A store that observes its checkout still gets tokens that are burned here: what the gateway
/// observes of them is kept apart.
#[test]
fn observing_a_checkout_does_not_soften_validate() {
    let plane = Plane::with_policy("store = \"store-123\"\nmode = \"observe\"\n[velocity]\norders_per_hour = 1\n");
    let (agent, merchant) = (plane.agent(), plane.merchant());
    let (token, another) = (plane.token(&agent), plane.token(&agent));
    assert_eq!(plane.validate(&merchant, &token).status, 200);
    refused(&plane.validate(&merchant, &another), 403, "POLICY_DENIED");
    plane.clock.advance(1000);
    let told = plane.evidence();
    assert!(told.contains("execution.validated") && told.contains("\"enforcement\":\"enforce\""), "{told}");
}

#[test]
fn where_another_process_burns_nothing_is_burned_here() {
    let plane = Plane::start(Setup { burns: false, ..Setup::default() });
    let (agent, merchant) = (plane.agent(), plane.merchant());
    let token = plane.token(&agent);
    let answer = plane.validate(&merchant, &token);
    assert_eq!(refused(&answer, 503, "LEDGER_UNAVAILABLE")["retryable"], true);
    assert!(answer.header("retry-after").is_some());
}

/// A merchant that lost the answer may ask again with its Idempotency-Key; whoever asks for
/// something else with it may not, and without a key a second call is a replay.
#[test]
fn a_lost_answer_is_told_again_to_whoever_has_the_key() {
    let plane = Plane::new();
    let (agent, merchant) = (plane.agent(), plane.merchant());
    let token = plane.token(&agent);
    let body = json!({ "storeId": "store-123", "executionToken": token }).to_string();
    let validate = |headers: &[&str], body: &str| plane.send("POST", VALIDATE, &merchant, headers, body);
    let first = validate(&["Idempotency-Key: v-1"], &body);
    assert_eq!((first.status, first.header("idempotent-replayed")), (200, None));
    let again = validate(&["Idempotency-Key: \"v-1\""], &body);
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(again.json()["traceId"], first.json()["traceId"]);
    // It expired since: the answer is told all the same.
    plane.clock.advance(130_000);
    assert_eq!(validate(&["Idempotency-Key: v-1"], &body).status, 200);
    refused(&validate(&[], &body), 403, "TOKEN_EXPIRED");
    let token = plane.token(&agent);
    let other = json!({ "storeId": "store-123", "executionToken": token }).to_string();
    let spaced = other.replacen('{', "{ ", 1);
    assert_eq!(validate(&["Idempotency-Key: v-2"], &other).status, 200);
    let reused = validate(&["Idempotency-Key: v-2"], &spaced);
    refused(&reused, 422, "REPLAY_DETECTED");
    refused(&validate(&[], &other), 403, "REPLAY_DETECTED");
    let bad = validate(&["Idempotency-Key: "], &other);
    assert_eq!((bad.status, &bad.json()["member"]), (400, &json!("Idempotency-Key")));
}

/// Not even with the key, the token and the body of its owner.
#[test]
fn what_became_of_a_token_is_told_to_nobody_else() {
    let plane = Plane::new();
    let (owner, other) = (plane.agent(), plane.agent());
    let token = plane.token(&owner);
    let body = json!({ "storeId": "store-123", "executionToken": token }).to_string();
    let validate = |held: &Held| plane.send("POST", VALIDATE, held, &["Idempotency-Key: o-1"], &body);
    assert_eq!(validate(&owner).status, 200);
    assert_eq!(refused(&validate(&other), 403, "POLICY_DENIED")["rule"], "token.subject");
    let plain = plane.send("POST", VALIDATE, &other, &[], &body);
    assert_eq!(refused(&plain, 403, "POLICY_DENIED")["rule"], "token.subject");
    assert_eq!(validate(&owner).header("idempotent-replayed"), Some("true"));
}

/// A replay costs neither a signature check nor the ledger; a retry is always looked up, and a key
/// that is no longer trusted says nothing.
#[test]
fn a_known_replay_is_refused_at_the_front() {
    let plane = Plane::new();
    let (agent, merchant) = (plane.agent(), plane.merchant());
    let front = || plane.authority.metrics.ledger_operations.with_label_values(&["front", "reserve", "known"]).get();
    let token = plane.token(&agent);
    assert_eq!((plane.validate(&merchant, &token).status, front()), (200, 0));
    for count in 1..=3 {
        refused(&plane.validate(&merchant, &token), 403, "REPLAY_DETECTED");
        assert_eq!(front(), count);
    }
    let body = json!({ "storeId": "store-123", "executionToken": token }).to_string();
    let keyed = plane.send("POST", VALIDATE, &merchant, &["Idempotency-Key: late"], &body);
    assert_eq!((refused(&keyed, 403, "REPLAY_DETECTED")["rule"].as_str(), front()), (Some("replay.other_key"), 3));
    plane.authority.keys.replace(KeyRing::default());
    refused(&plane.validate(&merchant, &token), 403, "INVALID_SIGNATURE");
    let issuer = plane.authority.issuer.as_ref().unwrap().snapshot();
    plane.authority.keys.replace(KeyRing::of_set(issuer.published()).0);
    plane.clock.advance(126_000);
    refused(&plane.validate(&merchant, &token), 403, "TOKEN_EXPIRED");
    assert_eq!(front(), 3);
}
