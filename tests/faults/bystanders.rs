//! Traffic that the ledger is no concern of: paths that nothing guards, and shoppers without a
//! token. Whatever happens to the ledger must not reach them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::stand::SHOP;
use crate::support::gateway::MUG;
use crate::support::http::request;
use crate::trial::{Trial, ms, percentile};

/// Between two requests of one bystander.
const PACE: Duration = Duration::from_millis(4);

/// What bystanders saw.
pub struct Seen {
    /// Sorted.
    times: Vec<Duration>,
    /// Answers that were not 200, and requests without one.
    harmed: usize,
    /// Requests of the shopper.
    pub shopped: usize,
}

impl Trial<'_> {
    /// Lets bystanders pass while this is done.
    pub fn beside<T>(&self, work: impl FnOnce() -> T) -> (T, Seen) {
        self.beside_in(SHOP, work)
    }

    /// As [`Self::beside`]; the shopper is in this shop.
    pub fn beside_in<T>(&self, shop: &str, work: impl FnOnce() -> T) -> (T, Seen) {
        let (done, seen) = (AtomicBool::new(false), Mutex::new(Seen { times: Vec::new(), harmed: 0, shopped: 0 }));
        let result = std::thread::scope(|scope| {
            let unguarded = request("GET", "/anything", &[], "");
            let shopper = request("POST", &format!("/{shop}"), &[], MUG);
            for bytes in [unguarded, shopper] {
                let (done, seen) = (&done, &seen);
                scope.spawn(move || self.pass(&bytes, done, seen));
            }
            let result = work();
            done.store(true, Ordering::Release);
            result
        });
        let mut seen = seen.into_inner().unwrap();
        seen.times.sort_unstable();
        (result, seen)
    }

    fn pass(&self, bytes: &[u8], done: &AtomicBool, seen: &Mutex<Seen>) {
        let mut client = self.client();
        for turn in 0.. {
            if done.load(Ordering::Acquire) && turn > 20 {
                return;
            }
            let started = Instant::now();
            let answer = client.exchange(turn % self.stand.size(), bytes);
            let good = answer.is_ok_and(|answer| answer.is_some_and(|answer| answer.status == 200));
            {
                let mut seen = seen.lock().unwrap();
                seen.times.push(started.elapsed());
                seen.harmed += usize::from(!good);
                seen.shopped += usize::from(bytes.starts_with(b"POST"));
            }
            std::thread::park_timeout(PACE);
        }
    }

    /// That bystanders fared in the fault as they did without; in words for the table.
    pub fn compare(&self, calm: &Seen, fault: &Seen) -> String {
        let [before, during] = [calm, fault].map(|seen| percentile(&seen.times, 0.99));
        self.expect(calm.harmed + fault.harmed == 0, || format!("{} bystanders were harmed", fault.harmed));
        self.expect_in_time(during <= before + self.size.bystander, || {
            format!("bystanders' p99 is {} in the fault and {} without", ms(during), ms(before))
        });
        format!("bystanders' p99 {} (without {})", ms(during), ms(before))
    }
}
