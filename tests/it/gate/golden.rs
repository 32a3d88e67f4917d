//! What a refused caller reads, word for word. `UPDATE=1 cargo test` writes the files anew; their
//! difference is for a person to read.

use permyx::model::scope::Scope;

use crate::support::gateway::{MUG, Purchase, with_token};
use crate::support::http::{Answer, request};
use crate::support::repository;

use super::{STAND, trace};

const PAY: &str = r#"{"query":"mutation { addPaymentToOrder(input: {}) { __typename } }"}"#;

#[test]
fn refusals_read_as_they_always_did() {
    let gateway = STAND.gateway;
    let fresh = |store| gateway.token(store);
    let with = |token: &str| with_token("/shop", token, MUG);
    let used = fresh("shop");
    assert_eq!(gateway.send(&with(&used)).status, 200);
    let cases = [
        ("no_token.json", request("POST", "/agents", &[], MUG)),
        ("no_token_ucp.json", request("POST", "/ucp/checkout-sessions/cs_1/complete", &[], "")),
        ("no_token_acp.json", request("POST", "/acp/checkout_sessions/cs_1/complete", &[], "{}")),
        ("no_token_graphql.json", request("POST", "/graphql", &[], PAY)),
        ("no_token_problem.json", request("POST", "/form", &[], "")),
        (
            "intent_unknown_graphql.json",
            request(
                "POST",
                "/graphql",
                &["Permyx-Execution-Token: any"],
                &PAY.replace("mutation {", "mutation { logout { success }"),
            ),
        ),
        (
            "scope_restricted_acp.json",
            request(
                "POST",
                "/acp/checkout_sessions/cs_1/complete",
                &[&format!(
                    "Permyx-Execution-Token: {}",
                    gateway.sign(&Purchase { scope: Scope::Cart, ..Purchase::mug("acp") })
                )],
                "{}",
            ),
        ),
        ("invalid_signature.json", with("nonsense")),
        ("token_expired.json", with(&gateway.sign(&Purchase { age_s: 200, ..Purchase::mug("shop") }))),
        ("scope_restricted.json", with(&gateway.sign(&Purchase { scope: Scope::Cart, ..Purchase::mug("shop") }))),
        ("store_mismatch.json", with(&fresh("elsewhere"))),
        (
            "intent_mismatch.json",
            with_token("/shop", &fresh("shop"), &MUG.replace("29.99", "1.5").replace(":1,", ":3,")),
        ),
        ("intent_unknown.json", with_token("/shop", &fresh("shop"), "{}")),
        ("policy_denied.json", with_token("/cheap", &fresh("cheap"), MUG)),
        ("replay_detected.json", with(&used)),
        ("bad_request.json", with_token("/shop", &fresh("shop"), "{\"a\":1,\"a\":2}")),
        ("body_too_long.json", with_token("/shop", &fresh("shop"), &" ".repeat(65_537))),
        ("path_not_canonical.json", request("POST", "//shop", &[], MUG)),
        ("repeated_token.json", request("POST", "/shop", &["Permyx-Execution-Token: a, a"], MUG)),
    ];
    let wrong: Vec<_> = cases.iter().filter_map(|(file, bytes)| differs(file, &gateway.send(bytes))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Compares an answer with its file; on a difference, says it.
fn differs(file: &str, answer: &Answer) -> Option<String> {
    let body = answer.json();
    assert_eq!(answer.text(), format!("{body}\n"), "a body is one line of JSON with sorted members");
    let kind = if file.ends_with("_problem.json") { "application/problem+json" } else { "application/json" };
    assert_eq!((answer.header("content-type"), answer.header("cache-control")), (Some(kind), Some("no-store")));
    let told = serde_json::to_string_pretty(&body).unwrap().replace(trace(answer), "trc_…");
    let told = format!("{}\n", hide_first_use(&told));
    let path = repository().join("tests/golden/refusals").join(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &told).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    (golden != told).then(|| format!("{} is not what is answered now:\n{told}", path.display()))
}

/// A replay names the trace of the first use, which is new each time.
fn hide_first_use(text: &str) -> String {
    match text.split_once("first used by trc_") {
        Some((before, after)) => {
            format!("{before}first used by trc_…{}", after.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
        }
        None => text.to_owned(),
    }
}
