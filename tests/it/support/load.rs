//! Many requests over a few kept-alive connections, and what came of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::http::{Answer, Connection};

/// What came of a load.
#[derive(Debug, Default)]
pub struct Report {
    /// Answers by status.
    pub statuses: BTreeMap<u16, usize>,
    /// Requests without a complete answer.
    pub broken: usize,
    /// Times from the first byte sent to the last received, sorted.
    pub latencies: Vec<Duration>,
    pub elapsed: Duration,
}

impl Report {
    pub fn count(&self, status: u16) -> usize {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    /// The latency that this share of the answers did not exceed (0.5 = median).
    pub fn percentile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * share) as usize).copied().unwrap_or_default()
    }

    fn add(&mut self, other: Self) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.broken += other.broken;
        self.latencies.extend(other.latencies);
    }
}

/// Sends `count` requests over `connections`, each the bytes that `request` makes for its number.
/// A connection that breaks is opened again; its request counts as broken and is not sent again.
pub fn run(address: SocketAddr, connections: usize, count: usize, request: impl Fn(usize) -> Vec<u8> + Sync) -> Report {
    run_seeing(address, connections, count, request, |_, _| ())
}

/// As [`run`], and shows each answer with the number of its request.
pub fn run_seeing(
    address: SocketAddr,
    connections: usize,
    count: usize,
    request: impl Fn(usize) -> Vec<u8> + Sync,
    see: impl Fn(usize, &Answer) + Sync,
) -> Report {
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    let mut report = Report::default();
    std::thread::scope(|scope| {
        let worker = || scope.spawn(|| work(address, &next, count, &request, &see));
        let workers: Vec<_> = (0..connections).map(|_| worker()).collect();
        workers.into_iter().for_each(|worker| report.add(worker.join().unwrap()));
    });
    report.elapsed = started.elapsed();
    report.latencies.sort_unstable();
    report
}

fn work(
    address: SocketAddr,
    next: &AtomicUsize,
    count: usize,
    request: &impl Fn(usize) -> Vec<u8>,
    see: &impl Fn(usize, &Answer),
) -> Report {
    let mut report = Report::default();
    let mut connection = Connection::open(address);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return report;
        }
        let bytes = request(number);
        let sent = Instant::now();
        connection.send(bytes);
        let close = match connection.answer_to("POST") {
            Ok(Some(answer)) => {
                report.latencies.push(sent.elapsed());
                *report.statuses.entry(answer.status).or_default() += 1;
                see(number, &answer);
                answer.headers.iter().any(|(name, value)| name == "connection" && value.eq_ignore_ascii_case("close"))
            }
            Ok(None) | Err(_) => {
                report.broken += 1;
                true
            }
        };
        if close {
            connection = Connection::open(address);
        }
    }
}
