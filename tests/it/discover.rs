//! What anybody may read: keys, protocols, compliance, the description of the API.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use permyx::api::{Beside, Events, Log};
use serde_json::{Value, json};

use crate::support::http::{exchange, get, request};
use crate::support::plane::{Plane, START_S, Setup, common, names, refused};
use crate::support::repository;

fn read(plane: &Plane, path: &str) -> Value {
    let answer = get(plane.address(), path);
    assert_eq!(answer.status, 200, "{}", answer.text());
    common(&answer);
    answer.json()
}

/// Any library that knows RFC 7517 verifies our tokens with what is published.
#[test]
fn another_library_verifies_with_the_published_keys() {
    let plane = Plane::new();
    let agent = plane.agent();
    let token = plane.token(&agent);
    let answer = get(plane.address(), "/.well-known/jwks.json");
    assert_eq!(answer.header("content-type"), Some("application/jwk-set+json"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    assert!(answer.header("x-ratelimit-limit").is_some());
    assert_eq!(names(&answer.json()), ["keys"]);
    assert_eq!(names(&answer.json()["keys"][0]), ["alg", "e", "kid", "kty", "n", "use"], "nothing private");
    let set: JwkSet = serde_json::from_slice(&answer.body).unwrap();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let mut rules = Validation::new(Algorithm::RS256);
    rules.validate_exp = false;
    rules.set_issuer(&["permyx"]);
    let key = DecodingKey::from_jwk(set.find(&kid).unwrap()).unwrap();
    let claims = jsonwebtoken::decode::<Value>(&token, &key, &rules).unwrap().claims;
    assert_eq!((claims["iat"].as_i64(), claims["exp"].as_i64()), (Some(START_S + 1), Some(START_S + 121)));
}

#[test]
fn protocols_are_told() {
    let body = read(&Plane::new(), "/v1/protocols");
    assert_eq!(names(&body), ["capabilities", "permyx_protocol_version", "protocols", "supported_contract_versions"]);
    assert_eq!(body["supported_contract_versions"], json!(["1.0", "1.5"]));
    let expected = json!({
        "merchant_authoritative": false, "policy_enforced": true, "verification_exposed": true,
        "event_streaming": false, "checkout_execution": false, "agent_decision_optimization": false,
    });
    assert_eq!(body["capabilities"], expected);
    assert_eq!(body["protocols"]["ucp"]["tokenless"], "require");
}

/// Every flag that can be true is true in one deployment and false in another.
#[test]
fn every_flag_is_computed_from_what_runs() {
    let flags = |body: &Value| -> Vec<(String, bool)> {
        body.as_object().unwrap().iter().filter_map(|(name, value)| Some((name.clone(), value.as_bool()?))).collect()
    };
    let beside = Beside { log: Log::Verified, events: Events::Streaming };
    let whole = Plane::start(Setup { beside, ..Setup::default() });
    let here = permyx::model::ids::StoreId::parse("store-123").unwrap();
    whole.authority.catalog.put(&here, &[]).unwrap();
    let good = read(&whole, "/v1/compliance");
    assert_eq!(good["notes"], json!([]));
    for (name, value) in flags(&good) {
        assert_eq!(value, name != "checkout_execution", "{name}");
    }
    let lax = "store = \"store-123\"\non_unavailable = \"allow_and_record\"\n";
    let poor = read(&Plane::start(Setup { policies: vec![lax], burns: false, ..Setup::default() }), "/v1/compliance");
    let falses = [
        "audit_immutable",
        "checkout_execution",
        "events_streaming",
        "merchant_authoritative",
        "replay_protected",
        "tokens_burn_on_use",
    ];
    let found: Vec<_> = flags(&poor).into_iter().filter(|(_, value)| !value).map(|(name, _)| name).collect();
    assert_eq!(found, falses);
    let notes = poor["notes"].to_string();
    assert!(notes.contains("1 of 1 stores have no catalog") && notes.contains("price:unverified"), "{notes}");
    assert!(!notes.contains("store-123"), "who the stores are is not told to everybody");
    let bare = read(&Plane::start(Setup { policies: vec![], ..Setup::default() }), "/v1/compliance");
    assert_eq!((&bare["policy_scoped"], &bare["merchant_authoritative"]), (&json!(false), &json!(false)));
}

#[test]
fn a_ledger_that_lets_requests_pass_protects_from_nothing() {
    let lax = "store = \"store-123\"\non_unavailable = \"allow_and_record\"\n";
    let body = read(&Plane::with_policy(lax), "/v1/compliance");
    assert_eq!((&body["tokens_burn_on_use"], &body["replay_protected"]), (&json!(true), &json!(false)));
}

#[test]
fn a_policy_that_was_refused_is_told() {
    let plane = Plane::new();
    assert_eq!(read(&plane, "/v1/compliance")["data_versioned"], true);
    std::fs::write(plane.authority.policies.dir().unwrap().join("0.toml"), "store = ").unwrap();
    plane.authority.policies.reload(&plane.authority.evidence);
    assert_eq!(read(&plane, "/v1/compliance")["data_versioned"], false);
}

#[test]
fn public_documents_take_get_and_head_and_nothing_else() {
    let plane = Plane::new();
    for path in ["/.well-known/jwks.json", "/v1/protocols", "/v1/compliance", "/openapi.json"] {
        let post = exchange(plane.address(), request("POST", path, &[], "{}")).unwrap();
        refused(&post, 405, "BAD_REQUEST");
        assert_eq!(post.header("allow"), Some("GET"));
        let mut connection = crate::support::http::Connection::open(plane.address());
        connection.send(request("HEAD", path, &[], ""));
        assert_eq!(connection.answer_to("HEAD").unwrap().unwrap().status, 200);
        let old = exchange(plane.address(), request("GET", path, &["Accept-Version: 0.9"], "")).unwrap();
        refused(&old, 400, "BAD_REQUEST");
    }
    refused(&get(plane.address(), "/nothing"), 404, "NOT_FOUND");
}

/// The published description changes only on purpose: `UPDATE=1` writes the new one.
#[test]
fn the_description_of_the_api_is_the_golden_one() {
    let plane = Plane::new();
    let answer = get(plane.address(), "/openapi.json");
    let found = format!("{:#}\n", answer.json());
    let path = repository().join("tests/golden/openapi.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &found).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == golden, "the API's description changed; if it should have, run with UPDATE=1");
    assert!(names(&answer.json()["paths"]).contains(&"/agents/v1/exec/authorize"));
}
