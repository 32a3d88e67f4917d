//! What merchants answer, and that it reaches the caller as it is.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::gateway::{MUG, with_token};
use crate::support::http::{Connection, post, request};

use super::{STAND, buy, is_spent, settled, trace};

const ORDER: &str = r#"{"orderId":"ord_1","status":"confirmed","total":29.99,"currency":"USD"}"#;
const MEBI: usize = 1 << 20;

/// The bytes that the merchant `any` answers with; the query of the target names them.
pub fn script(target: &str) -> Vec<u8> {
    let plain = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{ORDER}", ORDER.len());
    let status = |line: &str| plain.replacen("200 OK", line, 1);
    let headed = |header: &str| plain.replacen("\r\n", &format!("\r\n{header}\r\n"), 1);
    let text = match target.split('?').nth(1).unwrap_or_default() {
        "100" => format!("HTTP/1.1 100 Continue\r\n\r\n{plain}"),
        "103" => format!("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n{plain}"),
        "many-103" => "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(17) + &plain,
        "101" => "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".to_owned(),
        "402" => status("402 Payment Required"),
        "500" => status("500 Oh No"),
        "503" => status("503 Later"),
        "302" => headed("Location: https://elsewhere.example/").replacen("200 OK", "302 Found", 1),
        "204" => "HTTP/1.1 204 No Content\r\nX-Kept: 1\r\n\r\n".to_owned(),
        "304" => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n".to_owned(),
        "two-lengths" => headed("Content-Length: 3"),
        "gzip-coding" => headed("Transfer-Encoding: gzip"),
        "long-head" => headed(&format!("X-Long: {}", "x".repeat(70_000))),
        "nonsense" => "SMTP ready\r\n\r\n".to_owned(),
        "chunked" => chunked(&[&ORDER[..10], &ORDER[10..11], &ORDER[11..]]),
        "big" => format!("HTTP/1.1 200 OK\r\nContent-Length: {MEBI}\r\n\r\n{}", big()),
        "big-chunks" => {
            chunked(&big().as_bytes().chunks(50_000).map(|c| std::str::from_utf8(c).unwrap()).collect::<Vec<_>>())
        }
        "hops" => headed(
            "Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-End: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2",
        ),
        _ => plain,
    };
    text.into_bytes()
}

fn chunked(pieces: &[&str]) -> String {
    let pieces: String = pieces.iter().map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect();
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{pieces}0\r\n\r\n")
}

/// A long text whose parts are all different.
fn big() -> String {
    (0..).map(|line| format!("line {line}\n")).take(MEBI / 6).collect::<String>()[..MEBI].to_owned()
}

#[test]
fn interim_answers_are_not_the_answer() {
    for word in ["100", "103"] {
        let (target, token) = (format!("/any?{word}"), STAND.gateway.token("any"));
        let answer = buy(&target, &token).unwrap().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, ORDER), "{word}");
        assert_eq!(settled(trace(&answer)), ("execution.validated".to_owned(), "committed".to_owned()));
        is_spent(&target, &token);
    }
}

/// Whatever a merchant answers in full, it answered to an execution.
#[test]
fn a_refusal_of_the_merchant_passes_and_burns() {
    for (status, reason) in [(402, "failed"), (500, "failed"), (503, "failed"), (302, "failed")] {
        let (target, token) = (format!("/any?{status}"), STAND.gateway.token("any"));
        let answer = buy(&target, &token).unwrap().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (status, ORDER));
        assert_eq!(answer.header("permyx-decision"), Some("allowed"));
        assert_eq!(settled(trace(&answer)), ("execution.validated".to_owned(), reason.to_owned()));
        let events = STAND.gateway.events_of(trace(&answer));
        assert_eq!(events.last().unwrap()["data"]["httpStatus"], status);
        is_spent(&target, &token);
    }
}

#[test]
fn answers_reach_the_caller_as_they_are() {
    let long = big();
    for (word, status, body) in [
        ("plain", 200, ORDER),
        ("chunked", 200, ORDER),
        ("204", 204, ""),
        ("304", 304, ""),
        ("big", 200, &long),
        ("big-chunks", 200, &long),
    ] {
        let (target, token) = (format!("/any?{word}"), STAND.gateway.token("any"));
        let bought = buy(&target, &token).unwrap().unwrap();
        let unguarded = post(STAND.gateway.address(), &target, &[], MUG);
        for answer in [&bought, &unguarded] {
            assert_eq!(answer.status, status, "{word}");
            assert!(answer.text() == body, "{word}: {} of {} bytes", answer.body.len(), body.len());
        }
        let cause = if status == 304 { "failed" } else { "committed" };
        assert_eq!(settled(trace(&bought)), ("execution.validated".to_owned(), cause.to_owned()), "{word}");
        is_spent(&target, &token);
    }
    let kept = buy("/any?204", &STAND.gateway.token("any")).unwrap().unwrap();
    assert_eq!((kept.header("x-kept"), kept.header("content-length")), (Some("1"), None));
}

/// An order is told of where it can be read; a long answer is settled without it.
#[test]
fn the_order_is_read_from_answers_of_every_framing() {
    for (word, order) in [("chunked", Value::from("ord_1")), ("103", Value::from("ord_1")), ("big", Value::Null)] {
        let answer = buy(&format!("/any?{word}"), &STAND.gateway.token("any")).unwrap().unwrap();
        let events = STAND.gateway.events_of(trace(&answer));
        let end = events.iter().find(|event| event["data"]["eventType"] == "execution.validated").unwrap();
        assert_eq!(end["data"]["orderId"], order, "{word}");
    }
}

#[test]
fn what_belongs_to_one_hop_stays_on_it() {
    let bought = buy("/any?hops", &STAND.gateway.token("any")).unwrap().unwrap();
    let unguarded = post(STAND.gateway.address(), "/any?hops", &[], MUG);
    for (lane, answer) in [("bought", bought), ("unguarded", unguarded)] {
        let cookies = answer.headers.iter().filter(|(name, _)| name == "set-cookie");
        let cookies: Vec<_> = cookies.map(|(_, value)| value.as_str()).collect();
        assert_eq!((answer.header("x-end"), cookies), (Some("1"), vec!["a=1", "b=2"]), "{lane}");
        for name in ["keep-alive", "proxy-authenticate", "x-hop"] {
            assert_eq!(answer.header(name), None, "{lane}: {name}");
        }
    }
}

/// A caller of HTTP/1.0 knows no chunks: it reads to the end of the connection.
#[test]
fn an_old_caller_gets_a_plain_body() {
    for word in ["chunked", "plain"] {
        let text = String::from_utf8(with_token(&format!("/any?{word}"), &STAND.gateway.token("any"), MUG)).unwrap();
        let mut caller = Connection::open(STAND.gateway.address());
        caller.send(text.replacen("HTTP/1.1", "HTTP/1.0", 1));
        let answer = caller.answer_to("POST").unwrap().unwrap();
        assert_eq!(
            (answer.status, answer.header("transfer-encoding"), answer.text().as_str()),
            (200, None, ORDER),
            "{word}"
        );
        assert!(caller.is_closed_by_peer());
    }
}

#[test]
fn head_is_answered_without_a_body() {
    let mut caller = Connection::open(STAND.gateway.address());
    for _ in 0..2 {
        caller.send(request("HEAD", "/any?204", &[], ""));
        let answer = caller.answer_to("HEAD").unwrap().unwrap();
        assert_eq!((answer.status, answer.header("permyx-decision")), (204, Some("none")));
    }
}

/// The caller keeps its connection, and the merchant's are used again as far as the pool gives
/// them back.
#[test]
fn connections_are_used_again() {
    let mut caller = Connection::open(STAND.gateway.address());
    for _ in 0..50 {
        caller.send(with_token("/kept", &STAND.gateway.token("kept"), MUG));
        assert_eq!(caller.answer().unwrap().status, 200);
    }
    let used: BTreeSet<_> = STAND.kept.recorded().iter().map(|request| request.connection).collect();
    println!("{} connections for 50 purchases", used.len());
    assert!(used.len() <= 15, "{} connections for 50 purchases", used.len());
}
