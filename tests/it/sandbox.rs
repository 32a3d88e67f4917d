//! The sandbox merchant over real connections: it counts what it executes, exactly, and fast.

use crate::support::gateway::MUG;
use crate::support::http::{get, post, request};
use crate::support::load;
use crate::support::shop::Shop;

#[test]
fn a_purchase_is_confirmed_counted_and_found_again() {
    let shop = Shop::open();
    let items = get(shop.address, "/items").json();
    assert_eq!(items["items"][0]["variant"], "shopify:variant:123456");
    assert_eq!(items["items"].as_array().unwrap().len(), 3);
    let trace = "Permyx-Trace: trc_0199f3a16c1e7c559d0e2f6a4d1f9b10";
    let order = post(shop.address, "/checkout", &[trace], MUG);
    assert_eq!((order.status, order.header("content-type")), (200, Some("application/json")));
    assert!(order.text().contains(r#""total":29.99,"currency":"USD""#), "{}", order.text());
    let id = order.json()["orderId"].as_str().unwrap().to_owned();
    assert_eq!(get(shop.address, &format!("/orders/{id}")).body, order.body);
    let stats = get(shop.address, "/stats").json();
    assert_eq!(stats["executed"], 1);
    assert_eq!(stats["byTrace"]["trc_0199f3a16c1e7c559d0e2f6a4d1f9b10"], 1);
}

#[test]
fn nonsense_has_a_clear_answer() {
    let shop = Shop::open();
    let cases = [
        ("{", 400, "bad_request"),
        ("{}", 400, "bad_request"),
        (r#"{"currency":"USD","items":[{"variant":"x","quantity":1,"price":1}]}"#, 422, "no_such_item"),
        (&MUG.replace("29.99", "1.00"), 422, "price_changed"),
    ];
    for (body, status, code) in cases {
        let answer = post(shop.address, "/checkout", &[], body);
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (status, Some(code)), "{body}");
        assert!(!answer.json()["error"]["message"].as_str().unwrap().is_empty());
    }
    assert_eq!(post(shop.address, "/checkout", &[], &"x".repeat((1 << 20) + 1)).status, 413);
    assert_eq!(get(shop.address, "/orders/ord_1").status, 404);
    assert_eq!(get(shop.address, "/checkout").status, 405);
    assert_eq!(get(shop.address, "/stats").json()["executed"], 0);
}

#[test]
fn ten_thousand_purchases_are_ten_thousand() {
    let shop = Shop::open();
    let report = load::run(shop.address, 8, 10_000, |_| request("POST", "/checkout", &[], MUG));
    assert_eq!((report.count(200), report.broken), (10_000, 0), "{:?}", report.statuses);
    assert_eq!(get(shop.address, "/stats").json()["executed"], 10_000);
    assert!(report.percentile(0.5) <= report.percentile(0.99) && report.elapsed > report.percentile(0.99));
}

#[test]
fn it_closes_although_a_connection_stays_open() {
    let mut shop = Shop::open();
    let mut idle = crate::support::http::Connection::open(shop.address);
    idle.send("POST /checkout HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n");
    shop.close();
    assert!(std::net::TcpStream::connect(shop.address).is_err());
}
