//! Vendure: one address for everything, and every outcome is a 200.

use std::sync::LazyLock;

use permyx::model::scope::Scope;
use serde_json::json;

use crate::support::gateway::{Gateway, Guard, Purchase, kind};
use crate::support::graphql::Guest;
use crate::support::http::Answer;
use crate::support::real::RealShop;

const AGENTS: &str = "agents.example";
const SHOPPERS: &str = "shoppers.example";
const GROSS: &str = "gross.example";
const WATCHED: &str = "watched.example";

struct Stand {
    shop: RealShop,
    gateway: &'static Gateway,
}

/// One shop behind four hosts: agents only, shoppers too, prices with tax, and only watched.
static STAND: LazyLock<Stand> = LazyLock::new(|| {
    let shop = RealShop::start("vendure_shop.py", "vendure");
    let guard = |name, host, policy| Guard {
        name,
        host,
        path: "/shop-api".to_owned(),
        preset: "vendure",
        upstream: shop.origin(),
        policy,
    };
    let gateway = Gateway::start(
        &[
            guard("agents", AGENTS, "mode = \"enforce\"\ntokenless = \"require\"\n"),
            guard("shoppers", SHOPPERS, "mode = \"enforce\"\n"),
            guard("gross", GROSS, "mode = \"enforce\"\nprice_basis = \"gross\"\n"),
            guard("watched", WATCHED, "mode = \"observe\"\n"),
        ],
        "",
    );
    Stand { shop, gateway: gateway.shared() }
});

impl Stand {
    fn guest(&self, host: &'static str) -> Guest {
        Guest::at(self.gateway.address(), host)
    }

    /// A basket of two mugs, ready to be paid.
    fn ready(&self, host: &'static str) -> Guest {
        let mut guest = self.guest(host);
        guest.fill("1", 2);
        guest
    }

    fn token(&self, store: &'static str) -> String {
        self.gateway.sign(&TWO_MUGS.of(store))
    }
}

const TWO_MUGS: Purchase =
    Purchase { store: "agents", variant: "1", quantity: 2, price: "29.99 USD", scope: Scope::AgentExec, age_s: 0 };

trait Of {
    fn of(&self, store: &'static str) -> Purchase;
}

impl Of for Purchase {
    fn of(&self, store: &'static str) -> Purchase {
        Purchase { store, ..self.clone() }
    }
}

fn code(answer: &Answer) -> (u16, String) {
    let code = answer.json()["errors"][0]["extensions"]["code"].as_str().unwrap_or("none").to_owned();
    (answer.status, code)
}

fn state(answer: &Answer) -> String {
    answer.json()["data"]["it"]["state"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_token_on_the_commit_buys_once() {
    let token = STAND.token("agents");
    let paid = STAND.ready(AGENTS).pay(Some(&token));
    assert_eq!((state(&paid).as_str(), paid.header("permyx-decision")), ("PaymentSettled", Some("allowed")));
    let events = STAND.gateway.events_of(paid.header("permyx-trace").unwrap());
    assert_eq!(
        events.iter().map(kind).collect::<Vec<_>>(),
        ["execution.reserved", "execution.validated", "order.observed"]
    );
    let order = &events[2]["data"];
    assert_eq!(
        (order["orderId"].clone(), order["orderTotal"].clone()),
        (paid.json()["data"]["it"]["code"].clone(), json!("77.98 USD"))
    );
    assert_eq!(order["orderStatus"], "PaymentSettled");
    // The same token buys no second basket.
    let mut next = STAND.ready(AGENTS);
    assert_eq!(code(&next.pay(Some(&token))), (403, "REPLAY_DETECTED".to_owned()));
    assert!(next.is_open());
}

#[test]
fn a_token_on_every_request_is_burned_by_the_commit_alone() {
    let mut eager = STAND.guest(AGENTS);
    eager.always = vec![format!("Permyx-Execution-Token: {}", STAND.token("agents"))];
    eager.fill("1", 2);
    assert_eq!(state(&eager.pay(None)), "PaymentSettled");
}

#[test]
fn a_basket_that_was_changed_elsewhere_is_refused_and_the_token_stays_good() {
    let mut guest = STAND.ready(AGENTS);
    let token = STAND.token("agents");
    guest.beside(STAND.shop.address()).add("1", 1);
    let refused = guest.pay(Some(&token));
    assert_eq!(code(&refused), (403, "INTENT_MISMATCH".to_owned()));
    let diff = &refused.json()["errors"][0]["extensions"]["permyx"]["diff"][0];
    assert_eq!((&diff["path"], &diff["authorized"], &diff["actual"]), (&json!("/quantity"), &json!("2"), &json!("3")));
    assert!(guest.is_open());
    assert_eq!(state(&STAND.ready(AGENTS).pay(Some(&token))), "PaymentSettled");
}

#[test]
fn every_other_purchase_than_the_authorised_one_is_refused() {
    for wrong in [
        Purchase { quantity: 1, ..TWO_MUGS },
        Purchase { variant: "2", ..TWO_MUGS },
        Purchase { price: "29.98 USD", ..TWO_MUGS },
        Purchase { price: "29.99 EUR", ..TWO_MUGS },
        Purchase { price: "35.99 USD", ..TWO_MUGS },
    ] {
        let mut guest = STAND.ready(AGENTS);
        assert_eq!(code(&guest.pay(Some(&STAND.gateway.sign(&wrong)))), (403, "INTENT_MISMATCH".to_owned()));
        assert!(guest.is_open());
    }
    let mut two_lines = STAND.ready(AGENTS);
    two_lines.add("2", 1);
    assert_eq!(code(&two_lines.pay(Some(&STAND.token("agents")))), (403, "INTENT_MISMATCH".to_owned()));
    assert!(two_lines.is_open());
}

#[test]
fn the_price_is_with_tax_where_the_store_says_so() {
    let gross = Purchase { price: "35.99 USD", ..TWO_MUGS };
    let mut guest = STAND.ready(GROSS);
    assert_eq!(code(&guest.pay(Some(&STAND.token("gross")))), (403, "INTENT_MISMATCH".to_owned()));
    assert_eq!(state(&guest.pay(Some(&STAND.gateway.sign(&gross.of("gross"))))), "PaymentSettled");
}

#[test]
fn without_a_token_nothing_commits_where_one_is_required() {
    let mut guest = STAND.ready(AGENTS);
    assert_eq!(code(&guest.pay(None)), (403, "NO_TOKEN".to_owned()));
    let pay = "addPaymentToOrder(input: {method: \"dummy\", metadata: {}}) { __typename }";
    let json = |query: String| json!({ "query": query }).to_string();
    let attempts = [
        (json(format!("mutation {{ a: {pay} }}")), "application/json"),
        (json(format!("mutation {{ ...F }} fragment F on Mutation {{ {pay} }}")), "application/json"),
        (
            json(format!("mutation {{ addItemToOrder(productVariantId: \"2\", quantity: 1) {{ __typename }} {pay} }}")),
            "application/json",
        ),
        (
            json(format!("mutation A {{ {pay} }} query B {{ activeOrder {{ id }} }}"))
                .replace("}\"", "}\",\"operationName\":\"A\""),
            "application/json",
        ),
        (format!("[{}]", json(format!("mutation {{ {pay} }}"))), "application/json"),
        (
            json("query { activeOrder { id } }".to_owned()).replacen(
                '{',
                &format!("{{\"query\":\"mutation {{ {} }}\",", pay.replace('"', "\\\"")),
                1,
            ),
            "application/json",
        ),
        (
            format!("query=mutation%7B{}%7D", pay.replace(' ', "+").replace('"', "%22")),
            "application/x-www-form-urlencoded",
        ),
        (
            format!(
                "--x\r\nContent-Disposition: form-data; name=\"operations\"\r\n\r\n{}\r\n--x--\r\n",
                json(format!("mutation {{ {pay} }}"))
            ),
            "multipart/form-data; boundary=x",
        ),
        (json!({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0"}}}).to_string(), "application/json"),
    ];
    for (body, kind) in attempts {
        let answer = guest.send(&[&format!("Content-Type: {kind}")], &body);
        assert_eq!(code(&answer), (403, "NO_TOKEN".to_owned()), "{body}");
        assert!(guest.is_open(), "{body}");
        // With a token it is no purchase that anybody could judge, unless it is one and nothing else.
        let token = format!("Permyx-Execution-Token: {}", STAND.gateway.sign(&Purchase { quantity: 9, ..TWO_MUGS }));
        let answer = guest.send(&[&format!("Content-Type: {kind}"), &token], &body);
        assert_eq!(code(&answer), (403, "INTENT_MISMATCH".to_owned()), "{body}");
        assert!(guest.is_open(), "{body}");
    }
}

#[test]
fn shoppers_pass_where_no_token_is_required_and_are_seen() {
    for host in [SHOPPERS, WATCHED] {
        let paid = STAND.ready(host).pay(None);
        assert_eq!((state(&paid).as_str(), paid.header("permyx-decision")), ("PaymentSettled", Some("observed")));
        let events = STAND.gateway.events_of(paid.header("permyx-trace").unwrap());
        assert_eq!(events.iter().map(kind).collect::<Vec<_>>(), ["execution.observed", "order.observed"]);
    }
    let watched =
        STAND.ready(WATCHED).pay(Some(&STAND.gateway.sign(&Purchase { quantity: 1, ..TWO_MUGS.of("watched") })));
    assert_eq!(state(&watched), "PaymentSettled");
    let events = STAND.gateway.events_of(watched.header("permyx-trace").unwrap());
    assert_eq!(events[0]["data"]["wouldDeny"], "INTENT_MISMATCH");
}

#[test]
fn a_declined_payment_burns_and_a_commit_too_early_does_not() {
    let token = STAND.token("agents");
    let mut early = STAND.ready(AGENTS);
    early.mutate(None, "transitionOrderToState", "(state: \"AddingItems\")");
    let refused = early.pay(Some(&token));
    assert_eq!(refused.json()["data"]["it"]["errorCode"], "ORDER_PAYMENT_STATE_ERROR", "{}", refused.text());
    let header = format!("Permyx-Execution-Token: {token}");
    let declined = "(input: {method: \"dummy\", metadata: {shouldDecline: true}})";
    let declined = STAND.ready(AGENTS).mutate(Some(&header), "addPaymentToOrder", declined);
    assert_eq!(declined.json()["data"]["it"]["errorCode"], "PAYMENT_DECLINED_ERROR", "{}", declined.text());
    assert_eq!(code(&STAND.ready(AGENTS).pay(Some(&token))), (403, "REPLAY_DETECTED".to_owned()));
}

#[test]
fn a_success_that_is_dressed_as_a_refusal_burns_all_the_same() {
    let (guest, token) = (STAND.ready(AGENTS), STAND.token("agents"));
    let query = "mutation { it: addPaymentToOrder(input: {method: \"dummy\", metadata: {}}) \
                 { ... on Order { state errorCode: code } } }";
    let header = format!("Permyx-Execution-Token: {token}");
    let paid = guest.send(&[&header], &json!({ "query": query }).to_string());
    assert_eq!(state(&paid), "PaymentSettled");
    assert_eq!(code(&STAND.ready(AGENTS).pay(Some(&token))), (403, "REPLAY_DETECTED".to_owned()));
}

#[test]
fn a_session_that_the_shop_does_not_know_is_none() {
    let mut stranger = STAND.guest(AGENTS);
    for bearer in [None, Some("nobody".to_owned())] {
        stranger.bearer = bearer;
        let refused = stranger.pay(Some(&STAND.token("agents")));
        let told = &refused.json()["errors"][0]["extensions"]["permyx"];
        assert_eq!(
            (refused.status, &told["rule"], &told["observed"]),
            (403, &json!("intent_unknown"), &json!("session_rotated"))
        );
    }
}
