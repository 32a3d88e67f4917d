//! Exactly what was authorised is sold, exactly once; a refusal costs the token nothing.

use permyx::model::scope::Scope;
use permyx::token::keys::SigningKey;
use serde_json::json;

use crate::support::gateway::{AGENT, MUG, Purchase};
use crate::support::http::{post, request};

use super::{STAND, refused, trace};

#[test]
fn a_changed_purchase_is_refused_and_the_same_token_then_buys() {
    let cases = [
        (MUG.replace("\"quantity\":1", "\"quantity\":2"), json!(["/quantity", "integer", "1", "2"])),
        (MUG.replace("29.99", "0.01"), json!(["/price/amount", "decimal", "29.99 USD", "0.01 USD"])),
        (MUG.replace("29.99", "\"29.99\""), json!(["/price/amount", "decimal", "29.99 USD", "29.99"])),
        (
            MUG.replace("variant:123456", "variant:234567"),
            json!(["/sourceVariantId", "string", "shopify:variant:123456", "shopify:variant:234567"]),
        ),
        (
            MUG.replace("}]", "},{\"variant\":\"x\",\"quantity\":1,\"price\":1}]"),
            json!(["/lines", "integer", "1", "2"]),
        ),
    ];
    let token = STAND.gateway.token("shop");
    for (cart, diff) in &cases {
        let answer = STAND.gateway.post("/shop", &token, cart);
        assert_eq!(refused(&answer, 403), "INTENT_MISMATCH");
        let found = &answer.json()["diff"];
        let member = |name: &str| found[0][name].clone();
        assert_eq!(&json!([member("path"), member("type"), member("authorized"), member("actual")]), diff, "{cart}");
        assert_eq!((found.as_array().unwrap().len(), STAND.arrived(&answer).len()), (1, 0), "{cart}");
        assert_eq!(STAND.event(&answer, "execution.denied")["data"]["diff"], *found);
    }
    let bought = STAND.gateway.post("/shop", &token, MUG);
    assert_eq!((bought.status, STAND.arrived(&bought).len()), (200, 1));
    let again = STAND.gateway.post("/shop", &token, MUG);
    assert_eq!((refused(&again, 403).as_str(), STAND.arrived(&again).len()), ("REPLAY_DETECTED", 0));
    assert_eq!(again.json()["observed"], format!("first used by {}", trace(&bought)));
}

/// A currency changes the price too: 29.99 EUR is neither 29.99 USD nor any other amount of USD.
#[test]
fn another_currency_is_another_purchase() {
    let token = STAND.gateway.token("shop");
    let answer = STAND.gateway.post("/shop", &token, &MUG.replace("USD", "EUR"));
    assert_eq!(refused(&answer, 403), "INTENT_MISMATCH");
    let body = answer.json();
    let paths: Vec<_> = body["diff"].as_array().unwrap().iter().map(|diff| diff["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/price/currency", "/price/amount"]);
    assert_eq!((&body["diff"][0]["authorized"], &body["diff"][0]["actual"]), (&json!("USD"), &json!("EUR")));
    assert_eq!(STAND.arrived(&answer).len(), 0);
    assert_eq!(STAND.gateway.post("/shop", &token, MUG).status, 200);
}

#[test]
fn a_token_of_another_store_buys_there_and_not_here() {
    let token = STAND.gateway.token("elsewhere");
    let here = STAND.gateway.post("/shop", &token, MUG);
    assert_eq!((refused(&here, 403).as_str(), STAND.arrived(&here).len()), ("STORE_MISMATCH", 0));
    let there = STAND.gateway.post("/elsewhere", &token, MUG);
    assert_eq!((there.status, STAND.arrived(&there).len()), (200, 1));
}

#[test]
fn a_token_without_authority_buys_nothing() {
    let good = STAND.gateway.token("shop");
    let (message, signature) = good.rsplit_once('.').unwrap();
    let flipped = signature.replacen(|c| c != 'A', "A", 1);
    let forged = Purchase::mug("shop").signed_by(&SigningKey::generate().unwrap());
    let expired = Purchase { age_s: 126, ..Purchase::mug("shop") };
    let cart_only = Purchase { scope: Scope::Cart, ..Purchase::mug("shop") };
    let cases = [
        (format!("{message}.{flipped}"), "INVALID_SIGNATURE", "execution.denied"),
        (forged, "INVALID_SIGNATURE", "execution.denied"),
        ("nonsense".to_owned(), "INVALID_SIGNATURE", "execution.denied"),
        (STAND.gateway.sign(&expired), "TOKEN_EXPIRED", "execution.expired"),
        (STAND.gateway.sign(&cart_only), "SCOPE_RESTRICTED", "execution.denied"),
    ];
    for (token, code, event) in cases {
        let answer = STAND.gateway.post("/shop", &token, MUG);
        assert_eq!((refused(&answer, 403).as_str(), STAND.arrived(&answer).len()), (code, 0));
        let event = STAND.event(&answer, event);
        // Who signed nothing that we trust is not named.
        let named = code != "INVALID_SIGNATURE";
        assert_eq!(event["data"].get("agentId").is_some(), named, "{event}");
    }
    assert_eq!(STAND.gateway.post("/shop", &good, MUG).status, 200);
}

#[test]
fn the_policy_of_the_store_has_the_last_word_and_burns_nothing() {
    let token = STAND.gateway.token("cheap");
    for _ in 0..2 {
        let answer = STAND.gateway.post("/cheap", &token, MUG);
        assert_eq!((refused(&answer, 403).as_str(), STAND.arrived(&answer).len()), ("POLICY_DENIED", 0));
        assert_eq!(answer.json()["rule"], "limits.max_item_price");
    }
}

/// What is recorded of one purchase: the reservation before the merchant hears of it, then how it
/// ended and the order that came of it, all of one execution.
#[test]
fn a_purchase_leaves_its_whole_story() {
    let bought = STAND.gateway.post("/shop", &STAND.gateway.token("shop"), MUG);
    let kinds = ["execution.reserved", "execution.validated", "order.observed"];
    let events = STAND.gateway.events_of(trace(&bought));
    let told: Vec<_> = events.iter().map(crate::support::gateway::kind).collect();
    assert_eq!(told, kinds);
    for event in &events {
        assert_eq!((&event["data"]["agentId"], &event["data"]["storeId"]), (&json!(AGENT), &json!("shop")), "{event}");
        assert_eq!((&event["correlationid"], &event["authid"]), (&events[0]["correlationid"], &json!(AGENT)));
    }
    assert_eq!((&events[1]["data"]["httpStatus"], &events[2]["data"]["orderId"]), (&json!(200), &json!("ord_1")));
}

#[test]
fn where_a_token_is_required_nothing_passes_without_one() {
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let answer = STAND.gateway.send(&request(method, "/agents", &[], MUG));
        assert_eq!((refused(&answer, 403).as_str(), STAND.arrived(&answer).len()), ("NO_TOKEN", 0), "{method}");
        assert!(answer.json()["next"].as_str().unwrap().contains("/agents/v1/exec/authorize"));
    }
    // Looking is free.
    assert_eq!(STAND.gateway.send(&request("GET", "/agents", &[], "")).status, 200);
    assert_eq!(STAND.gateway.post("/agents", &STAND.gateway.token("agents"), MUG).status, 200);
}

#[test]
fn shoppers_pass_where_no_token_is_required_and_are_seen() {
    let shopper = post(STAND.gateway.address(), "/shop", &["User-Agent: ChatGPT-User/1.0"], MUG);
    assert_eq!((shopper.status, shopper.header("permyx-decision")), (200, Some("observed")));
    let seen = STAND.event(&shopper, "execution.observed");
    assert_eq!((&seen["data"]["wouldDeny"], &seen["data"]["agentSignal"]), (&json!("NO_TOKEN"), &json!("ua")));
    assert_eq!(STAND.event(&shopper, "order.observed")["data"]["orderId"], "ord_1");
}
