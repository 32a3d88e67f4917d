//! What was judged is what is sent, byte for byte.

use super::{MUG, put_token, stand};

/// Everything that is not between two hops or ours reaches the merchant as it was written, in its
/// order.
#[test]
fn what_passed_is_what_the_merchant_receives() {
    let stand = stand();
    let cart = format!("\r\n {}\t\n", MUG.replace("29.99", "2.999E+1").replace("\"currency\"", "\"cu\\u0072rency\""));
    let length = cart.len();
    let head = format!(
        "POST /checkout?b=%2F&a=//..&c HTTP/1.1\r\nhOsT: shop.example\r\nX-Order: 1\r\nAccept: */*\r\nX-Order: 2\r\n\
         Authorization: Bearer merchants-own\r\nPermyx-Execution-Token: <T>\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
         TE: trailers\r\nKeep-Alive: 5\r\nProxy-Authorization: Basic eA==\r\nContent-Type: application/json\r\n\
         Idempotency-Key: k-1\r\nSignature: s=:AA==:\r\nX-Latin: caf\u{1}\r\nContent-Length: {length}\r\n\r\n{cart}"
    );
    let bytes: Vec<u8> = head.into_bytes().into_iter().map(|b| if b == 1 { 0xe9 } else { b }).collect();
    let answer = stand.fire(&put_token(&bytes, &stand.gateway.token("shop"))).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let arrived = stand.merchant.recorded().pop().unwrap();
    assert_eq!(arrived.request_line(), "POST /checkout?b=%2F&a=//..&c HTTP/1.1");
    assert_eq!(arrived.body(), cart.as_bytes());
    let head = arrived.head();
    let names = head.lines().skip(1).filter_map(|line| line.split_once(':')).map(|(name, _)| name);
    let mut theirs: Vec<_> = names.filter(|name| !name.starts_with("Permyx-")).collect();
    theirs.sort_unstable();
    let expected = [
        "Accept",
        "Authorization",
        "Content-Length",
        "Content-Type",
        "Idempotency-Key",
        "Signature",
        "X-Latin",
        "X-Order",
        "X-Order",
        "hOsT",
    ];
    assert_eq!(theirs, expected);
    assert_eq!(arrived.header("x-order"), ["1", "2"]);
    assert_eq!(arrived.header("authorization"), ["Bearer merchants-own"]);
    assert!(arrived.bytes.windows(5).any(|part| part == b"caf\xe9\r"), "{head}");
}

/// A chunked cart is sent on with a length, and byte for byte the same.
#[test]
fn chunks_arrive_as_the_bytes_that_were_in_them() {
    let stand = stand();
    let cart = MUG.replace('{', " { ");
    let pieces: String =
        cart.as_bytes().chunks(7).map(|c| format!("{:x}\r\n{}\r\n", c.len(), String::from_utf8_lossy(c))).collect();
    let bytes = format!(
        "POST /checkout HTTP/1.1\r\nHost: shop.example\r\nPermyx-Execution-Token: <T>\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{pieces}0\r\n\r\n"
    );
    let answer = stand.fire(&put_token(bytes.as_bytes(), &stand.gateway.token("shop"))).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let arrived = stand.merchant.recorded().pop().unwrap();
    assert_eq!(
        (arrived.header("content-length"), arrived.header("transfer-encoding")),
        (vec![cart.len().to_string()], vec![])
    );
    assert!(arrived.complete && arrived.body() == cart.as_bytes());
}
