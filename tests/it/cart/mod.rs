//! Carts of several lines with a token for each: all of them are burned, or none. With the ledger in
//! memory and with the shared one.

mod shape;
mod together;

use std::sync::LazyLock;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use permyx::model::scope::Scope;
use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::gateway::{Gateway, Guard, Purchase, Start};
use crate::support::http::{Answer, request};
use crate::support::merchant::{Merchant, Reply};
use crate::support::redis::Redis;

/// What is sold here: 10, 20 and 30 dollars a piece, in pieces of 1, 2 and 3.
const ITEMS: [(&str, i64, &str); 3] = [("pen", 1, "10.00"), ("cup", 2, "20.00"), ("hat", 3, "30.00")];

/// Two orders and 250 dollars an hour.
const LIMITED: &str =
    "mode = \"enforce\"\ncurrency = \"USD\"\n[velocity]\norders_per_hour = 2\nspend_per_hour = \"250.00 USD\"\n";

/// A gateway with its merchants, whose names are their stores.
struct Stand {
    gateway: &'static Gateway,
    sells: Merchant,
    _mute: Merchant,
}

/// Both kinds of ledger, one after the other.
fn stands() -> [&'static Stand; 2] {
    static STANDS: LazyLock<[Stand; 2]> = LazyLock::new(|| {
        let redis = Redis::start().shared();
        let shared = format!("[ledger]\ndurability = \"async\"\n[ledger.redis]\nnodes = [\"{}\"]\n", redis.address());
        [Stand::open("[ledger]\nsingle_instance = true\n"), Stand::open(&shared)]
    });
    let [alone, shared] = &*STANDS;
    [alone, shared]
}

impl Stand {
    fn open(ledger: &str) -> Self {
        let (sells, mute) = (Merchant::selling(), Merchant::start(|_| Reply::json_cut_after(0, 200, "{}")));
        let closed = "http://127.0.0.1:1".to_owned();
        let guards = [
            Guard::enforcing("sells", sells.url()),
            Guard::enforcing("mute", mute.url()),
            Guard::enforcing("closed", closed),
            Guard { policy: LIMITED, ..Guard::enforcing("limited", sells.url()) },
            Guard { policy: "mode = \"observe\"\n", ..Guard::enforcing("watched", sells.url()) },
        ];
        let gateway = Gateway::start_as(&Start { ledger, ..Start::alone(&guards) }).shared();
        wait_until_it_burns(gateway);
        Self { gateway, sells, _mute: mute }
    }

    /// Tokens for the first so many items of this store, in the order of their ids.
    fn tokens(&self, store: &'static str, count: usize) -> Vec<Token> {
        let mut tokens: Vec<_> = (0..count).map(|item| Token::of(self.gateway, store, item)).collect();
        tokens.sort_by(|one, other| one.jti.cmp(&other.jti));
        tokens
    }

    /// Buys what these tokens are for.
    fn buy(&self, route: &str, tokens: &[&Token]) -> Answer {
        self.buy_as(route, tokens, &[])
    }

    fn buy_as(&self, route: &str, tokens: &[&Token], more: &[&str]) -> Answer {
        let items: Vec<_> = tokens.iter().map(|token| token.item).collect();
        self.gateway.send(&purchase(route, &header(tokens), more, &cart(&items)))
    }

    /// Kind, token and execution of each event of this answer's request.
    fn events(&self, answer: &Answer) -> Vec<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let event = |event: &Value| {
            (text(&event["data"]["eventType"]), text(&event["data"]["tokenId"]), text(&event["correlationid"]))
        };
        self.gateway.events_of(answer.header("permyx-trace").unwrap()).iter().map(event).collect()
    }
}

/// A new ledger takes no token that may be older than its memory.
fn wait_until_it_burns(gateway: &Gateway) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let token = Token::of(gateway, "sells", 0);
        let answer = gateway.send(&purchase("sells", &token.text, &[], &cart(&[0])));
        if answer.status == 200 {
            return;
        }
        assert!(answer.status == 503 && Instant::now() < deadline, "{}", answer.text());
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}

/// A token for one of the [`ITEMS`].
struct Token {
    item: usize,
    jti: String,
    text: String,
}

impl Token {
    fn of(gateway: &Gateway, store: &'static str, item: usize) -> Self {
        Self::signed(item, gateway.sign(&offer(store, item)))
    }

    fn signed(item: usize, text: String) -> Self {
        let claims = URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        Self { item, jti: claims["jti"].as_str().unwrap().to_owned(), text }
    }
}

fn offer(store: &'static str, item: usize) -> Purchase {
    let prices = ["10.00 USD", "20.00 USD", "30.00 USD"];
    let (variant, quantity, _) = ITEMS[item];
    Purchase { store, variant, quantity, price: prices[item], scope: Scope::AgentExec, age_s: 0 }
}

fn header(tokens: &[&Token]) -> String {
    tokens.iter().map(|token| token.text.as_str()).collect::<Vec<_>>().join(", ")
}

/// A cart of these items.
fn cart(items: &[usize]) -> String {
    let line = |item: &usize| {
        let (variant, quantity, price) = ITEMS[*item];
        format!("{{\"variant\":\"{variant}\",\"quantity\":{quantity},\"price\":{price}}}")
    };
    format!("{{\"currency\":\"USD\",\"items\":[{}]}}", items.iter().map(line).collect::<Vec<_>>().join(","))
}

fn purchase(route: &str, tokens: &str, more: &[&str], cart: &str) -> Vec<u8> {
    let tokens = format!("Permyx-Execution-Token: {tokens}");
    let headers: Vec<_> = [tokens.as_str()].into_iter().chain(more.iter().copied()).collect();
    request("POST", &format!("/{route}"), &headers, cart)
}

/// Status, code and rule of a refusal.
fn told(answer: &Answer) -> (u16, String, String) {
    let body = answer.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (answer.status, text(&body["error"]["code"]), text(&body["rule"]))
}

fn code(answer: &Answer) -> String {
    told(answer).1
}
