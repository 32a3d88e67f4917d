//! Connections that carry several requests: each is answered, in its turn, however its bytes come.

use crate::support::gateway::{Gateway, Guard};
use crate::support::http::{Answer, Connection, request};
use crate::support::merchant::{Merchant, Recorded, Reply};

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

/// A head may end at a bare line feed: what is behind it is the next request, and not lost.
#[test]
fn a_request_behind_an_odd_end_of_a_head_is_answered() {
    let merchant = Merchant::selling();
    let gateway = gateway(&merchant);
    let odd = "GET /a HTTP/1.1\r\nHost: shop\r\nConnection: keep-alive, keep-alive\r\n\n";
    let next = "POST /b HTTP/1.1\r\nHost: shop\r\nContent-Length: 43\r\n\r\n";
    let mut connection = Connection::open(gateway.address());
    connection.send(format!("{odd}{next}"));
    assert!(connection.answer().is_some());
    // As a request of its own it would have an answer of its own.
    connection.send("GET /smuggled HTTP/1.1\r\nHost: smuggled\r\n\r\n\n");
    assert!(connection.answer().is_some());
    connection.send(get("/last"));
    assert!(connection.answer().is_some());
    let lines: Vec<_> = merchant.recorded().iter().map(Recorded::request_line).collect();
    assert!(!lines.iter().any(|line| line.contains("smuggled")), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "GET /last HTTP/1.1");
}

/// A shop that answers in every way that an answer may end.
fn answering(request: &Recorded) -> Reply {
    let line = request.request_line();
    let bytes = |text: &str| Reply::Bytes(text.into());
    match line.split(' ').nth(1).unwrap() {
        "/chunked" => bytes("HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        "/none" => bytes("HTTP/1.1 204 No Content\r\nX-One: 1\r\nx-one: 2\r\n\r\n"),
        "/unchanged" => bytes("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\nETag: \"a\"\r\n\r\n"),
        "/empty" => bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        "/long" => bytes(&format!("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(100_000))),
        "/until-close" => Reply::Cut("HTTP/1.1 200 OK\r\n\r\nall of it".into()),
        "/hops" => {
            bytes("HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nPermyx-Trace: a\r\nContent-Length: 1\r\n\r\nx")
        }
        "/broken" => bytes("HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc"),
        _ if line.starts_with("HEAD") => bytes("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"),
        _ => Reply::sold(),
    }
}

/// An answer but for what is new in each.
fn lasting(answer: Answer) -> Answer {
    let trace = answer.header("permyx-trace").unwrap_or("none").to_owned();
    let mut headers = answer.headers;
    headers.retain(|(name, _)| !["date", "permyx-trace"].contains(&name.as_str()));
    headers.sort();
    let body = String::from_utf8(answer.body).unwrap().replace(&trace, "trace").into_bytes();
    Answer { headers, body, ..answer }
}

/// Who reads a request, we or pingora, is nobody's business.
#[test]
fn a_plain_request_and_any_other_are_answered_alike() {
    const PLAIN: &str = "Connection: keep-alive";
    const OTHER: &str = "Connection: keep-alive, keep-alive";
    let merchant = Merchant::start(answering);
    let gateway = gateway(&merchant);
    let (mut plain, mut other) = (Connection::open(gateway.address()), Connection::open(gateway.address()));
    for (method, target, header, body) in [
        ("GET", "/chunked", "X: 1", ""),
        ("GET", "/none", "X: 1", ""),
        ("GET", "/unchanged", "X: 1", ""),
        ("GET", "/empty", "X: 1", ""),
        ("GET", "/long", "X: 1", ""),
        ("GET", "/until-close", "X: 1", ""),
        ("GET", "/hops", "X: 1", ""),
        ("GET", "/broken", "X: 1", ""),
        ("HEAD", "/", "X: 1", ""),
        ("HEAD", "/chunked", "X: 1", ""),
        ("POST", "/elsewhere?a=%20", "x-TWO: 1", "{}"),
        ("POST", "/checkout", "X: 1", "{}"),
        ("POST", "/checkout", "X: 1", "not json"),
        ("POST", "/checkout", "Permyx-Execution-Token: a.b.c", "{}"),
        ("HEAD", "/checkout", "Permyx-Execution-Token: a.b.c", ""),
        ("POST", "/CHECKOUT", "X: 1", "{}"),
        ("get", "/", "X: 1", ""),
    ] {
        let case = format!("{method} {target} {header}");
        let mut answers = [(&mut plain, PLAIN), (&mut other, OTHER)].map(|(connection, kept)| {
            let before = merchant.recorded().len();
            connection.send(request(method, target, &[header, kept], body));
            let answer = connection.answer_to(method).unwrap().unwrap_or_else(|| panic!("{case}: an answer"));
            let sent: Vec<_> = merchant.recorded().split_off(before).iter().map(as_sent).collect();
            (lasting(answer), sent)
        });
        let [(plain, at_merchant), (other, also_at_merchant)] = &mut answers;
        assert_eq!(plain, other, "{case}");
        assert_eq!(at_merchant, also_at_merchant, "{case}");
    }
}

/// A request as a merchant got it, but for its trace.
fn as_sent(recorded: &Recorded) -> String {
    let text = String::from_utf8_lossy(&recorded.bytes).into_owned();
    text.lines().filter(|line| !line.starts_with("Permyx-Trace: ")).collect::<Vec<_>>().join("\n")
}
