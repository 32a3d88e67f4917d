//! Orders that a store tells of: taken once, from nobody else, joined to what was bought and told.

use std::time::Instant;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::dir::TempDir;
use crate::support::gateway::MUG as CART;
use crate::support::http::{Answer, exchange, post, request};
use crate::support::program::{Program, run};

const MERCHANT: &str = "X-API-Key: permyx_merchant_YOUR_KEY";
const AGENT: &str = "X-API-Key: permyx_agent_YOUR_KEY";
const ORDERS: &str = "/v1/orders?store=store-123&platform=generic";

/// A sandbox whose data stay.
struct Shop {
    dev: Program,
    dir: TempDir,
}

impl Shop {
    fn open() -> Self {
        let dir = TempDir::new();
        let dev = Self::start(&dir);
        Self { dir, dev }
    }

    fn start(dir: &TempDir) -> Program {
        let mut args = vec!["dev", "--data", "data"];
        for flag in ["--gateway-listen", "--api-listen", "--merchant-listen", "--ops-listen"] {
            args.extend([flag, "127.0.0.1:0"]);
        }
        Program::start(dir.path(), &args)
    }

    fn token(&self, cart: Option<&str>) -> String {
        let mut intent = crate::support::plane::purchase();
        if let Some(cart) = cart {
            intent["clientContext"] = json!({ "cartId": cart });
        }
        let answer = self.call("/agents/v1/exec/authorize", AGENT, &intent);
        answer.json()["executionToken"].as_str().unwrap().to_owned()
    }

    fn call(&self, path: &str, key: &str, body: &Value) -> Answer {
        post(self.dev.address("api"), path, &[key], &body.to_string())
    }

    /// The timeline of an id, once it holds this text.
    fn timeline_with(&self, id: &str, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let done = run(self.dir.path(), &["timeline", id, "--url", &self.dev.said("api")]);
            let told = String::from_utf8_lossy(&done.stdout).into_owned();
            if told.contains(text) {
                return told;
            }
            assert!(Instant::now() < deadline, "no `{text}` in the timeline of {id}: {told}{done:?}");
        }
    }
}

fn order(id: &str, more: &Value) -> Value {
    let mut order = json!({
        "happened": "created", "orderId": id, "time": "2026-11-18T11:06:45Z", "currency": "USD", "total": 34.99,
        "lines": [{ "variant": "shopify:variant:123456", "quantity": 1, "price": 29.99 }],
    });
    order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    order
}

#[test]
fn an_order_that_carries_the_trace_of_its_request_is_proven_and_judged_once() {
    let mut shop = Shop::open();
    let header = format!("Permyx-Execution-Token: {}", shop.token(None));
    let bought = post(shop.dev.address("gateway"), "/checkout", &[&header], CART);
    assert_eq!(bought.status, 200, "{}", bought.text());
    let told = order("W-1", &json!({ "permyx_trace": bought.header("permyx-trace").unwrap() }));
    let first = shop.call(ORDERS, MERCHANT, &told);
    assert_eq!(first.status, 200, "{}", first.text());
    let body = first.json();
    assert_eq!((&body["accepted"], &body["duplicate"], &body["orderId"]), (&json!(true), &json!(false), &json!("W-1")));
    // The sandbox gave the order another number: so the token cannot be that of W-1 too.
    let story = shop.timeline_with("W-1", "CONTRADICTED: the token bought another order");
    assert!(story.contains("Permyx authorised 1 × shopify:variant:123456"), "{story}");
    assert_eq!(shop.call(ORDERS, MERCHANT, &told).json()["duplicate"], true);

    let answered = bought.json()["orderId"].as_str().unwrap().to_owned();
    assert_eq!(shop.call(ORDERS, MERCHANT, &order(&answered, &json!({}))).status, 200);
    let story = shop.timeline_with(&answered, "is this purchase: proven, 100 %");
    let judgements = |story: &str| story.matches("Order ").count();
    let before = judgements(&story);

    let done = run(shop.dir.path(), &["report", "coverage", "--store", "store-123", "--url", &shop.dev.said("api")]);
    let report = String::from_utf8(done.stdout).unwrap();
    assert!(report.starts_with("Orders   2: 1 enforced (50.00 %), 0 observed"), "{report}");
    assert!(report.contains("store-123  W-1: contradicted, the token bought another order"), "{report}");

    assert!(shop.dev.stop().success());
    shop.dev = Shop::start(&shop.dir);
    assert_eq!(shop.call(ORDERS, MERCHANT, &order("after", &json!({}))).status, 200);
    shop.timeline_with("after", "Order after has no execution that it could be");
    let story = shop.timeline_with(&answered, "proven");
    assert_eq!(judgements(&story), before, "a restart judged again:\n{story}");
    assert_eq!(shop.call(ORDERS, MERCHANT, &told).json()["duplicate"], true);
}

#[test]
fn a_webhook_before_the_execution_is_judged_anew_once_there_is_one() {
    let shop = Shop::open();
    let token = shop.token(Some("cart-1"));
    assert_eq!(shop.call(ORDERS, MERCHANT, &order("1001", &json!({ "cartId": "cart-1" }))).status, 200);
    // The token was issued for the cart and not used: it could be this order, and nothing says more.
    shop.timeline_with("1001", "Order 1001 seems to be this purchase: weak, 25 %");
    let used = json!({ "storeId": "store-123", "executionToken": token, "checkoutContext": { "cartToken": "cart-1" } });
    assert_eq!(shop.call("/agents/v1/exec/validate", MERCHANT, &used).status, 200);
    let since = "By what became known since: Order 1001 seems to be this purchase: strong, 90 %.";
    let story = shop.timeline_with("1001", since);
    assert!(story.contains("Order       1001, total 34.99 USD; strong, 90 %"), "{story}");
}

#[test]
fn a_delivery_is_taken_from_the_store_and_from_nobody_else() {
    let dir = TempDir::new();
    dir.write("shop.secret", "a secret of this store\n");
    dir.write("policies/store-123.toml", "store = \"store-123\"\nmode = \"enforce\"\n");
    let text = "[api]\nlisten = \"127.0.0.1:0\"\n[ops]\nlisten = \"127.0.0.1:0\"\n[policies]\ndir = \"policies\"\n\
                [[orders.webhooks]]\nstore = \"store-123\"\nplatform = \"shopify\"\nsecret_file = \"shop.secret\"\n\
                variant = \"shopify:variant:{id}\"\n";
    dir.write("permyx.toml", text);
    assert!(run(dir.path(), &["keys", "generate", "--data", "data"]).status.success());
    let serve = Program::start(dir.path(), &["serve", "--config", "permyx.toml"]);
    let body = r#"{"id":5208334008572,"currency":"USD","total_price":"34.99","created_at":"2026-11-18T11:06:45Z"}"#;
    let signed = |secret: &str, body: &str| {
        let tag = sign(&Key::new(HMAC_SHA256, secret.as_bytes()), body.as_bytes());
        format!("X-Shopify-Hmac-Sha256: {}", STANDARD.encode(tag))
    };
    let tell = |store: &str, headers: &[&str], body: &str| {
        let path = format!("/v1/orders?store={store}&platform=shopify");
        post(serve.address("api"), &path, headers, body)
    };
    let good = signed("a secret of this store", body);
    let taken = tell("store-123", &[&good], body);
    assert_eq!((taken.status, taken.json()["orderId"].as_str()), (200, Some("5208334008572")), "{}", taken.text());
    for (store, headers, sent) in [
        ("store-123", vec![], body),
        ("store-123", vec![signed("another secret", body)], body),
        ("store-123", vec![good.clone()], "{\"id\":1,\"currency\":\"USD\"}"),
        ("another-store", vec![good.clone()], body),
        ("store-123", vec![good.clone(), "X-API-Key: permyx_merchant_nobodys".to_owned()], body),
    ] {
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        let answer = tell(store, &headers, sent);
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (401, Some("UNAUTHORIZED")));
        assert!(!answer.text().contains("a secret"), "{}", answer.text());
    }
    let broken = r#"{"id":1,"currency":"USD","line_items":[{"quantity":"x"}]}"#;
    let answer = tell("store-123", &[&signed("a secret of this store", broken)], broken);
    assert_eq!((answer.status, answer.json()["member"].as_str()), (400, Some("line_items.0.quantity")));
    // A secret that is changed counts at once.
    dir.write("shop.secret", "changed");
    assert_eq!(tell("store-123", &[&good], body).status, 401);
    assert_eq!(tell("store-123", &[&signed("changed", body)], body).json()["duplicate"], true);
}

#[test]
fn what_cannot_be_an_order_is_told_by_name() {
    let shop = Shop::open();
    let api = shop.dev.address("api");
    let good = order("1", &json!({})).to_string();
    let member = |path: &str, key: &str, body: &str| {
        let answer = post(api, path, &[key], body);
        (answer.status, answer.json()["member"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(member("/v1/orders?platform=generic", MERCHANT, &good), (400, "store".to_owned()));
    assert_eq!(member("/v1/orders?store=store-123&platform=x", MERCHANT, &good), (400, "platform".to_owned()));
    assert_eq!(member("/v1/orders?store=s&platform=generic&x=1", MERCHANT, &good), (400, "query".to_owned()));
    assert_eq!(member(ORDERS, MERCHANT, "{}"), (400, "happened".to_owned()));
    assert_eq!(member(ORDERS, MERCHANT, "["), (400, "body".to_owned()));
    assert_eq!(member(ORDERS, AGENT, &good).0, 403);
    assert_eq!(member("/v1/orders?store=another&platform=generic", MERCHANT, &good).0, 403);
    assert_eq!(member(ORDERS, MERCHANT, &"x".repeat((256 << 10) + 1)).0, 413);
    assert_eq!(exchange(api, request("GET", ORDERS, &[MERCHANT], "")).unwrap().status, 405);
}
