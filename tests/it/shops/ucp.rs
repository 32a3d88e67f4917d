//! A session checkout on a real UCP shop: the committing request says nothing of what is bought, so
//! the gateway reads the session just before it.

use permyx::model::scope::Scope;

use crate::support::gateway::{Gateway, Guard, Purchase, kind};
use crate::support::real::RealShop;
use crate::support::ucp::Buyer;

const TWO_MUGS: Purchase = Purchase {
    store: "guarded",
    variant: "mug_blue",
    quantity: 2,
    price: "29.99 USD",
    scope: Scope::AgentExec,
    age_s: 0,
};

fn guard(name: &'static str, host: &'static str, policy: &'static str, shop: &RealShop) -> Guard {
    Guard { name, host, path: "/ucp/v1".to_owned(), preset: "ucp", upstream: shop.origin(), policy }
}

/// One host that is enforced and one that is only observed, in front of one shop.
fn shop_and_gateway() -> (RealShop, Gateway) {
    let shop = RealShop::start("ucp_shop.py", "ucpify");
    let guards = [
        guard("guarded", "shop.example", "mode = \"enforce\"\n", &shop),
        guard("watched", "watched.example", "mode = \"observe\"\n", &shop),
    ];
    let gateway = Gateway::start(&guards, "");
    (shop, gateway)
}

#[test]
fn a_session_is_bought_once_and_only_as_it_was_authorised() {
    let (shop, gateway) = shop_and_gateway();
    let buyer = Buyer { to: gateway.address(), host: "shop.example", always: vec![] };
    let beside = Buyer { to: shop.address(), host: "shop.example", always: vec![] };

    // Without a token everything up to the commit passes, and the commit does not.
    let id = buyer.session(2);
    let refused = buyer.complete(&id, None);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("NO_TOKEN")));
    assert_ne!(beside.status(&id), "completed");

    // With a token on the commit: one order.
    let token = gateway.sign(&TWO_MUGS);
    let bought = buyer.complete(&id, Some(&token));
    assert_eq!(bought.status / 100, 2, "{}", bought.text());
    assert!(bought.json()["order"]["id"].is_string());
    assert_eq!(beside.status(&id), "completed");
    let again = buyer.complete(&buyer.session(2), Some(&token));
    assert_eq!((again.status, again.json()["code"].as_str()), (403, Some("REPLAY_DETECTED")));

    // With a token on every request only the commit burns it.
    let header = format!("Permyx-Execution-Token: {}", gateway.sign(&TWO_MUGS));
    let eager = Buyer { to: gateway.address(), host: "shop.example", always: vec![header] };
    let id = eager.session(2);
    assert_eq!(eager.complete(&id, None).status / 100, 2);

    // A basket that was changed beside the gateway is another purchase; the token is not used up.
    let (id, token) = (buyer.session(2), gateway.sign(&TWO_MUGS));
    beside.amend(&id, 3);
    let changed = buyer.complete(&id, Some(&token));
    assert_eq!((changed.status, changed.json()["code"].as_str()), (403, Some("INTENT_MISMATCH")));
    assert_eq!(changed.json()["permyx"]["diff"][0]["path"], "/quantity");
    assert_ne!(beside.status(&id), "completed");
    beside.amend(&id, 2);
    assert_eq!(buyer.complete(&id, Some(&token)).status / 100, 2);
    assert_eq!(beside.status(&id), "completed");
}

#[test]
fn observing_passes_every_session_and_says_what_enforcing_would_do() {
    let (_shop, gateway) = shop_and_gateway();
    let buyer = Buyer { to: gateway.address(), host: "watched.example", always: vec![] };
    let wrong = Purchase { store: "watched", quantity: 9, ..TWO_MUGS };
    for token in [None, Some(gateway.sign(&wrong)), Some("not.a.token".to_owned())] {
        let id = buyer.session(2);
        assert_eq!(buyer.complete(&id, token.as_deref()).status / 100, 2, "{token:?}");
    }
    let events = gateway.events();
    let observed = events.iter().filter(|event| kind(event) == "execution.observed");
    let would: Vec<_> = observed.filter_map(|event| event["data"]["wouldDeny"].as_str()).collect();
    assert_eq!(would, ["NO_TOKEN", "INTENT_MISMATCH", "INVALID_SIGNATURE"]);
    assert_eq!(events.iter().filter(|event| kind(event) == "order.observed").count(), 3);
}
