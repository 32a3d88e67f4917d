//! Callers that speak HTTP/2 from the first byte, or send several requests before the first answer:
//! each request is judged by itself, and the merchant sees plain HTTP/1.1.

use std::process::Command;

use crate::support::gateway::{Gateway, Guard, MUG, with_token};
use crate::support::http::{Connection, request};
use crate::support::merchant::Merchant;

fn shop() -> (Merchant, Gateway) {
    let merchant = Merchant::selling();
    let host = Guard { host: "shop.example", ..Guard::enforcing("shop", format!("http://{}", merchant.address())) };
    let gateway = Gateway::start(&[host], "");
    (merchant, gateway)
}

/// Buys with curl over HTTP/2 without TLS; the status and the version that were spoken.
fn buy(gateway: &Gateway, host: &str, headers: &[String]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-m", "20", "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_code} %{http_version}"]);
    curl.args(["-H", &format!("Host: {host}"), "-H", "Content-Type: application/json", "--data-binary", MUG]);
    headers.iter().for_each(|header| {
        curl.args(["-H", header]);
    });
    let said =
        curl.arg(format!("http://{}/shop", gateway.address())).output().expect("curl runs: apt-get install curl");
    String::from_utf8(said.stdout).unwrap()
}

#[test]
fn a_purchase_by_http2_is_judged_and_sold_once() {
    let (merchant, gateway) = shop();
    let token = format!("Permyx-Execution-Token: {}", gateway.token("shop"));
    let cookies = ["Cookie: a=1; b=2".to_owned(), token.clone()];
    assert_eq!(buy(&gateway, "shop.example", &cookies), "200 2");
    let [sold] = merchant.recorded().try_into().unwrap();
    assert_eq!((sold.request_line().as_str(), sold.body()), ("POST /shop HTTP/1.1", MUG.as_bytes()));
    assert_eq!(
        (sold.header("host"), sold.header("cookie")),
        (vec!["shop.example".to_owned()], vec!["a=1; b=2".to_owned()])
    );
    assert_eq!(sold.header("permyx-execution-token"), Vec::<String>::new());

    assert_eq!(buy(&gateway, "shop.example", &[token]), "403 2");
    assert_eq!(buy(&gateway, "shop.example", &["Permyx-Execution-Token: forged".to_owned()]), "403 2");
    // Another name for the same server is no way around its guard.
    assert_eq!(buy(&gateway, "other.example", &[]), "421 2");
    assert_eq!(merchant.recorded().len(), 1);
}

#[test]
fn requests_that_come_together_are_judged_one_by_one() {
    let (merchant, gateway) = shop();
    let token = gateway.token("shop");
    let together = [
        with_token("/shop", &token, MUG),
        with_token("/shop", &token, MUG),
        request("POST", "/shop", &["Permyx-Execution-Token: forged"], MUG),
        with_token("/shop", &gateway.token("shop"), MUG),
    ];
    let mut connection = Connection::open(gateway.address());
    connection.send(together.concat());
    let statuses: Vec<_> = (0..4).map(|_| connection.answer().unwrap().status).collect();
    assert_eq!((statuses, merchant.recorded().len()), (vec![200, 403, 403, 200], 2));
}
