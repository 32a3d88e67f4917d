//! Connections that carry several requests: each is answered, in its turn, however its bytes come.

use crate::support::gateway::{Gateway, Guard};
use crate::support::http::Connection;
use crate::support::merchant::Merchant;

fn gateway(merchant: &Merchant) -> Gateway {
    let fallback = format!("fallback = \"{}\"", merchant.url());
    Gateway::start(&[Guard::enforcing("shop", merchant.url())], &fallback)
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: shop\r\n\r\n")
}

/// Sends these bytes together, and wants as many answers.
#[track_caller]
fn all_answered(gateway: &Gateway, bytes: &str, count: usize) {
    let mut connection = Connection::open(gateway.address());
    connection.send(bytes);
    for number in 0..count {
        assert!(connection.answer().is_some(), "answer {number} to:\n{bytes}");
    }
}

/// What may not stand in a target is escaped on its way. A request behind it is as long as what that adds.
#[test]
fn a_request_behind_one_that_grows_is_answered() {
    let merchant = Merchant::selling();
    let gateway = gateway(&merchant);
    for more in 0..4 {
        let second = get(&format!("/{}", "b".repeat(more)));
        for spaces in second.len() / 2 - 1..=second.len() / 2 + 1 {
            let first = get(&format!("/a{}b", " ".repeat(spaces)));
            all_answered(&gateway, &format!("{first}{second}"), 2);
        }
    }
}

#[test]
fn requests_that_come_together_or_in_pieces_are_all_answered() {
    let merchant = Merchant::selling();
    let gateway = gateway(&merchant);
    let body = "POST /x HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nhello";
    let chunks = "POST /x HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let mixed = [&get("/1"), body, "\r\n", &get("/2"), chunks, &get("/3"), body, "\r\n\r\n", &get("/4")].concat();
    all_answered(&gateway, &mixed, 7);
    all_answered(&gateway, &get("/").repeat(100), 100);
    let mut connection = Connection::open(gateway.address());
    for cut in (1..mixed.len()).step_by(7) {
        let (first, rest) = mixed.split_at(cut);
        connection.send(first);
        connection.send(rest);
        for number in 0..7 {
            assert!(connection.answer().is_some(), "answer {number}, cut at {cut}");
        }
    }
}
