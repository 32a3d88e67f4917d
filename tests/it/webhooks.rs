//! What the reader of each platform takes from a real-looking delivery, and that it takes no more.

use http::HeaderMap;
use permyx::model::ids::StoreId;
use permyx::protocol::webhook::{Naming, Platform, read};

use crate::support::repository;

const FIXTURES: [(Platform, &str, &str); 7] = [
    (Platform::Shopify, "shopify_created.json", "shopify_created.txt"),
    (Platform::Shopify, "shopify_refund.json", "shopify_refund.txt"),
    (Platform::WooCommerce, "woocommerce_created.json", "woocommerce_created.txt"),
    (Platform::Acp, "acp_created.json", "acp_created.txt"),
    (Platform::Acp, "acp_refunded.json", "acp_refunded.txt"),
    (Platform::Ucp, "ucp_created.json", "ucp_created.txt"),
    (Platform::Generic, "generic_created.json", "generic_created.txt"),
];

fn noticed(platform: Platform, body: &str) -> String {
    let store = StoreId::parse("store-123").unwrap();
    let naming = if platform == Platform::Shopify { "shopify:variant:{id}" } else { "{id}" };
    let notice = read(platform, &store, &Naming::parse(naming).unwrap(), &HeaderMap::new(), body.as_bytes());
    format!("{:#?}\n", notice.unwrap())
}

#[test]
fn each_platform_is_read_as_its_golden_notice_says() {
    let golden = repository().join("tests/golden/webhooks");
    for (platform, sent, expected) in FIXTURES {
        let found = noticed(platform, &std::fs::read_to_string(golden.join(sent)).unwrap());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(golden.join(expected), &found).unwrap();
        }
        let expected = std::fs::read_to_string(golden.join(expected)).unwrap_or_default();
        assert!(found == expected, "{sent} is read differently; if it should be, run with UPDATE=1:\n{found}");
    }
}

#[test]
fn nothing_of_a_shopper_is_taken_from_an_order() {
    let golden = repository().join("tests/golden/webhooks");
    for (platform, sent, _) in FIXTURES {
        let found = noticed(platform, &std::fs::read_to_string(golden.join(sent)).unwrap());
        for private in ["Jane", "Doe", "shopper.example", "5550100", "192.0.2.7", "Elm", "11201", "4242", "wc_order_"] {
            assert!(!found.contains(private), "{sent} lets `{private}` through:\n{found}");
        }
    }
}
