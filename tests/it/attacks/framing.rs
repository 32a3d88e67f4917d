//! Where a request ends. What is ambiguous is refused; what is odd but clear is made plain.

use super::{Connection, MUG, Request, all, put_token, raw, stand};

/// The request that an attacker would like to see executed behind another.
const SMUGGLED: &str =
    "POST /checkout HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/json\r\nContent-Length: <B>\r\n\r\n<C>";

fn chunked(body: &str) -> Request<'_> {
    Request { framing: "Transfer-Encoding: chunked\r\n", body, ..Request::default() }
}

#[test]
fn the_length_is_told_once_and_plainly() {
    let framing = |framing| (framing, Request { framing, ..Request::default() });
    let both = "Content-Length: <B>\r\n";
    let codings = [
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Transfer-Encoding: chunked\x0c\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X: x\r\n Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "X: x\nTransfer-Encoding: chunked\r\n",
        "X: x\rTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer_Encoding: chunked\r\nTransfer-Encoding: cow\r\n",
    ];
    let with_length = codings.map(|coding| format!("{coding}{both}"));
    let all_codings = with_length.iter().map(String::as_str).chain(codings.into_iter().skip(1));
    let lengths = [
        "Content-Length: <B>\r\nContent-Length: <B>\r\n",
        "Content-Length: <B>\r\nContent-Length: 0\r\n",
        "Content-Length: <B>, <B>\r\n",
        "Content-Length: +<B>\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x5d\r\n",
        "Content-Length: 9_3\r\n",
        "Content-Length: 93.0\r\n",
        "Content-Length: 9 3\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551617\r\n",
        "Content-Length : <B>\r\n",
        "Content-Length:\r\n <B>\r\n",
        "Content-Length: <B>\x0b\r\n",
        "Content-Length: <B>\0\r\n",
    ];
    stand().refuses(all(400, all_codings.map(framing).chain(lengths.map(framing))));
    let old = Request { line: "POST /checkout HTTP/1.0", ..chunked("5\r\nabcde\r\n0\r\n\r\n") };
    stand().refuses(all(400, [("chunks in HTTP/1.0", old)]));
}

#[test]
fn lines_end_in_one_way() {
    let request = String::from_utf8(Request::default().bytes()).unwrap();
    let bare = request.replace("\r\n", "\n");
    let first = request.replacen("\r\n", "\n", 1);
    let cr = request.replacen("\r\n", "\r", 2);
    let doubled = request.replacen("example\r\n", "example\r\r\n", 1);
    let nul = request.replacen("example", "exam\0ple", 1);
    let early = request.replacen("Content-Type", "\r\nContent-Type", 1);
    let attacks = [("all bare", bare), ("the first bare", first), ("CR alone", cr), ("two CR", doubled), ("NUL", nul)];
    stand().refuses(attacks.map(|(name, text)| (name.to_owned(), text.into_bytes(), 400)));
    // An empty line ends the head: what follows is the body, and no JSON.
    stand().refuses([("early end".to_owned(), early.into_bytes(), 415)]);
}

#[test]
fn chunks_are_plain_or_refused() {
    let cart = format!("{:x}\r\n{MUG}\r\n", MUG.len());
    let bodies = [
        ("underscore in the size", format!("0_{cart}0\r\n\r\n")),
        ("prefix", format!("0x{cart}0\r\n\r\n")),
        ("plus", format!("+{cart}0\r\n\r\n")),
        ("minus", "-1\r\nx\r\n0\r\n\r\n".to_owned()),
        ("overflow", "FFFFFFFFFFFFFFFFF\r\nx\r\n0\r\n\r\n".to_owned()),
        ("wraps to the right size", format!("1000000000000000{cart}0\r\n\r\n")),
        ("too much data", format!("5\r\n{MUG}\r\n0\r\n\r\n")),
        ("no line end behind the data", cart.trim_end().to_owned() + "0\r\n\r\n"),
        ("not a number", format!("zz\r\n{MUG}\r\n0\r\n\r\n")),
        ("a space in the size", format!("5 {cart}0\r\n\r\n")),
    ];
    stand().refuses(all(400, bodies.iter().map(|(name, body)| (*name, chunked(body)))));
    let usual = [
        ("one chunk", format!("{cart}0\r\n\r\n")),
        ("leading zeros and capitals", format!("00{:X}\r\n{MUG}\r\n000\r\n\r\n", MUG.len())),
        ("an extension", format!("{:x};a=b;c=\"d\"\r\n{MUG}\r\n0;x\r\n\r\n", MUG.len())),
        ("trailers", format!("{cart}0\r\nContent-Length: 5\r\nHost: other.example\r\nPermyx-Agent: x\r\n\r\n")),
        ("many chunks", MUG.chars().map(|c| format!("1\r\n{c}\r\n")).collect::<String>() + "0\r\n\r\n"),
    ];
    let stand = stand();
    stand.takes(usual.iter().map(|(name, body)| ((*name).to_owned(), chunked(body).bytes())));
    // The merchant gets the one framing that was judged, and no trailer.
    let recorded = stand.merchant.recorded();
    for request in &recorded[recorded.len() - usual.len()..] {
        assert_eq!(
            (request.header("content-length"), request.header("transfer-encoding")),
            (vec![MUG.len().to_string()], vec![])
        );
        assert!(request.complete && request.body() == MUG.as_bytes(), "{}", request.head());
    }
}

/// Whatever stands behind a request on its connection is not executed with its authority.
#[test]
fn nothing_rides_behind_a_request() {
    let stand = stand();
    let smuggled = raw(SMUGGLED);
    for (name, request) in [
        ("CL.TE", Request { framing: "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", ..Request::default() }),
        ("TE.TE", Request { framing: "Transfer-Encoding: chunked\r\nTransfer-encoding: x\r\n", ..Request::default() }),
        (
            "upgrade",
            Request {
                more: "Upgrade: x\r\nConnection: Upgrade\r\nContent-Type: application/json\r\n",
                ..Request::default()
            },
        ),
        ("two lengths", Request { framing: "Content-Length: 0\r\nContent-Length: <B>\r\n", ..Request::default() }),
    ] {
        let before = stand.merchant.recorded().len();
        let body = format!("0\r\n\r\n{smuggled}");
        let bytes = Request { body: &body, ..request }.bytes();
        let mut connection = Connection::open(stand.gateway.address());
        connection.send(put_token(&bytes, &stand.gateway.token("shop")));
        assert_eq!(connection.answer().map(|answer| answer.status), Some(400), "{name}");
        connection.finish();
        while let Ok(Some(answer)) = connection.answer_to("POST") {
            assert!(answer.status >= 400, "{name}: {}", answer.text());
        }
        assert_eq!(stand.merchant.recorded().len(), before, "{name}");
    }
}

/// Requests in one write are answered one by one, or the connection ends after the first: what has
/// no answer was not executed.
#[test]
fn who_does_not_wait_for_an_answer_gets_no_more_than_it_sees() {
    let stand = stand();
    let before = stand.merchant.recorded().len();
    let purchase = || put_token(&Request::default().bytes(), &stand.gateway.token("shop"));
    let mut connection = Connection::open(stand.gateway.address());
    connection.send([purchase(), purchase(), purchase()].concat());
    connection.finish();
    let answers = std::iter::from_fn(|| connection.answer_to("POST").ok().flatten());
    let bought = answers.inspect(|answer| assert_eq!(answer.status, 200)).count();
    assert!((1..=3).contains(&bought));
    assert_eq!(stand.merchant.recorded().len(), before + bought);
}
