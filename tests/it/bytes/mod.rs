//! What passed the check is what the merchant receives, byte for byte: over generated methods,
//! targets, fields, codings and bodies. `PERMYX_BYTES=4000` sends so many.

mod cart;
mod dice;
mod message;
mod shopper;

use std::collections::{BTreeMap, BTreeSet};

use permyx::model::intent::Sha256;

use crate::support::gateway::{AGENT, Gateway, Guard, MUG, Purchase, kind};
use crate::support::http::{Answer, Connection};
use crate::support::merchant::{Merchant, Recorded, Reply};
use crate::support::told;

use dice::Dice;
use message::{Arrived, Framing, Lane, Message, Request, shown};
use shopper::{Fate, Shopper};

/// The host on which nothing is enforced.
const OPEN_HOST: &str = "open.example";
const SEED: u64 = 20_260_111;

struct Stand {
    gateway: Gateway,
    merchant: Merchant,
    /// What must arrive, by trace.
    expected: BTreeMap<String, Expected>,
}

struct Expected {
    message: Message,
    ours: BTreeMap<String, String>,
}

impl Stand {
    fn start(extra: &str) -> Self {
        let merchant = Merchant::start(|request| match request.bytes.starts_with(b"HEAD ") {
            true => Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into()),
            false => Reply::sold(),
        });
        let enforcing = |name| Guard { host: "shop.example", ..Guard::enforcing(name, merchant.url()) };
        let guards = [
            enforcing("shop"),
            Guard { preset: "oneshot-form", ..enforcing("form") },
            Guard { host: OPEN_HOST, policy: "mode = \"observe\"\n", ..enforcing("seen") },
        ];
        let gateway = Gateway::start(&guards, &format!("fallback = \"{}\"\n{extra}", merchant.url()));
        Self { gateway, merchant, expected: BTreeMap::new() }
    }

    /// Notes what must arrive of a request that was answered like this.
    fn expect(&mut self, request: &Request, fate: &Fate, answer: &Answer) {
        let told = || format!("{}\n{:?}", answer.text(), request.must_arrive(Lane::Exchange));
        let trace =
            answer.header("permyx-trace").unwrap_or_else(|| panic!("no trace: {answer:?}\n{}", told())).to_owned();
        match fate {
            Fate::Refused(status) => assert_eq!(answer.status, *status, "{}", told()),
            Fate::Passes { lane, decision, bought } => {
                assert_eq!((answer.status, answer.header("permyx-decision")), (200, Some(*decision)), "{}", told());
                let ours = what_we_say(&trace, decision, bought);
                let again = self.expected.insert(trace, Expected { message: request.must_arrive(*lane), ours });
                assert!(again.is_none(), "one trace twice");
            }
        }
    }

    /// Everything that arrived is what must arrive, and nothing is missing.
    fn check(&self) {
        let arrived = self.merchant.recorded();
        let mut seen = BTreeSet::new();
        for recorded in &arrived {
            let trace = self.check_one(recorded);
            assert!(seen.insert(trace), "one request arrived twice");
        }
        assert_eq!(seen.len(), self.expected.len(), "requests that passed did not arrive");
    }

    fn check_one(&self, recorded: &Recorded) -> String {
        assert!(recorded.complete, "{}", shown(&recorded.bytes));
        let Arrived { message, framing, ours } = Arrived::of(recorded);
        let trace = ours["permyx-trace"].clone();
        let Some(expected) = self.expected.get(&trace) else { panic!("a refused request arrived:\n{message:?}") };
        assert!(message == expected.message, "sent\n{:?}\narrived\n{message:?}", expected.message);
        assert_eq!(ours, expected.ours, "{message:?}");
        let length = message.body.len().to_string();
        let once = match framing.as_slice() {
            [] => message.body.is_empty(),
            [framing] => *framing == length || framing == "chunked",
            _ => false,
        };
        assert!(once, "framed as {framing:?}:\n{message:?}");
        trace
    }
}

/// What stands in our name on a request that passed.
fn what_we_say(trace: &str, decision: &str, bought: &[Purchase]) -> BTreeMap<String, String> {
    let mut ours = BTreeMap::from([
        ("permyx-trace".to_owned(), trace.to_owned()),
        ("permyx-decision".to_owned(), decision.to_owned()),
    ]);
    let intent = |line: &Purchase| {
        let Purchase { store, variant, quantity, price, .. } = line;
        let price = price.replace(' ', "|");
        Sha256::of(format!("{store}|{variant}|{quantity}|{price}|agent_exec").as_bytes()).to_string()
    };
    if !bought.is_empty() {
        ours.insert("permyx-agent".to_owned(), AGENT.to_owned());
        ours.insert("permyx-intent".to_owned(), bought.iter().map(intent).collect::<Vec<_>>().join(","));
    }
    ours
}

/// A caller who keeps its connection as long as the gateway does.
struct Caller {
    connection: Option<Connection>,
}

impl Caller {
    /// Sends a request, at times with its body some bytes later, and reads its final answer.
    fn ask(&mut self, stand: &Stand, dice: &mut Dice, request: &Request) -> Answer {
        let connection = self.connection.get_or_insert_with(|| Connection::open(stand.gateway.address()));
        let (head, body) = request.bytes(dice);
        if dice.chance(50) {
            connection.send([head, body].concat());
        } else {
            let at = dice.roll(body.len() + 1);
            connection.send(head);
            connection.send(&body[..at]);
            connection.send(&body[at..]);
        }
        let answer = loop {
            let told = connection.answer_to(request.method);
            let answer = told.unwrap_or_else(|why| panic!("{why}")).expect("an answer");
            if answer.status >= 200 {
                break answer;
            }
        };
        // A refused request may leave a part of it unread.
        if answer.status != 200 || answer.header("connection") == Some("close") {
            self.connection = None;
        }
        answer
    }
}

#[test]
fn what_passed_arrives_byte_for_byte() {
    let count = told("PERMYX_BYTES").map_or(600, |count| count.parse().unwrap());
    let seed = told("PERMYX_BYTES_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let mut stand = Stand::start("");
    let mut callers = [(); 4].map(|()| Caller { connection: None });
    let (mut dice, mut used, mut refused) = (Dice::new(seed), None, 0);
    for nth in 0..count {
        let mut shopper = Shopper { dice, gateway: &stand.gateway, limit: 65_536, used: used.take() };
        let (request, fate) = shopper.any();
        (dice, used) = (shopper.dice, shopper.used);
        let answer = callers[nth % callers.len()].ask(&stand, &mut dice, &request);
        stand.expect(&request, &fate, &answer);
        match fate {
            Fate::Refused(_) => refused += 1,
            Fate::Passes { decision: "allowed", .. } => used = Some(request),
            Fate::Passes { .. } => {}
        }
    }
    stand.check();
    println!("{} passed, {refused} were refused", stand.expected.len());
    assert!(refused * 20 > count && stand.expected.len() * 2 > count);
}

/// Up to the limit, whatever the limit is and however the body is framed and coded.
#[test]
fn the_longest_body_that_is_judged_arrives_whole() {
    const LIMIT: usize = 1 << 20;
    let mut stand = Stand::start(&format!("body_max = {LIMIT}"));
    let mut dice = Dice::new(SEED);
    for length in [LIMIT, LIMIT, LIMIT - 1, LIMIT / 2, 65_536, 65_537, 70_000, LIMIT, 400_000, LIMIT] {
        let mut shopper = Shopper { dice, gateway: &stand.gateway, limit: LIMIT, used: None };
        let (request, bought) = shopper.purchase(Some(length));
        dice = shopper.dice;
        let answer = Caller { connection: None }.ask(&stand, &mut dice, &request);
        stand.expect(&request, &Fate::Passes { lane: Lane::Exchange, decision: "allowed", bought }, &answer);
    }
    stand.check();
}

/// Over the limit, enforcing refuses and observing passes it whole, and says so.
#[test]
fn a_body_over_the_limit_is_refused_or_passes_whole() {
    let (mut stand, mut dice) = (Stand::start(""), Dice::new(SEED));
    for framing in [Framing::Length, Framing::Chunked] {
        for (host, store) in [("shop.example", "shop"), (OPEN_HOST, "seen")] {
            let mut request = mug(&stand.gateway, host, store);
            request.framing = framing;
            request.body.resize(300_000, b' ');
            let answer = Caller { connection: None }.ask(&stand, &mut dice, &request);
            if host != OPEN_HOST {
                stand.expect(&request, &Fate::Refused(413), &answer);
                continue;
            }
            let passes = Fate::Passes { lane: Lane::Pingora, decision: "observed", bought: Vec::new() };
            stand.expect(&request, &passes, &answer);
            let events = stand.gateway.events_of(answer.header("permyx-trace").unwrap());
            let data = &events.iter().find(|event| kind(event) == "execution.observed").unwrap()["data"];
            let told = [&data["wouldDeny"], &data["rule"], &data["observed"]];
            assert_eq!(told, ["INTENT_MISMATCH", "intent_unknown", "body_not_read"], "{data}");
        }
    }
    stand.check();
}

/// A caller that waits for it is asked to go on, and its body arrives as any other.
#[test]
fn who_expects_to_be_asked_is_asked() {
    let mut stand = Stand::start("");
    for (host, store, decision) in [("shop.example", "shop", "allowed"), (OPEN_HOST, "seen", "observed")] {
        let mut request = mug(&stand.gateway, host, store);
        request.field("eXpect", "100-Continue");
        let (head, body) = request.bytes(&mut Dice::new(SEED));
        let mut connection = Connection::open(stand.gateway.address());
        connection.send(head);
        assert_eq!(connection.answer().unwrap().status, 100);
        connection.send(body);
        let answer = connection.answer().unwrap();
        let bought = vec![Purchase::mug(store)];
        stand.expect(&request, &Fate::Passes { lane: Lane::Exchange, decision, bought }, &answer);
    }
    stand.check();
}

/// A server that does not undo codings would find other fields between the bytes of this one.
#[test]
fn a_coded_form_is_refused() {
    let (mut stand, form) = (Stand::start(""), "variant=shopify:variant:123456&quantity=1&price=29.99&currency=USD");
    let comment = "&variant=shopify:variant:123456&quantity=50&price=0.01&currency=USD&x=";
    let encoder = flate2::GzBuilder::new().comment(comment).write(Vec::new(), flate2::Compression::best());
    let in_comment = cart::finished(encoder, form.as_bytes());
    for (coding, body, status) in [
        ("gzip", in_comment, 415),
        ("deflate", cart::coded("deflate", form.as_bytes()), 415),
        ("identity", form.into(), 200),
    ] {
        let mut request = mug(&stand.gateway, "shop.example", "form");
        request.fields.retain(|(name, _)| name != "Content-Type");
        request.field("Content-Type", "application/x-www-form-urlencoded");
        request.field("Content-Encoding", coding);
        request.body = body;
        let bought = vec![Purchase::mug("form")];
        let passes = Fate::Passes { lane: Lane::Exchange, decision: "allowed", bought };
        let fate = if status == 200 { passes } else { Fate::Refused(status) };
        let answer = Caller { connection: None }.ask(&stand, &mut Dice::new(SEED), &request);
        stand.expect(&request, &fate, &answer);
    }
    stand.check();
}

/// One mug, with a token for it.
fn mug(gateway: &Gateway, host: &str, store: &'static str) -> Request {
    let target = format!("/{store}").into_bytes();
    let (fields, body) = (Vec::new(), MUG.as_bytes().to_vec());
    let mut request = Request { method: "POST", target, fields, framing: Framing::Length, body };
    request.field("Host", host);
    request.field("Content-Type", "application/json");
    request.field("Permyx-Execution-Token", gateway.token(store));
    request
}
