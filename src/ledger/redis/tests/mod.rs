//! Against a real server, started here on a free port.

mod server;
mod topologies;

use std::time::Duration;

use super::keys::Keys;
use super::*;
use crate::decide::velocity::{Exceeded, Limits, Rule};
use crate::ledger::contract;
use crate::ledger::{Busy, Digest, Namespace, Purpose, Retry, Spent, State};
use crate::model::ids::{Jti, TraceId};
use server::Server;

/// Between two looks at a server that starts.
const POLL: Duration = Duration::from_millis(10);

fn options(port: u16) -> RedisOptions {
    let access = Access {
        clock_ahead: ClockAhead::default(),
        username: None,
        password: None,
        database: 0,
        durability: Durability::Aof,
        #[cfg(feature = "tls")]
        tls: None,
    };
    RedisOptions {
        topology: Topology::Standalone(Address { host: "127.0.0.1".to_owned(), port }),
        sentinel_access: access.clone(),
        access,
        connections: 2,
        deadline: Duration::from_millis(250),
        lease: Duration::from_secs(270),
        replica: "test".to_owned(),
    }
}

fn store() -> StoreId {
    StoreId::parse("store-123").unwrap()
}

struct Bench {
    ledger: RedisLedger,
    notices: mpsc::Receiver<Notice>,
    clock: Clock,
}

impl Bench {
    fn open(options: RedisOptions) -> Self {
        let (tell, notices) = mpsc::channel(16);
        let (clock, metrics) = (Clock::system(), Arc::new(Metrics::new().unwrap()));
        let ledger = RedisLedger::open(options, [store()], clock.clone(), metrics, tell);
        Self { ledger, notices, clock }
    }

    /// Waits until the server is in use and its epoch is known.
    async fn usable(&self) {
        while self.ledger.health().usable.is_err() {
            tokio::time::sleep(POLL).await;
        }
    }

    /// A token from the future: the quarantine of a new server is over for it.
    fn claim(&self) -> Claim {
        Claim {
            slot: Slot { namespace: Namespace::Enforce, store: store(), jti: Jti::random() },
            trace: TraceId::random(),
            issued: self.clock.now().plus_seconds(60),
            agent: AgentId::parse("ak_1").unwrap(),
            retry: None,
            purpose: None,
            confirmed: None,
            limits: Limits::default(),
            amount: 100,
            if_unanswered: Settlement::Released,
        }
    }

    async fn first(&self, claim: &Claim) -> Reservation {
        match self.ledger.reserve(claim.clone()).await {
            Ok(Reserve::First(reservation)) => reservation,
            other => panic!("not first: {other:?}"),
        }
    }
}

/// An epoch that began a minute ago: the quarantine of a new server is over.
fn seasoned() -> Server {
    let server = Server::start(&[]);
    let mut plain = server.client();
    let info: String = redis::cmd("INFO").query(&mut plain).unwrap();
    let fact = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    let (run, history) = (fact("run_id:"), fact("master_replid:"));
    let started = Clock::system().now().millis() - 60_000;
    let key = Keys(&store()).epoch().to_string();
    let epoch = format!("1|{started}|{run}|{history}|test");
    redis::cmd("SET").arg(&key).arg(epoch).arg("PX").arg(RETENTION_MS).exec(&mut plain).unwrap();
    server
}

/// A bench of the contract on this server.
async fn contract_bench(server: &Server, lease_ms: u64) -> contract::Bench<RedisLedger> {
    let lease = Duration::from_millis(lease_ms);
    let Bench { ledger, clock, .. } = Bench::open(RedisOptions { lease, ..options(server.port) });
    let bench = contract::Bench { ledger: Arc::new(ledger), clock, lease_ms: i64::try_from(lease_ms).unwrap() };
    while bench.ledger.health().usable.is_err() {
        tokio::time::sleep(POLL).await;
    }
    bench
}

/// What the server counts of how often it read from its clients.
fn reads(server: &Server) -> u64 {
    let stats: String = redis::cmd("INFO").arg("stats").query(&mut server.client()).unwrap();
    let reads = stats.lines().find_map(|line| line.strip_prefix("total_reads_processed:")).unwrap();
    reads.trim().parse().unwrap()
}

/// On one worker thread, as in a gateway: there a driver that is woken runs before the next request.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn commands_of_one_turn_leave_together() {
    const COUNT: u64 = 400;
    let server = seasoned();
    // Not the time that they take is asked for.
    let bench = Arc::new(Bench::open(RedisOptions { deadline: Duration::from_secs(10), ..options(server.port) }));
    bench.usable().await;
    let before = reads(&server);
    let all = tokio::spawn({
        let bench = bench.clone();
        async move {
            let one = |_| {
                let bench = bench.clone();
                tokio::spawn(async move { bench.first(&bench.claim()).await })
            };
            (0..COUNT).map(one).collect::<Vec<_>>()
        }
    });
    for reserved in all.await.unwrap() {
        let _reservation = reserved.await.unwrap();
    }
    let reads = reads(&server) - before;
    assert!(reads < COUNT / 4, "{COUNT} commands were read in {reads} pieces");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_ledger_contract() {
    let server = seasoned();
    contract::all(&contract_bench(&server, 270_000).await).await;
    contract::lapses(&contract_bench(&server, 1000).await).await;
}

#[tokio::test]
async fn a_token_is_reserved_settled_and_remembered() {
    let server = Server::start(&[]);
    let mut bench = Bench::open(options(server.port));
    bench.usable().await;
    assert!(matches!(bench.notices.recv().await, Some(Notice::EpochChanged { cause: "missing", .. })));
    let retry = Retry { key: Digest::of(&[b"k"]), request: Digest::of(&[b"r"]) };
    let claim = Claim { retry: Some(retry), ..bench.claim() };
    let held = bench.first(&claim).await;
    assert_eq!(held.attempts(), 1);
    let answer = Answer { status: 200, headers: vec![("content-type".into(), "a/b".into())], body: "x".into() };
    let standing = bench.ledger.settle(held, Settlement::Burned, Some(answer.clone())).await;
    assert_eq!(standing, Ok(Standing::Spent(Spent::Burned)));
    let entry = bench.ledger.entry(&claim.slot).await.unwrap().unwrap();
    assert_eq!((entry.state, entry.first, entry.retry), (State::Spent(Spent::Burned), claim.trace, Some(retry)));
    assert_eq!(bench.ledger.answer(&claim.slot).await, Ok(Some(answer)));
    let full = bench.ledger.show(&claim.slot).await.unwrap().unwrap();
    assert_eq!(full.replica, "test");
}

#[tokio::test]
async fn a_flush_brings_no_token_back() {
    let server = Server::start(&[]);
    let mut bench = Bench::open(options(server.port));
    bench.usable().await;
    let claim = Claim { issued: bench.clock.now().plus_seconds(8), ..bench.claim() };
    let held = bench.first(&claim).await;
    bench.ledger.settle(held, Settlement::Burned, None).await.unwrap();
    let mut plain = server.client();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    redis::cmd("FLUSHALL").exec(&mut plain).unwrap();
    let again = Claim { trace: TraceId::random(), ..claim };
    match bench.ledger.reserve(again).await {
        Err(LedgerError::Quarantine { retry_after_s }) => assert!((1..=9).contains(&retry_after_s)),
        other => panic!("{other:?}"),
    }
    let _first_epoch = bench.notices.recv().await;
    assert!(matches!(bench.notices.recv().await, Some(Notice::EpochChanged { cause: "missing", .. })));
    assert!(bench.ledger.health().quarantine_s > 0);
}

/// An epoch with more time left than it was given: what is written by such a clock is forgotten
/// once the clock is right again.
#[tokio::test]
async fn a_server_whose_clock_stepped_back_begins_an_epoch() {
    let server = seasoned();
    let bench = Bench::open(options(server.port));
    bench.usable().await;
    let old = || Claim { issued: bench.clock.now(), ..bench.claim() };
    let _reserved = bench.first(&old()).await;
    let mut plain = server.client();
    redis::cmd("PEXPIRE").arg(Keys(&store()).epoch()).arg(RETENTION_MS + 60_000).exec(&mut plain).unwrap();
    assert!(matches!(bench.ledger.reserve(old()).await, Err(LedgerError::Quarantine { .. })));
}

#[tokio::test]
async fn what_is_wrong_with_a_server_is_told_with_its_fix() {
    let server = Server::start(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]);
    let bench = Bench::open(options(server.port));
    let told = loop {
        match bench.ledger.health().usable {
            Err(told) if told.contains("maxmemory") => break told,
            _ => tokio::time::sleep(POLL).await,
        }
    };
    assert!(told.contains("set `maxmemory-policy noeviction`"), "{told}");
    let refused = bench.ledger.reserve(bench.claim()).await.unwrap_err();
    assert_eq!(refused, LedgerError::Unavailable(Trouble::Unsafe));
}

#[tokio::test]
async fn a_purpose_and_a_limit_are_kept_in_the_same_step() {
    let server = Server::start(&[]);
    let bench = Bench::open(options(server.port));
    bench.usable().await;
    let purpose = Some(Purpose(Digest::of(&[b"session"])));
    let limits = Limits { orders_per_hour: Some(2), spend_per_hour: Some(1000), spend_per_day: Some(250) };
    let claim = || Claim { purpose, limits, ..bench.claim() };
    let (one, two) = (claim(), claim());
    let held = bench.first(&one).await;
    match bench.ledger.reserve(two.clone()).await {
        Ok(Reserve::Busy(busy)) => assert_eq!(busy, Busy { first: one.trace, unknown: false }),
        other => panic!("{other:?}"),
    }
    bench.ledger.settle(held, Settlement::Indeterminate, None).await.unwrap();
    match bench.ledger.reserve(two.clone()).await {
        Ok(Reserve::Busy(busy)) => assert_eq!(busy, Busy { first: one.trace, unknown: true }),
        other => panic!("{other:?}"),
    }
    let held = bench.first(&Claim { confirmed: Some(one.trace), ..two }).await;
    let usage = bench.ledger.usage(&store(), &one.agent, one.issued).await.unwrap();
    assert_eq!(usage, Usage { orders_last_hour: 2, spent_last_hour: 200, spent_last_day: 200 });
    let exceeded = bench.ledger.reserve(Claim { purpose: None, ..claim() }).await.unwrap();
    assert!(matches!(exceeded, Reserve::Exceeded(Exceeded { rule: Rule::OrdersPerHour, counted: 2, limit: 2 })));
    assert_eq!(bench.ledger.settle(held, Settlement::Released, None).await, Ok(Standing::Unused));
    let usage = bench.ledger.usage(&store(), &one.agent, one.issued).await.unwrap();
    assert_eq!(usage, Usage { orders_last_hour: 1, spent_last_hour: 100, spent_last_day: 100 });
    let dear = bench.ledger.reserve(Claim { purpose: None, amount: 151, ..claim() }).await.unwrap();
    assert!(matches!(dear, Reserve::Exceeded(Exceeded { rule: Rule::SpendPerDay, counted: 100, limit: 250 })));
}

/// Whoever waited for it is gone in the middle: nothing haunts the ledger afterwards, and what may
/// still be on its way finds the token used.
#[tokio::test]
async fn a_reservation_that_nobody_waits_for_is_given_up() {
    let server = seasoned();
    let bench = Bench::open(options(server.port));
    bench.usable().await;
    let purpose = Some(Purpose(Digest::of(&[b"abandoned"])));
    let (refused, passed) = (Claim { purpose, ..bench.claim() }, bench.claim());
    let passed = Claim { if_unanswered: Settlement::Indeterminate, ..passed };
    redis::cmd("CLIENT").arg("PAUSE").arg(60).arg("ALL").exec(&mut server.client()).unwrap();
    for claim in [&refused, &passed] {
        let waiting = bench.ledger.reserve(claim.clone());
        assert!(tokio::time::timeout(Duration::from_millis(10), waiting).await.is_err());
    }
    for (claim, spent) in [(&refused, Spent::Unexecuted), (&passed, Spent::Indeterminate)] {
        loop {
            match bench.ledger.entry(&claim.slot).await {
                Ok(Some(Entry { state: State::Spent(found), first, .. })) => {
                    assert_eq!((found, first), (spent, claim.trace));
                    break;
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }
    // Its purpose is free again.
    let _ = bench.first(&Claim { purpose, ..bench.claim() }).await;
}

/// Whoever was told of a lapsed reservation may die before it tells: then another is told.
#[tokio::test]
async fn what_lapsed_is_told_until_somebody_has_told() {
    let server = seasoned();
    let lease = Duration::from_millis(200);
    let bench = Bench::open(RedisOptions { lease, ..options(server.port) });
    bench.usable().await;
    let claim = bench.claim();
    let _held = bench.first(&claim).await;
    let expected = Lapsed { slot: claim.slot.clone(), trace: claim.trace };
    let told = |found: Vec<Lapsed>| found.contains(&expected);
    for _ in 0..2 {
        tokio::time::sleep(lease + POLL).await;
        assert!(told(bench.ledger.lapsed().await.unwrap()));
        assert!(!told(bench.ledger.lapsed().await.unwrap()), "told twice within a lease");
    }
    bench.ledger.told(&expected).await.unwrap();
    tokio::time::sleep(lease + POLL).await;
    assert!(!told(bench.ledger.lapsed().await.unwrap()));
}
