//! What the callers send: the same bytes to every proxy.

use permyx::clock::Clock;
use permyx::model::ids::{AgentId, Jti, ProductId};
use permyx::token::issue::{Grant, Lifetime, issue};
use permyx::token::keys::SigningKey;

use crate::intent::mug;
use crate::job::Job;
use crate::load::Requests;

/// Of so many requests with a token, one buys something else than its token says.
pub const ONE_WRONG_IN: usize = 100;
/// A character of the signature, counted from its end, that a forger changes.
const FORGED_AT: usize = 170;

/// How long they are.
#[derive(Clone, Copy)]
pub struct Sizes {
    /// Bytes of a body, at least.
    pub body: usize,
    /// Bytes of the product id in a token, which has none where there are none.
    pub product: usize,
}

/// Signed now: a gateway refuses what is older than itself.
pub fn of(job: Job, count: usize, Sizes { body, product }: Sizes, key: &SigningKey) -> Requests {
    let product = ProductId::parse(&"p".repeat(product)).ok();
    let tokens = match job {
        Job::Pass => Vec::new(),
        Job::Replay => vec![token(key, product.as_ref())],
        Job::Burn | Job::Shared => tokens(key, product.as_ref(), count),
        Job::Forged => tokens(key, product.as_ref(), count).into_iter().map(forged).collect(),
    };
    let mut requests = Requests::default();
    for n in 0..count {
        let token = tokens.get(n).or(tokens.first().filter(|_| job == Job::Replay));
        requests.push(request(token.map(String::as_str), body, is_wrong(job, n)).as_bytes());
    }
    requests
}

fn request(token: Option<&str>, least: usize, wrong: bool) -> String {
    let mut body = format!(
        r#"{{"currency":"USD","items":[{{"variant":"shopify:variant:123456","quantity":{},"price":29.99}}],"cart":"c_8f1e2d7a","locale":"en-US","channel":"storefront","consent":false}}"#,
        if wrong { 2 } else { 1 }
    );
    if let Some(more) = least.checked_sub(body.len()) {
        body.truncate(body.len() - 1);
        body += &format!(r#","note":"{}"}}"#, "x".repeat(more));
    }
    let length = body.len();
    let token = token.map(|token| format!("Permyx-Execution-Token: {token}\r\n")).unwrap_or_default();
    format!(
        "POST /checkout HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: agent/1.0\r\nAccept: application/json\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n{token}\r\n{body}"
    )
}

/// As many of the first one.
pub fn first(requests: &Requests, count: usize) -> Requests {
    let mut first = Requests::default();
    (0..count).for_each(|_| first.push(requests.get(0)));
    first
}

/// Whether the nth request buys something else than its token says.
pub fn is_wrong(job: Job, n: usize) -> bool {
    matches!(job, Job::Burn | Job::Shared) && n % ONE_WRONG_IN == ONE_WRONG_IN / 2
}

fn tokens(key: &SigningKey, product: Option<&ProductId>, count: usize) -> Vec<String> {
    let half = count / 2;
    let some = |count: usize| std::iter::repeat_with(|| token(key, product)).take(count).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| some(half));
        let rest = some(count - half);
        [first.join().unwrap(), rest].concat()
    })
}

fn token(key: &SigningKey, product: Option<&ProductId>) -> String {
    let intent = mug();
    let (agent, issued) = (AgentId::parse("ak_bench").unwrap(), Clock::system().now());
    let (jti, lifetime) = (Jti::random(), Lifetime::MAX);
    let grant = Grant { intent: &intent, agent: &agent, product, jti, issued, lifetime };
    issue(key, &grant).unwrap().text
}

/// Well formed, and never right.
fn forged(mut token: String) -> String {
    let at = token.len() - FORGED_AT;
    let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
    token.replace_range(at..=at, other);
    token
}
