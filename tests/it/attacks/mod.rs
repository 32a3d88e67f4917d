//! Requests that two servers could read differently, against an enforced checkout with an open
//! shop around it: each is refused, or arrives as exactly the one request that was judged.
//!
//! Every attack of a table carries the same good token. At the end it still buys: none of them
//! burned it, and none reached the merchant, because the merchant counts.

mod body;
mod exact;
mod framing;
mod head;

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::support::gateway::{Gateway, Guard, MUG, with_token};
use crate::support::http::{Answer, Connection, get};
use crate::support::merchant::{Merchant, Reply};

struct Stand {
    gateway: &'static Gateway,
    merchant: Merchant,
}

static STAND: LazyLock<Mutex<Stand>> = LazyLock::new(|| {
    let merchant = Merchant::start(|_| Reply::sold());
    let guard = |name, path: &str, policy| Guard {
        host: "shop.example",
        path: path.to_owned(),
        policy,
        ..Guard::enforcing(name, merchant.url())
    };
    let guards = [
        guard("shop", "/checkout", "mode = \"enforce\"\n"),
        guard("agents", "/agents", "mode = \"enforce\"\ntokenless = \"require\"\n"),
        Guard { preset: "ucp", ..guard("ucp", "/ucp/v1", "mode = \"enforce\"\n") },
    ];
    // What no route guards goes to the same merchant: a way around the gate would be seen.
    let gateway = Gateway::start(&guards, &format!("fallback = \"{}\"", merchant.url())).shared();
    Mutex::new(Stand { gateway, merchant })
});

/// The stand, for one test at a time: the merchant's count is shared.
fn stand() -> MutexGuard<'static, Stand> {
    STAND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An attack: what it is, what is sent, and the status that it gets.
type Attack = (String, Vec<u8>, u16);

/// `T` stands for the token, `B` for the length of the cart and `C` for the cart.
fn raw(text: &str) -> String {
    text.replace("<B>", &MUG.len().to_string()).replace("<C>", MUG)
}

impl Stand {
    /// Sends these bytes on a connection of their own; `None` when it is closed without a word.
    fn fire(&self, bytes: &[u8]) -> Option<Answer> {
        let mut connection = Connection::open(self.gateway.address());
        connection.send(bytes);
        connection.answer_to("POST").unwrap_or_else(|why| panic!("{why} to {}", String::from_utf8_lossy(bytes)))
    }

    /// Every attack is refused as expected; the token that all of them carry, as `<T>`, then buys.
    fn refuses(&self, attacks: impl IntoIterator<Item = Attack>) {
        let token = self.gateway.token("shop");
        let before = self.merchant.recorded().len();
        let mut wrong = Vec::new();
        for (name, bytes, status) in attacks {
            let bytes = put_token(&bytes, &token);
            let (answer, arrived) = (self.fire(&bytes), self.merchant.recorded().len());
            let got = answer.as_ref().map_or(0, |answer| answer.status);
            if got != status || arrived > before {
                let text = answer.map(|answer| answer.text()).unwrap_or_default();
                let name = name.escape_debug();
                wrong.push(format!("{name}: {got} instead of {status}, {} arrived: {text}", arrived - before));
            }
        }
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
        self.is_well(&token, before);
    }

    /// Every request buys, each with a token of its own and exactly once.
    fn takes(&self, requests: impl IntoIterator<Item = (String, Vec<u8>)>) {
        let mut wrong = Vec::new();
        for (name, bytes) in requests {
            let before = self.merchant.recorded().len();
            let answer = self.fire(&put_token(&bytes, &self.gateway.token("shop")));
            let arrived = self.merchant.recorded().len() - before;
            if answer.as_ref().is_none_or(|answer| answer.header("permyx-decision") != Some("allowed")) || arrived != 1
            {
                let name = name.escape_debug();
                wrong.push(format!("{name}: {arrived} arrived, {:?}", answer.map(|answer| answer.text())));
            }
        }
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }

    /// The gateway lives, and the token that was shown so often is unused.
    fn is_well(&self, token: &str, before: usize) {
        assert_eq!(get(self.gateway.ops(), "/livez").status, 200);
        let bought = self.fire(&with_token("/checkout", token, MUG)).unwrap();
        assert_eq!((bought.status, self.merchant.recorded().len()), (200, before + 1), "{}", bought.text());
    }
}

fn put_token(bytes: &[u8], token: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + token.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(3).position(|three| three == b"<T>") {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(token.as_bytes());
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
    out
}

/// A well-formed purchase with this line end, head or target instead of the usual one.
struct Request<'a> {
    line: &'a str,
    host: &'a str,
    token: &'a str,
    framing: &'a str,
    more: &'a str,
    body: &'a str,
}

impl Default for Request<'_> {
    fn default() -> Self {
        Self {
            line: "POST /checkout HTTP/1.1",
            host: "Host: shop.example\r\n",
            token: "Permyx-Execution-Token: <T>\r\n",
            framing: "Content-Length: <B>\r\n",
            more: "Content-Type: application/json\r\n",
            body: "<C>",
        }
    }
}

impl Request<'_> {
    fn bytes(&self) -> Vec<u8> {
        let Self { line, host, token, framing, more, body } = self;
        let body = raw(body);
        let framing = framing.replace("<B>", &body.len().to_string());
        format!("{line}\r\n{host}{token}{framing}{more}\r\n{body}").into_bytes()
    }
}

/// Attacks that all get one status.
fn all<'a>(status: u16, requests: impl IntoIterator<Item = (&'a str, Request<'a>)>) -> Vec<Attack> {
    requests.into_iter().map(|(name, request)| (name.to_owned(), request.bytes(), status)).collect()
}
