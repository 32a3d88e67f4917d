//! What is sent: every kind of request that a checkout sees, and what has to come of it.

use permyx::clock::Clock;
use permyx::model::ids::{AgentId, Jti};
use permyx::model::time::Timestamp;
use permyx::token::issue::{Grant, Lifetime, issue};
use permyx::token::keys::SigningKey;

use crate::intent::mug;
use crate::load::{Report, Requests};

/// So many requests later, whatever was under way is answered.
const LATER: usize = 1_000;
/// Tokens of a batch that are presented for something else again and again.
const MISUSED: usize = 20;

/// How many were sent of each kind.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sent {
    /// Nothing that a route guards.
    pub unguarded: usize,
    pub tokenless: usize,
    pub bought: usize,
    pub replayed: usize,
    pub wrong: usize,
    pub forged: usize,
    pub expired: usize,
    /// Refused before anything is judged: there is no event of it.
    pub unreadable: usize,
}

impl Sent {
    /// What has to be refused.
    fn refused(&self) -> usize {
        self.replayed + self.wrong + self.forged + self.expired + self.unreadable
    }

    /// Each passed or was refused, as it had to be.
    pub fn judge(&self, report: &Report) {
        let refused: usize = (400..500).map(|status| report.answered(status)).sum();
        let passed = self.unguarded + self.tokenless + self.bought;
        let found = (report.answered(200), refused);
        assert_eq!(found, (passed, self.refused()), "{:?} of {self:?}", report.statuses);
    }
}

impl std::ops::AddAssign for Sent {
    fn add_assign(&mut self, more: Self) {
        self.unguarded += more.unguarded;
        self.tokenless += more.tokenless;
        self.bought += more.bought;
        self.replayed += more.replayed;
        self.wrong += more.wrong;
        self.forged += more.forged;
        self.expired += more.expired;
        self.unreadable += more.unreadable;
    }
}

/// Requests that are ready, and what they are.
pub struct Batch {
    pub requests: Requests,
    pub sent: Sent,
}

impl Batch {
    pub fn signed(key: &SigningKey, count: usize) -> Self {
        let now = Clock::system().now();
        let mut batch = Self { requests: Requests::default(), sent: Sent::default() };
        let misused: Vec<_> = (0..MISUSED).map(|_| token(key, now)).collect();
        let expired = token(key, now.plus_seconds(-3600));
        let mut bought: Vec<(usize, String)> = Vec::new();
        let mut replayed = 0;
        for n in 0..count {
            // Of twenty: eight unguarded, four without a token, two bought, two replays, four others.
            match n % 20 {
                1 | 6 | 11 | 16 => batch.tokenless(),
                2 | 12 => {
                    let token = token(key, now);
                    batch.buy(&token);
                    bought.push((n, token));
                }
                3 | 13 if bought.get(replayed).is_some_and(|(at, _)| at + LATER < n) => {
                    batch.replay(&bought[replayed].1);
                    replayed += 1;
                }
                4 => batch.wrong(&misused[n / 20 % MISUSED]),
                9 if !bought.is_empty() => batch.forge(&bought[bought.len() - 1].1),
                14 => batch.expired(&expired),
                19 => batch.unreadable(&misused[n / 20 % MISUSED]),
                _ => batch.unguarded(),
            }
        }
        batch
    }

    fn unguarded(&mut self) {
        self.requests.push(b"GET /items?page=7 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0\r\n\r\n");
        self.sent.unguarded += 1;
    }

    fn tokenless(&mut self) {
        self.checkout(None, &cart(1));
        self.sent.tokenless += 1;
    }

    fn buy(&mut self, token: &str) {
        self.checkout(Some(token), &cart(1));
        self.sent.bought += 1;
    }

    fn replay(&mut self, token: &str) {
        self.checkout(Some(token), &cart(1));
        self.sent.replayed += 1;
    }

    fn wrong(&mut self, token: &str) {
        self.checkout(Some(token), &cart(2));
        self.sent.wrong += 1;
    }

    /// Well formed, and never right.
    fn forge(&mut self, token: &str) {
        let at = token.len() - 170;
        let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
        let mut forged = token.to_owned();
        forged.replace_range(at..=at, other);
        self.checkout(Some(&forged), &cart(1));
        self.sent.forged += 1;
    }

    fn expired(&mut self, token: &str) {
        self.checkout(Some(token), &cart(1));
        self.sent.expired += 1;
    }

    /// A cart that says its currency twice.
    fn unreadable(&mut self, token: &str) {
        self.checkout(Some(token), &cart(1).replacen('{', r#"{"currency":"EUR","#, 1));
        self.sent.unreadable += 1;
    }

    fn checkout(&mut self, token: Option<&str>, body: &str) {
        let token = token.map(|token| format!("Permyx-Execution-Token: {token}\r\n")).unwrap_or_default();
        let request = format!(
            "POST /checkout HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: agent/1.0\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{token}\r\n{body}",
            body.len()
        );
        self.requests.push(request.as_bytes());
    }
}

fn cart(quantity: u32) -> String {
    format!(
        r#"{{"currency":"USD","items":[{{"variant":"shopify:variant:123456","quantity":{quantity},"price":29.99}}]}}"#
    )
}

fn token(key: &SigningKey, issued: Timestamp) -> String {
    let (intent, agent) = (mug(), AgentId::parse("ak_soak").unwrap());
    let (jti, lifetime) = (Jti::random(), Lifetime::MAX);
    issue(key, &Grant { intent: &intent, agent: &agent, product: None, jti, issued, lifetime }).unwrap().text
}
