//! The request head: what is ambiguous is refused, what is ours alone is removed.

use std::borrow::Cow;

use crate::model::ids::TraceId;
use crate::protocol::deny::Refusal;

use super::fields::{Fields, text};
use super::tokens::Tokens;

/// The request field that carries an execution token.
pub const TOKEN_HEADER: &str = "permyx-execution-token";
/// By which a caller says that it knows of an unknown outcome and buys all the same.
const CONFIRM: &str = "permyx-confirm-retry";
/// Longest request head on a guarded host, and longest request line in it.
const HEAD_MAX: usize = 32 * 1024;
const LINE_MAX: usize = 8 * 1024;
/// Fields that say what a body is, which must not be said in a spelling that only some servers read.
const JUDGED: [&str; 4] = ["content-type", "content-encoding", "content-length", "transfer-encoding"];
/// Headers by which some servers take another method or path than the request line says.
const REROUTING: [&str; 5] =
    ["x-http-method-override", "x-method-override", "x-http-method", "x-original-url", "x-rewrite-url"];

/// What every request must keep, guarded or not: without these there is no one request to judge.
pub fn well_formed(fields: &Fields, http11: bool) -> Result<(), Refusal> {
    let mut hosts = fields.all("host");
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if host_is_plain(host) => Ok(()),
        (None, _) if !http11 => Ok(()),
        (Some(_), Some(_)) => Err(Refusal::malformed(400, "Host", "send exactly one Host header")),
        _ => Err(Refusal::malformed(400, "Host", "send one Host header that is a host name with an optional port")),
    }
}

fn host_is_plain(host: &[u8]) -> bool {
    let legal = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    !host.is_empty() && host.len() <= 255 && host.iter().all(legal)
}

/// The host without its port and without the dot that a full name may end in, in lower case.
#[must_use]
pub fn host_name(fields: &Fields) -> Cow<'_, str> {
    let host = fields.first("host").and_then(text).unwrap_or_default();
    let end = match host.strip_prefix('[') {
        Some(rest) => rest.find(']').map(|at| at + 2),
        None => host.find(':'),
    };
    let name = host.get(..end.unwrap_or(host.len())).unwrap_or(host);
    // `shop.example.` is the same host: the dot is the root of the name system.
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.into() }
}

/// What a host with an enforced route keeps: no shape that two servers could read differently.
/// `raw` is the head as it came.
pub fn unambiguous(raw: &[u8], fields: &Fields) -> Result<(), Refusal> {
    let bad = |status, member: &str, message: &str| Err(Refusal::malformed(status, member, message));
    if memchr::memchr(b'\n', raw).is_none_or(|end| end > LINE_MAX) {
        return bad(414, "path", "the request line may have at most 8 KiB");
    }
    if raw.len() > HEAD_MAX {
        return bad(431, "headers", "the request head may have at most 32 KiB");
    }
    let found = RawFraming::of(raw);
    if found.bare_line_feed {
        return bad(400, "headers", "end every line with CR LF");
    }
    if fields.all("content-length").any(|length| !length.iter().all(u8::is_ascii_digit)) {
        return bad(400, "Content-Length", "write one whole number");
    }
    if found.framing > 1 {
        return bad(400, "Content-Length", "send one Content-Length or one Transfer-Encoding, not both and not twice");
    }
    if found.codings == 1
        && fields.first("transfer-encoding").is_none_or(|coding| !coding.eq_ignore_ascii_case(b"chunked"))
    {
        return bad(400, "Transfer-Encoding", "the only transfer coding is `chunked`");
    }
    for name in fields.names() {
        if is_ours(name) && name.contains(&b'_') {
            return bad(400, "Permyx-Execution-Token", "write Permyx headers with `-`, not `_`");
        }
        if REROUTING.iter().any(|rerouting| is_same_but_for_dashes(rerouting, name)) {
            return bad(400, &in_small_letters(name), "send the method and the path that you mean");
        }
    }
    nominated(fields)
}

/// Refusals that belong to guarded routes. `credentials`: the fields that a session is read with.
pub fn guardable(fields: &Fields, credentials: &[String]) -> Result<(), Refusal> {
    let bad = |status, member: &str, message: &str| Err(Refusal::malformed(status, member, message));
    let judged: Vec<_> = credentials.iter().map(String::as_str).chain(JUDGED).collect();
    if let Some(name) = twin(fields, &judged) {
        return bad(400, &name, "write this field's name with `-`, not `_`");
    }
    if fields.has("upgrade") {
        return bad(400, "Upgrade", "this path does not change protocols");
    }
    // What it names is not sent on, and the session would be read with what the commit lacks.
    if named_hops(fields).any(|name| judged.contains(&name.as_str())) {
        return bad(400, "Connection", "Connection may not name this header");
    }
    if fields.has("early-data") {
        return bad(425, "Early-Data", "send this request after the handshake is complete");
    }
    if fields.all("expect").any(|expectation| !expectation.eq_ignore_ascii_case(b"100-continue")) {
        return bad(417, "Expect", "the only expectation that is met is `100-continue`");
    }
    let covered = fields.all("signature-input").any(|input| {
        input.to_ascii_lowercase().windows(TOKEN_HEADER.len()).any(|part| part == TOKEN_HEADER.as_bytes())
    });
    if covered {
        return bad(
            400,
            "Signature-Input",
            "leave permyx-execution-token out of the signature: it is removed on the way",
        );
    }
    Ok(())
}

/// A `Connection` header may not name the fields that frame or route the request, nor those by which
/// it is judged: it would be sent on without them, and read as another.
fn nominated(fields: &Fields) -> Result<(), Refusal> {
    const NEEDED: [&str; 8] = [
        "host",
        "content-length",
        "transfer-encoding",
        "content-type",
        "content-encoding",
        "authorization",
        "cookie",
        "idempotency-key",
    ];
    if named_hops(fields).any(|name| NEEDED.contains(&name.as_str()) || is_ours(&name)) {
        return Err(Refusal::malformed(400, "Connection", "Connection may not name this header"));
    }
    Ok(())
}

/// What `Connection` names, in small letters.
fn named_hops(fields: &Fields) -> impl Iterator<Item = String> + '_ {
    let named = fields.all("connection").flat_map(|value| value.split(|b| *b == b','));
    named.map(|name| in_small_letters(name.trim_ascii()))
}

/// A field that some servers take for one of these, because they read `_` as `-`.
fn twin(fields: &Fields, names: &[&str]) -> Option<String> {
    let is_twin = |have: &&[u8]| {
        names.iter().any(|name| is_same_but_for_dashes(name, have) && !have.eq_ignore_ascii_case(name.as_bytes()))
    };
    fields.names().find(is_twin).map(in_small_letters)
}

fn in_small_letters(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

/// `name` is written in small letters.
fn is_same_but_for_dashes(name: &str, other: &[u8]) -> bool {
    let dashed = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() == other.len() && name.as_bytes().iter().map(dashed).eq(other.iter().map(dashed))
}

/// True for `Permyx-*` in every spelling that some server takes for it.
#[must_use]
pub fn is_ours(name: impl AsRef<[u8]>) -> bool {
    const PREFIX: &[u8] = b"permyx-";
    let name = name.as_ref();
    let spelled = |(have, want): (&u8, &u8)| have.to_ascii_lowercase() == *want || (*have == b'_' && *want == b'-');
    name.len() >= PREFIX.len() && name.iter().zip(PREFIX).all(spelled)
}

/// The call whose unknown outcome the caller knows of.
pub fn confirmed(fields: &Fields) -> Result<Option<TraceId>, Refusal> {
    let mut values = fields.all(CONFIRM);
    let trace = |value| TraceId::parse(text(value)?.trim());
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if trace(value).is_some() => Ok(trace(value)),
        _ => {
            Err(Refusal::malformed(400, "Permyx-Confirm-Retry", "send the one trace (`trc_…`) that the refusal names"))
        }
    }
}

/// The tokens of the header: none, those of one field line, or a reason why they are none.
pub fn tokens(fields: &Fields) -> Result<Option<Tokens>, Refusal> {
    const MEMBER: &str = "Permyx-Execution-Token";
    let mut values = fields.all(TOKEN_HEADER);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::malformed(400, MEMBER, "send exactly one token header"));
    }
    let text = text(value).unwrap_or_default().trim();
    if text.is_empty() {
        return Err(Refusal::malformed(400, MEMBER, "the token header is empty or not ASCII"));
    }
    // Nearly always it is one, and long.
    let tokens = match memchr::memchr(b',', text.as_bytes()) {
        None => Tokens::of(MEMBER, std::iter::once(text))?,
        Some(_) => Tokens::of(MEMBER, text.split(',').map(str::trim))?,
    };
    match tokens.presented() {
        Ok(_) => Ok(Some(tokens)),
        Err(_too_long) => Err(Refusal::malformed(431, MEMBER, "an execution token has at most 4096 bytes")),
    }
}

/// What the head says of its body's length as it stood on the wire, before any library joined or
/// dropped a field.
#[derive(Default)]
struct RawFraming {
    /// Fields that frame the body.
    framing: usize,
    codings: usize,
    bare_line_feed: bool,
}

impl RawFraming {
    fn of(raw: &[u8]) -> Self {
        let mut found = Self::default();
        let mut begins = 0;
        for end in memchr::memchr_iter(b'\n', raw) {
            let line = raw.get(begins..end).unwrap_or_default();
            begins = end + 1;
            let Some(line) = line.strip_suffix(b"\r") else {
                found.bare_line_feed = true;
                continue;
            };
            let named = |name: &str| {
                let name = name.as_bytes();
                let colon = line.get(name.len()) == Some(&b':');
                colon && line.get(..name.len()).is_some_and(|have| have.eq_ignore_ascii_case(name))
            };
            let coding = named("transfer-encoding");
            found.codings += usize::from(coding);
            found.framing += usize::from(coding || named("content-length"));
        }
        // The piece behind the last line feed is not a line.
        found.bare_line_feed |= begins < raw.len();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TOKEN_MAX;

    fn headers(lines: &[(&str, &str)]) -> Fields {
        lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
    }

    fn status(result: Result<(), Refusal>) -> u16 {
        result.map_or_else(|refusal| refusal.status, |()| 200)
    }

    #[test]
    fn one_plain_host_is_needed() {
        assert_eq!(status(well_formed(&headers(&[("host", "shop.example:8480")]), true)), 200);
        assert_eq!(status(well_formed(&headers(&[("host", "[::1]:8480")]), true)), 200);
        for bad in ["a,b", "a/b", "user@a", "a b", ""] {
            assert_eq!(status(well_formed(&headers(&[("host", bad)]), true)), 400, "{bad}");
        }
        assert_eq!(status(well_formed(&headers(&[]), true)), 400);
        assert_eq!(status(well_formed(&headers(&[("host", "a"), ("host", "a")]), true)), 400);
        assert_eq!(host_name(&headers(&[("host", "Shop.Example:1")])), "shop.example");
        assert_eq!(host_name(&headers(&[("host", "shop.example.:1")])), "shop.example");
        assert_eq!(host_name(&headers(&[("host", "[::1]:1")])), "[::1]");
        assert_eq!(host_name(&headers(&[("host", "shop.example.:1")])), "shop.example");
    }

    #[test]
    fn framing_is_stated_once() {
        let check = |raw: &str| {
            let lines: Vec<_> = raw.lines().skip(1).filter_map(|line| line.split_once(": ")).collect();
            status(unambiguous(raw.as_bytes(), &headers(&lines)))
        };
        assert_eq!(check("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"), 200);
        assert_eq!(check("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), 200);
        assert_eq!(check("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
        assert_eq!(check("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n"), 400);
        assert_eq!(check("POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n"), 400);
        assert_eq!(check("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"), 400);
        assert_eq!(check("POST / HTTP/1.1\nHost: a\r\n\r\n"), 400);
        assert_eq!(check("POST / HTTP/1.1\r\nContent-Length: 4, 4\r\n\r\n"), 400);
        assert_eq!(check("POST / HTTP/1.1\r\nX-Original-URL: /checkout\r\n\r\n"), 400);
        assert_eq!(check("POST / HTTP/1.1\r\nConnection: close, Host\r\n\r\n"), 400);
        assert_eq!(check("POST / HTTP/1.1\r\nConnection: permyx-trace\r\n\r\n"), 400);
        assert_eq!(check("POST / HTTP/1.1\r\nConnection: x-hop, Content-Encoding\r\n\r\n"), 400);
        assert_eq!(check("POST / HTTP/1.1\r\nPermyx_Execution_Token: x\r\n\r\n"), 400);
        assert_eq!(check("GET / HTTP/1.1\r\nX_HTTP_Method_Override: POST\r\n\r\n"), 400);
        assert_eq!(check(&format!("POST /{} HTTP/1.1\r\n\r\n", "x".repeat(LINE_MAX))), 414);
        assert_eq!(check(&format!("POST / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(HEAD_MAX))), 431);
    }

    #[test]
    fn a_guarded_route_takes_no_early_data_and_one_expectation() {
        assert_eq!(guarded(&[("expect", "100-continue")]), 200);
        assert_eq!(guarded(&[("expect", "200-ok")]), 417);
        assert_eq!(guarded(&[("early-data", "1")]), 425);
        assert_eq!(guarded(&[("upgrade", "websocket")]), 400);
    }

    fn guarded(lines: &[(&str, &str)]) -> u16 {
        status(guardable(&headers(lines), &["cart-token".to_owned(), "cookie".to_owned()]))
    }

    #[test]
    fn a_session_is_read_with_what_the_commit_is_sent_with() {
        assert_eq!(guarded(&[("connection", "close, X-Hop"), ("Cart-Token", "a"), ("x_note", "1")]), 200);
        for line in [
            ("connection", "close, Cookie"),
            ("connection", "content-encoding"),
            ("cart_token", "a"),
            ("Cart_Token", "a"),
        ] {
            assert_eq!(guarded(&[line]), 400, "{line:?}");
        }
        assert_eq!(guarded(&[("content_encoding", "gzip")]), 400);
    }

    #[test]
    fn our_names_are_ours_in_every_spelling() {
        for name in ["permyx-trace", "Permyx-Decision", "permyx_execution_token", "PERMYX_-x", "permyx-"] {
            assert!(is_ours(name), "{name}");
        }
        assert!(!is_ours("x-permyx-trace"));
        assert!(!is_ours("permy"));
    }

    #[test]
    fn tokens_stand_on_one_line() {
        assert!(tokens(&headers(&[])).unwrap().is_none());
        for good in ["a.b.c", "a, b"] {
            assert!(tokens(&headers(&[(TOKEN_HEADER, good)])).unwrap().is_some());
        }
        for (fields, status) in [
            (vec![(TOKEN_HEADER, "a"), (TOKEN_HEADER, "b")], 400),
            (vec![(TOKEN_HEADER, "a,")], 400),
            (vec![(TOKEN_HEADER, "")], 400),
        ] {
            assert_eq!(tokens(&headers(&fields)).unwrap_err().status, status);
        }
        let long = "x".repeat(TOKEN_MAX + 1);
        assert_eq!(tokens(&headers(&[(TOKEN_HEADER, &long)])).unwrap_err().status, 431);
    }
}
