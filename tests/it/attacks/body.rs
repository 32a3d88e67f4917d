//! Bodies: one strict JSON object, read by value, sent as it is.

use crate::support::gateway::{MUG, Purchase, with_token};

use super::{Attack, Request, all, put_token, stand};

fn cart(name: &str, text: String, status: u16) -> Attack {
    (name.to_owned(), with_token("/checkout", "<T>", &text), status)
}

fn with(member: &str, value: &str) -> String {
    let was = if member == "price" { "29.99" } else { "1" };
    MUG.replace(&format!("\"{member}\":{was}"), &format!("\"{member}\":{value}"))
}

#[test]
fn numbers_are_compared_by_value() {
    let same = ["1.0", "1e0", "10e-1", "1.000000000000000000000"].map(|text| with("quantity", text));
    let prices = ["29.990", "2999e-2", "0.2999e2", "29.990000000000000000000"].map(|text| with("price", text));
    stand().takes(same.iter().chain(&prices).map(|text| (text.clone(), with_token("/checkout", "<T>", text))));
    let nines = "9".repeat(96);
    let other = [
        "1.0000000000000000001",
        "0.9999999999999999999",
        "1e400",
        "1e-400",
        &nines,
        "\"1\"",
        "true",
        "null",
        "[1]",
        "{}",
        "1.5",
        "0",
        "-1",
        "-0",
        "2",
        "50",
        "51",
        "18446744073709551617",
        "4294967297",
        "256.0",
    ];
    stand().refuses(other.map(|text| cart(text, with("quantity", text), 403)));
    let other = [
        "29.991",
        "29.98999999999999999999",
        "29.990000000000000000000000000000000000001",
        "2999",
        "0.2999",
        "-29.99",
        "1e400",
        "\"29.99\"",
        "\"29,99\"",
        "null",
        "true",
        "[29.99]",
        "30",
        "29.99e1",
        &nines,
    ];
    stand().refuses(other.map(|text| cart(text, with("price", text), 403)));
    let no_numbers = ["01", "+1", "0x1", "NaN", "Infinity", "1.", ".5", "1e", "1_0", "--1", "１", "1,0", "1f"];
    stand().refuses(no_numbers.map(|text| cart(text, with("quantity", text), 400)));
}

#[test]
fn a_currency_is_its_iso_code() {
    let codes =
        ["usd", "Usd", "US$", "USD ", " USD", "USDX", "US", "", "840", "ＵＳＤ", "UЅD", "USD\\u0000", "EUR", "XXX"];
    stand().refuses(codes.map(|code| cart(code, MUG.replace("USD", code), 403)));
    let none = ["null", "840", "[\"USD\"]", "{\"code\":\"USD\"}", "true"];
    stand().refuses(none.map(|value| cart(value, MUG.replace("\"USD\"", value), 403)));
    // Spelled with an escape it is the same text.
    stand().takes([("escaped".to_owned(), with_token("/checkout", "<T>", &MUG.replace("USD", "\\u0055SD")))]);
}

#[test]
fn every_currency_has_its_own_digits() {
    let stand = stand();
    for (price, code, same, other) in [
        ("5000 JPY", "JPY", vec!["5000", "5000.0", "5e3"], vec!["5000.5", "50.00", "500000", "5000.001"]),
        ("1.250 BHD", "BHD", vec!["1.25", "1.250", "1250e-3"], vec!["1.2500001", "1250", "12.5", "1.3"]),
    ] {
        let purchase = Purchase { price, ..Purchase::mug("shop") };
        let text = |amount: &str| MUG.replace("USD", code).replace("29.99", amount);
        for amount in same {
            let token = stand.gateway.sign(&purchase);
            assert_eq!(stand.gateway.post("/checkout", &token, &text(amount)).status, 200, "{amount} {code}");
        }
        let token = stand.gateway.sign(&purchase);
        for amount in other {
            let answer = stand.gateway.post("/checkout", &token, &text(amount));
            assert_eq!(
                (answer.status, &answer.json()["reasonCode"]),
                (403, &"INTENT_MISMATCH".into()),
                "{amount} {code}"
            );
        }
    }
}

#[test]
fn a_cart_is_one_strict_object() {
    let inner = MUG.trim_start_matches('{');
    let deep = format!("{{\"x\":{}1{},{inner}", "[".repeat(40), "]".repeat(40));
    let bodies = [
        ("items twice", format!("{{\"items\":[],{inner}")),
        ("items twice, escaped", format!("{{\"\\u0069tems\":[],{inner}")),
        ("currency twice, behind", MUG.replace("]}", "],\"currency\":\"EUR\"}")),
        ("quantity twice in a line", MUG.replace("\"quantity\":1", "\"quantity\":1,\"quantity\":2")),
        ("quantity twice, escaped", MUG.replace("\"quantity\":1", "\"quantity\":1,\"quantit\\u0079\":2")),
        ("twins in case", format!("{{\"Items\":[],{inner}")),
        ("twins in a line", MUG.replace("\"price\":29.99", "\"price\":29.99,\"PRICE\":0.01")),
        ("twins by folding", format!("{{\"item\u{17f}\":[],{inner}")),
        ("twins up to NUL", format!("{{\"items\\u0000x\":[],{inner}")),
        ("byte order mark", format!("\u{feff}{MUG}")),
        ("comment", MUG.replace("[{", "[/* */{")),
        ("line comment", format!("{MUG}// x")),
        ("trailing comma", MUG.replace("}]", "},]")),
        ("single quotes", MUG.replace('"', "'")),
        ("two objects", format!("{MUG}{MUG}")),
        ("lines of objects", format!("{MUG}\n{MUG}")),
        ("a list", format!("[{MUG}]")),
        ("a list of two", format!("[{MUG},{MUG}]")),
        ("text behind", format!("{MUG} x")),
        ("NUL behind", format!("{MUG}\0")),
        ("a text", format!("\"{}\"", MUG.replace('"', "\\\""))),
        ("nothing", String::new()),
        ("blank", "  ".to_owned()),
        ("null", "null".to_owned()),
        ("cut", MUG[..MUG.len() - 1].to_owned()),
        ("deep", deep),
        ("lone surrogate", format!("{{\"x\":\"\\ud800\",{inner}")),
        ("surrogates the wrong way", format!("{{\"\\udc00\\ud800\":1,{inner}")),
        ("raw line feed in a text", format!("{{\"x\":\"a\nb\",{inner}")),
        ("form", "currency=USD&items[0][quantity]=1".to_owned()),
    ];
    let body = |(name, text): (&str, String)| {
        let framing = "Content-Length: <B>\r\n";
        (name.to_owned(), Request { body: &text, framing, ..Request::default() }.bytes(), 400)
    };
    stand().refuses(bodies.into_iter().map(body));
    let wide: Vec<u8> = MUG.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let broken =
        MUG.replace("USD", "U\u{1}D").into_bytes().into_iter().map(|b| if b == 1 { 0xff } else { b }).collect();
    let bytes = |name: &str, body: Vec<u8>| {
        let length = format!("Content-Length: {}\r\n", body.len());
        let head = Request { framing: &length, body: "", ..Request::default() }.bytes();
        (name.to_owned(), [head, body].concat(), 400)
    };
    stand().refuses([bytes("UTF-16", wide), bytes("not UTF-8", broken)]);
}

#[test]
fn a_cart_holds_what_was_authorised_and_no_more() {
    let line = r#"{"variant":"shopify:variant:123456","quantity":1,"price":29.99}"#;
    let lines = |lines: &str| format!("{{\"currency\":\"USD\",\"items\":{lines}}}");
    let carts = [
        ("another line", lines(&format!("[{line},{}]", line.replace("123456", "234567")))),
        ("a free gift", lines(&format!("[{line},{}]", line.replace("123456", "9").replace("29.99", "0")))),
        ("the same line again", lines(&format!("[{line},{line}]"))),
        ("the same line, less", lines(&format!("[{line},{}]", line.replace(":1,", ":-1,")))),
        ("a line that is none", lines(&format!("[{line},{{}}]"))),
        ("a line that is a text", lines(&format!("[{line},\"x\"]"))),
        ("a list in the list", lines(&format!("[[{line}]]"))),
        ("no list", lines(line)),
        ("no line", lines("[]")),
        ("101 lines", lines(&format!("[{}]", vec![line; 101].join(",")))),
    ];
    stand().refuses(carts.map(|(name, text)| cart(name, text, 403)));
    // Members that the preset does not name are the merchant's business, and are passed on.
    let more = MUG.replacen('{', r#"{"__proto__":{"quantity":9},"note":"x","total":1,"#, 1);
    let stand = stand();
    stand.takes([("other members".to_owned(), with_token("/checkout", "<T>", &more))]);
    assert_eq!(stand.merchant.recorded().last().unwrap().body(), more.as_bytes());
}

#[test]
fn a_cart_is_plain_json_by_its_headers_too() {
    let more = |more| (more, Request { more, ..Request::default() });
    let json = "Content-Type: application/json\r\n";
    let types = [
        "",
        "Content-Type:\r\n",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: multipart/form-data; boundary=x\r\n",
        "Content-Type: application/json; charset=utf-16\r\n",
        "Content-Type: application/json; charset=utf-7\r\n",
        "Content-Type: application/json, text/plain\r\n",
        "Content-Type: application/json\r\nContent-Type: application/json\r\n",
        "Content-Type: application/json\r\nContent-Type: text/html\r\n",
        "Content-Type: application/json-seq\r\n",
        "Content-Type: application/x-ndjson\r\n",
        "Content-Type: application/jsonx\r\n",
        "Content-Type: application/json; charset=utf-8; charset=utf-7\r\n",
        "Content-Type: application/graphql\r\n",
    ];
    stand().refuses(all(415, types.map(more)));
    let codings = ["br", "zstd", "gzip, gzip", "identity, gzip", "utf-8"];
    let codings = codings.map(|coding| format!("{json}Content-Encoding: {coding}\r\n"));
    stand().refuses(all(415, codings.iter().map(|text| more(text.as_str()))));
    let mislabelled = ["gzip", "x-gzip", "deflate"].map(|coding| format!("{json}Content-Encoding: {coding}\r\n"));
    stand().refuses(all(400, mislabelled.iter().map(|text| more(text.as_str()))));
    let usual = [
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
        "application/json ; charset=utf-8",
    ];
    let usual = usual.map(|kind| format!("Content-Type: {kind}\r\nContent-Encoding: identity\r\n"));
    stand().takes(usual.iter().map(|more| (more.clone(), Request { more, ..Request::default() }.bytes())));
}

#[test]
fn a_body_has_a_bound() {
    let long = format!("{MUG}{}", " ".repeat(65_537 - MUG.len()));
    let fits = &long[..65_536];
    let chunks = |text: &str| format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
    let chunked = |text: &str| {
        let body = &chunks(text);
        Request { framing: "Transfer-Encoding: chunked\r\n", body, ..Request::default() }.bytes()
    };
    stand().refuses([
        ("told beforehand".to_owned(), with_token("/checkout", "<T>", &long), 413),
        ("in a chunk".to_owned(), chunked(&long), 413),
        (
            "only told".to_owned(),
            Request { framing: "Content-Length: 100000000\r\n", body: "", ..Request::default() }.bytes(),
            413,
        ),
    ]);
    stand().takes([
        ("told beforehand".to_owned(), with_token("/checkout", "<T>", fits)),
        ("in a chunk".to_owned(), chunked(fits)),
    ]);
}

/// The caller that asks first gets its answer at once: the refusal instead of an invitation.
#[test]
fn who_expects_a_refusal_is_not_invited_to_send() {
    let stand = stand();
    let head = |line, more| {
        let request = Request { line, more, body: "", framing: "Content-Length: 100\r\n", ..Request::default() };
        put_token(&request.bytes(), &stand.gateway.token("shop"))
    };
    let expect = "Content-Type: application/json\r\nExpect: 100-continue\r\n";
    let long = "Content-Type: application/json\r\nExpect: 100-Continue\r\nX-HTTP-Method-Override: PUT\r\n";
    let none = put_token(
        &Request { line: "POST /agents HTTP/1.1", token: "", more: expect, body: "", ..Request::default() }.bytes(),
        "",
    );
    for (bytes, status) in [(head("POST /checkout HTTP/1.1", long), 400), (none, 403)] {
        let started = std::time::Instant::now();
        let answer = stand.fire(&bytes).unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(started.elapsed().as_millis() < 1_500, "the refusal came after {:?}", started.elapsed());
    }
    let bytes = put_token(&Request { more: expect, ..Request::default() }.bytes(), &stand.gateway.token("shop"));
    let mut caller = super::Connection::open(stand.gateway.address());
    caller.send(&bytes[..bytes.len() - MUG.len()]);
    assert_eq!(caller.answer().unwrap().status, 100);
    caller.send(MUG);
    assert_eq!(caller.answer().unwrap().status, 200);
    assert_eq!(stand.merchant.recorded().last().unwrap().header("expect"), [""; 0]);
}

/// A protocol without a free header carries its token in the body: one, and only there where the
/// preset says.
#[test]
fn a_token_in_a_body_is_one_text() {
    let line = "POST /ucp/v1/checkout-sessions/cs_1/complete HTTP/1.1";
    let signals = |value: &str| format!("{{\"signals\":{{\"io.permyx.execution_token\":{value}}}}}");
    let bodies = ["7", "null", "true", "{}", "[]", "[\"<T>\",\"<T>\"]", "[7]", "\"another\""].map(signals);
    let attacks: Vec<_> = bodies.iter().map(|body| (body.clone(), sized(line, body), 400)).collect();
    stand().refuses(attacks);
}

/// A request whose body holds the token: the length is that of the body with a real one.
fn sized(line: &str, body: &str) -> Vec<u8> {
    let token = stand().gateway.token("shop");
    let body = body.replace("<T>", &token);
    let header = format!("Permyx-Execution-Token: {token}\r\n");
    Request { line, body: &body, token: &header, ..Request::default() }.bytes()
}
