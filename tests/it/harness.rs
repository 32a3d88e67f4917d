//! The helpers are judged first: a merchant that lies about what it received proves nothing.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::dir::TempDir;
use crate::support::http::{Connection, exchange, post, request};
use crate::support::load;
use crate::support::merchant::{Merchant, Reply};

#[test]
fn the_merchant_records_exactly_what_arrives() {
    let merchant = Merchant::selling();
    let sent = "POST /checkout HTTP/1.1\r\nhOsT:  odd \r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 3\r\n\r\n{ }".as_bytes();
    let mut connection = Connection::open(merchant.address());
    // In two pieces, then a second request on the same connection.
    connection.send(&sent[..30]);
    connection.send(&sent[30..]);
    assert_eq!(connection.answer().unwrap().status, 200);
    connection.send(request("GET", "/items", &[], ""));
    assert_eq!(connection.answer().unwrap().json()["orderId"], "ord_1");
    let recorded = merchant.wait_for(2);
    assert_eq!(recorded[0].bytes, sent);
    assert_eq!((recorded[0].header("x-a"), recorded[0].body()), (vec!["1".to_owned(), "2".to_owned()], &b"{ }"[..]));
    assert_eq!((recorded[1].connection, recorded[1].nth, recorded[1].complete), (0, 1, true));
    assert_eq!(recorded[1].request_line(), "GET /items HTTP/1.1");
    assert_eq!(merchant.url(), format!("http://{}", merchant.address()));
}

#[test]
fn the_merchant_records_a_request_that_was_cut_off() {
    let merchant = Merchant::selling();
    let mut connection = Connection::open(merchant.address());
    connection.send("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n{}");
    assert!(merchant.recorded().is_empty());
    connection.finish();
    assert!(connection.is_closed_by_peer());
    assert!(!merchant.wait_for(1)[0].complete);
}

#[test]
fn the_merchant_reads_chunks_as_one_request() {
    let merchant = Merchant::selling();
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\nTrailer: x\r\n\r\n";
    let chunked = chunked.replace("Trailer: x\r\n", "");
    assert_eq!(exchange(merchant.address(), &chunked).unwrap().status, 200);
    assert_eq!(merchant.wait_for(1)[0].bytes, chunked.as_bytes());
}

#[test]
fn the_merchant_can_fail_in_every_way() {
    let closing = Merchant::start(|_| Reply::Close);
    assert_eq!(exchange(closing.address(), request("POST", "/", &[], "{}")), None);

    let cutting = Merchant::start(|_| Reply::json_cut_after(30, 200, "{}"));
    let mut connection = Connection::open(cutting.address());
    connection.send(request("POST", "/", &[], "{}"));
    assert!(connection.answer_to("POST").is_err());

    let stale = Merchant::start(Reply::sold_unless_reused);
    let mut connection = Connection::open(stale.address());
    connection.send(request("POST", "/", &[], "{}"));
    assert_eq!(connection.answer().unwrap().status, 200);
    connection.send(request("POST", "/", &[], "{}"));
    assert_eq!(connection.answer(), None);
    assert_eq!(stale.wait_for(2)[1].nth, 1);

    let deaf = Merchant::start_reading(20, |_| Reply::sold());
    assert_eq!(exchange(deaf.address(), request("POST", "/", &[], "{}")), None);
    assert_eq!((deaf.wait_for(1)[0].bytes.len(), deaf.wait_for(1)[0].complete), (20, false));
}

#[test]
fn a_silent_merchant_says_nothing_until_it_stops() {
    let silent = Merchant::start(|_| Reply::Hang);
    let mut stream = TcpStream::connect(silent.address()).unwrap();
    stream.write_all(&request("POST", "/", &[], "{}")).unwrap();
    silent.wait_for(1);
    stream.set_nonblocking(true).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(silent);
    stream.set_nonblocking(false).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn the_client_reads_every_kind_of_answer() {
    let answers = [
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"),
        ("HTTP/1.1 200 OK\r\n\r\nabc", "abc"),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
    ];
    for (bytes, body) in answers {
        let merchant = Merchant::start(move |_| Reply::Cut(bytes.into()));
        assert_eq!(post(merchant.address(), "/", &[], "{}").text(), body, "{bytes}");
    }
}

#[test]
fn a_load_counts_answers_and_broken_exchanges() {
    let merchant = Merchant::start(|request| if request.nth == 4 { Reply::Close } else { Reply::sold() });
    let report = load::run(merchant.address(), 2, 50, |_| request("POST", "/checkout", &[], "{}"));
    assert_eq!(report.count(200) + report.broken, 50);
    assert!(report.broken >= 8, "{report:?}");
    assert_eq!(merchant.wait_for(50).len(), 50);
}

#[test]
fn a_temporary_directory_is_gone_afterwards() {
    let dir = TempDir::new();
    let (path, file) = (dir.path().to_owned(), dir.write("a/b.toml", "x = 1\n"));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "x = 1\n");
    drop(dir);
    assert!(!path.exists());
}
