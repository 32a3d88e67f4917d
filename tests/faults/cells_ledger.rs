//! Cells 1 to 5, 10 to 12, 34 and 35: the way from the gateways to Redis.

use std::ops::Range;
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

use crate::bystanders::Seen;
use crate::cells::{Plant, Stands};
use crate::cells_merchant::scripted;
use crate::redis::{BLOCKED, command, wait_for};
use crate::relay::{Fault, Way};
use crate::size::Size;
use crate::stand::{SHOP, Stand};
use crate::support::http::Connection;
use crate::table::Row;
use crate::trial::{Client, Token, Trial, ms, next_operation, percentile, purchase, told};

pub const GATEWAYS: usize = 3;
/// `ledger.deadline_ms`, as it is by default.
const DEADLINE: Duration = Duration::from_millis(250);
/// For an answer while the server is known to be down.
const KNOWN_DOWN: Duration = Duration::from_millis(50);
const RECOVERY: Duration = Duration::from_secs(1);
const THREADS: usize = 12;
const UNAVAILABLE: &str = "LEDGER_UNAVAILABLE";
/// Memory that a fault may cost a gateway.
const MEMORY_MIB: u64 = 64;

/// Three gateways that share a Redis.
pub fn open_shared() -> Stand {
    Stand::on_redis(GATEWAYS, "", vec![(SHOP, scripted())])
}

impl Trial<'_> {
    /// Does this to the way between every gateway and Redis.
    pub fn plant_on_all(&self, way: Way, fault: &Fault) {
        self.plant(|| self.stand.relays.iter().for_each(|relay| relay.set(way, fault.clone())));
    }

    pub fn heal_all(&self) {
        self.stand.relays.iter().for_each(crate::relay::Relay::heal);
    }

    /// Shows each token to one gateway; every answer has to carry this code.
    pub fn show_all(&self, tokens: &[Token], code: &str) {
        self.crowd(THREADS, tokens.len(), |client, n| {
            let told = client.buy(n % self.stand.size(), &tokens[n]);
            let found = told.as_ref().map(|told| told.code.as_str());
            self.expect(found == Some(code), || format!("{code:?} was due: {told:?}"));
        });
    }

    /// Bystanders while as many other tokens buy and nothing is wrong.
    fn calm(&self) -> Seen {
        let tokens = self.tokens(self.size.tokens);
        self.beside(|| self.show_all(&tokens, "")).1
    }

    /// How long it takes until every gateway sells again; it has to be soon.
    pub fn recover(&self, within: Duration) -> Duration {
        self.recover_at(0..self.stand.size(), within)
    }

    pub fn recover_at(&self, gateways: Range<usize>, within: Duration) -> Duration {
        let mut client = self.client();
        let sells = |client: &mut Client, gateway| client.buy(gateway, &self.token()).is_some_and(|told| told.allowed);
        let started = Instant::now();
        for gateway in gateways {
            let client = std::cell::RefCell::new(&mut client);
            wait_for("a gateway to sell again", || sells(&mut client.borrow_mut(), gateway));
        }
        let took = started.elapsed();
        self.expect_in_time(took <= within + self.size.margin, || format!("recovered after {}", ms(took)));
        took
    }

    /// That refusals came in time: in words for the table.
    fn in_time(&self, limit: Duration) -> String {
        let times = self.times(UNAVAILABLE);
        let [p99, most] = [0.99, 1.0].map(|share| percentile(&times, share));
        self.expect(!times.is_empty(), || "nothing was refused".to_owned());
        self.expect_in_time(most <= limit + self.size.margin, || format!("refused after {}", ms(most)));
        format!("{} refused, p99 {}, at most {}", times.len(), ms(p99), ms(most))
    }
}

pub fn races(stands: &Stands, size: Size, plant: Plant) -> Row {
    const LANES: usize = 4;
    let trial = Trial::on(&stands.raced, size, plant);
    let each = if plant == Plant::Fault { size.races / LANES } else { 2 };
    let (started, racers) = (Instant::now(), if plant == Plant::Fault { GATEWAYS } else { 1 });
    let lane = |_| (std::iter::repeat_with(OnceLock::new).take(each).collect::<Vec<_>>(), Barrier::new(racers));
    let lanes: Vec<_> = (0..LANES).map(lane).collect();
    std::thread::scope(|scope| {
        for (tokens, start) in &lanes {
            for gateway in 0..racers {
                let trial = &trial;
                scope.spawn(move || {
                    let mut client = trial.client();
                    for token in tokens {
                        let token: &Token = token.get_or_init(|| trial.token());
                        start.wait();
                        client.buy(gateway, token);
                    }
                });
            }
        }
    });
    let (sold, races) = (trial.count(""), each * LANES);
    trial.expect(sold == races, || format!("{sold} of {races} were sold"));
    let [waiting, replays] = ["IN_FLIGHT", "REPLAY_DETECTED"].map(|code| trial.count(code));
    trial.expect(waiting + replays == races * (GATEWAYS - 1), || format!("{waiting} in flight, {replays} replays"));
    trial.expect(waiting > 0, || "no two ever met".to_owned());
    let rate = trial.operations() as f64 / started.elapsed().as_secs_f64();
    let measured = format!("{sold} sold once, {waiting} in flight, {replays} replays; {rate:.0}/s");
    trial.finish(1, "same token at three gateways at once", measured)
}

pub fn refused(stands: &Stands, size: Size, plant: Plant) -> Row {
    let trial = Trial::on(&stands.shared, size, plant);
    let (calm, first, tokens) = (trial.calm(), trial.tokens(GATEWAYS), trial.tokens(size.tokens));
    trial.plant(|| trial.stand.relays.iter().for_each(crate::relay::Relay::refuse));
    trial.show_all(&first, UNAVAILABLE);
    let at_first = trial.operations();
    let ((), fault) = trial.beside(|| trial.show_all(&tokens, UNAVAILABLE));
    let known = percentile(&trial.times_after(at_first, UNAVAILABLE), 0.99);
    trial.expect_in_time(known <= KNOWN_DOWN + size.margin, || {
        format!("known to be down, and refused after {}", ms(known))
    });
    let told = trial.in_time(DEADLINE);
    trial.heal_all();
    let back = trial.recover(RECOVERY);
    trial.show_all(&tokens, "");
    let measured = format!("{told}; back after {}; {}", ms(back), trial.compare(&calm, &fault));
    trial.finish(2, "Redis refuses connections", measured)
}

pub fn paused(stands: &Stands, size: Size, plant: Plant) -> Row {
    let trial = Trial::on(&stands.shared, size, plant);
    let (calm, tokens) = (trial.calm(), trial.tokens(size.tokens));
    trial.plant(|| trial.stand.redis().pause());
    let ((), fault) = trial.beside(|| trial.show_all(&tokens, UNAVAILABLE));
    trial.stand.redis().resume();
    let told = trial.in_time(DEADLINE);
    let back = trial.recover(RECOVERY);
    trial.buy_each(&tokens);
    let measured = format!("{told}; back after {}; {}", ms(back), trial.compare(&calm, &fault));
    trial.finish(3, "Redis stopped (SIGSTOP)", measured)
}

/// What is lost on one of a gateway's connections is asked for again on another, under the same nonce.
fn lost(stands: &Stands, size: Size, plant: Plant, way: Way) -> (Trial<'_>, String) {
    const BURST: usize = 12;
    let trial = Trial::on(&stands.shared, size, plant);
    let touched = || trial.stand.relays.iter().map(crate::relay::Relay::touched).sum::<usize>();
    let before = touched();
    for burst in 0..size.tokens.div_ceil(BURST) {
        let tokens = trial.tokens(BURST);
        trial.plant(|| trial.stand.relays.iter().for_each(|relay| relay.set_one(burst, way, Fault::Swallow)));
        trial.show_all(&tokens, "");
    }
    trial.heal_all();
    trial.recover(RECOVERY);
    let lost = touched() - before;
    trial.expect(lost >= size.tokens / BURST, || format!("{lost} pieces were lost"));
    let measured = format!("{} sold once, p99 {}", trial.count(""), ms(percentile(&trial.times(""), 0.99)));
    (trial, measured)
}

pub fn reply_lost(stands: &Stands, size: Size, plant: Plant) -> Row {
    let (trial, measured) = lost(stands, size, plant, Way::Back);
    trial.finish(4, "Redis applies the burn and its reply is lost", measured)
}

pub fn request_lost(stands: &Stands, size: Size, plant: Plant) -> Row {
    let (trial, measured) = lost(stands, size, plant, Way::Out);
    trial.finish(5, "request to Redis is lost", measured)
}

/// Errors that a real server is brought to: what does it, and what ends it.
fn real_errors() -> [(&'static str, Vec<redis::Cmd>, Vec<redis::Cmd>); 3] {
    let set = |name: &str, value: &str| command(&["CONFIG", "SET", name, value]);
    let save = [set("dbfilename", BLOCKED), set("save", "3600 1"), command(&["BGSAVE"])];
    let kill = command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    [
        ("OOM", [set("maxmemory", "1")].into(), [set("maxmemory", "0")].into()),
        ("NOAUTH", [set("requirepass", "secret"), kill].into(), [set("requirepass", "")].into()),
        ("MISCONF", save.into(), [set("save", ""), set("dbfilename", "dump.rdb")].into()),
    ]
}

/// Errors that are told in place of a reply.
const TOLD_ERRORS: [&str; 7] = [
    "-LOADING Redis is loading the dataset in memory",
    "-READONLY You can't write against a read only replica.",
    "-MASTERDOWN Link with MASTER is down",
    "-NOREPLICAS Not enough good replicas to write.",
    "-BUSY Redis is busy running a script.",
    "-CLUSTERDOWN The cluster is down",
    "-NOPERM this user has no permissions",
];

pub fn errors(stands: &Stands, size: Size, plant: Plant) -> Row {
    let trial = Trial::on(&stands.shared, size, plant);
    let mut admin = trial.stand.redis().connect().unwrap();
    let kinds = 3 + TOLD_ERRORS.len();
    let share = size.tokens.div_ceil(kinds);
    for (kind, begin, end) in real_errors() {
        let tokens = trial.tokens(share);
        trial.plant(|| begin.iter().for_each(|command| command.exec(&mut admin).unwrap()));
        if kind == "MISCONF" && plant == Plant::Fault {
            wait_for("the save to fail", || trial.stand.redis().info("rdb_last_bgsave_status") == "err");
        }
        trial.show_all(&tokens, UNAVAILABLE);
        end.iter().for_each(|command| command.exec(&mut admin).unwrap());
        trial.recover(RECOVERY);
        // Nothing was taken: each of them still buys.
        trial.show_all(&tokens, "");
    }
    for error in TOLD_ERRORS {
        let tokens = trial.tokens(share);
        trial.plant_on_all(Way::Back, &Fault::Inject(format!("{error}\r\n").into_bytes()));
        trial.show_all(&tokens, UNAVAILABLE);
        trial.heal_all();
        trial.recover(RECOVERY);
        trial.buy_each(&tokens);
    }
    let measured = format!("{kinds} kinds; {}", trial.in_time(DEADLINE));
    trial.finish(10, "Redis answers OOM, NOAUTH, MISCONF, LOADING, READONLY, …", measured)
}

pub fn slow(stands: &Stands, size: Size, plant: Plant) -> Row {
    let trial = Trial::on(&stands.shared, size, plant);
    let (calm, tokens) = (trial.calm(), trial.tokens(size.tokens));
    trial.plant_on_all(Way::Back, &Fault::Delay(Duration::from_millis(300)));
    let ((), fault) = trial.beside(|| trial.show_all(&tokens, UNAVAILABLE));
    let told = trial.in_time(DEADLINE);
    trial.heal_all();
    let back = trial.recover(RECOVERY);
    trial.buy_each(&tokens);
    let measured = format!("{told}; back after {}; {}", ms(back), trial.compare(&calm, &fault));
    trial.finish(11, "Redis answers after 300 ms", measured)
}

pub fn garbage(stands: &Stands, size: Size, plant: Plant) -> Row {
    let trial = Trial::on(&stands.shared, size, plant);
    let memory = || (0..GATEWAYS).map(|gateway| trial.stand.memory_mib(gateway)).max().unwrap_or(0);
    let before = memory();
    let faults = [
        Fault::Inject((0..=255).cycle().take(4000).collect()),
        Fault::Inject(b"$1000000000\r\nx".repeat(100)),
        Fault::Inject([&b"$1000000000\r\n"[..], &[b'x'; 60_000]].concat()),
        Fault::Inject(b"*1000000000\r\n".repeat(100)),
        Fault::Inject(b"*1\r\n".repeat(2000)),
        Fault::Truncate(3),
    ];
    for fault in &faults {
        let tokens = trial.tokens(size.tokens.div_ceil(faults.len()));
        trial.plant_on_all(Way::Back, fault);
        trial.show_all(&tokens, UNAVAILABLE);
        trial.heal_all();
        trial.recover(RECOVERY);
        trial.buy_each(&tokens);
    }
    let after = memory();
    trial.expect(after <= before + MEMORY_MIB, || format!("{before} MiB before, {after} after"));
    let measured = format!("{}; {before} MiB before, {after} after", trial.in_time(DEADLINE));
    trial.finish(12, "Redis answers garbage, endless lengths, half a reply", measured)
}

pub fn partition(stands: &Stands, size: Size, plant: Plant) -> Row {
    /// 200 requests a second, each of which may take its whole deadline.
    const EVERY: Duration = Duration::from_millis(5);
    const CALLERS: usize = 60;
    let trial = Trial::on(&stands.shared, size, plant);
    let calm = trial.calm();
    for way in [Way::Out, Way::Back] {
        trial.plant_on_all(way, &Fault::BlackHole);
    }
    let started = Instant::now();
    let rounds = size.partition.div_duration_f64(EVERY) as usize;
    let ((), fault) = trial.beside(|| {
        trial.crowd(CALLERS, rounds, |client, n| {
            let due = EVERY * n as u32;
            std::thread::park_timeout(due.saturating_sub(started.elapsed()));
            let told = client.buy(n % GATEWAYS, &trial.token());
            trial.expect(told.as_ref().is_some_and(|told| told.code == UNAVAILABLE), || format!("{told:?}"));
        });
    });
    let (told, lasted) = (trial.in_time(DEADLINE), started.elapsed());
    trial.heal_all();
    let back = trial.recover(RECOVERY);
    let measured =
        format!("{:.1} s; {told}; back after {}; {}", lasted.as_secs_f64(), ms(back), trial.compare(&calm, &fault));
    trial.finish(34, "partition between gateways and Redis, then healed", measured)
}

/// A balancer in front delivers the same bytes to two gateways.
pub fn delivered_twice(stands: &Stands, size: Size, plant: Plant) -> Row {
    let trial = Trial::on(&stands.shared, size, plant);
    let tokens = trial.tokens(size.tokens);
    let copies = if plant == Plant::Fault { 2 } else { 1 };
    trial.crowd(THREADS, tokens.len(), |client, n| {
        let key = format!("Idempotency-Key: \"k-{}\"", tokens[n].number);
        let headers: &[&str] = if n % 2 == 0 { &[&key] } else { &[] };
        let bytes = purchase(&tokens[n], next_operation(), "", headers);
        let mut open: Vec<_> = (0..copies)
            .map(|copy| {
                let mut connection = Connection::open(trial.stand.address((n + copy) % GATEWAYS));
                let start = Instant::now();
                connection.send(&bytes);
                (copy, start, connection)
            })
            .collect();
        for (copy, start, connection) in &mut open {
            let told = connection.answer_to("POST").ok().flatten().as_ref().map(told);
            trial.enter(&tokens[n], next_operation(), (n + *copy) % GATEWAYS, *start, told);
        }
        if copies > 1 {
            // And once more, later: now there is an outcome to tell.
            let told = client.send(n % GATEWAYS, &tokens[n], |_| bytes);
            let good = |told: &crate::history::Told| match n % 2 {
                0 => told.replayed || told.code == "ALREADY_EXECUTED",
                _ => told.code == "REPLAY_DETECTED",
            };
            trial.expect(told.as_ref().is_some_and(good), || format!("delivered again: {told:?}"));
        }
    });
    let (again, replays) = (trial.count("") - tokens.len().min(trial.count("")), trial.count("REPLAY_DETECTED"));
    trial.expect(again + replays > 0, || "nothing was delivered twice".to_owned());
    trial.finish(35, "same bytes delivered twice", format!("{again} stored answers, {replays} replays"))
}
