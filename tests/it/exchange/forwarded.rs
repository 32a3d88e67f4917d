//! What is passed on without a judgement: looks at pages, purchases without a token, streams.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use crate::support::PATIENCE;
use crate::support::gateway::{Gateway, Guard, MUG};
use crate::support::http::{get, post, request};
use crate::support::merchant::{Merchant, Reply};

use super::STAND;

/// The merchant gives a kept connection up at the moment it is used again.
#[test]
fn over_a_dead_connection_a_purchase_without_a_token_is_not_sent_again_and_a_look_is() {
    let merchant = Merchant::start(Reply::sold_unless_reused);
    let gateway = Gateway::start(&[Guard::enforcing("shop", merchant.url())], "");
    let arrived = || merchant.recorded().len();
    assert_eq!((post(gateway.address(), "/shop", &[], MUG).status, arrived()), (200, 1));
    let unknown = post(gateway.address(), "/shop", &[], MUG);
    assert_eq!((unknown.status, arrived()), (502, 2), "{}", unknown.text());
    assert!(unknown.text().contains("OUTCOME_UNKNOWN"), "{}", unknown.text());
    assert_eq!((get(gateway.address(), "/shop").status, arrived()), (200, 3));
    assert_eq!((get(gateway.address(), "/shop").status, arrived()), (200, 5), "once in vain, once more");
}

#[test]
fn early_hints_are_passed_on_where_nothing_is_bought() {
    let mut caller = std::net::TcpStream::connect(STAND.gateway.address()).unwrap();
    caller.set_read_timeout(Some(PATIENCE)).unwrap();
    caller.write_all(&request("GET", "/any?103", &["Connection: close"], "")).unwrap();
    let mut heard = String::new();
    caller.read_to_string(&mut heard).unwrap();
    let statuses: Vec<_> = heard.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)).collect();
    assert_eq!(statuses, ["103", "103", "200"], "{heard}");
}

/// A merchant that sends the second piece of its answer when it is told to.
fn halting(head: &'static str, pieces: [&'static str; 2]) -> (String, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, (go, told)) = (format!("http://{}", listener.local_addr().unwrap()), mpsc::channel());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{}", pieces[0]).as_bytes()).unwrap();
        if told.recv().is_ok() {
            stream.write_all(pieces[1].as_bytes()).unwrap();
        }
    });
    (url, go)
}

#[test]
fn an_answer_that_comes_piece_by_piece_is_passed_on_piece_by_piece() {
    for (head, pieces) in [
        ("Transfer-Encoding: chunked", ["5\r\nfirst\r\n", "6\r\nsecond\r\n0\r\n\r\n"]),
        ("Content-Length: 11", ["first", "second"]),
        ("Content-Type: text/event-stream", ["first", "second"]),
    ] {
        let (url, go) = halting(head, pieces);
        let gateway = Gateway::start(&[Guard::enforcing("shop", url)], "");
        let mut caller = std::net::TcpStream::connect(gateway.address()).unwrap();
        caller.set_read_timeout(Some(PATIENCE)).unwrap();
        caller.write_all(&request("GET", "/shop", &["Connection: close"], "")).unwrap();
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains("first") {
            let mut piece = [0; 1024];
            let count = caller.read(&mut piece).expect("the first piece comes before the second is sent");
            assert!(count > 0, "{head}: {}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&piece[..count]);
        }
        go.send(()).unwrap();
        caller.read_to_end(&mut heard).unwrap();
        assert!(String::from_utf8_lossy(&heard).contains("second"), "{head}");
    }
}

/// What nobody reads any more is not fetched to its end.
#[test]
fn a_caller_that_leaves_ends_what_was_only_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        while stream.write_all(b"5\r\npiece\r\n").is_ok() {}
        ended.send(()).unwrap();
    });
    let gateway = Gateway::start(&[Guard::enforcing("shop", url)], "");
    let mut caller = std::net::TcpStream::connect(gateway.address()).unwrap();
    caller.write_all(&request("GET", "/shop", &[], "")).unwrap();
    assert!(caller.read(&mut [0; 64]).unwrap() > 0);
    drop(caller);
    end.recv_timeout(PATIENCE).expect("the merchant's connection is closed");
}
