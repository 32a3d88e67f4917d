use permyx::keystore::agents::Role;
use permyx::keystore::signing::{Handover, SigningStore};
use permyx::token::keys::KeyRing;
use serde_json::{Value, json};

use crate::support::http::{Answer, get};
use crate::support::plane::{AUTHORIZE, Held, INTROSPECT, Plane, common, names, purchase, refused};

const PATH: &str = "/v1/revocations";

fn operator(plane: &Plane) -> Held {
    plane.key(Role::Operator, &["store-123"])
}

fn revoke(plane: &Plane, held: &Held, subject: &str) -> Answer {
    plane.post(PATH, held, &json!({ "subject": subject, "reason": "leaked" }))
}

fn lift(plane: &Plane, held: &Held, subject: &str) -> Answer {
    plane.send("DELETE", &format!("{PATH}/{subject}"), held, &[], "")
}

fn kid(plane: &Plane) -> String {
    let set = get(plane.address(), "/.well-known/jwks.json").json();
    set["keys"][0]["kid"].as_str().unwrap().to_owned()
}

#[test]
fn an_operator_revokes_lists_and_lifts() {
    let plane = Plane::new();
    let (operator, agent) = (operator(&plane), plane.agent());
    let subject = format!("agent:{}", agent.key.id);
    let answer = revoke(&plane, &operator, &subject);
    assert_eq!(answer.status, 200, "{}", answer.text());
    common(&answer);
    let body = answer.json();
    assert_eq!(names(&body), ["at", "by", "permyx_protocol_version", "reason", "revoked", "subject", "traceId"]);
    assert_eq!((&body["by"], &body["reason"]), (&json!(operator.key.id), &json!("leaked")));
    let told = refused(&plane.post(AUTHORIZE, &agent, &purchase()), 403, "POLICY_DENIED");
    assert_eq!((&told["rule"], &told["limit"]), (&json!("revoked.agent"), &json!("not revoked")));
    plane.clock.advance(1000);
    assert_eq!(revoke(&plane, &operator, &subject).json()["at"], body["at"], "it stays as it is");
    let list = plane.send("GET", PATH, &operator, &[], "").json()["revocations"].clone();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["subject"]), (1, &json!(subject)));
    assert_eq!(lift(&plane, &operator, &subject).json()["revoked"], false);
    plane.token(&agent);
    assert_eq!(refused(&lift(&plane, &operator, &subject), 404, "NOT_FOUND")["reasonCode"], Value::Null);
    let evidence = plane.evidence();
    for (event, trace) in [("revocation.added", &body["traceId"]), ("revocation.lifted", &Value::Null)] {
        assert_eq!(evidence.matches(&format!("\"eventType\":\"{event}\"")).count(), 1, "{event}");
        assert!(trace.is_null() || evidence.contains(trace.as_str().unwrap()));
    }
}

#[test]
fn a_revoked_store_token_or_agent_is_refused_at_every_call() {
    let plane = Plane::new();
    let (operator, agent, merchant) = (operator(&plane), plane.agent(), plane.merchant());
    let token = plane.token(&agent);
    let look = || plane.post(INTROSPECT, &agent, &json!({ "executionToken": token })).json();
    let listed = plane.evidence();
    let jti = listed.split("\"tokenId\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    for subject in [format!("token:{jti}"), "store:store-123".to_owned(), format!("agent:{}", agent.key.id)] {
        assert_eq!(look()["policyDecision"], "allowed");
        assert_eq!(revoke(&plane, &operator, &subject).status, 200);
        let rule = format!("revoked.{}", subject.split(':').next().unwrap());
        assert_eq!(refused(&plane.validate(&merchant, &token), 403, "POLICY_DENIED")["rule"], rule);
        assert_eq!((&look()["policyDecision"], &look()["valid"]), (&json!("denied"), &json!(true)));
        let issued = plane.post(AUTHORIZE, &agent, &purchase()).status;
        assert_eq!(issued, if subject.starts_with("token") { 200 } else { 403 }, "{subject}");
        assert_eq!(lift(&plane, &operator, &subject).status, 200);
    }
    assert_eq!(plane.validate(&merchant, &token).status, 200);
}

#[test]
fn a_revoked_key_is_not_trusted_not_published_and_does_not_sign() {
    let plane = Plane::new();
    let (operator, agent, merchant) = (operator(&plane), plane.agent(), plane.merchant());
    let (token, old) = (plane.token(&agent), kid(&plane));
    assert_eq!(revoke(&plane, &operator, &format!("key:{old}")).status, 200);
    assert_eq!(refused(&plane.validate(&merchant, &token), 403, "INVALID_SIGNATURE")["rule"], "revoked.key");
    assert_eq!(plane.post(INTROSPECT, &agent, &json!({ "executionToken": token })).json()["valid"], false);
    assert_eq!(get(plane.address(), "/.well-known/jwks.json").json()["keys"], json!([]));
    refused(&plane.post(AUTHORIZE, &agent, &purchase()), 500, "INTERNAL");
    // Another key takes over, though the time of the old one is not over.
    let store = SigningStore::of(plane.dir().path());
    let next = store.rotate(Handover::default(), plane.clock.now()).unwrap().kid;
    let keys = store.load(plane.clock.now()).unwrap();
    plane.authority.keys.replace(KeyRing::of_set(keys.published()).0);
    plane.authority.issuer.as_ref().unwrap().replace(keys);
    assert_eq!(kid(&plane), next);
    assert_eq!(plane.validate(&merchant, &plane.token(&agent)).status, 200);
}

#[test]
fn only_operators_command_and_only_their_stores() {
    let plane = Plane::new();
    for role in [Role::Agent, Role::Merchant, Role::Auditor] {
        let held = plane.key(role, &["store-123"]);
        for answer in [
            revoke(&plane, &held, "agent:ak_1"),
            lift(&plane, &held, "agent:ak_1"),
            plane.send("GET", PATH, &held, &[], ""),
        ] {
            assert_eq!(refused(&answer, 403, "FORBIDDEN")["rule"], "key.role");
        }
    }
    let operator = operator(&plane);
    for answer in [revoke(&plane, &operator, "store:store-9"), lift(&plane, &operator, "store:store-9")] {
        assert_eq!(refused(&answer, 403, "FORBIDDEN")["rule"], "key.stores");
    }
}

#[test]
fn what_names_nothing_is_malformed() {
    let plane = Plane::new();
    let operator = operator(&plane);
    for (body, member) in [
        (json!({}), "subject"),
        (json!({ "subject": "ak_1" }), "subject"),
        (json!({ "subject": "token:1" }), "subject"),
        (json!({ "subject": "agent:a b" }), "subject"),
        (json!({ "subject": "agent:a", "reason": "a\nb" }), "reason"),
        (json!({ "subject": "agent:a", "reason": "a".repeat(201) }), "reason"),
    ] {
        assert_eq!(refused(&plane.post(PATH, &operator, &body), 400, "BAD_REQUEST")["member"], member, "{body}");
    }
    for bad in ["ak_1", "agent:%FF", "agent:a%20b"] {
        assert_eq!(refused(&lift(&plane, &operator, bad), 400, "BAD_REQUEST")["member"], "subject");
    }
    let put = plane.send("PUT", PATH, &operator, &[], "{}");
    refused(&put, 405, "BAD_REQUEST");
    assert_eq!(put.header("allow"), Some("GET, POST"));
    let slash = plane.key(Role::Operator, &["eu/shop"]);
    assert_eq!(revoke(&plane, &slash, "store:eu/shop").status, 200);
    assert_eq!(lift(&plane, &slash, "store:eu%2Fshop").json()["subject"], "store:eu/shop");
}
