//! Every kind of secret in every place where a caller can put one, but those that are recorded because they
//! are ids: a variant, an order, a trace. What was counted, logged, recorded and answered is looked at as
//! always, when the programs end.

use serde_json::{Value, json};

use crate::support::control::Control;
use crate::support::dir::TempDir;
use crate::support::gateway::{Gateway, Guard, MUG, Purchase, Start};
use crate::support::http::{Connection, get, post, request_to};
use crate::support::merchant::Merchant;
use crate::support::plane::{purchase, purchase_with};
use crate::support::program::Program;
use crate::support::secrets::{AUTHORIZATION, CARD, COOKIE, EMAIL, find};

const AGENT: &str = "X-API-Key: permyx_agent_YOUR_KEY";
const MERCHANT: &str = "X-API-Key: permyx_merchant_YOUR_KEY";

/// One of each kind, as a caller may have it.
fn planted() -> Vec<String> {
    let token = Purchase::mug("store-123").signed_by(&permyx::token::keys::SigningKey::generate().unwrap());
    let signature = token.rsplit_once('.').unwrap().1.to_owned();
    let key = format!("permyx_operator_{}", "aB3_-".repeat(9).split_at(43).0);
    let pem = "-----BEGIN PRIVATE KEY-----MIIEvQ-----END PRIVATE KEY-----".to_owned();
    let fixed = [EMAIL, CARD, COOKIE, AUTHORIZATION, "4242-4242-4242-4242"].map(str::to_owned);
    let planted: Vec<_> = fixed.into_iter().chain([token, signature, key, pem]).collect();
    assert!(planted.iter().all(|secret| find(secret.as_bytes()).is_some()));
    planted
}

/// As it stands in a path or in a query.
fn encoded(secret: &str) -> String {
    secret.replace('@', "%40").replace(' ', "%20")
}

/// Header fields that somebody reads, on the way or behind it.
const FIELDS: &str = "User-Agent Referer Origin traceparent tracestate Idempotency-Key Permyx-Confirm-Retry Permyx-Trace \
                      Signature-Agent Signature UCP-Agent X-Forwarded-For X-Forwarded-Host Accept Cookie Authorization \
                      Cart-Token X-Request-Id From Permyx_Agent Connection Content-Encoding Content-Type Accept-Encoding";

/// Requests of a shopper or an agent at the gate, with this secret in every place of each. `token` makes
/// a good token: a cart is looked at only behind one.
fn requests(path: &str, secret: &str, token: &dyn Fn() -> String) -> Vec<Vec<u8>> {
    let own = |token: &str| format!("Permyx-Execution-Token: {token}");
    let good = || vec![own(&token())];
    let ask = |target: &str, lines: &[String], body: &str| {
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        request_to("shop.example", "POST", target, &lines, body)
    };
    let fields = FIELDS.split_whitespace().map(|name| vec![format!("{name}: {secret}")]);
    let fields = fields.chain(fields_of_more(secret)).chain([vec![own(secret)], vec![own(secret), own(secret)]]);
    let with_token = fields.clone().map(|lines| [good(), lines].concat());
    let of_fields = fields.chain(with_token).map(|lines| ask(path, &lines, MUG));
    let of_targets = targets(path, secret).into_iter().map(|target| ask(&target, &[], MUG));
    let of_bodies = bodies(secret).into_iter().flat_map(|body| [ask(path, &good(), &body), ask(path, &[], &body)]);
    let odd = [request_to(secret, "POST", path, &[], MUG), format!("{secret} {path} HTTP/1.1\r\n\r\n").into()];
    of_targets.chain(of_fields).chain(of_bodies).chain(odd).collect()
}

fn targets(path: &str, secret: &str) -> [String; 5] {
    let safe = encoded(secret);
    [
        format!("{path}?email={safe}&{safe}=1&utm_source={safe}&utm_medium={safe}&token={safe}"),
        format!("{path}/{safe}"),
        format!("{path}/../{safe}"),
        format!("/{safe}/{safe}"),
        format!("//{safe}"),
    ]
}

/// Within what else a field says, and in its name.
fn fields_of_more(secret: &str) -> [Vec<String>; 4] {
    let safe = encoded(secret);
    [
        vec![format!("Referer: https://{secret}/?q={safe}"), format!("User-Agent: GPTBot/1.0 (+{secret})")],
        vec![format!("Signature-Agent: \"https://{secret}\""), format!("UCP-Agent: profile=\"https://{secret}/x\"")],
        vec![format!("traceparent: 00-{secret}-00f067aa0ba902b7-01"), format!("tracestate: a={secret}")],
        vec![format!("X-{}: 1", secret.replace(['@', ' ', '.'], "-"))],
    ]
}

/// Carts with it in each member that is not what is bought.
fn bodies(secret: &str) -> [String; 8] {
    [
        MUG.replacen('{', &format!("{{\"{secret}\":\"{secret}\","), 1),
        MUG.replace("USD", secret),
        MUG.replace("\"quantity\":1", &format!("\"quantity\":\"{secret}\"")),
        MUG.replace("29.99", &format!("\"{secret}\"")),
        MUG.replace("\"quantity\":1", &format!("\"{secret}\":1,\"{secret}\":1")),
        MUG.replace(":1,", &format!(":{secret},")),
        secret.to_owned(),
        format!("[\"{secret}\"]"),
    ]
}

/// Sends it; an answer is looked at as it is read, and some of these get none.
fn send(to: std::net::SocketAddr, bytes: &[u8]) {
    let mut connection = Connection::open(to);
    connection.send(bytes);
    connection.finish();
    let _ = connection.answer_to("POST");
}

#[test]
fn what_a_caller_plants_at_a_gateway_is_in_nothing_that_it_leaves() {
    let (control, merchant) = (Control::start(), Merchant::selling());
    let key = control.key(&["--role", "gateway", "--store", "shop", "--store", "ucp", "--store", "acp"]);
    let file = control.dir().write("gateway.key", &key);
    let guards = [
        Guard::enforcing("shop", merchant.url()),
        Guard { preset: "ucp", ..Guard::enforcing("ucp", merchant.url()) },
        Guard {
            preset: "acp",
            policy: "mode = \"enforce\"\ntokenless = \"require\"\n",
            ..Guard::enforcing("acp", merchant.url())
        },
    ];
    let ship = format!("[evidence.ship]\nurl = \"{}\"\nkey_file = \"{}\"\n", control.url(), file.display());
    let fallback = format!("fallback = \"{}\"", merchant.url());
    let gateway = Gateway::start_as(&Start { more: &ship, extra: &fallback, ..Start::alone(&guards) });
    let mut sent = 0;
    for secret in planted() {
        for (store, path) in [
            ("shop", "/shop"),
            ("ucp", "/ucp/checkout-sessions/1/complete"),
            ("acp", "/acp/checkout_sessions/1/complete"),
        ] {
            for bytes in requests(path, &secret, &|| gateway.token(store)) {
                send(gateway.address(), &bytes);
                sent += 1;
            }
        }
    }
    assert_eq!(gateway.post("/shop", &gateway.token("shop"), MUG).status, 200);
    let decided = gateway.events().len();
    assert!(sent > 1500 && decided > 900, "{decided} events of {sent} requests");
    let arrived = control.wait_for("the last of them", |events| events.len() >= decided);
    assert!(find(&serde_json::to_vec(&arrived).unwrap()).is_none());
}

/// Everything in one process, at the most talkative level of its log.
#[test]
fn what_a_caller_plants_at_the_api_is_in_nothing_that_it_leaves() {
    let dir = TempDir::new();
    let mut args = vec!["dev", "--data", "data", "--log", "trace"];
    for flag in ["--gateway-listen", "--api-listen", "--merchant-listen", "--ops-listen"] {
        args.extend([flag, "127.0.0.1:0"]);
    }
    let dev = Program::start(dir.path(), &args);
    let api = dev.address("api");
    for secret in planted() {
        let call = |path: &str, key: &str, body: &Value| post(api, path, &[key], &body.to_string()).status;
        for body in asked(&secret) {
            call("/agents/v1/exec/authorize", AGENT, &body);
            call("/agents/v1/exec/observe", MERCHANT, &body);
        }
        for verb in ["validate", "introspect"] {
            let body = json!({ "storeId": "store-123", "executionToken": secret, secret.clone(): secret });
            call(&format!("/agents/v1/exec/{verb}"), MERCHANT, &body);
        }
        for key in [format!("X-API-Key: {secret}"), format!("Authorization: Bearer {secret}")] {
            call("/agents/v1/exec/authorize", &key, &purchase());
        }
        for body in told(&secret) {
            call("/v1/orders?store=store-123&platform=generic", MERCHANT, &body);
        }
        let safe = encoded(&secret);
        for target in ["/timeline/", "/v1/evidence/timelines/", "/v1/evidence/events?cursor=", "/", "/v1/orders?store="]
        {
            get(api, &format!("{target}{safe}"));
        }
        let token = || {
            let answer = post(api, "/agents/v1/exec/authorize", &[AGENT], &purchase().to_string());
            answer.json()["executionToken"].as_str().unwrap_or_default().to_owned()
        };
        for bytes in requests("/checkout", &secret, &token) {
            send(dev.address("gateway"), &bytes);
            send(api, &bytes);
        }
    }
    let counted = get(dev.address("ops"), "/metrics").text();
    assert!(counted.contains("permyx_"), "{counted}");
}

/// Purchases to ask for, with this in each member that is not kept as it is.
fn asked(secret: &str) -> Vec<Value> {
    let places = ["/scope", "/price/currency", "/price/amount", "/quantity", "/clientContext", "/checkoutContext"];
    let mut asked: Vec<_> = places.iter().map(|place| purchase_with(&[(place, json!(secret))])).collect();
    asked.push(purchase_with(&[("/clientContext", json!({ "cartId": secret, "sessionId": secret }))]));
    asked.push(purchase_with(&[("/note", json!({ secret: [secret] }))]));
    asked
}

/// Orders to tell of, with this in each member that is not kept as it is.
fn told(secret: &str) -> Vec<Value> {
    let order = json!({
        "happened": "created", "orderId": "1001", "time": "2026-11-18T11:06:45Z", "currency": "USD", "total": 34.99,
        "lines": [{ "variant": "shopify:variant:123456", "quantity": 1, "price": 29.99 }],
    });
    let with = |name: &str, value: Value| {
        let mut order = order.clone();
        order[name] = value;
        order
    };
    let places =
        ["happened", "time", "currency", "total", "cartId", "sessionId", "permyx_execution", "permyx_trace", "lines"];
    let mut told: Vec<_> = places.iter().map(|name| with(name, json!(secret))).collect();
    told.push(with("customer", json!({ "email": secret, "card": secret })));
    told.push(with(secret, json!(secret)));
    told
}
