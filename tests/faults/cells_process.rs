//! Cell 23: gateways that die at any moment of an execution.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cells::{Plant, Stands};
use crate::cells_ledger::GATEWAYS;
use crate::cells_merchant::scripted;
use crate::history::Broken;
use crate::size::Size;
use crate::stand::{SHOP, Stand};
use crate::table::Row;
use crate::trial::{Token, Trial};

const CALLERS: usize = 9;
/// A gateway is killed at a moment within this after its last start.
const WITHIN_MS: u64 = 80;
/// Here a reservation lapses soon: another gateway settles what the dead one cannot.
const LEASE_S: u64 = 2;
/// Leases, and what follows them.
const SETTLED: Duration = Duration::from_secs(3 * LEASE_S + 6);
/// Calls of every caller to each gateway with tokens that it has used.
const AGAIN: usize = 3;

pub fn open_mortal() -> Stand {
    Stand::on_redis(GATEWAYS, &format!("lease_s = {LEASE_S}"), vec![(SHOP, scripted())])
}

/// Moments that are different each time and the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

pub fn killed(stands: &Stands, size: Size, plant: Plant) -> Row {
    let stand = &*stands.mortal;
    let trial = Trial::on(stand, size, plant).settling_within(SETTLED);
    let (done, used) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (trial, done, used) = (&trial, &done, &used);
            scope.spawn(move || buy_until(trial, caller, done, used));
        }
        trial.plant(|| kill_often(stand, size.kills));
        while trial.operations() < 200 {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        done.store(true, Ordering::Release);
    });
    let used: Vec<Token> = used.into_inner().unwrap();
    // Whatever became of it: nobody buys with it a second time.
    let latest = &used[used.len().saturating_sub(size.tokens)..];
    for _ in 0..AGAIN {
        trial.buy_each(latest);
    }
    let broken = Broken::of(&trial.history());
    let Broken { unrecorded, reserved, sent, settled } = broken;
    let causes = trial.causes("execution.indeterminate");
    let of = |wanted: &str| causes.iter().filter(|cause| cause.starts_with(wanted)).count();
    let (next_start, lease) = (of("recovered"), of("lease_lapsed"));
    trial.expect(unrecorded + settled > 0, || "no request lost its gateway".to_owned());
    trial.expect(next_start + lease > 0, || "no kill met an execution".to_owned());
    let (kills, seconds) = (size.kills, started.elapsed().as_secs());
    let measured = format!(
        "{kills} kills in {seconds} s; broken off: {unrecorded} without a reservation, {reserved} before sending, \
         {sent} before the outcome, {settled} after it; {next_start} settled by the next start, {lease} by another \
         gateway after the lease"
    );
    trial.finish(23, "gateway killed (SIGKILL) at random moments of settlement", measured)
}

/// Buys at one gateway after the other; a token without an answer is tried once more elsewhere.
fn buy_until(trial: &Trial, caller: usize, done: &AtomicBool, used: &Mutex<Vec<Token>>) {
    let mut client = trial.client();
    for turn in caller.. {
        if done.load(Ordering::Acquire) {
            return;
        }
        let token = trial.token();
        if client.buy_at(turn % GATEWAYS, &token, "?slow", &[]).is_none() {
            client.buy_at((turn + 1) % GATEWAYS, &token, "?slow", &[]);
            // Nobody listens there for a moment.
            std::thread::park_timeout(Duration::from_millis(5));
        }
        used.lock().unwrap().push(token);
    }
}

fn kill_often(stand: &Stand, kills: usize) {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for kill in 0..kills {
        let gateway = chance.below(GATEWAYS as u64) as usize;
        std::thread::park_timeout(Duration::from_millis(chance.below(WITHIN_MS)));
        // Every fourth stays dead beyond its lease, so that another one settles for it.
        if kill % 4 == 3 {
            stand.kill(gateway);
            std::thread::park_timeout(Duration::from_secs(LEASE_S + 1));
            stand.restart(gateway);
        } else {
            stand.kill_and_restart(gateway);
        }
    }
}
