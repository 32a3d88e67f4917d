use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use permyx::boot::shared_revocations;
use permyx::clock::Clock;
use permyx::config::Config;
use permyx::model::revocation::{Kind, Note, Subject};
use permyx::revocation::KillSwitch;
use permyx::revocation::shared::{CHANNEL, Connect, POLL, RECORDS, VERSION, exchange_once, follow};
use permyx::telemetry::metrics::Metrics;
use redis::cmd;

use crate::support::PATIENCE;
use crate::support::dir::TempDir;
use crate::support::redis::Redis;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// The kill switch of one host, exchanging with others for as long as the value lives.
struct Host {
    switch: Arc<KillSwitch>,
    metrics: Arc<Metrics>,
    following: tokio::task::JoinHandle<()>,
    dir: Arc<TempDir>,
}

impl Host {
    fn start(redis: &Redis) -> Self {
        Self::start_in(Arc::new(TempDir::new()), redis)
    }

    fn start_in(dir: Arc<TempDir>, redis: &Redis) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let switch = KillSwitch::open(dir.path(), Clock::system(), metrics.clone(), Box::new(|_| {})).unwrap();
        let switch = Arc::new(switch);
        switch.expect_others();
        let following = tokio::spawn(follow(switch.clone(), door(redis)));
        Self { switch, metrics, following, dir }
    }

    fn revoke(&self, id: &str) {
        self.switch.revoke(agent(id), Note::default(), Note::default()).unwrap();
    }

    fn is_revoked(&self, id: &str) -> bool {
        self.switch.snapshot().get(&agent(id)).is_some_and(|record| record.revoked)
    }

    fn is_in_step(&self) -> bool {
        self.metrics.revocation_sync_ok.get() == 1
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.following.abort();
    }
}

/// The way to the server that a configuration gives.
fn door(redis: &Redis) -> impl Connect + 'static {
    let text = format!("[ledger.redis]\nnodes = [\"{}\"]\n", redis.address());
    shared_revocations(&Config::parse(&text, Path::new(".")).unwrap()).unwrap()
}

fn agent(id: &str) -> Subject {
    Subject::of(Kind::Agent, id).unwrap()
}

/// How many hosts listen to the channel.
fn listeners(redis: &Redis) -> i64 {
    let (_name, count): (String, i64) = redis.ask(cmd("PUBSUB").arg("NUMSUB").arg(CHANNEL));
    count
}

async fn until(what: &str, is: impl Fn() -> bool) -> Duration {
    let started = Instant::now();
    while !is() {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(LOOK).await;
    }
    started.elapsed()
}

async fn two_hosts(redis: &Redis) -> (Host, Host) {
    let hosts = (Host::start(redis), Host::start(redis));
    until("both listen", || listeners(redis) == 2).await;
    hosts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_host_hears_of_a_command_at_once() {
    let redis = Redis::start();
    let (one, other) = two_hosts(&redis).await;
    let mut times = Vec::new();
    for n in 0..20 {
        let id = format!("ak_{n}");
        one.revoke(&id);
        times.push(until("the other host refuses it", || other.is_revoked(&id)).await);
    }
    times.sort();
    let propagation = &other.metrics.revocation_propagation;
    println!("in force on another host after {:.1} ms on average", propagation.get_sample_sum() * 1000.0 / 20.0);
    assert!(times[10] < POLL / 2, "that was the poll: {times:?}");
    assert_eq!(propagation.get_sample_count(), 20);
    other.switch.lift(agent("ak_0"), Note::default(), Note::default()).unwrap();
    until("it is lifted", || !one.is_revoked("ak_0")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_message_costs_no_more_than_a_poll() {
    let redis = Redis::start();
    let (one, other) = two_hosts(&redis).await;
    one.revoke("ak_1");
    until("both refuse it", || other.is_revoked("ak_1")).await;
    // A record that came without a message.
    let record = serde_json::to_string(one.switch.snapshot().get(&agent("ak_1")).unwrap()).unwrap();
    let () = redis.ask(cmd("HSET").arg(RECORDS).arg("agent:ak_2").arg(record.replace("ak_1", "ak_2")));
    let () = redis.ask(cmd("SET").arg(VERSION).arg("unheard"));
    let took = until("both refuse it", || one.is_revoked("ak_2") && other.is_revoked("ak_2")).await;
    println!("in force {took:?} after a lost message");
    assert!(took < POLL * 2, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_redis_is_filled_again_and_nothing_is_forgotten() {
    let redis = Redis::start();
    let (one, other) = two_hosts(&redis).await;
    (0..50).for_each(|n| one.revoke(&format!("ak_{n}")));
    until("the other host knows", || other.switch.snapshot().count(Kind::Agent) == 50).await;
    redis.flush();
    until("it is filled again", || redis.ask::<i64>(cmd("HLEN").arg(RECORDS)) == 50).await;
    assert_eq!(other.switch.snapshot().count(Kind::Agent), 50);
    let late = Host::start(&redis);
    until("a new host is ready", || late.switch.has_met()).await;
    assert_eq!(late.switch.snapshot().count(Kind::Agent), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_away_what_is_known_stays_in_force_and_later_meets() {
    let mut redis = Redis::start();
    let (one, other) = two_hosts(&redis).await;
    one.revoke("ak_1");
    until("both refuse it", || other.is_revoked("ak_1")).await;
    redis.kill();
    until("the metric tells", || !one.is_in_step() && !other.is_in_step()).await;
    one.revoke("ak_2");
    other.revoke("ak_3");
    other.switch.lift(agent("ak_1"), Note::default(), Note::default()).unwrap();
    assert!(one.is_revoked("ak_1") && one.is_revoked("ak_2"));
    redis.restart();
    let met = |host: &Host| !host.is_revoked("ak_1") && host.is_revoked("ak_2") && host.is_revoked("ak_3");
    until("both know all", || met(&one) && met(&other) && one.is_in_step() && other.is_in_step()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_keeps_what_others_revoked_over_a_restart_without_redis() {
    let mut redis = Redis::start();
    let (one, other) = two_hosts(&redis).await;
    one.revoke("ak_1");
    let text = |host: &Host| std::fs::read_to_string(host.dir.path().join("revocations.json")).unwrap_or_default();
    until("it is in the other file", || text(&other).contains("ak_1")).await;
    redis.kill();
    let dir = other.dir.clone();
    drop(other);
    assert!(Host::start_in(dir, &redis).is_revoked("ak_1"));
    assert!(!Host::start(&redis).is_revoked("ak_1"), "a new host cannot know");
}

/// Commands of the same moment on both hosts: none is lost, whoever writes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_two_hosts_at_once_are_all_kept() {
    let redis = Redis::start();
    let (one, other) = two_hosts(&redis).await;
    std::thread::scope(|scope| {
        scope.spawn(|| (0..50).for_each(|n| one.revoke(&format!("one_{n}"))));
        scope.spawn(|| (0..50).for_each(|n| other.revoke(&format!("other_{n}"))));
    });
    let all = |host: &Host| host.switch.snapshot().count(Kind::Agent) == 100;
    until("both know all", || all(&one) && all(&other)).await;
    until("Redis has all", || redis.ask::<i64>(cmd("HLEN").arg(RECORDS)) == 100).await;
}

/// What the command line does: one exchange, and the others know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_ends_is_told_before_it_does() {
    let redis = Redis::start();
    let host = Host::start(&redis);
    until("it listens", || listeners(&redis) == 1).await;
    let dir = TempDir::new();
    let metrics = Arc::new(Metrics::new().unwrap());
    let cli = KillSwitch::open(dir.path(), Clock::system(), metrics, Box::new(|_| {})).unwrap();
    cli.revoke(agent("ak_1"), Note::default(), Note::default()).unwrap();
    exchange_once(&cli, &door(&redis)).await.unwrap();
    until("the host refuses it", || host.is_revoked("ak_1")).await;
}
