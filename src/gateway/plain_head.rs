//! The head of a plain request: one that says in the plainest way where it ends and that nothing has to be said before.
//! Whatever is not surely one is left as it came, for pingora to read.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::Method;

use super::fields::{self, Part};
use super::request::Request;

/// Longest head that is looked at here, and most fields in it.
const HEAD_MAX: usize = 16 * 1024;
const FIELDS_MAX: usize = 64;

/// What the bytes begin with that came on a connection.
#[derive(Debug)]
pub enum Found {
    /// A plain request, whose head was taken away.
    Plain(Box<Head>),
    /// The beginning of a head.
    Begun,
    /// Anything else.
    Other,
}

#[derive(Debug)]
pub struct Head {
    /// As it came.
    pub raw: Bytes,
    pub request: Request,
    /// How many bytes of body follow.
    pub body: usize,
    /// False where the caller wants no other request on this connection.
    pub keeps: bool,
}

/// Takes the head of a plain request away. Nothing is taken of anything else. `body_max`: longest body of one.
pub fn find(came: &mut BytesMut, body_max: usize) -> Found {
    if came.is_empty() {
        return Found::Begun;
    }
    // An empty line may precede a request (RFC 9112 §2.2); that is not plain.
    if came.first().is_some_and(|byte| !byte.is_ascii_alphabetic()) {
        return Found::Other;
    }
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let length = match parsed.parse_with_uninit_headers(came, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_MAX => length,
        Ok(httparse::Status::Partial) if came.len() <= HEAD_MAX => return Found::Begun,
        _ => return Found::Other,
    };
    let Some(((method, target), plain)) = line(&parsed).zip(Plain::of(parsed.headers)) else { return Found::Other };
    if plain.body > body_max {
        return Found::Other;
    }
    let (target, found) = (Part::of(came, target), fields::Found::of(came, parsed.headers));
    // One allocation for all of it: target, names and values are parts of what came.
    let raw = came.split_to(length).freeze();
    let request = Request::plain(method, raw.slice(target.range()), found.within(raw.clone()));
    Found::Plain(Box::new(Head { raw, request, body: plain.body, keeps: plain.keeps }))
}

/// Method and target of a request of HTTP/1.1 for a path.
fn line<'c>(parsed: &httparse::Request<'_, 'c>) -> Option<(Method, &'c [u8])> {
    let (method, target) = (Method::from_bytes(parsed.method?.as_bytes()).ok()?, parsed.path?);
    // The rest of what can be seen has no place there (RFC 3986 §3.3, §3.4), or is not passed on.
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'<' | b'>');
    let is_path = path.starts_with('/')
        && path.bytes().all(|byte| is_plain(byte) && byte != b'`')
        && query.bytes().all(|byte| is_plain(byte) && byte != b'"');
    (parsed.version == Some(1) && is_path && method != Method::CONNECT).then_some((method, target.as_bytes()))
}

/// What the fields of a plain request say of it.
struct Plain {
    body: usize,
    keeps: bool,
}

impl Plain {
    /// `None` where a field asks for more, or leaves something open.
    fn of(fields: &[httparse::Header<'_>]) -> Option<Self> {
        let (mut hosts, mut body, mut keeps) = (0, None, None);
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            // By length first: most fields are none of these.
            match field.name.len() {
                4 if is("host") => hosts += 1,
                6 if is("expect") => return None,
                7 if is("upgrade") => return None,
                10 if is("connection") && keeps.is_none() => keeps = Some(keeps_open(field.value)?),
                10 if is("connection") => return None,
                14 if is("content-length") && body.is_none() => body = Some(whole_number(field.value)?),
                14 if is("content-length") => return None,
                17 if is("transfer-encoding") => return None,
                _ => {}
            }
        }
        (hosts == 1).then_some(Self { body: body.unwrap_or(0), keeps: keeps.unwrap_or(true) })
    }
}

fn keeps_open(options: &[u8]) -> Option<bool> {
    match options {
        _ if options.eq_ignore_ascii_case(b"keep-alive") => Some(true),
        _ if options.eq_ignore_ascii_case(b"close") => Some(false),
        _ => None,
    }
}

fn whole_number(value: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora::protocols::Stream;
    use pingora::protocols::http::v1::server::HttpSession;
    use pingora::protocols::l4::stream::Stream as Tcp;
    use proptest::prelude::*;
    use tokio::net::{TcpListener, TcpStream};

    const BODY_MAX: usize = 64;
    const PLAIN: &str = "POST /a?b=1 HTTP/1.1\r\nhOsT: shop\r\nX-Two: 1\r\nContent-Length: 4\r\nx-two: 2\r\n\r\n";

    fn taken(bytes: &[u8]) -> (Found, BytesMut) {
        let mut came = BytesMut::from(bytes);
        (find(&mut came, BODY_MAX), came)
    }

    #[test]
    fn a_plain_request_is_taken_with_its_fields_as_they_came() {
        let (Found::Plain(head), rest) = taken([PLAIN, "bodyGET"].concat().as_bytes()) else { panic!("it is plain") };
        let request = &head.request;
        assert_eq!((&head.raw[..], &rest[..]), (PLAIN.as_bytes(), &b"bodyGET"[..]));
        assert_eq!((head.body, head.keeps), (4, true));
        assert_eq!((request.method.as_str(), &request.target[..]), ("POST", &b"/a?b=1"[..]));
        assert_eq!(request.query(), Some("b=1"));
        let came = [("hOsT", "shop"), ("X-Two", "1"), ("Content-Length", "4"), ("x-two", "2")];
        let came: Vec<_> = came.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        assert_eq!(request.fields.iter().collect::<Vec<_>>(), came);
    }

    #[test]
    fn as_long_as_a_plain_one_may_come_it_is_waited_for() {
        for cut in 1..PLAIN.len() {
            let (found, came) = taken(&PLAIN.as_bytes()[..cut]);
            assert!(matches!(found, Found::Begun), "{cut}");
            assert_eq!(came, PLAIN.as_bytes()[..cut]);
        }
        let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(HEAD_MAX));
        assert!(matches!(taken(endless.as_bytes()).0, Found::Other));
    }

    #[test]
    fn whatever_is_not_surely_plain_is_left_as_it_came() {
        let with = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let many = "X: 1\r\n".repeat(FIELDS_MAX);
        for other in [
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a` HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a?\" HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a?<> HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n X: 1\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\n",
            &with("Transfer-Encoding: chunked\r\n"),
            &with("Expect: 100-continue\r\n"),
            &with("Upgrade: h2c\r\n"),
            &with("Connection: keep-alive, x\r\n"),
            &with("Connection:\r\n"),
            &with("Connection: keep-alive\r\nConnection: keep-alive\r\n"),
            &with("Content-Length: 4\r\nContent-Length: 4\r\n"),
            &with("Content-Length: +4\r\n"),
            &with("Content-Length: 4, 4\r\n"),
            &with("Content-Length:\r\n"),
            &with("Content-Length: 65\r\n"),
            &with("Content-Length: 18446744073709551620\r\n"),
            &with(&many),
        ] {
            let (found, came) = taken(other.as_bytes());
            assert!(matches!(found, Found::Other), "{other:?}: {found:?}");
            assert_eq!(came, other.as_bytes());
        }
    }

    /// What is read in some bytes: the request, its head as it came, whether another may follow, and whether it has no
    /// body.
    type Read = (String, Vec<u8>, bool, bool);

    /// Line and fields. Those of one name stand together: pingora keeps no other order.
    fn told(request: &Request) -> String {
        let line = format!("{} {} {:?}\n", request.method, request.target.escape_ascii(), request.query());
        let mut fields: Vec<_> = request.fields.iter().collect();
        fields.sort_by_key(|(name, _)| name.to_ascii_lowercase());
        let told = |(name, value): &(&[u8], &[u8])| format!("{}: {}\n", name.escape_ascii(), value.escape_ascii());
        line + &fields.iter().map(told).collect::<String>()
    }

    async fn read_by_pingora(bytes: &[u8]) -> Read {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let ours: Stream = Box::new(Tcp::from(listener.accept().await.unwrap().0));
        let mut session = HttpSession::new(ours);
        session.set_pipelining_enabled(true);
        session.set_pipelined_prefix(BytesMut::from(bytes));
        session.read_request().await.unwrap().unwrap();
        let request = Request::read_by_pingora(session.req_header());
        assert!(request.is_http11);
        let (head, keeps) = (session.get_headers_raw_bytes().to_vec(), session.will_keepalive());
        (told(&request), head, keeps, session.is_body_empty())
    }

    fn head() -> impl Strategy<Value = String> {
        let method = prop::sample::select(vec!["GET", "POST", "HEAD", "get", "M-SEARCH", "CONNECT", "G@T"]);
        let target = prop::sample::select(vec![
            "/",
            "/a?b=%20&c",
            "/a?",
            "/a?b?c=[d]",
            "/a/../b",
            "//x",
            "/a{b}|^\\~'!",
            "/a\"",
            "/a`",
            "/a?`b`",
            "/a?\"",
            "/a<",
            "/a#b",
            "/\u{e9}",
            "*",
            "a",
        ]);
        let version = prop::sample::select(vec!["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0"]);
        let field = prop::sample::select(vec![
            "Host: a",
            "host:a:1",
            "Host: a b",
            "Content-Length: 3",
            "content-length: 0",
            "Content-Length: x",
            "Transfer-Encoding: chunked",
            "Connection: close",
            "Connection: Keep-Alive",
            "connection: x-a",
            "Permyx-Execution-Token: a.b.c",
            "permyx_execution_token: a",
            "X-A:  b ",
            "X-A:\tb\t",
            "X-A: \u{e9}",
            "X-A:",
            "Cookie: a=1; b=2",
            "Expect: 100-continue",
            "Upgrade: h2c",
            " folded",
            "no colon",
            "X\u{0}: 1",
            "Early-Data: 1",
        ]);
        let end = prop::sample::select(vec!["\r\n", "\r\n", "\r\n", "\n"]);
        let host = "Host: shop.example".to_owned();
        (method, target, version, prop::collection::vec((field, end), 0..6), any::<bool>()).prop_map(
            move |(method, target, version, fields, hosted)| {
                let fields: String = fields.iter().map(|(field, end)| format!("{field}{end}")).collect();
                let host = if hosted { format!("{host}\r\n") } else { String::new() };
                format!("{method} {target} {version}\r\n{host}{fields}\r\n")
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Two readers of one head would be one too many, were they ever to disagree.
        #[test]
        fn pingora_reads_the_same_in_what_is_plain(head in head(), behind in prop::collection::vec(any::<u8>(), 0..8)) {
            let bytes = [head.as_bytes(), &behind].concat();
            let (found, rest) = taken(&bytes);
            let Found::Plain(head) = found else {
                prop_assert_eq!(&rest[..], &bytes[..]);
                return Ok(());
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let read = runtime.block_on(read_by_pingora(&bytes));
            let whole = head.raw.to_vec();
            prop_assert_eq!([&whole[..], &rest].concat(), bytes);
            prop_assert_eq!((told(&head.request), whole, head.keeps, head.body == 0), read);
        }

        #[test]
        fn any_bytes_are_read_or_left(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..PLAIN.len(), byte: u8) {
            let mut changed = PLAIN.as_bytes().to_vec();
            changed[at] = byte;
            for bytes in [bytes, changed] {
                match taken(&bytes) {
                    (Found::Plain(head), rest) => prop_assert_eq!([&head.raw[..], &rest].concat(), bytes),
                    (_, rest) => prop_assert_eq!(&rest[..], &bytes[..]),
                }
            }
        }
    }
}
