//! Requests of every kind, and what must become of each.

use crate::support::gateway::{Gateway, Purchase};

use super::OPEN_HOST;
use super::cart::{coded, form, json, padded, purchases};
use super::dice::Dice;
use super::message::{Framing, Lane, Request};

/// What must become of a request.
pub enum Fate {
    /// It arrives, with this decision, and as bought by these tokens.
    Passes { lane: Lane, decision: &'static str, bought: Vec<Purchase> },
    /// It is refused with this status, and the merchant sees nothing.
    Refused(u16),
}

const CODINGS: [&str; 7] = ["", "", "", "identity", "gzip", "x-gzip", "deflate"];
const ODD_TARGETS: [&[u8]; 9] = [
    b"/seen",
    b"/seen/../seen//./%63?a=%zz&b=%2F",
    b"/seen;v=1?//..",
    b"/seen/%2e%2E/caf\xc3\xa9?q=\xc3\xa9",
    b"//other///x?",
    b"/other/%00%0d%0a;x=1?a?b?c",
    b"/other?{}|\\^`",
    b"/other/%c0%af",
    b"/other?a=1&a=2&a[]=%5B",
];
const QUERIES: [&str; 6] = ["", "", "?", "?a=1&a=2", "?x=%2f&y=//../&z=%zz", "?q[]={}|\\^`&qty=9"];
const METHODS: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW", "M-SEARCH", "HEAD"];

pub struct Shopper<'g> {
    pub dice: Dice,
    pub gateway: &'g Gateway,
    /// Longest body that is judged.
    pub limit: usize,
    /// A request that bought already.
    pub used: Option<Request>,
}

impl Shopper<'_> {
    pub fn any(&mut self) -> (Request, Fate) {
        match self.dice.roll(10) {
            0..4 => {
                let (request, bought) = self.purchase(None);
                (request, Fate::Passes { lane: Lane::Exchange, decision: "allowed", bought })
            }
            4..6 => self.observed(),
            6 => self.without_token(),
            7 => self.elsewhere(),
            _ => self.refused(),
        }
    }

    /// A good purchase. `length`: of its body, where that matters.
    pub fn purchase(&mut self, length: Option<usize>) -> (Request, Vec<Purchase>) {
        let is_form = length.is_none() && self.dice.chance(30);
        let store = if is_form { "form" } else { "shop" };
        let lines = purchases(&mut self.dice, store, if is_form { 1 } else { 3 });
        let target = format!("/{store}{}", self.dice.pick(&QUERIES));
        let mut request = self.request("POST", target.as_bytes(), "shop.example");
        self.put_token(&mut request, &lines);
        if self.dice.chance(10) {
            request.field("Connection", b"X-Hop, \xe9");
            request.field("x-hop", "3");
        }
        if is_form {
            let body = form(&mut self.dice, &lines[0]);
            let kind = self.dice.recased("application/x-www-form-urlencoded");
            self.put_body(&mut request, &kind, body, None);
        } else {
            self.put_cart(&mut request, &lines, length);
        }
        (request, lines)
    }

    fn observed(&mut self) -> (Request, Fate) {
        let lines = purchases(&mut self.dice, "seen", 3);
        let target = format!("/seen{}", self.dice.pick(&QUERIES));
        let mut request = self.request("POST", target.as_bytes(), OPEN_HOST);
        let has_token = self.dice.chance(60);
        if has_token {
            self.put_token(&mut request, &lines);
        }
        self.put_cart(&mut request, &lines, None);
        if self.dice.chance(20) {
            request.body.truncate(self.dice.roll(request.body.len()));
        }
        let lane = if has_token && request.framing == Framing::Length { Lane::Exchange } else { Lane::Pingora };
        let bought = if lane == Lane::Exchange { lines } else { Vec::new() };
        (request, Fate::Passes { lane, decision: "observed", bought })
    }

    /// A shopper's purchase on the enforced route.
    fn without_token(&mut self) -> (Request, Fate) {
        let (mut request, _) = self.purchase(None);
        // pingora refuses what our own lane takes: an option of a connection that is no name.
        let dropped = ["permyx-execution-token", "connection"];
        request.fields.retain(|(name, _)| !dropped.contains(&&*name.to_ascii_lowercase()));
        (request, Fate::Passes { lane: Lane::Pingora, decision: "observed", bought: Vec::new() })
    }

    /// Anything at all, where nothing is enforced.
    fn elsewhere(&mut self) -> (Request, Fate) {
        let (method, target) = (self.dice.pick(&METHODS), self.dice.pick(&ODD_TARGETS));
        let mut request = self.request(method, target, OPEN_HOST);
        for spoof in ["permyx_trace", "PERMYX_Execution_Token"] {
            if self.dice.chance(10) {
                request.field(spoof, "trc_forged");
            }
        }
        if self.dice.chance(70) {
            request.body = (0..self.dice.roll(3000)).map(|_| u8::try_from(self.dice.roll(256)).unwrap()).collect();
            request.framing = self.dice.pick(&[Framing::Length, Framing::Chunked]);
        }
        let seen = request.target.starts_with(b"/seen") && !matches!(method, "GET" | "HEAD" | "OPTIONS");
        let decision = if seen && !request.target.starts_with(b"/seen;") { "observed" } else { "none" };
        (request, Fate::Passes { lane: Lane::Pingora, decision, bought: Vec::new() })
    }

    /// A purchase with one thing wrong.
    fn refused(&mut self) -> (Request, Fate) {
        let (mut request, _) = self.purchase(Some(2000));
        request.fields.retain(|(name, _)| !name.eq_ignore_ascii_case("content-encoding"));
        let status = if self.dice.chance(50) { self.spoil_head(&mut request) } else { self.spoil_body(&mut request) };
        (request, Fate::Refused(status))
    }

    fn spoil_head(&mut self, request: &mut Request) -> u16 {
        match self.dice.roll(5) {
            0 => {
                let odd: [&[u8]; 6] = [b"/./shop", b"//shop", b"/%73hop", b"/shop;x", b"/Shop", b"/shop?a#b"];
                request.target = self.dice.pick(&odd).to_vec();
                400
            }
            1 => {
                request.framing = Framing::Length;
                let (name, value) = self.dice.pick(&[
                    ("Transfer-Encoding", "chunked"),
                    ("Connection", "X-Hop, Content-Encoding"),
                    ("Connection", "content-type"),
                    ("connection", "Cookie"),
                ]);
                request.field(name, value);
                400
            }
            2 => {
                request.method = "PUT";
                403
            }
            3 => {
                request.field("Upgrade", "websocket");
                400
            }
            _ => {
                let Some(used) = self.used.clone() else { return self.spoil_body(request) };
                *request = used;
                403
            }
        }
    }

    fn spoil_body(&mut self, request: &mut Request) -> u16 {
        match self.dice.roll(5) {
            0 => {
                let other = Purchase { quantity: 4, ..Purchase::mug("shop") };
                request.body = json(&mut self.dice, &[other]).into_bytes();
                403
            }
            1 => {
                request.body = br#"{"currency":"USD","items":[],"\u0069tems":[]}"#.to_vec();
                400
            }
            2 => {
                let coding = self.dice.pick(&["gzip", "deflate"]);
                request.field("Content-Encoding", coding);
                request.body = b"{}".to_vec();
                400
            }
            3 => {
                request.body = vec![b' '; self.limit + 1 + self.dice.roll(3000)];
                413
            }
            _ => {
                request.body.extend(b"{}");
                400
            }
        }
    }

    fn put_token(&mut self, request: &mut Request, lines: &[Purchase]) {
        let tokens: Vec<_> = lines.iter().map(|line| self.gateway.sign(line)).collect();
        let at = self.dice.roll(request.fields.len() + 1);
        let field = (self.dice.recased("Permyx-Execution-Token"), tokens.join(", ").into_bytes());
        request.fields.insert(at, field);
    }

    fn put_cart(&mut self, request: &mut Request, lines: &[Purchase], length: Option<usize>) {
        let cart = json(&mut self.dice, lines);
        let kind = self.dice.pick(&[
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
        ]);
        let most = if self.dice.chance(5) { self.limit } else { 20_000 };
        let length = length.or_else(|| self.dice.chance(15).then(|| 5000 + self.dice.roll(most - 5000 + 1)));
        self.put_body(request, kind, cart, length);
    }

    fn put_body(&mut self, request: &mut Request, kind: &str, plain: String, length: Option<usize>) {
        let plain = match length {
            Some(length) => padded(&mut self.dice, &plain, length),
            None => plain,
        };
        let is_form = kind.eq_ignore_ascii_case("application/x-www-form-urlencoded");
        let coding = if is_form { self.dice.pick(&["", "identity"]) } else { self.dice.pick(&CODINGS) };
        let (kind_name, coding_name) = (self.dice.recased("Content-Type"), self.dice.recased("Content-Encoding"));
        request.field(kind_name, kind);
        if !coding.is_empty() {
            let coding = self.dice.recased(coding);
            request.field(coding_name, coding);
        }
        request.body = coded(coding, plain.as_bytes());
        request.framing = if self.dice.chance(60) { Framing::Length } else { Framing::Chunked };
    }

    /// A head with fields of every kind.
    fn request(&mut self, method: &'static str, target: &[u8], host: &str) -> Request {
        let dice = &mut self.dice;
        let framing = Framing::None;
        let mut request = Request { method, target: target.to_vec(), fields: Vec::new(), framing, body: Vec::new() };
        let long = "v".repeat(1 + dice.roll(2000));
        let values: [&[u8]; 8] =
            [b"", b"1", b"a, b;q=0.5", b"caf\xe9 \x80\xff", b"\"x\\\"y\"", b"a\tb  c", "é".as_bytes(), long.as_bytes()];
        let names = ["X-One", "Accept", "Cookie", "Authorization", "User-Agent", "Via", "x_under", "X-Forwarded-For"];
        for _ in 0..dice.roll(10) {
            let (name, value) = (dice.pick(&names), dice.pick(&values));
            request.field(dice.recased(name), value);
        }
        for (name, value) in [
            ("Permyx-Trace", "trc_forged"),
            ("PERMYX-Decision", "allowed"),
            ("Permyx-Agent", "ak_forged"),
            ("permyx-anything", "1"),
            ("Connection", "keep-alive, X-Hop"),
            ("Connection", "x-hop-too ,, X-HOP"),
            ("X-Hop", "1"),
            ("X-Hop-Too", "2"),
            ("TE", "trailers"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authorization", "Basic eA=="),
            ("Trailer", "X-Later"),
            ("Expect", "100-continue"),
        ] {
            if dice.chance(12) {
                request.field(dice.recased(name), value);
            }
        }
        let name = dice.recased("Host");
        request.field(name, host);
        dice.shuffle(&mut request.fields);
        request
    }
}
