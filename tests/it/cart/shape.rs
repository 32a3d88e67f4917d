//! What a cart and its tokens must look like.

use std::sync::Arc;

use permyx::model::ids::Jti;
use permyx::token::keys::SigningKey;

use super::*;

#[test]
fn tokens_that_are_no_list_are_refused() {
    let [stand, _] = stands();
    let many = |count: usize| (0..count).map(|n| format!("a.b.c{n}")).collect::<Vec<_>>().join(",");
    let long = (0..5).map(|n| format!("{}{n}", "x".repeat(4_000))).collect::<Vec<_>>().join(",");
    let token = stand.tokens("sells", 1).remove(0).text;
    let cases = [
        (many(21), 400),
        (format!("{token},{token}"), 400),
        (format!("{token},"), 400),
        (format!("{token},,a"), 400),
        (",".to_owned(), 400),
        (long, 431),
        (format!("{token},{}", "x".repeat(4_097)), 431),
    ];
    for (tokens, status) in cases {
        let answer = stand.gateway.send(&purchase("sells", &tokens, &[], &cart(&[0])));
        let member = answer.json()["member"].clone();
        assert_eq!((answer.status, member.as_str()), (status, Some("Permyx-Execution-Token")), "{}", answer.text());
    }
    let twice = format!("Permyx-Execution-Token: {token}");
    let answer = stand.gateway.send(&purchase("sells", &token, &[&twice], &cart(&[0])));
    assert_eq!((answer.status, code(&answer).as_str()), (400, "BAD_REQUEST"));
    assert_eq!(code(&stand.gateway.send(&purchase("sells", &many(20), &[], &cart(&[0])))), "INVALID_SIGNATURE");
    assert_eq!(stand.gateway.post("/sells", &token, &cart(&[0])).status, 200, "no refusal used the token up");
}

/// Two texts that a trusted key signed with one id.
#[test]
fn one_id_is_one_token() {
    let merchant = Merchant::selling();
    let key = Arc::new(SigningKey::generate().unwrap());
    let guards = [Guard::enforcing("sells", merchant.url())];
    let gateway = Gateway::start_as(&Start { key: key.clone(), ..Start::alone(&guards) });
    let jti = Jti::random();
    let twins = [0, 1].map(|item| offer("sells", item).signed_as(jti, &key));
    let answer = gateway.send(&purchase("sells", &twins.join(","), &[], &cart(&[0, 1])));
    assert_eq!((answer.status, code(&answer).as_str()), (400, "BAD_REQUEST"), "{}", answer.text());
    assert_eq!(merchant.recorded().len(), 0);
}

#[test]
fn each_line_has_its_token_and_each_token_its_line() {
    for stand in stands() {
        let tokens = stand.tokens("sells", 3);
        let [a, b, c] = [&tokens[0], &tokens[1], &tokens[2]];
        let send = |tokens: &[&Token], body: &str| stand.gateway.send(&purchase("sells", &header(tokens), &[], body));
        let cheap = cart(&[a.item, b.item]).replacen("\"price\":", "\"price\":1", 1);
        for (tokens, body, path) in [
            (&[a, b][..], cart(&[a.item, b.item, c.item]), "/lines"),
            (&[a, b, c], cart(&[a.item, b.item]), "/lines"),
            (&[a, b], cart(&[a.item, c.item]), "/lines/1/sourceVariantId"),
            (&[a, b], cart(&[a.item, a.item]), "/lines"),
            (&[a, b], cheap, "/lines/0/price/amount"),
        ] {
            let answer = send(tokens, &body);
            assert_eq!((answer.status, code(&answer).as_str()), (403, "INTENT_MISMATCH"), "{}", answer.text());
            assert_eq!(answer.json()["diff"][0]["path"], path, "{}", answer.text());
        }
        assert_eq!(send(&[c, a, b], &cart(&[b.item, c.item, a.item])).status, 200, "no refusal used a token up");
    }
}

#[test]
fn a_cart_is_of_one_agent_and_one_store() {
    let [stand, _] = stands();
    let ours = Token::of(stand.gateway, "sells", 0);
    let theirs = Token::signed(1, stand.gateway.sign_for("ak_other", &offer("sells", 1)));
    let refused = stand.buy("sells", &[&ours, &theirs]);
    assert_eq!(told(&refused), (403, "INTENT_MISMATCH".to_owned(), "cart.agent".to_owned()));
    assert_eq!(stand.events(&refused)[0].1, theirs.jti);
    let elsewhere = Token::of(stand.gateway, "limited", 1);
    assert_eq!(code(&stand.buy("sells", &[&ours, &elsewhere])), "STORE_MISMATCH");
    assert_eq!(stand.buy("sells", &[&ours]).status, 200);
}

/// Of several reasons the first in the published order is told, whichever token it is about.
#[test]
fn one_bad_token_spoils_a_cart() {
    let [stand, _] = stands();
    let good = Token::of(stand.gateway, "sells", 0);
    let old = Token::signed(1, stand.gateway.sign(&Purchase { age_s: 200, ..offer("sells", 1) }));
    let forged = Token { item: 2, jti: String::new(), text: "a.b.c".to_owned() };
    let expired = stand.buy("sells", &[&good, &old]);
    assert_eq!(code(&expired), "TOKEN_EXPIRED");
    assert_eq!(stand.events(&expired)[0].1, old.jti);
    assert_eq!(code(&stand.buy("sells", &[&old, &forged, &good])), "INVALID_SIGNATURE");
    let used = Token::of(stand.gateway, "sells", 2);
    assert_eq!(stand.buy("sells", &[&used]).status, 200);
    assert_eq!(code(&stand.buy("sells", &[&used, &old])), "TOKEN_EXPIRED");
    let replay = stand.buy("sells", &[&good, &used]);
    assert_eq!((code(&replay).as_str(), &stand.events(&replay)[0].1), ("REPLAY_DETECTED", &used.jti));
    assert_eq!(stand.buy("sells", &[&good]).status, 200);
}

/// A protocol without a free header carries them in the body; the order there makes no difference.
#[test]
fn a_body_may_carry_several_tokens() {
    let session = json!({
        "currency": "USD", "status": "ready_for_complete",
        "line_items": [
            { "item": { "id": "cup", "price": 2000 }, "quantity": 2 },
            { "item": { "id": "pen", "price": 1000 }, "quantity": 1 },
        ],
    });
    let merchant = Merchant::start(move |request| match request.request_line().starts_with("GET ") {
        true => Reply::json(200, &session.to_string()),
        false => Reply::json(200, r#"{"status":"completed","order":{"id":"ord_1"}}"#),
    });
    let guard = Guard { path: "/ucp".to_owned(), preset: "ucp", ..Guard::enforcing("ucp", merchant.url()) };
    let gateway = Gateway::start(&[guard], "");
    let [pen, cup] = [0, 1].map(|item| Token::of(&gateway, "ucp", item));
    let body = |tokens: Value| json!({ "signals": { "io.permyx.execution_token": tokens } }).to_string();
    let path = "/ucp/checkout-sessions/s1/complete";
    let send = |header: Option<&str>, tokens| {
        let header = header.map(|tokens| format!("Permyx-Execution-Token: {tokens}"));
        gateway.send(&request("POST", path, &header.iter().map(String::as_str).collect::<Vec<_>>(), &body(tokens)))
    };
    let code = |answer: &Answer| answer.json()["code"].as_str().unwrap().to_owned();
    let one = send(None, json!([pen.text]));
    assert_eq!((code(&one).as_str(), &one.json()["permyx"]["diff"][0]["path"]), ("INTENT_MISMATCH", &json!("/lines")));
    let differ = send(Some(&pen.text), json!([pen.text, cup.text]));
    assert_eq!((differ.status, code(&differ).as_str()), (400, "BAD_REQUEST"));
    let twice = send(None, json!([pen.text, pen.text]));
    assert_eq!((twice.status, code(&twice).as_str()), (400, "BAD_REQUEST"));
    let bought = send(Some(&header(&[&pen, &cup])), json!([cup.text, pen.text]));
    assert_eq!(bought.status, 200, "{}", bought.text());
    let arrived = merchant.recorded().pop().unwrap();
    assert_eq!(arrived.body(), body(json!([cup.text, pen.text])).as_bytes());
    assert_eq!(code(&send(None, json!([cup.text, pen.text]))), "REPLAY_DETECTED");
}
