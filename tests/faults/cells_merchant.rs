//! Cells 14 to 21: the merchant's end of a purchase.

use std::time::Instant;

use crate::cells::{Plant, Stands};
use crate::history::Told;
use crate::redis::wait_for;
use crate::relay::{Fault, Relay, Way};
use crate::size::Size;
use crate::stand::{ALONE, Member, SHOP, Stand};
use crate::support::gateway::Guard;
use crate::support::http::Connection;
use crate::support::merchant::{Merchant, Recorded, Reply};
use crate::table::Row;
use crate::trial::{Token, Trial, next_operation, purchase};

const ORDER: &str = r#"{"orderId":"ord_1","status":"confirmed","total":29.99,"currency":"USD"}"#;
/// Hangs up on connections that it kept.
const STALE: &str = "stale";
/// Its connections never get as far as a request.
const SEALED: &str = "sealed";
const THREADS: usize = 8;
/// Bytes of an answer that does not fit between merchant and caller.
const LONG: usize = 4 << 20;

/// A gateway that burns alone, and relays before its merchants.
pub struct Outside {
    pub stand: Stand,
    /// Before the shop.
    pub door: Relay,
    _seal: Relay,
}

impl Outside {
    pub fn open() -> Self {
        let merchants = vec![(SHOP, scripted()), (STALE, Merchant::start(Reply::sold_unless_reused))];
        let [door, seal] = [Relay::to(merchants[0].1.address()), Relay::to(merchants[0].1.address())];
        seal.set(Way::Out, Fault::Reset);
        let guards = [
            Guard::enforcing(SHOP, format!("http://{}", door.address())),
            Guard::enforcing(STALE, merchants[1].1.url()),
            Guard::enforcing(SEALED, format!("https://{}", seal.address())),
        ];
        let stand = Stand::with_guards(&[Member::of(ALONE)], merchants, &guards);
        Self { stand, door, _seal: seal }
    }
}

/// A shop that answers as the query of the target says.
pub fn scripted() -> Merchant {
    Merchant::start(|request: &Recorded| {
        let line = request.request_line();
        let plain = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{ORDER}", ORDER.len());
        let status = |line: &str| Reply::Bytes(plain.replacen("200 OK", line, 1).into());
        let after = |interim: &str| Reply::Bytes((interim.to_owned() + &plain).into());
        match line.split([' ', '?']).nth(2).unwrap_or_default() {
            "500" => status("500 Oh No"),
            "502" => status("502 Bad Gateway"),
            "503" => status("503 Later"),
            "cut" => Reply::Cut(plain[..plain.len() - 10].into()),
            "100" => after("HTTP/1.1 100 Continue\r\n\r\n"),
            "103" => after("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"),
            "101" => Reply::Bytes("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".into()),
            "long" => {
                Reply::Bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n{}", " ".repeat(LONG)).into())
            }
            "slow" => {
                std::thread::park_timeout(std::time::Duration::from_millis(20));
                Reply::sold()
            }
            _ => Reply::sold(),
        }
    })
}

impl Trial<'_> {
    /// The answer has this status and code.
    fn expect_told(&self, told: Option<&Told>, status: u16, code: &str) {
        let found = told.map(|told| (told.status, told.code.as_str()));
        self.expect(found == Some((status, code)), || format!("{status} {code:?} was due: {told:?}"));
    }

    /// A second use is refused as one.
    fn expect_spent(&self, client: &mut crate::trial::Client, token: &Token) {
        let again = client.buy(0, token);
        self.expect_told(again.as_ref(), 403, "REPLAY_DETECTED");
    }
}

pub fn refused(stands: &Stands, size: Size, plant: Plant) -> Row {
    let outside = &*stands.outside;
    let trial = Trial::on(&outside.stand, size, plant);
    let tokens = trial.tokens(size.tokens);
    let sealed: Vec<_> = std::iter::repeat_with(|| trial.token_of(SEALED)).take(size.tokens / 4).collect();
    trial.plant(|| outside.door.refuse());
    trial.crowd(THREADS, tokens.len(), |client, n| {
        trial.expect_told(client.buy(0, &tokens[n]).as_ref(), 502, "UPSTREAM_UNAVAILABLE");
    });
    trial.crowd(THREADS, sealed.len(), |client, n| {
        for _ in 0..2 {
            trial.expect_told(client.buy(0, &sealed[n]).as_ref(), 502, "UPSTREAM_UNAVAILABLE");
        }
    });
    outside.door.heal();
    trial.crowd(THREADS, tokens.len(), |client, n| trial.expect_told(client.buy(0, &tokens[n]).as_ref(), 200, ""));
    let measured =
        format!("{} released, {} of them bought later", trial.count("UPSTREAM_UNAVAILABLE"), trial.count(""));
    trial.finish(14, "merchant refuses the connection, or the TLS handshake fails", measured)
}

pub fn closed_on_reuse(stands: &Stands, size: Size, plant: Plant) -> Row {
    let trial = Trial::on(&stands.outside.stand, size, plant);
    let store = if plant == Plant::Fault { STALE } else { SHOP };
    let before = stands.outside.stand.merchant(STALE).recorded().len();
    let tokens: Vec<_> = std::iter::repeat_with(|| trial.token_of(store)).take(size.tokens).collect();
    trial.crowd(2, tokens.len(), |client, n| {
        match client.buy(0, &tokens[n]) {
            Some(told) if told.allowed => {}
            other => trial.expect_told(other.as_ref(), 502, "OUTCOME_UNKNOWN"),
        }
        trial.expect_spent(client, &tokens[n]);
    });
    let reused = stands.outside.stand.merchant(STALE).recorded()[before..].iter().filter(|r| r.nth > 0).count();
    let unknown = trial.count("OUTCOME_UNKNOWN");
    trial.expect(reused > 0 && reused == unknown, || format!("{reused} on a used connection, {unknown} unknown"));
    trial.finish(15, "merchant closes a reused connection before a byte of its answer", format!("{unknown} unknown"))
}

pub fn reset_within_the_request(stands: &Stands, size: Size, plant: Plant) -> Row {
    let outside = &*stands.outside;
    let trial = Trial::on(&outside.stand, size, plant);
    let tokens = trial.tokens(size.tokens);
    let mut client = trial.client();
    client.buy(0, &trial.token());
    let arrived = outside.stand.merchant(SHOP).recorded().last().map_or(1, |request| request.bytes.len());
    let touched = outside.door.touched();
    for (n, token) in tokens.iter().enumerate() {
        let keep = 1 + n * 7 % (arrived - 1);
        trial.plant(|| outside.door.set(Way::Out, Fault::Truncate(keep)));
        trial.expect_told(client.buy(0, token).as_ref(), 502, "OUTCOME_UNKNOWN");
        trial.expect_spent(&mut client, token);
    }
    outside.door.heal();
    let cut = outside.door.touched() - touched;
    trial.expect(cut == tokens.len(), || format!("{cut} requests were cut, {} were sent", tokens.len()));
    trial.finish(16, "connection to the merchant ends after k bytes of the request", format!("{cut} cut, each once"))
}

pub fn failing(stands: &Stands, size: Size, plant: Plant) -> Row {
    let trial = Trial::on(&stands.outside.stand, size, plant);
    let tokens = trial.tokens(size.tokens);
    trial.crowd(THREADS, tokens.len(), |client, n| {
        let status = [500, 502, 503][n % 3];
        let query = if plant == Plant::Fault { format!("?{status}") } else { String::new() };
        trial.expect_told(client.buy_at(0, &tokens[n], &query, &[]).as_ref(), status, "");
        trial.expect_spent(client, &tokens[n]);
    });
    let burned = trial.count("");
    trial.finish(18, "merchant answers 500, 502, 503", format!("{burned} passed on and burned"))
}

pub fn truncated(stands: &Stands, size: Size, plant: Plant) -> Row {
    let trial = Trial::on(&stands.outside.stand, size, plant);
    let tokens = trial.tokens(size.tokens);
    let query = if plant == Plant::Fault { "?cut" } else { "" };
    trial.crowd(THREADS, tokens.len(), |client, n| {
        let told = client.buy_at(0, &tokens[n], query, &[]);
        trial.expect(told.is_none(), || format!("looks whole: {told:?}"));
        trial.expect_spent(client, &tokens[n]);
    });
    let burned = trial.causes("execution.validated").iter().filter(|cause| *cause == "answer_truncated").count();
    trial.expect(burned == tokens.len(), || format!("{burned} recorded as truncated"));
    trial.finish(19, "merchant's answer breaks off in its body", format!("{burned} burned as truncated"))
}

pub fn interim(stands: &Stands, size: Size, plant: Plant) -> Row {
    let trial = Trial::on(&stands.outside.stand, size, plant);
    let tokens = trial.tokens(size.tokens);
    trial.crowd(THREADS, tokens.len(), |client, n| {
        let word = ["100", "103", "101"][n % 3];
        let query = if plant == Plant::Fault { format!("?{word}") } else { String::new() };
        let told = client.buy_at(0, &tokens[n], &query, &[]);
        if word == "101" {
            trial.expect_told(told.as_ref(), 502, "OUTCOME_UNKNOWN");
        } else {
            trial.expect_told(told.as_ref(), 200, "");
        }
        trial.expect_spent(client, &tokens[n]);
    });
    let (bought, unknown) = (trial.count(""), trial.count("OUTCOME_UNKNOWN"));
    trial.finish(20, "merchant sends 100 and 103 first, or 101", format!("{bought} bought, {unknown} unknown"))
}

pub fn callers_leave(stands: &Stands, size: Size, plant: Plant) -> Row {
    let trial = Trial::on(&stands.outside.stand, size, plant);
    let tokens = trial.tokens(size.tokens);
    if plant == Plant::Fault {
        trial.crowd(THREADS, tokens.len(), |_, n| leave(&trial, &tokens[n], n));
    }
    let bought_first = tokens.len() / 3;
    trial.crowd(THREADS, tokens.len(), |client, n| match n % 3 {
        // What had arrived in full is executed, or was until now.
        0 => trial.expect_told(client.buy(0, &tokens[n]).as_ref(), 200, ""),
        _ => {
            wait_for("the execution of a caller that left", || {
                let told = client_once(&trial, &tokens[n]);
                if plant == Plant::Nothing || told.as_ref().is_some_and(|told| told.code == "REPLAY_DETECTED") {
                    return true;
                }
                trial.expect_told(told.as_ref(), 409, "IN_FLIGHT");
                false
            });
        }
    });
    trial.expect(trial.count("REPLAY_DETECTED") >= bought_first, || "no execution outlived its caller".to_owned());
    let measured = format!("{} executed for callers that had left", trial.count("REPLAY_DETECTED"));
    trial.finish(21, "caller leaves within its body, after it, within the answer", measured)
}

/// Leaves at one of three points.
fn leave(trial: &Trial, token: &Token, n: usize) {
    let (id, start) = (next_operation(), Instant::now());
    let bytes = purchase(token, id, ["", "?slow", "?long"][n % 3], &[]);
    let mut connection = Connection::open(trial.stand.address(0));
    match n % 3 {
        // It asked for nothing yet: no operation.
        0 => return connection.send(&bytes[..bytes.len() - 20]),
        1 => {
            connection.send(&bytes);
            wait_for("the request to arrive", || trial.arrived(id));
        }
        _ => {
            connection.send(&bytes);
            connection.wait_for_bytes();
        }
    }
    drop(connection);
    trial.enter(token, id, 0, start, None);
}

fn client_once(trial: &Trial, token: &Token) -> Option<Told> {
    trial.client().buy(0, token)
}
