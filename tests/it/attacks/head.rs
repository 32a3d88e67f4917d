//! Token headers, hosts, targets, methods, and heads that are too long.

use super::{Request, all, stand};

#[test]
fn there_is_one_token_and_it_stands_in_its_header() {
    let token = |token| Request { token, ..Request::default() };
    stand().refuses(all(
        400,
        [
            ("twice", token("Permyx-Execution-Token: <T>\r\nPermyx-Execution-Token: <T>\r\n")),
            ("twice, far apart", token("Permyx-Execution-Token: <T>\r\nX: 1\r\npermyx-execution-TOKEN: other\r\n")),
            ("listed", token("Permyx-Execution-Token: <T>, <T>\r\n")),
            ("listed with nothing", token("Permyx-Execution-Token: <T>,\r\n")),
            ("empty", token("Permyx-Execution-Token:\r\n")),
            ("blank", token("Permyx-Execution-Token:  \t \r\n")),
            ("underscores", token("permyx_execution_token: <T>\r\n")),
            ("underscores beside it", token("Permyx-Execution-Token: <T>\r\nPERMYX_EXECUTION_TOKEN: <T>\r\n")),
            ("one underscore", token("Permyx-Execution_Token: <T>\r\n")),
            ("space before the colon", token("Permyx-Execution-Token : <T>\r\n")),
            ("tab before the colon", token("Permyx-Execution-Token\t: <T>\r\n")),
            ("folded", token("Permyx-Execution-Token:\r\n <T>\r\n")),
            ("folded behind", token("Permyx-Execution-Token: <T>\r\n x\r\n")),
            ("NUL behind", token("Permyx-Execution-Token: <T>\0\r\n")),
            (
                "signed along",
                token("Permyx-Execution-Token: <T>\r\nSignature-Input: s=(\"permyx-execution-token\")\r\n"),
            ),
        ],
    ));
    let latin1 =
        Request::default().bytes().iter().flat_map(|b| if *b == b'>' { vec![b'>', 0xe9] } else { vec![*b] }).collect();
    stand().refuses([("latin-1 behind".to_owned(), latin1, 400)]);
    stand().refuses(all(
        403,
        [
            ("with a scheme", token("Permyx-Execution-Token: Bearer <T>\r\n")),
            ("in quotes", token("Permyx-Execution-Token: \"<T>\"\r\n")),
            ("with a space inside", token("Permyx-Execution-Token: <T> <T>\r\n")),
        ],
    ));
}

/// Where a token is required, one in another place is none.
#[test]
fn a_token_in_another_place_is_none() {
    let line = "POST /agents HTTP/1.1";
    let place = |token| Request { line, token, ..Request::default() };
    let chunked = raw_chunks("Permyx-Execution-Token: <T>\r\n");
    stand().refuses(all(
        403,
        [
            ("authorization", place("Authorization: Bearer <T>\r\n")),
            ("cookie", place("Cookie: Permyx-Execution-Token=<T>\r\n")),
            ("another name", place("X-Permyx-Execution-Token: <T>\r\n")),
            (
                "query",
                Request { line: "POST /agents?Permyx-Execution-Token=<T> HTTP/1.1", token: "", ..Request::default() },
            ),
            (
                "trailer",
                Request {
                    line,
                    token: "Trailer: Permyx-Execution-Token\r\n",
                    framing: "Transfer-Encoding: chunked\r\n",
                    body: &chunked,
                    ..Request::default()
                },
            ),
        ],
    ));
}

/// The cart as one chunk with these trailers.
fn raw_chunks(trailers: &str) -> String {
    let cart = super::MUG;
    format!("{:x}\r\n{cart}\r\n0\r\n{trailers}\r\n", cart.len())
}

#[test]
fn usual_ways_to_write_a_header_are_taken() {
    let token = |name: &str, token| (name.to_owned(), Request { token, ..Request::default() }.bytes());
    let host = |host| (host, Request { host, ..Request::default() });
    stand().takes([
        token("mixed case", "pErMyX-eXeCuTiOn-ToKeN: <T>\r\n"),
        token("no space", "permyx-execution-token:<T>\r\n"),
        token("tabs around", "Permyx-Execution-Token:\t<T>\t\r\n"),
    ]);
    let hosts = [
        "Host: SHOP.example\r\n",
        "host: shop.example:8480\r\n",
        "Host: shop.example.\r\n",
        "Host: shop.example.:80\r\n",
    ];
    stand().takes(hosts.map(host).map(|(name, request)| (name.to_owned(), request.bytes())));
}

#[test]
fn there_is_one_host() {
    let host = |host| (host, Request { host, ..Request::default() });
    let target = |line, host| (line, Request { line, host, ..Request::default() });
    let hosts = [
        "",
        "Host:\r\n",
        "Host: shop.example\r\nHost: shop.example\r\n",
        "Host: shop.example\r\nHost: other.example\r\n",
        "Host: shop.example, other.example\r\n",
        "Host: shop.example/checkout\r\n",
        "Host: user@shop.example\r\n",
        "Host: shop.example#x\r\n",
        "Host: shop.example?x\r\n",
        "Host: shop.example%00\r\n",
        "Host: shop example\r\n",
        "Host: http://shop.example\r\n",
        "Host:\r\n shop.example\r\n",
        "Host : shop.example\r\n",
    ];
    stand().refuses(all(400, hosts.map(host)));
    stand().refuses(all(
        400,
        [
            target("POST http://shop.example/checkout HTTP/1.1", "Host: shop.example\r\n"),
            target("POST http://shop.example/checkout HTTP/1.1", "Host: other.example\r\n"),
            target("POST http://other.example/checkout HTTP/1.1", "Host: shop.example\r\n"),
            target("POST HTTP://SHOP.EXAMPLE/checkout HTTP/1.1", "Host: other.example\r\n"),
            target("POST //shop.example/checkout HTTP/1.1", "Host: shop.example\r\n"),
        ],
    ));
}

/// A path that some server would take for the checkout is not let around it.
#[test]
fn there_is_one_way_to_write_a_path() {
    let paths = [
        "//checkout",
        "/./checkout",
        "/checkout/.",
        "/x/../checkout",
        "/%2e/checkout",
        "/%2E%2E/checkout",
        "/%63heckout",
        "/checkou%74",
        "/checkout%2F",
        "/checkout%2f",
        "/%2Fcheckout",
        "/checkout%252F",
        "/checkout;a=b",
        "/;/checkout",
        "/checkout.",
        "/checkout..",
        "/checkout%20",
        "/checkout%09",
        "/Checkout",
        "/CHECKOUT",
        "/checkOut/x",
        "\\checkout",
        "/\\checkout",
        "/x\\..\\checkout",
        "/checkout%5c",
        "/checkout%00",
        "/%00checkout",
        "/checkout%zz",
        "/checkout%",
        "/checkout%2",
        "/checkout#x",
        "/checkout%23",
        "/checkout%3f",
        "/%c0%afcheckout",
        "/checkout%c3%a9",
        "*",
        "checkout",
        "/check\u{e9}out",
        "/checkout\u{7f}",
        "/checkout|",
        "/checkout\"",
        "/checkout<",
        "/checkout^",
        "/{checkout}",
        "/`checkout",
    ];
    let lines = paths.map(|path| format!("POST {path} HTTP/1.1"));
    stand().refuses(all(400, lines.iter().map(|line| (line.as_str(), Request { line, ..Request::default() }))));
}

/// Whatever stands behind `?` is the merchant's, and is passed as it is.
#[test]
fn a_query_is_no_path() {
    let paths = ["/checkout?", "/checkout?/../x", "/checkout?a=%2F%00%zz;b", "/checkout?x=//", "/checkout/"];
    let lines = paths.map(|path| format!("POST {path} HTTP/1.1"));
    stand().takes(lines.iter().map(|line| (line.clone(), Request { line, ..Request::default() }.bytes())));
    let recorded = stand().merchant.recorded();
    for line in lines {
        assert_eq!(recorded.iter().filter(|request| request.request_line() == line).count(), 1, "{line}");
    }
}

#[test]
fn there_is_one_method() {
    let line = |line, status| all(status, [(line, Request { line, ..Request::default() })]).remove(0);
    let over = |more, status| all(status, [(more, Request { more, ..Request::default() })]).remove(0);
    stand().refuses([
        line("post /checkout HTTP/1.1", 400),
        line("Post /checkout HTTP/1.1", 400),
        line("TRACE /checkout HTTP/1.1", 405),
        line("CONNECT /checkout HTTP/1.1", 405),
        line("CONNECT shop.example:80 HTTP/1.1", 405),
        line("PO\u{0}ST /checkout HTTP/1.1", 400),
        line("POST/checkout HTTP/1.1", 400),
        line("CHECKOUT /checkout HTTP/1.1", 403),
        line("PUT /checkout HTTP/1.1", 403),
        line("PATCH /checkout HTTP/1.1", 403),
        line("DELETE /checkout HTTP/1.1", 403),
        line("POST /checkout/x HTTP/1.1", 403),
        over("Content-Type: application/json\r\nX-HTTP-Method-Override: PUT\r\n", 400),
        over("Content-Type: application/json\r\nX-Method-Override: GET\r\n", 400),
        over("Content-Type: application/json\r\nx-http-method: DELETE\r\n", 400),
        over("Content-Type: application/json\r\nUpgrade: websocket\r\nConnection: upgrade\r\n", 400),
        over("Content-Type: application/json\r\nUpgrade: h2c, websocket\r\nConnection: upgrade\r\n", 400),
        over("Content-Type: application/json\r\nUpgrade: h2c\r\nUpgrade: h2c\r\n", 400),
        over("Content-Type: application/json\r\nEarly-Data: 1\r\n", 425),
        over("Content-Type: application/json\r\nExpect: 200-ok\r\n", 417),
        over("Content-Type: application/json\r\nExpect: 100-continue, x\r\n", 417),
        over("Content-Type: application/json\r\nExpect: 100-continue\r\nExpect: x\r\n", 417),
    ]);
    let required = ["PUT /agents", "DELETE /agents/x/y", "PURCHASE /agents", "POST /agents/other"];
    let lines = required.map(|target| format!("{target} HTTP/1.1"));
    stand()
        .refuses(all(403, lines.iter().map(|line| (line.as_str(), Request { line, token: "", ..Request::default() }))));
}

#[test]
fn heads_have_a_bound() {
    let long = |count: usize| "x".repeat(count);
    let lines = [format!("POST /checkout?{} HTTP/1.1", long(20_000)), format!("POST /{} HTTP/1.1", long(40_000))];
    stand().refuses(all(414, lines.iter().map(|line| (&line[..12], Request { line, ..Request::default() }))));
    let heads = [
        format!("X: {}\r\n", long(33_000)),
        (0..200).map(|n| format!("X-{n}: {}\r\n", long(200))).collect(),
        (0..20).map(|n| format!("Cookie: a{n}={}\r\n", long(2_000))).collect(),
    ];
    let heads = heads.each_ref().map(|more| (&more[..6], Request { more, ..Request::default() }));
    stand().refuses(all(431, heads));
    let many: String = (0..700).map(|n| format!("X-{n}: 1\r\n")).collect();
    stand().refuses(all(400, [("many fields", Request { more: &many, ..Request::default() })]));
    let token = format!("Permyx-Execution-Token: {}\r\n", long(4_097));
    stand().refuses(all(431, [("a long token", Request { token: &token, ..Request::default() })]));
}

#[test]
fn an_offer_of_http2_is_not_taken_nor_passed_on() {
    let offer = "Content-Type: application/json\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                 HTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let stand = stand();
    stand.takes([("an offer".to_owned(), Request { more: offer, ..Request::default() }.bytes())]);
    let arrived = stand.merchant.recorded().pop().unwrap();
    for name in ["upgrade", "http2-settings", "connection"] {
        assert!(arrived.header(name).is_empty(), "{name}: {}", arrived.head());
    }
}
