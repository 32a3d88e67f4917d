//! Cells 6, 7 and 13: a Redis that may have forgotten, and clocks that disagree.

use std::time::Duration;

use crate::cells::{Plant, Stands};
use crate::cells_ledger::GATEWAYS;
use crate::cells_merchant::scripted;
use crate::clock::ClockOf;
use crate::history::Told;
use crate::redis::{Redis, free_address};
use crate::size::Size;
use crate::stand::{Member, SHOP, Stand, shared_ledger};
use crate::table::Row;
use crate::trial::{Token, Trial, ms};

const THREADS: usize = 12;
const QUARANTINE: &str = "LEDGER_QUARANTINE";
/// Until a token that is issued now passes again: the issuer's clock may be 5 s ahead.
const QUARANTINED: Duration = Duration::from_secs(7);

impl Trial<'_> {
    /// Shows used tokens once more, to other gateways: none of them may be taken for new, and the
    /// ledger may say that it does not know.
    fn show_again(&self, tokens: &[Token]) {
        self.crowd(THREADS, tokens.len(), |client, n| {
            let told = client.buy((n + 1) % self.stand.size(), &tokens[n]);
            self.expect(told.as_ref().is_some_and(|told| !told.allowed), || format!("shown again: {told:?}"));
        });
    }
}

pub fn killed(stands: &Stands, size: Size, plant: Plant) -> Row {
    let stand = &*stands.forgetful;
    let trial = Trial::on(stand, size, plant);
    let mut slowest = Duration::ZERO;
    for _ in 0..size.rounds {
        let tokens = trial.tokens(size.tokens.div_ceil(size.rounds));
        let middle = tokens.len() / 2;
        trial.show_all(&tokens[..middle], "");
        // In the middle of the rest it dies.
        std::thread::scope(|scope| {
            let rest = scope.spawn(|| trial.buy_each(&tokens[middle..]));
            trial.plant(|| stand.redis().kill());
            rest.join().unwrap();
        });
        let used: Vec<_> = tokens[..middle].to_vec();
        trial.plant(|| stand.redis().restart());
        trial.show_again(&used);
        trial.buy_each(&tokens[middle..]);
        slowest = slowest.max(trial.recover(QUARANTINED));
        trial.show_again(&used);
    }
    let quarantined = trial.count(QUARANTINE);
    trial.expect(quarantined > 0, || "no quarantine after a restart".to_owned());
    let measured = format!("{} kills; {quarantined} quarantined; sells again after {}", size.rounds, ms(slowest));
    trial.finish(6, "Redis killed (SIGKILL) and started again with its AOF", measured)
}

pub fn emptied(stands: &Stands, size: Size, plant: Plant) -> Row {
    let stand = &*stands.forgetful;
    let trial = Trial::on(stand, size, plant);
    let flush = || stand.redis().command::<()>(&["FLUSHALL"]);
    let lose_disk = || {
        let mut redis = stand.redis();
        redis.kill();
        redis.restart_empty();
    };
    let ways: [(&str, &dyn Fn()); 2] = [("FLUSHALL", &flush), ("empty restart", &lose_disk)];
    let mut slowest = Duration::ZERO;
    for (way, forget) in ways {
        let tokens = trial.tokens(size.tokens.div_ceil(2));
        trial.show_all(&tokens, "");
        trial.plant(forget);
        let before = trial.count(QUARANTINE);
        trial.show_again(&tokens);
        slowest = slowest.max(trial.recover(QUARANTINED));
        trial.show_again(&tokens);
        trial.expect(trial.count(QUARANTINE) > before, || format!("no quarantine after {way}"));
    }
    let measured = format!("{} quarantined; sells again after {}", trial.count(QUARANTINE), ms(slowest));
    trial.finish(7, "Redis flushed, or started empty", measured)
}

/// Each has a clock of its own.
pub struct Clocks {
    pub stand: Stand,
    redis: ClockOf,
    gateways: Vec<ClockOf>,
}

impl Clocks {
    pub fn open() -> Self {
        let redis_clock = ClockOf::new();
        let redis = Redis::start_via(free_address([127, 0, 0, 1].into()), &redis_clock.via());
        let gateways: Vec<_> = (0..GATEWAYS).map(|_| ClockOf::new()).collect();
        let member =
            |clock: &ClockOf| Member { via: clock.via(), ..Member::of(shared_ledger("", &[redis.address()], "")) };
        let members: Vec<_> = gateways.iter().map(member).collect();
        let stand = Stand::open(&members, vec![(SHOP, scripted())]);
        Self { stand: stand.before(redis), redis: redis_clock, gateways }
    }

    fn set(&self, redis: i64, gateways: [i64; GATEWAYS]) {
        self.redis.set_ahead(redis);
        self.gateways.iter().zip(gateways).for_each(|(clock, ahead)| clock.set_ahead(ahead));
    }
}

pub fn clocks(stands: &Stands, size: Size, plant: Plant) -> Row {
    let clocks = &*stands.clocks;
    let trial = Trial::on(&clocks.stand, size, plant);
    let turns = [(0, [0, 60, -60]), (3600, [0, 0, 0]), (-3600, [0, 0, 0])];
    let mut refused = 0;
    for (redis, gateways) in turns {
        let tokens = trial.tokens(size.tokens.div_ceil(turns.len()));
        trial.show_all(&tokens, "");
        trial.plant(|| clocks.set(redis, gateways));
        trial.show_again(&tokens);
        trial.show_again(&tokens);
        // What a gateway with a wrong clock makes of a new token is its own affair, but once.
        let fresh = trial.tokens(12);
        trial.buy_each(&fresh);
        trial.plant(|| clocks.set(0, [0; GATEWAYS]));
        trial.show_again(&tokens);
        trial.buy_each(&fresh);
        trial.recover(QUARANTINED);
        trial.show_again(&tokens);
        let no = |told: &Told| !told.allowed && told.code != "REPLAY_DETECTED";
        refused = trial.count_told(no);
    }
    trial.expect(refused > 0, || "no clock was noticed".to_owned());
    let measured = format!("gateways ±60 s, Redis ±1 h: {refused} refused for another reason than a replay");
    trial.finish(13, "clocks of gateways and Redis disagree", measured)
}
