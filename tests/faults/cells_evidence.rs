//! Cell 25: the disk that a gateway's evidence is on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::bystanders::Seen;
use crate::cells::{Plant, Stands};
use crate::disk::{DiskOf, Ill};
use crate::redis::{Redis, wait_for};
use crate::size::Size;
use crate::stand::{Member, SHOP, Stand, shared_ledger};
use crate::support::files;
use crate::support::gateway::Guard;
use crate::support::http::{get, request};
use crate::support::merchant::{Merchant, Reply};
use crate::table::Row;
use crate::trial::{Token, Trial, ms, percentile};

const WHAT: &str = "evidence disk full, read-only, slow, failing";
/// A shop whose route only observes.
const WINDOW: &str = "window";
/// The ledger is not what fails here, however busy the machine is.
pub const PATIENT: &str = "deadline_ms = 5000";
pub const UNAVAILABLE: &str = "EVIDENCE_UNAVAILABLE";
/// How long a request of class `strict` waits for the disk.
const STRICT: Duration = Duration::from_secs(2);
/// How long a slow disk takes, and what nobody reaches who does not wait for it.
const VERY_SLOW: Duration = Duration::from_secs(60);
const AT_ONCE: Duration = Duration::from_secs(5);
/// More purchases than a segment holds.
const OF_A_SEGMENT: usize = 3000;
/// Purchases that are under way together.
const TOGETHER: usize = 12;
/// Bytes of the disk that is full.
const ROOM: i64 = 100;
/// Records that a shopper leaves where nothing is enforced: what was observed, and its order.
const OF_A_SHOPPER: usize = 2;
/// Records that are lost of a purchase that is refused: the reservation and the refusal.
pub const OF_A_REFUSAL: usize = 2;
/// Records of what came of a purchase: the settlement and the order.
const OF_AN_OUTCOME: usize = 2;

/// A gateway whose spool is on a disk of its own, and a shop that can keep purchases waiting.
pub struct Disked {
    stand: Stand,
    disk: DiskOf,
    counter: Arc<Counter>,
}

/// Where purchases are kept waiting.
#[derive(Default)]
struct Counter {
    closed: AtomicBool,
    waiting: AtomicUsize,
}

impl Disked {
    pub fn open(class: &str) -> Self {
        let (redis, disk, counter) = (Redis::start(), DiskOf::new(), Arc::<Counter>::default());
        // Small, so that a segment is full soon; nobody takes what is in it.
        let limit = if Size::of_environment().full { 40 << 20 } else { 4 << 20 };
        let member = Member {
            via: disk.via(),
            more: format!("[evidence]\nclass = \"{class}\"\nspool_limit = {limit}\n"),
            ..Member::of(shared_ledger(PATIENT, &[redis.address()], ""))
        };
        let merchants = vec![(SHOP, waiting_at(counter.clone())), (WINDOW, Merchant::selling())];
        let watched = Guard { policy: "mode = \"observe\"\n", ..Guard::enforcing(WINDOW, merchants[1].1.url()) };
        let guards = [Guard::enforcing(SHOP, merchants[0].1.url()), watched];
        Self { stand: Stand::with_guards(&[member], merchants, &guards).before(redis), disk, counter }
    }

    fn segments(&self) -> usize {
        files(&self.stand.gateway(0).dir().path().join("data/spool"), ".spool").len()
    }

    fn is_ready(&self) -> bool {
        get(self.stand.gateway(0).ops(), "/readyz").status == 200
    }
}

/// Sells while its counter is open.
fn waiting_at(counter: Arc<Counter>) -> Merchant {
    Merchant::start(move |_| {
        counter.waiting.fetch_add(1, Ordering::AcqRel);
        wait_for("the counter to open", || !counter.closed.load(Ordering::Acquire));
        counter.waiting.fetch_sub(1, Ordering::AcqRel);
        Reply::sold()
    })
}

impl Trial<'_> {
    /// Events that evidence says are missing, by cause.
    fn missing(&self, cause: &str) -> usize {
        let gaps = self.recorded("evidence.gap").into_iter().filter(|gap| gap.cause == cause);
        gaps.map(|gap| gap.count.unwrap_or(1) as usize).sum()
    }

    /// Plants it, does this, and sees that the disk was met.
    fn on_ill<T>(&self, disk: &DiskOf, ill: Ill, work: impl FnOnce() -> T) -> T {
        let before = disk.met();
        self.plant(|| disk.set(ill));
        let done = work();
        self.expect(disk.met() > before, || format!("nothing met {ill:?}"));
        done
    }
}

pub fn disk_fails(stands: &Stands, size: Size, plant: Plant) -> Row {
    let (written, strict) =
        (|| of_class_spool(&stands.written, size, plant), || of_class_strict(&stands.strict, size, plant));
    if size.full {
        return written().and(strict());
    }
    std::thread::scope(|scope| {
        let strict = scope.spawn(strict);
        written().and(strict.join().unwrap())
    })
}

fn of_class_spool(disked: &Disked, size: Size, plant: Plant) -> Row {
    let trial = Trial::on(&disked.stand, size, plant);
    let tokens = trial.tokens(size.tokens);
    let ((), calm) = trial.beside_in(WINDOW, || trial.show_all(&tokens, ""));
    let mut told: Vec<_> =
        [Ill::Full { room: ROOM }, Ill::ReadOnly].map(|ill| refuse(&trial, disked, ill, &calm)).into();
    told.push(slow_and_not_waited_for(&trial, disked));
    told.push(filled_under_way(&trial, disked));
    fails_for_good(&trial, disked);
    let refused = trial.count(UNAVAILABLE);
    trial.finish(25, WHAT, format!("spool: {refused} refused and bought later; {}", told.join("; ")))
}

fn of_class_strict(disked: &Disked, size: Size, plant: Plant) -> Row {
    let trial = Trial::on(&disked.stand, size, plant);
    let tokens = trial.tokens(TOGETHER);
    trial.on_ill(&disked.disk, Ill::SyncSlow(VERY_SLOW), || {
        trial.show_all(&tokens, UNAVAILABLE);
        let (started, anything) = (Instant::now(), request("GET", "/anything", &[], ""));
        let passed = trial.client().exchange(0, &anything).ok().flatten().is_some_and(|answer| answer.status == 200);
        let took = started.elapsed();
        trial.expect(passed && took < AT_ONCE, || format!("what nothing guards: {passed} after {}", ms(took)));
    });
    let most = percentile(&trial.times(UNAVAILABLE), 1.0);
    trial.expect_in_time(most <= STRICT + size.margin, || format!("refused after {}", ms(most)));
    disked.disk.heal();
    trial.show_all(&tokens, "");
    fails_for_good(&trial, disked);
    let refused = trial.count(UNAVAILABLE);
    trial.finish(25, WHAT, format!("strict: {refused} refused and bought later, after at most {}", ms(most)))
}

/// What cannot be recorded is refused and told when the disk is well again; nobody else is harmed.
fn refuse(trial: &Trial, disked: &Disked, ill: Ill, calm: &Seen) -> String {
    let (tokens, before) = (trial.tokens(trial.size.tokens), trial.missing("write_failed"));
    let work = || trial.beside_in(WINDOW, || trial.show_all(&tokens, UNAVAILABLE)).1;
    let seen = trial.on_ill(&disked.disk, ill, work);
    disked.disk.heal();
    trial.show_all(&tokens, "");
    let lost = OF_A_REFUSAL * tokens.len() + OF_A_SHOPPER * seen.shopped;
    let missing = trial.missing("write_failed") - before;
    trial.expect(missing == lost, || format!("{ill:?}: {lost} events lost, {missing} told"));
    let name = if ill == Ill::ReadOnly { "read-only" } else { "full" };
    format!("{name}: {missing} events told as missing, {}", trial.compare(calm, &seen))
}

/// A segment is filled and the next one begun, and still nobody waits for the disk.
fn slow_and_not_waited_for(trial: &Trial, disked: &Disked) -> String {
    let (before, segments) = (trial.operations(), disked.segments());
    trial.on_ill(&disked.disk, Ill::SyncSlow(VERY_SLOW), || {
        trial.show_all(&trial.tokens(trial.size.tokens), "");
        trial.plant(|| {
            let is_full = || disked.segments() > segments;
            for _ in (0..OF_A_SEGMENT).step_by(TOGETHER).take_while(|_| !is_full()) {
                trial.show_all(&trial.tokens(TOGETHER), "");
            }
            trial.expect(is_full(), || "no segment became full".to_owned());
        });
    });
    disked.disk.heal();
    let most = percentile(&trial.times_after(before, ""), 1.0);
    trial.expect(most < AT_ONCE, || format!("waited {} for a slow disk", ms(most)));
    format!("slow: bought within {}", ms(most))
}

/// What the merchant has seen is told to its caller, though its outcome is lost; the next start finds it.
fn filled_under_way(trial: &Trial, disked: &Disked) -> String {
    let (tokens, before) = (trial.tokens(TOGETHER), trial.missing("write_failed"));
    let counter = &disked.counter;
    counter.closed.store(true, Ordering::Release);
    std::thread::scope(|scope| {
        scope.spawn(|| trial.show_all(&tokens, ""));
        wait_for("all to wait", || counter.waiting.load(Ordering::Acquire) == tokens.len());
        trial.plant(|| disked.disk.set(Ill::Full { room: ROOM }));
        counter.closed.store(false, Ordering::Release);
    });
    disked.disk.heal();
    trial.show_all(&trial.tokens(1), "");
    let missing = trial.missing("write_failed") - before;
    let lost = OF_AN_OUTCOME * tokens.len();
    trial.expect(missing == lost, || format!("{lost} events lost under way, {missing} told"));
    trial.stand.kill_and_restart(0);
    let settled = trial.history().events;
    let recovered = settled.iter().filter(|event| event.kind == "execution.validated" && event.cause == "recovered");
    let recovered = recovered.count();
    trial.expect(recovered == tokens.len(), || format!("{recovered} outcomes found by the next start"));
    format!("{recovered} outcomes found by the next start")
}

/// Once something did not come to the disk, nothing is taken any more until the next start.
fn fails_for_good(trial: &Trial, disked: &Disked) {
    let (tokens, unclean): (Vec<Token>, _) = (trial.tokens(TOGETHER), trial.missing("unclean_shutdown"));
    trial.on_ill(&disked.disk, Ill::SyncFails, || {
        trial.client().buy(0, &trial.token());
        trial.plant(|| {
            wait_for("the gateway to be unready", || !disked.is_ready());
        });
        trial.show_all(&tokens, UNAVAILABLE);
    });
    disked.disk.heal();
    trial.show_all(&tokens, UNAVAILABLE);
    trial.stand.kill_and_restart(0);
    trial.show_all(&tokens, "");
    let told = trial.missing("unclean_shutdown") - unclean;
    trial.expect(told == 1, || format!("{told} gaps of an unclean end"));
}
