//! `POST /agents/v1/exec/authorize` and what all calls have in common: keys, allowances, versions,
//! and the answers to what is no proper request.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use permyx::catalog::Variant;
use permyx::keystore::agents::{Allowance, Role};
use permyx::model::ids::{StoreId, VariantId};
use permyx::model::money::Price;
use serde_json::{Value, json};

use crate::support::dir::TempDir;
use crate::support::http::{exchange, request};
use crate::support::plane::{AUTHORIZE, Held, Plane, START_S, Setup, common, names, purchase, purchase_with, refused};
use crate::support::program;

/// The claims of a token, as text: numbers keep their digits.
fn claims(token: &str) -> String {
    let payload = token.split('.').nth(1).unwrap();
    String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[test]
fn the_published_example_is_answered_as_published() {
    let plane = Plane::new();
    let agent = plane.agent();
    let answer = plane.post(AUTHORIZE, &agent, &purchase_with(&[("/clientContext", json!({ "cartId": "c" }))]));
    assert_eq!(answer.status, 200, "{}", answer.text());
    common(&answer);
    let body = answer.json();
    assert_eq!(names(&body), ["decision", "executionToken", "expiresAt", "permyx_protocol_version", "traceId"]);
    assert_eq!((&body["decision"], &body["permyx_protocol_version"]), (&json!("allowed"), &json!("1.5")));
    assert_eq!(body["expiresAt"], "2027-01-15T08:02:01.000Z");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let signed: Value = serde_json::from_str(&claims(body["executionToken"].as_str().unwrap())).unwrap();
    assert_eq!((&signed["sub"], &signed["pid"]), (&json!(agent.key.id), &json!("permyx:product:demo")));
    let again = plane.post(AUTHORIZE, &agent, &purchase()).json();
    assert_ne!(again["traceId"], body["traceId"]);
}

#[test]
fn a_malformed_member_is_named() {
    let plane = Plane::new();
    let agent = plane.agent();
    let cases = [
        ("/storeId", json!(""), "storeId"),
        ("/storeId", json!("a|b"), "storeId"),
        ("/storeId", json!(7), "storeId"),
        ("/permyxProductId", json!("x".repeat(129)), "permyxProductId"),
        ("/sourceVariantId", json!("a b"), "sourceVariantId"),
        ("/quantity", json!(0), "quantity"),
        ("/quantity", json!(51), "quantity"),
        ("/quantity", json!(1.5), "quantity"),
        ("/quantity", json!("1"), "quantity"),
        ("/price", json!(29.99), "price"),
        ("/price/amount", json!("29.99"), "price.amount"),
        ("/price/amount", json!(0), "price.amount"),
        ("/price/amount", json!(-1), "price.amount"),
        ("/price/currency", json!("usd"), "price.currency"),
        ("/price/currency", json!("XYZ"), "price.currency"),
        ("/scope", json!(["agent_exec"]), "scope"),
        ("/clientContext", json!("c"), "clientContext"),
        ("/clientContext", json!({ "cartId": 1 }), "clientContext.cartId"),
    ];
    let required = [
        "storeId",
        "permyxProductId",
        "sourceVariantId",
        "quantity",
        "price",
        "price/amount",
        "price/currency",
        "scope",
    ];
    let missing = required.map(|name| (format!("/{name}"), Value::Null, name.replace('/', ".")));
    let malformed = cases.map(|(pointer, value, member)| (pointer.to_owned(), value, member.to_owned()));
    for (pointer, value, member) in missing.into_iter().chain(malformed) {
        let body = purchase_with(&[(&pointer, value)]);
        let told = refused(&plane.post(AUTHORIZE, &agent, &body), 400, "BAD_REQUEST");
        assert_eq!(told["member"], json!(member), "{body}");
        assert!(told["error"]["message"].as_str().unwrap().contains(&format!("`{member}`")), "{told}");
    }
}

#[test]
fn money_is_read_from_its_digits_and_signed_with_those_of_its_currency() {
    let plane = Plane::new();
    let agent = plane.agent();
    let ask = |amount: &str, currency: &str| {
        let body = purchase().to_string().replace("29.99", amount).replace("USD", currency);
        plane.send("POST", AUTHORIZE, &agent, &[], &body)
    };
    for (amount, currency, signed) in
        [("29.9", "USD", "29.90"), ("3e1", "USD", "30.00"), ("5000", "JPY", "5000"), ("1.250", "KWD", "1.250")]
    {
        let answer = ask(amount, currency);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let claims = claims(answer.json()["executionToken"].as_str().unwrap());
        assert!(claims.contains(&format!("\"price_amount\":{signed},")), "{claims}");
    }
    for (amount, currency) in [
        ("120.001", "USD"),
        ("29.990", "USD"),
        ("119.999999999999999999999", "USD"),
        ("5000.0", "JPY"),
        ("1e400", "USD"),
        ("99999999999999999999", "USD"),
    ] {
        assert_eq!(refused(&ask(amount, currency), 400, "BAD_REQUEST")["member"], "price.amount", "{amount}");
    }
}

#[test]
fn only_agent_exec_may_execute() {
    let plane = Plane::new();
    let agent = plane.agent();
    for scope in ["chat", "compare", "cart", "ads", "admin", ""] {
        let told = refused(
            &plane.post(AUTHORIZE, &agent, &purchase_with(&[("/scope", json!(scope))])),
            403,
            "SCOPE_RESTRICTED",
        );
        assert_eq!((&told["decision"], &told["rule"]), (&json!("denied"), &json!("scope")));
    }
}

#[test]
fn every_bad_key_is_told_the_same() {
    let plane = Plane::new();
    let (agent, gone) = (plane.agent(), plane.agent());
    plane.revoke(&gone);
    let (good, revoked) = (format!("X-API-Key: {}", agent.secret), format!("X-API-Key: {}", gone.secret));
    let long = format!("X-API-Key: {}", "a".repeat(1000));
    let bad: [&[&str]; 7] = [
        &[],
        &["X-API-Key: "],
        &["X-API-Key: permyx_agent_unknown"],
        &[&revoked],
        &[&long],
        &[&good, &good],
        &["X-API-Key: permyx_agent_\u{e4}"],
    ];
    let told: Vec<_> = bad
        .iter()
        .map(|headers| {
            let answer =
                exchange(plane.address(), request("POST", AUTHORIZE, headers, &purchase().to_string())).unwrap();
            let mut body = refused(&answer, 401, "UNAUTHORIZED");
            body["traceId"].take();
            assert!(answer.header("www-authenticate").is_some());
            body
        })
        .collect();
    assert!(told.iter().all(|body| *body == told[0]));
}

#[test]
fn a_key_does_what_its_role_and_its_stores_say() {
    let plane = Plane::new();
    for role in [Role::Merchant, Role::Auditor, Role::Operator] {
        let told = refused(&plane.post(AUTHORIZE, &plane.key(role, &["store-123"]), &purchase()), 403, "FORBIDDEN");
        assert_eq!(told["rule"], "key.role");
    }
    let elsewhere = plane.key(Role::Agent, &["store-9"]);
    let known = refused(&plane.post(AUTHORIZE, &elsewhere, &purchase()), 403, "FORBIDDEN");
    let unknown =
        refused(&plane.post(AUTHORIZE, &elsewhere, &purchase_with(&[("/storeId", json!("none"))])), 403, "FORBIDDEN");
    assert_eq!((&known["rule"], &known["member"]), (&json!("key.stores"), &json!("storeId")));
    assert_eq!(known["error"], unknown["error"], "whether a store exists is not told");
}

#[test]
fn a_policy_says_which_limit_and_by_how_much() {
    let plane = Plane::with_policy(
        "store = \"store-123\"\ncurrency = \"USD\"\n[limits]\nmax_quantity = 3\ntoken_ttl = \"60s\"\n",
    );
    let agent = plane.agent();
    let told =
        refused(&plane.post(AUTHORIZE, &agent, &purchase_with(&[("/quantity", json!(4))])), 403, "POLICY_DENIED");
    assert_eq!(
        (&told["rule"], &told["observed"], &told["limit"]),
        (&json!("limits.max_quantity"), &json!("4"), &json!("3"))
    );
    assert_eq!(told["decision"], "denied");
    let allowed = plane.post(AUTHORIZE, &agent, &purchase());
    assert_eq!(allowed.json()["expiresAt"], "2027-01-15T08:01:01.000Z", "a policy shortens the lifetime");
}

#[test]
fn a_catalog_knows_variants_and_the_age_of_prices() {
    let plane = Plane::new();
    let agent = plane.agent();
    let variant = Variant {
        id: VariantId::parse("shopify:variant:123456").unwrap(),
        price: Price::parse_text("29.99 USD").unwrap(),
        verified_at: plane.clock.now(),
    };
    plane.authority.catalog.put(&StoreId::parse("store-123").unwrap(), &[variant]).unwrap();
    assert_eq!(plane.post(AUTHORIZE, &agent, &purchase()).status, 200);
    let other = purchase_with(&[("/sourceVariantId", json!("shopify:variant:1"))]);
    refused(&plane.post(AUTHORIZE, &agent, &other), 403, "VARIANT_NOT_FOUND");
    let cheaper = purchase_with(&[("/price/amount", json!(29.98))]);
    assert_eq!(refused(&plane.post(AUTHORIZE, &agent, &cheaper), 403, "STALE_PRICE")["rule"], "catalog.price");
    plane.clock.advance(6 * 3_600_000 + 1000);
    assert_eq!(
        refused(&plane.post(AUTHORIZE, &agent, &purchase()), 403, "STALE_PRICE")["rule"],
        "limits.price_max_age"
    );
}

#[test]
fn orders_of_the_last_hour_count_and_authorizing_does_not() {
    let plane = Plane::with_policy("store = \"store-123\"\nmode = \"enforce\"\n[velocity]\norders_per_hour = 1\n");
    let (agent, merchant) = (plane.agent(), plane.merchant());
    let (first, second) = (plane.token(&agent), plane.token(&agent));
    assert_eq!(plane.validate(&merchant, &first).status, 200);
    let told = refused(&plane.validate(&merchant, &second), 403, "POLICY_DENIED");
    assert_eq!(told["rule"], "velocity.orders_per_hour");
    refused(&plane.post(AUTHORIZE, &agent, &purchase()), 403, "POLICY_DENIED");
    plane.clock.advance(3_600_000);
    plane.token(&agent);
}

#[test]
fn an_allowance_is_told_and_ends_in_429() {
    let plane = Plane::new();
    let allowance = Allowance { per_minute: Some(2), per_month: None };
    let agent = plane.key_with(Role::Agent, &["store-123"], allowance);
    let told = |held: &Held| {
        let answer = plane.post(AUTHORIZE, held, &purchase());
        let header = |name| answer.header(name).unwrap().parse::<i64>().unwrap();
        let numbers = [header("x-ratelimit-limit"), header("x-ratelimit-remaining"), header("x-ratelimit-reset")];
        (answer, numbers)
    };
    let reset = START_S + 60;
    assert_eq!(told(&agent).1, [2, 1, reset]);
    assert_eq!(told(&agent).1, [2, 0, reset]);
    let (answer, numbers) = told(&agent);
    assert_eq!((numbers, answer.header("retry-after")), ([2, 0, reset], Some("59")));
    assert_eq!(refused(&answer, 429, "RATE_LIMITED")["rule"], "allowance.minute");
    assert_eq!(told(&plane.agent()).0.status, 200, "another key has its own");
    plane.clock.advance(59_000);
    assert_eq!(told(&agent).1, [2, 1, reset + 60]);
    let monthly = Allowance { per_minute: None, per_month: Some(1) };
    let monthly = plane.key_with(Role::Agent, &["store-123"], monthly);
    assert_eq!(told(&monthly).1[..2], [1, 0]);
    assert_eq!(refused(&told(&monthly).0, 429, "RATE_LIMITED")["rule"], "allowance.month");
}

#[test]
fn versions_are_negotiated() {
    let plane = Plane::new();
    let agent = plane.agent();
    let ask = |header: &str| plane.send("POST", AUTHORIZE, &agent, &[header], &purchase().to_string());
    for version in ["1.0", "1.5"] {
        assert_eq!(ask(&format!("Accept-Version: {version}")).json()["permyx_protocol_version"], version);
    }
    for bad in ["2.0", "1", "", "1.0, 1.5"] {
        assert_eq!(refused(&ask(&format!("Accept-Version: {bad}")), 400, "BAD_REQUEST")["member"], "Accept-Version");
    }
}

#[test]
fn what_is_no_proper_request_is_refused_in_the_same_shape() {
    let plane = Plane::new();
    let agent = plane.agent();
    let get = plane.send("GET", AUTHORIZE, &agent, &[], "");
    assert_eq!(
        (refused(&get, 405, "BAD_REQUEST")["member"].as_str(), get.header("allow")),
        (Some("method"), Some("POST"))
    );
    refused(&plane.send("POST", "/agents/v1/exec/nothing", &agent, &[], "{}"), 404, "NOT_FOUND");
    refused(&plane.send("POST", &format!("{AUTHORIZE}/"), &agent, &[], "{}"), 404, "NOT_FOUND");
    let raw = |headers: &str, body: &str| {
        let head = format!(
            "POST {AUTHORIZE} HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n{headers}Content-Length: {}\r\n\r\n",
            agent.secret,
            body.len()
        );
        exchange(plane.address(), head + body).unwrap()
    };
    let good = purchase().to_string();
    for headers in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/json; charset=utf-16\r\n",
        "Content-Type: application/json\r\nContent-Type: application/json\r\n",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
    ] {
        refused(&raw(headers, &good), 415, "BAD_REQUEST");
    }
    assert_eq!(raw("Content-Type: Application/JSON; charset=\"UTF-8\"\r\n", &good).status, 200);
    let json = "Content-Type: application/json\r\n";
    let twice = good.replacen('{', "{\"storeId\":\"x\",", 1);
    for body in ["", "[]", "{", "null", "{} {}", "\u{feff}{}", "{\"a\":1,}", &twice] {
        assert_eq!(refused(&raw(json, body), 400, "BAD_REQUEST")["member"], "body", "{body:?}");
    }
    let padding = 64 * 1024 - good.len();
    assert_eq!(raw(json, &format!("{good}{}", " ".repeat(padding))).status, 200);
    refused(&raw(json, &format!("{good}{}", " ".repeat(padding + 1))), 413, "BAD_REQUEST");
}

#[test]
fn a_long_body_in_chunks_is_cut_off() {
    let plane = Plane::new();
    let agent = plane.agent();
    let head = format!(
        "POST {AUTHORIZE} HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        agent.secret
    );
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let answer = exchange(plane.address(), format!("{head}{chunk}{chunk}0\r\n\r\n")).unwrap();
    refused(&answer, 413, "BAD_REQUEST");
}

#[test]
fn nothing_is_issued_before_the_ledger_takes_it() {
    let plane = Plane::start(Setup::default());
    let agent = plane.agent();
    let answer = plane.post(AUTHORIZE, &agent, &purchase());
    assert_eq!(refused(&answer, 503, "LEDGER_QUARANTINE")["retryable"], true);
    assert_eq!(answer.header("retry-after"), Some("1"));
    plane.clock.advance(1000);
    plane.token(&agent);
}

#[test]
fn decisions_are_recorded_and_secrets_are_not() {
    let plane = Plane::new();
    let agent = plane.agent();
    let token = plane.token(&agent);
    refused(&plane.post(AUTHORIZE, &agent, &purchase_with(&[("/scope", json!("cart"))])), 403, "SCOPE_RESTRICTED");
    plane.validate(&agent, &token);
    let evidence = plane.evidence();
    for recorded in ["execution.authorized", "execution.denied", "execution.validated", agent.key.id.as_str()] {
        assert!(evidence.contains(recorded), "{recorded}");
    }
    let signature = token.rsplit('.').next().unwrap();
    for secret in [agent.secret.trim_start_matches("permyx_agent_"), signature] {
        assert!(!evidence.contains(secret));
    }
}

/// The verb of the README, as a process against the real API.
#[test]
fn the_command_line_asks_as_an_agent_does() {
    let plane = Plane::new();
    let (agent, merchant) = (plane.agent(), plane.merchant());
    let dir = TempDir::new();
    let url = format!("http://{}", plane.address());
    let ask = |more: &[&str]| {
        let line = [&["token", "request", "--url", &url], more].concat();
        let output = program::run(dir.path(), &line);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, token, _) = ask(&["--key", &agent.secret]);
    assert_eq!((code, plane.validate(&merchant, token.trim_end()).status), (Some(0), 200));
    let (code, out, told) = ask(&["--key", &agent.secret, "--store", "store-9"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(told.contains("refused: FORBIDDEN: this key is not enrolled in this store"), "{told}");
    let (code, _, told) = ask(&["--key", "permyx_agent_wrong"]);
    assert!(code == Some(1) && told.contains("UNAUTHORIZED") && !told.contains("permyx_agent_wrong"), "{told}");
    assert_eq!(ask(&["--price", "29.999 USD"]).0, Some(2));
}
