//! Cell 24: gateways that are replaced under load, one after the other and in place.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::cells::{Plant, Stands};
use crate::cells_ledger::GATEWAYS;
use crate::cells_merchant::scripted;
use crate::size::Size;
use crate::stand::{SHOP, Stand};
use crate::support::http::{Connection, request};
use crate::table::Row;
use crate::trial::{Client, Token, Trial, ms};

const CALLERS: usize = 6;
/// How long a gateway that is to stop still accepts.
const DELAY: &str = "PERMYX_SHUTDOWN_DELAY_S=1";
/// `shutdown.timeout_s`.
const WITHIN: Duration = Duration::from_secs(25);
/// How often a load balancer asks who is ready: several times in a second.
const ASK: Duration = Duration::from_millis(50);
/// Time for the new program to say that it serves.
const SERVES: Duration = Duration::from_secs(60);

pub fn open_rolling() -> Stand {
    Stand::on_redis_via(&["env", DELAY], GATEWAYS, "", vec![(SHOP, scripted())])
}

/// What a load balancer knows: who is ready.
struct Balancer<'s> {
    /// Where each says so, in turn.
    asked: Vec<Mutex<SocketAddr>>,
    ready: Vec<AtomicBool>,
    stand: &'s Stand,
}

impl<'s> Balancer<'s> {
    fn before(stand: &'s Stand) -> Self {
        let asked = (0..GATEWAYS).map(|number| Mutex::new(stand.gateway(number).ops())).collect();
        Self { asked, ready: (0..GATEWAYS).map(|_| AtomicBool::new(true)).collect(), stand }
    }

    fn ask_until(&self, done: &AtomicBool) {
        while !done.load(Ordering::Acquire) {
            for number in 0..GATEWAYS {
                let address = *self.asked[number].lock().unwrap();
                self.ready[number].store(is_ready(address), Ordering::Release);
            }
            std::thread::park_timeout(ASK);
        }
    }

    /// The next one that is ready.
    fn pick(&self, turn: usize) -> usize {
        let each = (0..GATEWAYS).map(|step| (turn + step) % GATEWAYS);
        each.into_iter().find(|&number| self.ready[number].load(Ordering::Acquire)).unwrap_or(turn % GATEWAYS)
    }

    fn replace(&self, number: usize) -> (Duration, bool) {
        let ended = self.stand.replace(number);
        *self.asked[number].lock().unwrap() = self.stand.gateway(number).ops();
        ended
    }
}

fn is_ready(ops: SocketAddr) -> bool {
    let Ok(mut connection) = Connection::try_open(ops, Duration::from_secs(5)) else { return false };
    connection.send(request("GET", "/readyz", &["Connection: close"], ""));
    connection.answer_to("GET").is_ok_and(|answer| answer.is_some_and(|answer| answer.status == 200))
}

pub fn replaced(stands: &Stands, size: Size, plant: Plant) -> Row {
    let stand = &*stands.rolling;
    let trial = Trial::on(stand, size, plant);
    let (balancer, done, failed) = (Balancer::before(stand), AtomicBool::new(false), AtomicUsize::new(0));
    // Behind a load balancer, one after the other is replaced.
    std::thread::scope(|scope| {
        scope.spawn(|| balancer.ask_until(&done));
        for caller in 0..CALLERS {
            let (trial, done, failed, balancer) = (&trial, &done, &failed, &balancer);
            scope.spawn(move || buy_until(trial, caller, done, failed, |turn| balancer.pick(turn)));
        }
        trial.plant(|| roll(&trial, &balancer));
        while trial.operations() < size.tokens {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        done.store(true, Ordering::Release);
    });
    let rolled = trial.operations();
    // Nobody stands before this one: its callers come all the time.
    done.store(false, Ordering::Release);
    let mut upgraded = Duration::ZERO;
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (trial, done, failed) = (&trial, &done, &failed);
            scope.spawn(move || buy_until(trial, caller, done, failed, |_| 0));
        }
        trial.plant(|| upgraded = upgrade(&trial, stand));
        while trial.operations() < rolled + size.tokens {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        done.store(true, Ordering::Release);
    });
    let failed = failed.into_inner();
    trial.expect(failed == 0, || format!("{failed} requests failed"));
    trial.expect(upgraded > Duration::ZERO, || "nothing was replaced".to_owned());
    let operations = trial.operations();
    let measured = format!(
        "{GATEWAYS} gateways replaced under {rolled} purchases, one upgraded in place in {} under {}; {failed} failed",
        ms(upgraded),
        operations - rolled
    );
    trial.finish(24, "SIGTERM under load, rolling restart, binary upgrade", measured)
}

fn roll(trial: &Trial, balancer: &Balancer) {
    for number in 0..GATEWAYS {
        let (took, well) = balancer.replace(number);
        trial.expect(well && took < WITHIN, || format!("gateway {number} ended after {took:?}, well: {well}"));
    }
}

/// SIGQUIT; the time until the next program serves, in the same process.
fn upgrade(trial: &Trial, stand: &Stand) -> Duration {
    let mut gateway = stand.gateway(0);
    let (process, address) = (gateway.process(), gateway.address());
    let program = gateway.program();
    let (starts, asked) = (program.starts(), Instant::now());
    program.signal("-QUIT");
    while program.starts() == starts && asked.elapsed() < SERVES {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let took = asked.elapsed();
    trial.expect(program.starts() == starts + 1, || "the next program does not serve".to_owned());
    trial.expect((gateway.process(), gateway.address()) == (process, address), || "it moved".to_owned());
    took
}

/// Buys with a new token each time; each has to be answered with the merchant's answer.
fn buy_until(trial: &Trial, caller: usize, done: &AtomicBool, failed: &AtomicUsize, pick: impl Fn(usize) -> usize) {
    let mut client: Client<'_> = trial.client();
    for turn in caller.. {
        if done.load(Ordering::Acquire) {
            return;
        }
        let token: Token = trial.token();
        let told = client.buy(pick(turn), &token);
        if !told.as_ref().is_some_and(|told| told.allowed) {
            trial.expect(false, || format!("a caller was told {told:?}"));
            failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
