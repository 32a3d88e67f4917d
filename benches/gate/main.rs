//! What does the gateway add to a request? Direct, bare pingora, observing and enforcing, in one
//! run, as CPU time of the proxy per request and as a ratio.
//!
//! Every proxy is a process of its own on loopback; its CPU time is what the kernel says of it.
//! Rounds are interleaved (A B C D, D C B A, …) and medians are told: absolute figures drift with
//! the machine, ratios of one run hold. `cargo bench --bench gate [-- requests rounds]`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench that cannot run stops, and it talks to whoever runs it"
)]

mod load;
mod proxies;

use std::time::Duration;

use load::{Merchant, Requests};
use proxies::Proxy;

/// Requests of one measured round, and rounds, unless the command line says otherwise.
const REQUESTS: usize = 6_000;
const ROUNDS: usize = 3;
const WARM_UP: usize = 500;
const CONNECTIONS: usize = 16;

/// One row of the table.
struct Row {
    name: &'static str,
    cpu_us: Vec<f64>,
    p50: Vec<Duration>,
    p99: Vec<Duration>,
}

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    if let Some(proxies::BARE) = std::env::args().nth(1).as_deref() {
        return proxies::run_bare();
    }
    // Only `cargo bench` says so; `cargo test` runs every bench once, to see that it runs.
    let smoke = !std::env::args().any(|arg| arg == "--bench");
    let requests = if smoke { 50 } else { *numbers.first().unwrap_or(&REQUESTS) };
    let rounds = if smoke { 1 } else { *numbers.get(1).unwrap_or(&ROUNDS) };
    let merchant = Merchant::start();
    let mut rows: Vec<Row> = Vec::new();
    for round in 0..rounds {
        let mut order = ["direct", "bare pingora", "gateway, observed", "gateway, enforced"];
        if round % 2 == 1 {
            order.reverse();
        }
        for name in order {
            measure(name, &merchant, requests, &mut rows);
        }
    }
    print(&rows, requests, rounds);
}

fn measure(name: &'static str, merchant: &Merchant, requests: usize, rows: &mut Vec<Row>) {
    let proxy = Proxy::start(name, merchant.address());
    let mut warm = Requests::for_proxy(&proxy, WARM_UP.min(requests));
    warm.send(CONNECTIONS);
    let mut load = Requests::for_proxy(&proxy, requests);
    let (before, seen) = (proxy.cpu(), merchant.count());
    let mut latencies = load.send(CONNECTIONS);
    let cpu = proxy.cpu() - before;
    assert_eq!(merchant.count() - seen, requests, "{name}: every request arrives exactly once");
    latencies.sort();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    let row = match rows.iter().position(|row| row.name == name) {
        Some(index) => &mut rows[index],
        None => {
            rows.push(Row { name, cpu_us: vec![], p50: vec![], p99: vec![] });
            rows.last_mut().unwrap()
        }
    };
    row.cpu_us.push(cpu.as_secs_f64() * 1e6 / requests as f64);
    row.p50.push(at(0.5));
    row.p99.push(at(0.99));
}

fn median<T: Copy + PartialOrd>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap());
    sorted[sorted.len() / 2]
}

fn print(rows: &[Row], requests: usize, rounds: usize) {
    let bare = rows.iter().find(|row| row.name == "bare pingora").map(|row| median(&row.cpu_us));
    println!("{requests} requests × {rounds} rounds, {CONNECTIONS} connections, medians");
    println!("| proxy | CPU µs / request | × bare pingora | p50 µs | p99 µs |");
    println!("|---|---|---|---|---|");
    for row in rows {
        let cpu = median(&row.cpu_us);
        let ratio = bare.filter(|_| row.name != "direct").map_or("–".to_owned(), |bare| format!("{:.2}", cpu / bare));
        let cpu = if row.name == "direct" { "–".to_owned() } else { format!("{cpu:.1}") };
        println!(
            "| {} | {cpu} | {ratio} | {} | {} |",
            row.name,
            median(&row.p50).as_micros(),
            median(&row.p99).as_micros()
        );
    }
}
