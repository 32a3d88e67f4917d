//! Cell 8: replicas and sentinels, and a primary that dies with burns that no replica heard of.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::cells::{Plant, Stands};
use crate::cells_merchant::scripted;
use crate::redis::{Redis, wait_for};
use crate::relay::{Fault, Relay};
use crate::size::Size;
use crate::stand::{Member, SHOP, Stand, shared_ledger};
use crate::table::Row;
use crate::trial::{Token, Trial};

const THREADS: usize = 12;
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
/// Gateways follow a promoted replica, and wait for the tokens of before to expire.
pub const FAILOVER: Duration = Duration::from_secs(18);
/// Replicas of every primary here, and those that `durability = "replicas"` waits for.
const REPLICAS: usize = 2;

/// The replicas of a primary, and the sentinels that watch it.
pub struct Watched {
    replicas: Mutex<Vec<Redis>>,
    sentinels: Vec<Redis>,
}

impl Watched {
    /// `primary` is where everybody reaches it; all of this listens at `own`.
    pub fn open(primary: SocketAddr, own: IpAddr) -> Self {
        let replicas: Vec<_> = (0..REPLICAS).map(|_| Redis::replica_of(primary, own)).collect();
        wait_for("the replicas to follow", || replicas.iter().all(|redis| redis.info("master_link_status") == "up"));
        let sentinels: Vec<_> = (0..3).map(|_| Redis::sentinel_of(primary, own)).collect();
        wait_for("the sentinels to know each other", || sentinels.iter().all(|redis| knows(redis) == ["2", "2"]));
        Self { replicas: Mutex::new(replicas), sentinels }
    }

    /// The `[ledger]` of a gateway that asks these sentinels.
    pub fn ledger(&self, durability: &str) -> String {
        let nodes: Vec<_> = self.sentinels.iter().map(Redis::address).collect();
        let confirm = if durability == "replicas" { format!("replicas = {REPLICAS}\n") } else { String::new() };
        let redis = format!("topology = \"sentinel\"\nmaster = \"mymaster\"\n{confirm}");
        shared_ledger(&format!("durability = \"{durability}\""), &nodes, &redis)
    }

    /// Waits until a replica was promoted, and says how many burns it knows.
    pub fn promoted(&self) -> usize {
        let replicas = self.replicas.lock().unwrap();
        wait_for("a replica to be promoted", || replicas.iter().any(|redis| redis.info("role") == "master"));
        let promoted = replicas.iter().find(|redis| redis.info("role") == "master").unwrap();
        promoted.keys("pxl:{shop}:b:")
    }

    /// What an operator does next: there are as many replicas as before.
    pub fn repair(&self, own: IpAddr) {
        let mut replicas = self.replicas.lock().unwrap();
        let promoted = replicas.iter().find(|redis| redis.info("role") == "master").unwrap().address();
        let new = Redis::replica_of(promoted, own);
        wait_for("the new replica to follow", || new.info("master_link_status") == "up");
        replicas.push(new);
        // The other one is told by the sentinels, which look at it every ten seconds.
        let promoted = replicas.iter().find(|redis| redis.address() == promoted).unwrap();
        let in_step = |n: usize| promoted.info(&format!("slave{n}")).contains("state=online");
        wait_for("all replicas to be in step", || (0..REPLICAS).all(in_step));
    }
}

/// How many other sentinels and how many replicas a sentinel knows.
fn knows(sentinel: &Redis) -> [String; 2] {
    let told: Vec<String> = sentinel.command(&["SENTINEL", "MASTER", "mymaster"]);
    ["num-other-sentinels", "num-slaves"]
        .map(|what| told.iter().position(|name| name == what).map(|at| told[at + 1].clone()).unwrap_or_default())
}

/// A primary behind a relay, what watches it, and three gateways.
pub struct Replicated {
    stand: Stand,
    primary: Mutex<Redis>,
    door: Relay,
    watched: Watched,
}

impl Replicated {
    pub fn open(durability: &str) -> Self {
        let primary = Redis::start();
        let door = Relay::to(primary.address());
        let watched = Watched::open(door.address(), HERE);
        let members: Vec<_> = (0..3).map(|_| Member::of(watched.ledger(durability))).collect();
        let stand = Stand::open(&members, vec![(SHOP, scripted())]);
        Self { stand, primary: Mutex::new(primary), door, watched }
    }
}

/// What a failover cost.
struct Cost {
    /// Sold while no replica heard of it.
    sold: usize,
    /// Burns that the promoted server does not know.
    lost: usize,
    took: Duration,
}

/// Buys, cuts the primary off from its replicas, buys on, kills it, and shows everything again.
fn fail_over(trial: &Trial, system: &Replicated) -> Cost {
    let tokens = trial.tokens(trial.size.tokens.div_ceil(2));
    let (before, unheard) = tokens.split_at(tokens.len() / 2);
    trial.show_all(before, "");
    let sold = trial.count("");
    trial.plant(|| system.door.set_replication(Fault::BlackHole));
    trial.buy_each(unheard);
    let sold = trial.count("") - sold;
    let (started, mut lost) = (Instant::now(), 0);
    trial.plant(|| {
        let known = system.primary.lock().unwrap().keys("pxl:{shop}:b:");
        system.primary.lock().unwrap().kill();
        lost = known.saturating_sub(system.watched.promoted());
    });
    trial.buy_each(&tokens);
    trial.plant(|| system.watched.repair(HERE));
    trial.recover(FAILOVER);
    let took = started.elapsed();
    trial.buy_each(&tokens);
    Cost { sold, lost, took }
}

impl Trial<'_> {
    /// Shows each token to one gateway, whatever it says.
    pub fn buy_each(&self, tokens: &[Token]) {
        self.crowd(THREADS, tokens.len(), |client, n| drop(client.buy(n % self.stand.size(), &tokens[n])));
    }
}

pub fn promoted(stands: &Stands, size: Size, plant: Plant) -> Row {
    const WHAT: &str = "primary cut off from its replicas, then dead; a replica is promoted";
    let run = |durability: &str, system: &Replicated| {
        let trial = Trial::on(&system.stand, size, plant);
        let Cost { sold, lost, took } = fail_over(&trial, system);
        if durability == "replicas" {
            trial.expect(sold == 0, || format!("{sold} sold that no replica had heard of"));
        } else {
            trial.expect(lost > 0, || "no burn was lost: nothing was tested".to_owned());
        }
        let seconds = took.as_secs_f64();
        let measured =
            format!("{durability}: {lost} burns lost, {sold} of them sold, sells again after {seconds:.1} s");
        trial.finish(8, WHAT, measured)
    };
    run("replicas", &stands.confirmed).and(run("async", &stands.unconfirmed))
}
