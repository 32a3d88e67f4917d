//! Cells 26 and 27: the files that evidence waits in, and the way from there to a control plane. What
//! the control plane has in the end is the evidence that is judged here.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::cells::{Plant, Stands};
use crate::cells_evidence::{OF_A_REFUSAL, PATIENT, UNAVAILABLE};
use crate::harm::{Mark, SpoolFiles};
use crate::redis::{Redis, wait_for};
use crate::relay::{Fault, Relay, Way};
use crate::size::Size;
use crate::stand::{Member, SHOP, Stand, shared_ledger};
use crate::support::control::Control;
use crate::support::gateway::{MUG, kind, with_token};
use crate::support::http::{Answer, get};
use crate::support::merchant::Merchant;
use crate::table::Row;
use crate::trial::{Client, Token, Trial};

const THREADS: usize = 2;
/// Between two looks at what arrived.
const PAUSE: Duration = Duration::from_millis(50);
/// Purchases whose records are harmed.
const VICTIMS: usize = 12;
/// More than two segments hold.
const OF_SEGMENTS: usize = 1000;

/// Bytes of each spool: in the short form the least that there can be.
fn limit() -> u64 {
    if Size::of_environment().full { 4 << 20 } else { 1 << 20 }
}

/// Gateways that deliver to one control plane, each by way of a door of its own.
pub struct Delivering {
    stand: Stand,
    doors: Vec<Relay>,
}

impl Delivering {
    pub fn open() -> Self {
        let (redis, control) = (Redis::start(), Control::start());
        let key = control.dir().write("gateway.key", &control.key(&["--role", "gateway", "--all-stores"]));
        let address = control.url().trim_start_matches("http://").parse().unwrap();
        let doors: Vec<_> = WAYS.iter().map(|_| Relay::to(address)).collect();
        let member = |door: &Relay| Member {
            more: format!(
                "[evidence]\nspool_limit = {}\n[evidence.ship]\nurl = \"http://{}\"\nkey_file = \"{}\"\n",
                limit(),
                door.address(),
                key.display()
            ),
            ..Member::of(shared_ledger(PATIENT, &[redis.address()], ""))
        };
        let members: Vec<_> = doors.iter().map(member).collect();
        let stand = Stand::open(&members, vec![(SHOP, Merchant::selling())]).before(redis);
        Self { stand: stand.before_control(control), doors }
    }

    fn control(&self) -> &Control {
        self.stand.control.as_ref().unwrap()
    }

    fn spool(&self, gateway: usize) -> SpoolFiles {
        SpoolFiles::of(self.stand.gateway(gateway).dir().path())
    }

    /// Waits until what this gateway recorded of a request has arrived, and so all before it.
    fn wait_for(&self, trace: &str) {
        let is_there = || {
            std::thread::park_timeout(PAUSE);
            let told = self.control().get(&format!("/v1/evidence/timeline/{trace}")).text();
            ["execution.validated", "execution.denied"].iter().any(|end| told.contains(end))
        };
        if !trace.is_empty() {
            wait_for("evidence to arrive", is_there);
        }
    }

    /// What is told as missing.
    fn gaps(&self) -> Vec<Value> {
        self.control().events_like("&type=evidence.gap")
    }
}

/// What is of this gateway, or about it.
fn of(gateway: usize, events: &[Value]) -> Vec<&Value> {
    let source = format!("/gateways/gateway-{gateway}/");
    let starts = |text: &Value| text.as_str().is_some_and(|text| text.starts_with(&source));
    events.iter().filter(|event| starts(&event["source"]) || starts(&event["data"]["of"])).collect()
}

impl Trial<'_> {
    /// Shows each token to this gateway; every answer has to carry this code. Answers the last trace.
    fn show_at(&self, gateway: usize, tokens: &[Token], code: &str) -> String {
        let show = |client: &mut Client, token| {
            let told = client.buy(gateway, token);
            let found = told.as_ref().map(|told| told.code.as_str());
            self.expect(found == Some(code), || format!("gateway {gateway}: {code:?} was due: {told:?}"));
            told.map(|told| told.trace).unwrap_or_default()
        };
        let (last, others) = tokens.split_last().unwrap();
        self.crowd(THREADS, others.len(), |client, n| drop(show(client, &others[n])));
        show(&mut self.client(), last)
    }
}

/// Purchases beside the trial's own, whose records are harmed.
struct Victims {
    tokens: Vec<Token>,
    traces: Vec<String>,
    mark: Mark,
}

impl Victims {
    fn at(delivering: &Delivering, trial: &Trial, gateway: usize, is_segment: bool) -> Self {
        let (spool, mut client) = (delivering.spool(gateway), trial.client());
        let mut victims = Self { tokens: Vec::new(), traces: Vec::new(), mark: spool.mark() };
        let is_more =
            |count, mark| count < VICTIMS || (is_segment && count < OF_SEGMENTS && spool.begun_since(mark) < 2);
        while is_more(victims.tokens.len(), &victims.mark) {
            let token = trial.token();
            let answer = victim(&mut client, gateway, &token, MUG);
            trial.expect(answer.status == 200, || format!("gateway {gateway}: a victim is refused: {}", answer.status));
            victims.traces.push(answer.header("permyx-trace").unwrap_or_default().to_owned());
            victims.tokens.push(token);
        }
        // Two refusals, one after the other.
        let dearer = MUG.replace("29.99", "30.99");
        for _ in 0..2 {
            let answer = victim(&mut client, gateway, &trial.token(), &dearer);
            victims.traces.push(answer.header("permyx-trace").unwrap_or_default().to_owned());
        }
        victims
    }

    fn refusal(&self) -> &str {
        &self.traces[self.traces.len() - 2]
    }
}

fn victim(client: &mut Client, gateway: usize, token: &Token, cart: &str) -> Answer {
    let bytes = with_token(&format!("/{SHOP}"), &token.text, cart);
    client.exchange(gateway, &bytes).unwrap().unwrap()
}

/// What is done to the files of a gateway that was killed, and how it is told.
struct Harm {
    name: &'static str,
    cause: &'static str,
    /// All of a segment is the victims'.
    is_segment: bool,
    /// It was delivered before.
    is_delivered: bool,
    /// Answers which sequences are missing, where that is known.
    does: fn(&SpoolFiles, &Victims) -> Option<(u64, u64)>,
}

const fn harm(name: &'static str, cause: &'static str, does: fn(&SpoolFiles, &Victims) -> Option<(u64, u64)>) -> Harm {
    Harm { name, cause, is_segment: false, is_delivered: false, does }
}

const HARMS: [Harm; 6] = [
    harm("torn", "unclean_shutdown", |spool, _| {
        spool.tear();
        None
    }),
    harm("flipped at the end", "unclean_shutdown", |spool, _| {
        spool.flip_last();
        None
    }),
    harm("flipped", "missing", |spool, victims| {
        let one = spool.flip_with(&[&victims.traces[0], "execution.validated"]);
        Some((one, one))
    }),
    harm("reordered", "missing", |spool, victims| {
        let one = spool.swap_with(&[victims.refusal(), "execution.denied"]);
        Some((one, one))
    }),
    Harm { is_segment: true, ..harm("removed", "missing", |spool, victims| Some(spool.remove_since(&victims.mark))) },
    Harm {
        is_delivered: true,
        ..harm("cut to an old size", "went_back", |spool, victims| {
            spool.cut_to(&victims.mark);
            None
        })
    },
];

pub fn spool_harmed(stands: &Stands, size: Size, plant: Plant) -> Row {
    let delivering = &*stands.delivering;
    let trial = Trial::on(&delivering.stand, size, plant);
    let before = delivering.gaps().len();
    trial.crowd(HARMS.len(), HARMS.len(), |_, gateway| endure(delivering, &trial, gateway, before));
    let faults = delivering.control().verify();
    trial.expect(faults.is_empty(), || format!("the log does not verify: {faults}"));
    let names: Vec<_> = HARMS.iter().map(|harm| format!("{}: {}", harm.name, harm.cause)).collect();
    let measured = format!("{}; used tokens stay used", names.join(", "));
    trial.finish(26, "evidence file torn, flipped, reordered, cut, removed", measured)
}

fn endure(delivering: &Delivering, trial: &Trial, gateway: usize, before: usize) {
    let (harm, door) = (&HARMS[gateway], &delivering.doors[gateway]);
    let tokens = || trial.tokens(trial.size.tokens.div_ceil(2 * HARMS.len()));
    trial.show_at(gateway, &tokens(), "");
    if !harm.is_delivered {
        door.refuse();
    }
    let victims = Victims::at(delivering, trial, gateway, harm.is_segment);
    if harm.is_delivered {
        delivering.wait_for(victims.traces.last().unwrap());
    } else if harm.cause == "missing" {
        // So that what is harmed is in the middle.
        trial.show_at(gateway, &tokens(), "");
    }
    let mut missing = None;
    trial.plant(|| {
        trial.stand.kill(gateway);
        missing = (harm.does)(&delivering.spool(gateway), &victims);
    });
    door.heal();
    trial.plant(|| trial.stand.restart(gateway));
    let is_told = || {
        std::thread::park_timeout(PAUSE);
        of(gateway, &delivering.gaps()[before..]).iter().any(|gap| tells(gap, harm, missing))
    };
    if harm.is_delivered {
        trial.plant(|| {
            wait_for(harm.name, is_told);
        });
    }
    let mut client = trial.client();
    for token in victims.tokens.iter().take(VICTIMS) {
        let again = victim(&mut client, gateway, token, MUG);
        trial.expect(again.status == 403, || format!("{}: a used token: {}", harm.name, again.text()));
    }
    delivering.wait_for(&trial.show_at(gateway, &tokens(), ""));
    trial.expect(is_told(), || format!("{}: nothing tells of {} {missing:?}", harm.name, harm.cause));
}

/// Whether this is how the harm is told.
fn tells(gap: &Value, harm: &Harm, missing: Option<(u64, u64)>) -> bool {
    let data = &gap["data"];
    let is_whole = missing.is_none_or(|(first, last)| {
        data["fromSequence"].as_u64() == Some(first) && data["toSequence"].as_u64() == Some(last)
    });
    let is_torn = harm.cause != "unclean_shutdown"
        || data["observed"].as_str().is_some_and(|text| text.ends_with("damaged bytes"));
    data["cause"] == harm.cause && is_whole && is_torn
}

/// Ways in which a control plane does not take what is delivered, each with a gateway of its own.
const WAYS: [&str; 8] = ["refused", "silent", "500", "503", "429", "garbage", "answer lost", "spool full"];
/// Those of which nothing arrives.
const NOTHING_ARRIVES: [usize; 3] = [0, 1, FULL];
/// Whose spool is filled.
const FULL: usize = 7;
/// Requests with a forged token.
const FLOOD: usize = 200;
/// More purchases than fit into a spool.
const FILLING: usize = 2000;

fn goes_bad(door: &Relay, way: &str) {
    let answer = |status: &str, body: &str| {
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
        door.set(Way::Back, Fault::Inject(format!("{head}\r\n\r\n{body}").into()));
    };
    match way {
        "silent" => door.set(Way::Out, Fault::BlackHole),
        "500" => answer("500 Oh No", "{}"),
        "503" => answer("503 Later", "{}"),
        "429" => answer("429 Too Many", "{}"),
        "garbage" => answer("200 OK", "{\"next\":\"soon\"}"),
        "answer lost" => door.set(Way::Back, Fault::Reset),
        _ => door.refuse(),
    }
}

pub fn not_taken(stands: &Stands, size: Size, plant: Plant) -> Row {
    let delivering = &*stands.delivering;
    let trial = Trial::on(&delivering.stand, size, plant);
    let from = delivering.control().events().len();
    // Filling takes a while, and who is refused for long asks less often.
    trial.plant(|| goes_bad(&delivering.doors[FULL], WAYS[FULL]));
    let forged = flood(&trial);
    trial.plant(|| {
        fill(&trial);
        delivering.doors.iter().zip(WAYS).for_each(|(door, way)| goes_bad(door, way));
    });
    trial.crowd(FULL, FULL, |_, gateway| {
        trial.show_at(gateway, &trial.tokens(size.tokens.div_ceil(WAYS.len())), "");
    });
    let tokens = trial.tokens(size.tokens / 4);
    trial.show_at(FULL, &tokens, UNAVAILABLE);
    let refused = trial.count(UNAVAILABLE);
    let arrived = delivering.control().events().split_off(from);
    for (gateway, way) in WAYS.iter().enumerate() {
        let is_met = if NOTHING_ARRIVES.contains(&gateway) {
            of(gateway, &arrived).is_empty()
        } else {
            delivering.doors[gateway].touched() > 0
        };
        trial.expect(is_met, || format!("{way}: it was not so"));
    }
    delivering.doors.iter().for_each(Relay::heal);
    wait_for("the full spool to be emptied", || {
        std::thread::park_timeout(PAUSE);
        // What was taken goes as long as more than half is used; the newest segment stays.
        spool_bytes(delivering) <= limit() / 8 * 5
    });
    trial.show_at(FULL, &tokens, "");
    for gateway in 0..WAYS.len() {
        delivering.wait_for(&trial.show_at(gateway, &trial.tokens(1), ""));
    }
    let events = delivering.control().events().split_off(from);
    for (gateway, way) in WAYS.iter().enumerate() {
        expect_whole(&trial, &of(gateway, &events), way);
    }
    let missing = expect_counted(&trial, &of(FULL, &events), forged);
    let (ways, delivered) = (WAYS.len(), events.len());
    let measured = format!(
        "{ways} ways; {refused} refused with a full spool; {delivered} events, each once; {missing} told as missing"
    );
    trial.finish(27, "control plane does not take evidence", measured)
}

/// What the gateway with the full spool says of it.
fn spool_bytes(delivering: &Delivering) -> u64 {
    let metrics = get(delivering.stand.gateway(FULL).ops(), "/metrics").text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("permyx_evidence_spool_bytes "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(u64::MAX)
}

/// Refusals of one caller.
fn flood(trial: &Trial) -> usize {
    let token = trial.token().text;
    let bytes = with_token(&format!("/{SHOP}"), &format!("{}x", &token[..token.len() - 1]), MUG);
    trial.crowd(THREADS, FLOOD, |client, _| {
        let status = client.exchange(FULL, &bytes).ok().flatten().map(|answer| answer.status);
        trial.expect(status == Some(403), || format!("a forged token: {status:?}"));
    });
    FLOOD
}

/// Buys until the spool has no room.
fn fill(trial: &Trial) {
    trial.crowd(6 * THREADS, FILLING, |client, _| {
        if trial.count(UNAVAILABLE) == 0 {
            client.buy(FULL, &trial.token());
        }
    });
}

/// Nothing is missing of what was recorded, and nothing is there twice.
fn expect_whole(trial: &Trial, events: &[&Value], way: &str) {
    let mut streams = BTreeMap::<&str, Vec<u64>>::new();
    for event in events {
        let sequence = event["sequence"].as_str().unwrap().parse().unwrap();
        streams.entry(event["source"].as_str().unwrap()).or_default().push(sequence);
    }
    for sequences in streams.values() {
        let is_whole = sequences.windows(2).all(|two| two[0] + 1 == two[1]);
        trial.expect(is_whole, || format!("{way}: {sequences:?}"));
    }
}

/// Every refusal is told: alone, in the count of a flood, or in that of a gap. Answers the last.
fn expect_counted(trial: &Trial, events: &[&Value], forged: usize) -> u64 {
    let count = |wanted: &str| -> u64 {
        let counted = events.iter().filter(|event| kind(event) == wanted);
        counted.map(|event| event["data"]["count"].as_u64().unwrap_or(1)).sum()
    };
    let (told, missing) = (count("execution.denied"), count("evidence.gap"));
    // What an order was is the first that a spool has no room for.
    let orders = count("execution.validated") - count("order.observed");
    let due = (forged + OF_A_REFUSAL * trial.count(UNAVAILABLE)) as u64 + orders;
    trial.expect(told + missing == due, || format!("{due} records are due, {told} told, {missing} missing"));
    missing
}
