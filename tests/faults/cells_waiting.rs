//! Cells 17 and 22: a merchant that never answers, and callers that never end.

use std::time::{Duration, Instant};

use crate::cells::{Plant, Stands};
use crate::cells_merchant::scripted;
use crate::relay::{Fault, Relay, Way};
use crate::size::Size;
use crate::stand::{ALONE, Member, SHOP, Stand};
use crate::support::gateway::Guard;
use crate::support::http::Connection;
use crate::table::Row;
use crate::trial::{Token, Trial, ms, next_operation, percentile, purchase, told};

/// Longer than a gateway waits for a merchant (60 s).
const PATIENCE: Duration = Duration::from_secs(75);
/// A gateway's deadline for a body (15 s), in whole beats of the slow caller.
const BEATS: usize = 16;

/// A gateway whose merchant can fall silent without anything else being touched.
pub struct Silent {
    pub stand: Stand,
    pub door: Relay,
}

impl Silent {
    pub fn open() -> Self {
        let merchants = vec![(SHOP, scripted())];
        let door = Relay::to(merchants[0].1.address());
        let guards = [Guard::enforcing(SHOP, format!("http://{}", door.address()))];
        Self { stand: Stand::with_guards(&[Member::of(ALONE)], merchants, &guards), door }
    }
}

/// One caller that waits.
struct Caller {
    id: usize,
    start: Instant,
    connection: Connection,
}

impl Caller {
    fn send(trial: &Trial, bytes: impl FnOnce(usize) -> Vec<u8>) -> Self {
        let mut connection = Connection::try_open(trial.stand.address(0), PATIENCE).unwrap();
        let (id, start) = (next_operation(), Instant::now());
        connection.send(bytes(id));
        Self { id, start, connection }
    }

    fn expect(mut self, trial: &Trial, token: &Token, status: u16, code: &str) {
        let answer = self.connection.answer_to("POST").ok().flatten();
        let told = answer.as_ref().map(told);
        let found = told.as_ref().map(|told| (told.status, told.code.as_str()));
        trial.expect(found == Some((status, code)), || format!("{status} {code:?} was due: {told:?}"));
        trial.enter(token, self.id, 0, self.start, told);
    }
}

pub fn silent_merchant(stands: &Stands, size: Size, plant: Plant) -> Row {
    let silent = &*stands.silent;
    let trial = Trial::on(&silent.stand, size, plant);
    let tokens = trial.tokens(size.tokens);
    trial.plant(|| silent.door.set(Way::Back, Fault::BlackHole));
    let callers: Vec<_> = tokens.iter().map(|token| Caller::send(&trial, |id| purchase(token, id, "", &[]))).collect();
    for (caller, token) in callers.into_iter().zip(&tokens) {
        caller.expect(&trial, token, 504, "OUTCOME_UNKNOWN");
    }
    silent.door.heal();
    let slowest = percentile(&trial.times("OUTCOME_UNKNOWN"), 1.0);
    trial.crowd(4, tokens.len(), |client, n| {
        let again = client.buy(0, &tokens[n]);
        trial.expect(again.as_ref().is_some_and(|again| again.code == "REPLAY_DETECTED"), || format!("{again:?}"));
    });
    trial.finish(17, "merchant takes the request and never answers", format!("504 after at most {}", ms(slowest)))
}

pub fn slow_callers(stands: &Stands, size: Size, plant: Plant) -> Row {
    let trial = Trial::on(&stands.slow.stand, size, plant);
    let tokens = trial.tokens(size.tokens);
    // Within the body, and more than is sent later.
    let kept = 60;
    let send = |token| {
        Caller::send(&trial, |id| {
            let mut bytes = purchase(token, id, "", &[]);
            bytes.truncate(if plant == Plant::Fault { bytes.len() - kept } else { bytes.len() });
            bytes
        })
    };
    let mut callers: Vec<_> = tokens.iter().map(send).collect();
    trial.plant(|| {
        for _ in 0..BEATS {
            std::thread::park_timeout(Duration::from_secs(1));
            callers.iter_mut().for_each(|caller| caller.connection.send(" "));
        }
    });
    for (caller, token) in callers.into_iter().zip(&tokens) {
        caller.expect(&trial, token, 408, "BAD_REQUEST");
    }
    let refused = trial.count("BAD_REQUEST");
    if plant == Plant::Fault {
        trial.crowd(4, tokens.len(), |client, n| {
            let told = client.buy(0, &tokens[n]);
            trial.expect(told.as_ref().is_some_and(|told| told.allowed), || format!("not unused: {told:?}"));
        });
    }
    let measured = format!("{refused} refused with 408, {} bought later", trial.count(""));
    trial.finish(22, "caller sends its body at one byte a second", measured)
}
