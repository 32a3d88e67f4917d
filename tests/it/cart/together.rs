//! The tokens of a cart are burned together, or given back together.

use std::collections::BTreeSet;

use super::*;

#[test]
fn a_cart_of_three_burns_three_tokens_and_is_one_execution() {
    for stand in stands() {
        let tokens = stand.tokens("sells", 3);
        let shown = [&tokens[2], &tokens[0], &tokens[1]];
        let bought = stand.buy("sells", &shown);
        assert_eq!(bought.status, 200, "{}", bought.text());
        let arrived = stand.sells.recorded();
        let arrived: Vec<_> =
            arrived.iter().filter(|r| r.header("permyx-trace") == [bought.header("permyx-trace").unwrap()]).collect();
        assert_eq!(arrived.len(), 1);
        assert_eq!(arrived[0].header("permyx-agent"), ["ak_tests"]);
        let intents = shown.map(|token| intent_hash(&token.text)).join(",");
        assert_eq!(arrived[0].header("permyx-intent"), [intents], "in the order in which they were shown");
        let execution = format!("exec_{}", tokens[0].jti);
        let told = |kind: &str, token: &Token| (kind.to_owned(), token.jti.clone(), execution.clone());
        let expected: Vec<_> = ["execution.reserved", "execution.validated"]
            .iter()
            .flat_map(|kind| tokens.iter().map(|token| told(kind, token)))
            .chain([told("order.observed", &tokens[0])])
            .collect();
        assert_eq!(stand.events(&bought), expected);
        for token in &tokens {
            assert_eq!(code(&stand.buy("sells", &[token])), "REPLAY_DETECTED");
        }
        assert_eq!(code(&stand.buy("sells", &shown)), "REPLAY_DETECTED");
    }
}

/// `execution_intent_hash` of a token.
fn intent_hash(token: &str) -> String {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&claims).unwrap()["execution_intent_hash"].as_str().unwrap().to_owned()
}

/// The used token comes last in turn: those before it were reserved, and are not any more.
#[test]
fn a_used_token_costs_the_others_nothing() {
    for stand in stands() {
        let tokens = stand.tokens("sells", 3);
        let [a, b, used] = [&tokens[0], &tokens[1], &tokens[2]];
        assert_eq!(stand.buy("sells", &[used]).status, 200);
        let key = format!("Idempotency-Key: {}", used.jti);
        // With a key nothing is refused before the ledger was asked.
        let refused = stand.buy_as("sells", &[used, a, b], &[&key]);
        assert_eq!(told(&refused), (403, "REPLAY_DETECTED".to_owned(), "replay.other_key".to_owned()));
        let record = stand.events(&refused);
        assert_eq!(record.len(), 1, "{record:?}");
        assert_eq!((record[0].0.as_str(), &record[0].1), ("execution.replay_detected", &used.jti));
        let bought = stand.buy_as("sells", &[a, b], &[&key]);
        assert_eq!(bought.status, 200, "{}", bought.text());
    }
}

#[test]
fn a_merchant_that_is_not_there_costs_a_cart_nothing() {
    for stand in stands() {
        let tokens = stand.tokens("closed", 3);
        for _ in 0..2 {
            let answer = stand.buy("closed", &tokens.iter().collect::<Vec<_>>());
            assert_eq!((answer.status, code(&answer).as_str()), (502, "UPSTREAM_UNAVAILABLE"));
            assert_eq!(answer.json()["tokenState"], "unused");
            let released = stand.events(&answer).into_iter().filter(|event| event.0 == "execution.released");
            assert_eq!(released.count(), 3);
        }
    }
}

#[test]
fn an_unknown_outcome_is_that_of_all_tokens() {
    for stand in stands() {
        let tokens = stand.tokens("mute", 3);
        let answer = stand.buy("mute", &tokens.iter().collect::<Vec<_>>());
        assert_eq!((answer.status, code(&answer).as_str()), (502, "OUTCOME_UNKNOWN"));
        assert_eq!(answer.json()["tokenState"], "indeterminate");
        for token in &tokens {
            assert_eq!(code(&stand.buy("mute", &[token])), "REPLAY_DETECTED");
        }
    }
}

#[test]
fn a_retry_of_a_cart_has_its_first_answer() {
    for stand in stands() {
        let tokens = stand.tokens("sells", 3);
        let key = format!("Idempotency-Key: {}", tokens[0].jti);
        let body = cart(&[0, 1, 2]);
        let send = |tokens: &[&Token]| stand.gateway.send(&purchase("sells", &header(tokens), &[&key], &body));
        let first = send(&[&tokens[0], &tokens[1], &tokens[2]]);
        assert_eq!(first.status, 200, "{}", first.text());
        let again = send(&[&tokens[2], &tokens[1], &tokens[0]]);
        assert_eq!((again.status, again.text()), (200, first.text()));
        assert_eq!(again.header("permyx-first-trace"), first.header("permyx-trace"));
        // With a token less it is another request, and another purchase.
        assert_eq!(told(&stand.buy_as("sells", &[&tokens[0], &tokens[1]], &[&key])).0, 422);
        assert_eq!(told(&stand.buy_as("sells", &[&tokens[1], &tokens[2]], &[&key])).0, 422);
    }
}

/// 140 dollars with three tokens are one order of 140 dollars.
#[test]
fn a_cart_counts_once() {
    for stand in stands() {
        let cart = || stand.tokens("limited", 3);
        let buy = |tokens: Vec<Token>| stand.buy("limited", &tokens.iter().collect::<Vec<_>>());
        let refused = |answer: Answer| (told(&answer).2, answer.json()["observed"].as_str().unwrap().to_owned());
        assert_eq!(buy(cart()).status, 200);
        let more = refused(buy(cart()));
        assert_eq!(more, ("velocity.spend_per_hour".to_owned(), "280.00 USD".to_owned()));
        assert_eq!(buy(stand.tokens("limited", 2)).status, 200);
        let more = refused(buy(stand.tokens("limited", 2)));
        assert_eq!(more, ("velocity.orders_per_hour".to_owned(), "2".to_owned()));
    }
}

/// Three carts with a token in common each: at most one of them is bought, and what was not bought
/// is free again.
#[test]
fn carts_that_share_tokens_buy_each_token_once() {
    for stand in stands() {
        for _ in 0..25 {
            let tokens = stand.tokens("sells", 3);
            let [a, b, c] = [&tokens[0], &tokens[1], &tokens[2]];
            let sold: Vec<_> = std::thread::scope(|scope| {
                let carts = [[a, b], [b, c], [c, a]];
                let buyers: Vec<_> = carts
                    .map(|cart| scope.spawn(move || (cart, stand.buy("sells", &cart))))
                    .into_iter()
                    .map(|buyer| buyer.join().unwrap())
                    .collect();
                let told = |answer: &Answer| {
                    matches!((answer.status, code(answer).as_str()), (403, "REPLAY_DETECTED") | (409, "IN_FLIGHT"))
                };
                assert!(buyers.iter().all(|(_, answer)| answer.status == 200 || told(answer)));
                buyers.into_iter().filter(|(_, answer)| answer.status == 200).flat_map(|(cart, _)| cart).collect()
            });
            assert!(sold.len() <= 2);
            let sold: BTreeSet<_> = sold.iter().map(|token| token.jti.as_str()).collect();
            for token in &tokens {
                let answer = stand.buy("sells", &[token]);
                let expected = if sold.contains(token.jti.as_str()) { 403 } else { 200 };
                assert_eq!(answer.status, expected, "{}", answer.text());
            }
        }
    }
}

#[test]
fn observing_judges_a_cart_and_lets_it_pass() {
    for stand in stands() {
        let tokens = stand.tokens("watched", 2);
        let shown: Vec<_> = tokens.iter().collect();
        let observed = |answer: &Answer| {
            let events = stand.gateway.events_of(answer.header("permyx-trace").unwrap());
            let event = events.iter().find(|event| event["data"]["eventType"] == "execution.observed").unwrap();
            event["data"]["wouldDeny"].as_str().unwrap_or_default().to_owned()
        };
        let more = stand.gateway.send(&purchase("watched", &header(&shown), &[], &cart(&[0, 1, 2])));
        assert_eq!((more.status, observed(&more).as_str()), (200, "INTENT_MISMATCH"));
        let bought = stand.buy("watched", &shown);
        assert_eq!((bought.status, observed(&bought).as_str()), (200, ""));
        let again = stand.buy("watched", &shown);
        assert_eq!((again.status, observed(&again).as_str()), (200, "REPLAY_DETECTED"));
    }
}

/// Killed while the merchant has the cart: each token has an outcome, and all of them in one execution.
#[test]
fn a_killed_cart_is_settled_token_by_token() {
    let merchant = Merchant::start(|_| Reply::Hang);
    let mut gateway = Gateway::start(&[Guard::enforcing("hangs", merchant.url())], "");
    let mut tokens: Vec<_> = (0..3).map(|item| Token::of(&gateway, "hangs", item)).collect();
    tokens.sort_by(|one, other| one.jti.cmp(&other.jti));
    let mut caller = crate::support::http::Connection::open(gateway.address());
    let shown: Vec<_> = tokens.iter().collect();
    let items: Vec<_> = tokens.iter().map(|token| token.item).collect();
    caller.send(purchase("hangs", &header(&shown), &[], &cart(&items)));
    merchant.wait_for(1);
    gateway.kill();
    gateway.restart();
    let deadline = Instant::now() + PATIENCE;
    let settled = loop {
        let settled: Vec<_> = gateway
            .events()
            .into_iter()
            .filter(|event| event["data"]["eventType"] == "execution.indeterminate")
            .collect();
        if settled.len() >= 3 || Instant::now() > deadline {
            break settled;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    };
    let told: BTreeSet<_> = settled.iter().map(|event| event["data"]["tokenId"].as_str().unwrap()).collect();
    assert_eq!(told, tokens.iter().map(|token| token.jti.as_str()).collect());
    let execution = format!("exec_{}", tokens[0].jti);
    assert!(settled.iter().all(|event| event["correlationid"] == execution.as_str()), "{settled:?}");
}
