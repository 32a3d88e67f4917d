//! Cells 31 to 33: the machine under a gateway: descriptors, panics, time.

use std::time::{Duration, Instant};

use crate::cells::{Plant, Stands};
use crate::clock::ClockOf;
use crate::redis::wait_for;
use crate::size::Size;
use crate::stand::{ALONE, Member, SHOP, Stand};
use crate::support::http::{Connection, get};
use crate::support::merchant::Merchant;
use crate::table::Row;
use crate::trial::{Trial, next_operation, purchase, told};

/// Descriptors that the narrow gateway may have.
const DESCRIPTORS: usize = 64;
/// How long a caller waits for a gateway that cannot take it.
const BRIEF: Duration = Duration::from_millis(300);
/// Looks at the wall clock within a purchase and a little more.
const LOOKS: i64 = 10;
/// Descriptors that may come and go.
const SLACK: usize = 8;
/// Longer than a connection to a merchant is kept idle.
const IDLE: Duration = Duration::from_secs(5);
/// A caller that found the queue of the listener full comes again after a second.
const RECOVERY: Duration = Duration::from_secs(2);

/// A gateway that burns alone, started by way of something.
pub fn open_via(via: Vec<String>) -> Stand {
    Stand::open(&[Member { via, ..Member::of(ALONE) }], vec![(SHOP, Merchant::selling())])
}

pub fn open_narrow() -> Stand {
    open_via(["prlimit", &format!("--nofile={DESCRIPTORS}")].map(str::to_owned).into())
}

/// A gateway with a wall clock of its own.
pub struct Odd {
    pub stand: Stand,
    clock: ClockOf,
}

impl Odd {
    pub fn open() -> Self {
        let clock = ClockOf::new();
        Self { stand: open_via(clock.via()), clock }
    }
}

pub fn descriptors(stands: &Stands, size: Size, plant: Plant) -> Row {
    let stand = &*stands.narrow;
    let trial = Trial::on(stand, size, plant);
    let open = || std::fs::read_dir(format!("/proc/{}/fd", stand.gateway(0).process())).unwrap().count();
    let (tokens, before) = (trial.tokens(size.tokens), open());
    let mut held = Vec::new();
    trial.plant(|| held.extend((0..2 * DESCRIPTORS).map(|_| Connection::open(stand.address(0)))));
    // Those that find no room wait briefly: what they sent may still be executed, once.
    let brief = tokens.len() / 10;
    trial.crowd(brief, brief, |_, n| {
        let (id, start) = (next_operation(), Instant::now());
        let answer = Connection::try_open(stand.address(0), BRIEF).and_then(|mut connection| {
            connection.send(purchase(&tokens[n], id, "", &[]));
            connection.answer_to("POST")
        });
        trial.enter(&tokens[n], id, 0, start, answer.ok().flatten().as_ref().map(told));
    });
    let starved = brief - trial.count("");
    trial.expect(starved > 0, || "every request found a descriptor".to_owned());
    drop(held);
    let mut client = trial.client();
    let back = wait_for("a purchase", || client_buys(&trial));
    trial.expect(back < RECOVERY + size.margin, || format!("back after {back:?}"));
    for token in &tokens {
        client.buy(0, token);
    }
    // Connections that are kept for reuse go when they have idled.
    let freed = Instant::now();
    while open() > before + SLACK && freed.elapsed() < IDLE {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let after = open();
    trial.expect(after <= before + SLACK, || format!("{before} descriptors before, {after} after"));
    let measured =
        format!("{starved} found no room; back after {} ms; {after} of {DESCRIPTORS} open", back.as_millis());
    trial.finish(31, "descriptors used up", measured)
}

fn client_buys(trial: &Trial) -> bool {
    trial.client().buy(0, &trial.token()).is_some_and(|told| told.allowed)
}

/// Looks at the wall clock panic when it fails: that is a panic wherever a request looks at it.
pub fn panics(stands: &Stands, size: Size, plant: Plant) -> Row {
    let odd = &*stands.odd;
    let trial = Trial::on(&odd.stand, size, plant);
    let tokens = trial.tokens(size.tokens);
    let mut client = trial.client();
    let mut panicked = 0;
    for (n, token) in tokens.iter().enumerate() {
        trial.plant(|| odd.clock.fail_at(1 + n as i64 % LOOKS));
        let told = client.buy(0, token);
        panicked += usize::from(told.as_ref().is_none_or(|told| !told.allowed));
        trial.plant(|| odd.clock.fail_at(0));
        client.buy(0, token);
    }
    trial.expect(panicked > 0, || "no request met a panic".to_owned());
    trial.expect(client_buys(&trial), || "no purchase after the panics".to_owned());
    let live = get(odd.stand.gateway(0).ops(), "/livez").status;
    trial.expect(live == 200, || format!("/livez: {live}"));
    let reserved = trial.count("OUTCOME_UNKNOWN");
    trial.finish(32, "panic within a request", format!("{panicked} requests met one, {reserved} after the reservation"))
}

pub fn clock_steps(stands: &Stands, size: Size, plant: Plant) -> Row {
    let odd = &*stands.odd;
    let trial = Trial::on(&odd.stand, size, plant);
    let tokens = trial.tokens(size.tokens);
    trial.crowd(4, tokens.len(), |client, n| {
        let told = client.buy(0, &tokens[n]);
        trial.expect(told.as_ref().is_some_and(|told| told.allowed), || format!("{told:?}"));
    });
    let mut fresh = Vec::new();
    for (ahead, code) in [(-120, "INVALID_SIGNATURE"), (0, ""), (600, "TOKEN_EXPIRED"), (0, "")] {
        trial.plant(|| odd.clock.set_ahead(ahead));
        trial.crowd(4, tokens.len(), |client, n| {
            let told = client.buy(0, &tokens[n]);
            trial.expect(told.as_ref().is_some_and(|told| !told.allowed), || format!("{ahead} s, again: {told:?}"));
        });
        let told = trial.client().buy(0, &trial.token());
        trial.expect(told.as_ref().is_some_and(|told| told.code == code), || format!("{ahead} s, new: {told:?}"));
        fresh.push(format!("{ahead:+} s {}", if code.is_empty() { "sold" } else { code }));
    }
    let measured = format!("used tokens stay used; a new one: {}", fresh.join(", "));
    trial.finish(33, "wall clock steps back 120 s, then ahead 10 min", measured)
}
