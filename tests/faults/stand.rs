//! What a cell is run on: gateways that share a key, their ledger, relays between the two, and
//! merchants that record.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use permyx::token::keys::SigningKey;
use serde_json::Value;

use crate::history::{Arrival, Recorded};
use crate::redis::Redis;
use crate::relay::Relay;
use crate::support::control::Control;
use crate::support::gateway::{Gateway, Guard, Start, kind};
use crate::support::merchant::{Merchant, Recorded as Request};

/// The store, route and path of the merchant that most cells buy from.
pub const SHOP: &str = "shop";

/// A ledger of its own for each gateway.
pub const ALONE: &str = "[ledger]\nsingle_instance = true\n";

pub struct Stand {
    /// Behind the relays; `None` where every gateway burns alone.
    pub redis: Option<Mutex<Redis>>,
    /// One for each gateway, on its way to Redis.
    pub relays: Vec<Relay>,
    /// By route.
    pub merchants: Vec<(&'static str, Merchant)>,
    pub key: Arc<SigningKey>,
    /// Where the evidence of all gateways is delivered; without it, it is looked for in their spools.
    pub control: Option<Control>,
    gateways: Vec<Mutex<Gateway>>,
    /// Where the gateways listen; asked while one of them starts again.
    addresses: Vec<Mutex<SocketAddr>>,
}

/// One gateway of a stand.
pub struct Member {
    /// The `[ledger]` table.
    pub ledger: String,
    /// What it is started by way of.
    pub via: Vec<String>,
    pub listen: &'static str,
    /// The `[keys]` table.
    pub keys: String,
    /// Further tables, whole.
    pub more: String,
}

impl Member {
    pub fn of(ledger: impl Into<String>) -> Self {
        let keys = "jwks_file = \"jwks.json\"".to_owned();
        Self { ledger: ledger.into(), via: Vec::new(), listen: "127.0.0.1:0", keys, more: String::new() }
    }
}

impl Stand {
    /// Gateways without a Redis.
    pub fn open(members: &[Member], merchants: Vec<(&'static str, Merchant)>) -> Self {
        let guards: Vec<_> = merchants.iter().map(|(name, m)| Guard::enforcing(name, m.url())).collect();
        Self::with_guards(members, merchants, &guards)
    }

    pub fn with_guards(members: &[Member], merchants: Vec<(&'static str, Merchant)>, guards: &[Guard]) -> Self {
        Self::with_key(Arc::new(SigningKey::generate().unwrap()), members, merchants, guards)
    }

    pub fn with_key(
        key: Arc<SigningKey>,
        members: &[Member],
        merchants: Vec<(&'static str, Merchant)>,
        guards: &[Guard],
    ) -> Self {
        let fallback = format!("fallback = \"{}\"", merchants[0].1.url());
        let start = |(number, member): (usize, &Member)| {
            let name = format!("gateway-{number}");
            Gateway::start_as(&Start {
                name: &name,
                listen: member.listen,
                extra: &fallback,
                ledger: &member.ledger,
                key: key.clone(),
                via: &member.via,
                keys: &member.keys,
                more: &member.more,
                ..Start::alone(guards)
            })
        };
        // Each waits for the ledger's quarantine: together it takes as long as one.
        let gateways: Vec<_> = std::thread::scope(|scope| {
            let starting: Vec<_> = members.iter().enumerate().map(|each| scope.spawn(move || start(each))).collect();
            starting.into_iter().map(|starting| starting.join().unwrap()).collect()
        });
        let addresses = gateways.iter().map(|gateway| Mutex::new(gateway.address())).collect();
        let gateways = gateways.into_iter().map(Mutex::new).collect();
        Self { redis: None, relays: Vec::new(), merchants, key, control: None, gateways, addresses }
    }

    /// Gateways that share a Redis, each by way of a relay of its own.
    pub fn on_redis(gateways: usize, ledger: &str, merchants: Vec<(&'static str, Merchant)>) -> Self {
        Self::on_redis_via(&[], gateways, ledger, merchants)
    }

    /// The same, started by way of this.
    pub fn on_redis_via(via: &[&str], gateways: usize, ledger: &str, merchants: Vec<(&'static str, Merchant)>) -> Self {
        let redis = Redis::start();
        let relays: Vec<_> = (0..gateways).map(|_| Relay::to(redis.address())).collect();
        let via: Vec<_> = via.iter().map(|&word| word.to_owned()).collect();
        let member =
            |relay: &Relay| Member { via: via.clone(), ..Member::of(shared_ledger(ledger, &[relay.address()], "")) };
        let members: Vec<_> = relays.iter().map(member).collect();
        let stand = Self::open(&members, merchants);
        Self { relays, ..stand.before(redis) }
    }

    /// With the Redis that its gateways were told of.
    pub fn before(self, redis: Redis) -> Self {
        Self { redis: Some(Mutex::new(redis)), ..self }
    }

    /// With the control plane that its gateways deliver to.
    pub fn before_control(self, control: Control) -> Self {
        Self { control: Some(control), ..self }
    }

    pub fn size(&self) -> usize {
        self.gateways.len()
    }

    pub fn gateway(&self, number: usize) -> MutexGuard<'_, Gateway> {
        self.gateways[number].lock().unwrap()
    }

    pub fn address(&self, number: usize) -> SocketAddr {
        *self.addresses[number].lock().unwrap()
    }

    pub fn redis(&self) -> MutexGuard<'_, Redis> {
        self.redis.as_ref().expect("this stand has a Redis").lock().unwrap()
    }

    pub fn merchant(&self, name: &str) -> &Merchant {
        &self.merchants.iter().find(|(route, _)| *route == name).expect("a merchant of this stand").1
    }

    /// `kill -9`.
    pub fn kill(&self, number: usize) {
        self.gateway(number).kill();
    }

    /// A new start in the same directory.
    pub fn restart(&self, number: usize) {
        let mut gateway = self.gateway(number);
        gateway.restart();
        *self.addresses[number].lock().unwrap() = gateway.address();
    }

    pub fn kill_and_restart(&self, number: usize) {
        self.kill(number);
        self.restart(number);
    }

    /// Resident memory of a gateway, in MiB.
    pub fn memory_mib(&self, number: usize) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.gateway(number).process())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024
    }

    /// SIGTERM, the end, and a new start. How long the end took, and whether it was a good one.
    pub fn replace(&self, number: usize) -> (Duration, bool) {
        let mut gateway = self.gateway(number);
        let asked = Instant::now();
        let ended = gateway.stop();
        let took = asked.elapsed();
        gateway.restart();
        *self.addresses[number].lock().unwrap() = gateway.address();
        (took, ended.success())
    }

    /// How much there is already; a trial looks at what comes after it.
    pub fn marks(&self) -> Marks {
        let events = match &self.control {
            Some(control) => vec![control.events().len()],
            None => (0..self.size()).map(|number| self.gateway(number).events_as(drop).len()).collect(),
        };
        Marks { events, arrivals: self.merchants.iter().map(|(_, merchant)| merchant.recorded().len()).collect() }
    }

    pub fn events_since(&self, marks: &Marks) -> Vec<Recorded> {
        let of = |(number, from): (usize, &usize)| match &self.control {
            Some(control) => control.events().split_off(*from).into_iter().map(recorded).collect(),
            None => self.gateway(number).events_as(recorded).split_off(*from),
        };
        marks.events.iter().enumerate().flat_map(of).collect()
    }

    pub fn arrivals_since(&self, marks: &Marks) -> Vec<Arrival> {
        let of = |((_, merchant), from): (&(_, Merchant), &usize)| merchant.recorded().split_off(*from);
        let arrived = self.merchants.iter().zip(&marks.arrivals).flat_map(of);
        arrived.filter_map(|request| arrival(&request)).collect()
    }
}

/// `None` where the request was cut off before it said which operation it is.
fn arrival(request: &Request) -> Option<Arrival> {
    let text = String::from_utf8_lossy(&request.bytes).into_owned();
    // A line that was cut off says nothing.
    let (whole, _) = text.rsplit_once("\r\n")?;
    let value = |name: &str| {
        let lines = whole.split("\r\n").filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let word = value("x-operation")?;
    let (token, operation) = word.split_once('.')?;
    let trace = value("permyx-trace").unwrap_or_default();
    Some(Arrival { token: token.parse().ok()?, operation: operation.parse().ok()?, trace })
}

/// How much evidence each producer and how many requests each merchant had.
pub struct Marks {
    events: Vec<usize>,
    arrivals: Vec<usize>,
}

/// The part of an event that the checker reads.
fn recorded(event: Value) -> Recorded {
    let text = |name: &str| event["data"][name].as_str().unwrap_or_default().to_owned();
    Recorded {
        kind: kind(&event).to_owned(),
        trace: text("traceId"),
        cause: text("cause"),
        count: event["data"]["count"].as_u64(),
    }
}

/// The configuration of a ledger in Redis. `ledger` and `redis` stand in their tables.
pub fn shared_ledger(ledger: &str, nodes: &[SocketAddr], redis: &str) -> String {
    let nodes: Vec<_> = nodes.iter().map(|node| format!("\"{node}\"")).collect();
    format!("[ledger]\n{ledger}\n[ledger.redis]\nnodes = [{}]\n{redis}\n", nodes.join(", "))
}
