//! Medusa: its own store API, and ACP by a plugin, with the same carts behind both.

use std::sync::LazyLock;

use permyx::model::scope::Scope;
use serde_json::json;

use crate::support::gateway::{Gateway, Guard, Purchase, kind};
use crate::support::http::Answer;
use crate::support::medusa::Way;
use crate::support::real::RealShop;

struct Stand {
    shop: RealShop,
    gateway: &'static Gateway,
}

/// One shop: shoppers share the store API, agents alone use ACP; one host sells with tax.
static STAND: LazyLock<Stand> = LazyLock::new(|| {
    let shop = RealShop::start("medusa_shop.py", "medusa");
    let guard = |name, host, path: &str, preset, policy| Guard {
        name,
        host,
        path: path.to_owned(),
        preset,
        upstream: shop.origin(),
        policy,
    };
    let gateway = Gateway::start(
        &[
            guard("store", "shop.example", "/store", "medusa", "mode = \"enforce\"\n"),
            guard("agents", "agents.example", "/store", "medusa", "mode = \"enforce\"\ntokenless = \"require\"\n"),
            guard("gross", "gross.example", "/store", "medusa", "mode = \"enforce\"\nprice_basis = \"gross\"\n"),
            guard("acp", "acp.example", "/acp", "acp", "mode = \"enforce\"\n"),
        ],
        "",
    );
    Stand { shop, gateway: gateway.shared() }
});

impl Stand {
    fn way(&'static self, host: &'static str) -> Way<'static> {
        Way { shop: &self.shop, to: self.gateway.address(), host, always: Vec::new() }
    }

    /// A token for so many blue mugs of this store.
    fn token(&'static self, store: &'static str, quantity: i64, price: &'static str) -> String {
        let variant = self.way("").variant("MUG-BLUE").to_owned().leak();
        self.gateway.sign(&Purchase { store, variant, quantity, price, scope: Scope::AgentExec, age_s: 0 })
    }
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or("none").to_owned())
}

fn complete(way: &Way, cart: &str, token: Option<&str>) -> Answer {
    way.store("POST", &format!("/carts/{cart}/complete"), token, None)
}

#[test]
fn a_cart_is_completed_once_and_only_as_it_was_authorised() {
    let way = STAND.way("shop.example");
    let (cart, token) = (way.cart("net", "MUG-BLUE", 2, ""), STAND.token("store", 2, "29.99 USD"));
    let bought = complete(&way, &cart, Some(&token));
    assert_eq!((bought.status, bought.json()["type"].as_str()), (200, Some("order")), "{}", bought.text());
    let events = STAND.gateway.events_of(bought.header("permyx-trace").unwrap());
    assert_eq!(
        events.iter().map(kind).collect::<Vec<_>>(),
        ["execution.reserved", "execution.validated", "order.observed"]
    );
    assert_eq!(events[2]["data"]["orderId"], bought.json()["order"]["id"]);
    // A completed cart would answer with its order again: no token is burned for that.
    let fresh = STAND.token("store", 2, "29.99 USD");
    let again = complete(&way, &cart, Some(&fresh));
    assert_eq!(
        (code(&again), again.json()["permyx"]["observed"].as_str()),
        ((403, "INTENT_MISMATCH".to_owned()), Some("session_over"))
    );
    assert_eq!(complete(&way, &way.cart("net", "MUG-BLUE", 2, ""), Some(&fresh)).status, 200);
}

#[test]
fn a_cart_that_differs_is_refused_in_every_spelling_of_the_commit() {
    let way = STAND.way("shop.example");
    let wrong = [
        STAND.token("store", 1, "29.99 USD"),
        STAND.token("store", 2, "29.98 USD"),
        STAND.token("store", 2, "29.99 EUR"),
    ];
    for (path, token) in ["complete", "COMPLETE", "complete/"].iter().zip(&wrong) {
        let cart = way.cart("net", "MUG-BLUE", 2, "");
        let refused = way.store("POST", &format!("/carts/{cart}/{path}"), Some(token), None);
        assert_eq!(code(&refused), (403, "INTENT_MISMATCH".to_owned()), "{path}");
        assert!(!way.beside().is_completed(&cart));
    }
    let (cart, token) = (way.cart("net", "MUG-BLUE", 2, ""), STAND.token("store", 2, "29.99 USD"));
    way.beside().add(&cart, "TOWEL", 1);
    way.beside().choose_payment(&cart, "");
    assert_eq!(code(&complete(&way, &cart, Some(&token))), (403, "INTENT_MISMATCH".to_owned()));
    assert!(!way.beside().is_completed(&cart));
}

#[test]
fn prices_with_tax_are_compared_where_the_cart_says_that_they_are() {
    let way = STAND.way("gross.example");
    let token = STAND.token("gross", 2, "35.99 EUR");
    assert_eq!(complete(&way, &way.cart("gross", "MUG-BLUE", 2, ""), Some(&token)).status, 200);
    let net = complete(&way, &way.cart("net", "MUG-BLUE", 2, ""), Some(&STAND.token("gross", 2, "29.99 USD")));
    assert_eq!(net.json()["permyx"]["observed"], "price_on_another_basis", "{}", net.text());
}

#[test]
fn a_payment_that_fails_gives_the_token_back_and_one_that_is_declined_does_not() {
    let (way, token) = (STAND.way("shop.example"), STAND.token("store", 2, "29.99 USD"));
    let failed = complete(&way, &way.cart("net", "MUG-BLUE", 2, "error"), Some(&token));
    assert_eq!((failed.status, failed.json()["type"].as_str()), (200, Some("cart")));
    let declined = complete(&way, &way.cart("net", "MUG-BLUE", 2, "declined"), Some(&token));
    assert_eq!((declined.status, declined.json()["type"].as_str()), (400, Some("not_allowed")), "{}", declined.text());
    let spent = complete(&way, &way.cart("net", "MUG-BLUE", 2, ""), Some(&token));
    assert_eq!(code(&spent), (403, "REPLAY_DETECTED".to_owned()));
}

#[test]
fn shoppers_complete_without_a_token_and_agents_do_not() {
    let shopper = STAND.way("shop.example");
    let bought = complete(&shopper, &shopper.cart("net", "MUG-BLUE", 1, ""), None);
    assert_eq!((bought.status, bought.header("permyx-decision")), (200, Some("observed")));
    let agent = STAND.way("agents.example");
    let cart = agent.cart("net", "MUG-BLUE", 1, "");
    for path in ["complete", "COMPLETE", "complete/"] {
        let refused = agent.store("POST", &format!("/carts/{cart}/{path}"), None, None);
        assert_eq!(code(&refused), (403, "NO_TOKEN".to_owned()), "{path}");
    }
    assert!(!agent.beside().is_completed(&cart));
}

#[test]
fn an_acp_session_is_bought_with_a_token_on_its_commit_or_on_everything() {
    let way = STAND.way("acp.example");
    let none = json!({});
    let session = way.acp_session("MUG-BLUE", 2);
    let refused = way.acp_complete(&session, None, &none);
    assert_eq!(code(&refused), (403, "NO_TOKEN".to_owned()));
    let members: Vec<_> = refused.json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["code", "message", "type"], "the protocol's error has no other members");

    // An update adds to what is there: three mugs, not one.
    let more = json!({"line_items": [{"id": way.variant("MUG-BLUE"), "quantity": 1}]});
    assert_eq!(way.acp("POST", &format!("/{session}"), None, Some(&more)).status, 200);
    let two = STAND.token("acp", 2, "29.99 USD");
    let mismatch = way.acp_complete(&session, Some(&two), &none);
    assert_eq!(code(&mismatch), (403, "INTENT_MISMATCH".to_owned()));
    assert!(mismatch.json()["message"].as_str().unwrap().contains("/quantity: authorized 2, actual 3"));
    let three = STAND.token("acp", 3, "29.99 USD");
    let bought = way.acp_complete(&session, Some(&three), &none);
    assert_eq!((bought.status, bought.json()["status"].as_str()), (200, Some("completed")), "{}", bought.text());
    let events = STAND.gateway.events_of(bought.header("permyx-trace").unwrap());
    assert_eq!(events[2]["data"]["orderTotal"], "113.96 USD");

    let mut eager = STAND.way("acp.example");
    eager.always = vec![format!("Permyx-Execution-Token: {two}")];
    let bought = eager.acp_complete(&eager.acp_session("MUG-BLUE", 2), None, &none);
    assert_eq!(bought.json()["status"], "completed", "{}", bought.text());
}

#[test]
fn an_item_that_is_planted_in_the_commit_deceives_nobody() {
    let way = STAND.way("acp.example");
    let session = way.acp_session("MUG-GREEN", 2);
    let authorised = json!({"line_items": [{"id": way.variant("MUG-BLUE"), "quantity": 2, "unit_amount": 2999}]});
    let token = STAND.token("acp", 2, "29.99 USD");
    assert_eq!(code(&way.acp_complete(&session, Some(&token), &authorised)), (403, "INTENT_MISMATCH".to_owned()));
    assert!(!way.beside().is_completed(&session));
    // And the session that was authorised is not bought by a commit that says something else.
    let session = way.acp_session("MUG-BLUE", 2);
    let other = json!({"items": [{"id": way.variant("MUG-GREEN"), "quantity": 2}]});
    assert_eq!(code(&way.acp_complete(&session, Some(&token), &other)), (403, "INTENT_MISMATCH".to_owned()));
    assert_eq!(way.acp_complete(&session, Some(&token), &json!({})).status, 200);
}

#[test]
fn under_acp_only_named_requests_pass_without_a_token() {
    let way = STAND.way("acp.example");
    let session = way.acp_session("MUG-BLUE", 2);
    for (method, path) in
        [("POST", "/COMPLETE"), ("POST", "/complete/"), ("POST", "/x"), ("PUT", ""), ("DELETE", ""), ("GET", "/x")]
    {
        let answer = way.acp(method, &format!("/{session}{path}"), None, Some(&json!({})));
        assert_eq!(code(&answer), (403, "NO_TOKEN".to_owned()), "{method} {path}");
    }
    assert_eq!(way.acp("GET", &format!("/{session}"), None, None).status, 200);
    assert!(!way.beside().is_completed(&session));
}
