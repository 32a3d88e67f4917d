//! What is left behind by millions of requests of every kind? Memory and descriptors of a gateway and of the control
//! plane that it delivers to, and whether evidence has each answer: `make soak` sends ten million.
//!
//! Policies are replaced and callers leave in the middle of what they say meanwhile. The load waits for the control
//! plane where the spool grows, as a limit on requests would.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a program that measures and tells"
)]

mod account;
#[path = "../support/intent.rs"]
mod intent;
#[path = "../support/load.rs"]
#[expect(dead_code, reason = "how long a request takes is not asked here")]
mod load;
mod mix;
mod stand;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use clap::Parser;
use permyx::token::keys::SigningKey;

use account::Account;
use load::{Load, Offer};
use mix::{Batch, Sent};
use stand::Stand;

/// Requests whose tokens are signed before they are sent: all of them long before the tokens expire.
const BATCH: usize = 25_000;
const CONNECTIONS: usize = 64;
/// Callers that leave in the middle, for each batch.
const LEAVERS: usize = 12;
/// A policy is replaced after so many batches.
const POLICY_EVERY: usize = 20;
/// Bytes in the spool above which the load waits: more than the half that is kept of what was delivered, and less than
/// the whole by what a batch brings.
const SPOOL: f64 = 3e9;
/// How long what is asked for at the end may take.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Parser)]
#[command(name = "soak", about = "Memory, descriptors and evidence over millions of requests")]
struct Args {
    #[arg(long, default_value_t = 200_000)]
    requests: usize,
    /// Given by `cargo bench`; without it a short form only sees that it runs
    #[arg(long, hide = true)]
    bench: bool,
}

/// Resident memory in MiB after a batch.
struct Sample {
    gateway: f64,
    control: f64,
}

fn main() {
    let args = Args::parse();
    let (requests, batch) = if args.bench { (args.requests, BATCH) } else { (6_000, 2_000) };
    let batches = requests.div_ceil(batch);
    let (mut load, key) = (Load::start(), SigningKey::generate().unwrap());
    let stand = Stand::start(load.merchant(), &key);
    let descriptors = [stand.gateway.descriptors(), stand.control.descriptors()];
    let (mut sent, mut samples, began) = (Sent::default(), Vec::new(), Instant::now());
    for number in 0..batches {
        let (now, at) = (Batch::signed(&key, batch), stand.address);
        std::thread::scope(|scope| {
            scope.spawn(move || (0..LEAVERS).for_each(|n| leave(at, n)));
            let report = load.send(at, &now.requests, Offer { connections: CONNECTIONS, rate: None, spins: false });
            now.sent.judge(&report);
        });
        sent += now.sent;
        if number % POLICY_EVERY == POLICY_EVERY - 1 {
            stand.replace_policy(number);
        }
        until("the spool is small", || stand.metric("permyx_evidence_spool_bytes") < SPOOL);
        samples.push(Sample { gateway: stand.gateway.memory_mib(), control: stand.control.memory_mib() });
        tell(number + 1, batches, batch, samples.last().unwrap(), began);
    }
    let wall = began.elapsed();
    until("descriptors are as at the start", || {
        stand.gateway.descriptors() <= descriptors[0] + 4 && stand.control.descriptors() <= descriptors[1] + 16
    });
    let left = [stand.gateway.descriptors(), stand.control.descriptors()];
    until("everything is delivered", || stand.metric("permyx_evidence_lag_seconds") == 0.0);
    let account = Account::of(stand.end());
    println!("{} requests in {:.0} s: {sent:?}", batches * batch, wall.as_secs_f64());
    println!("descriptors of the gateway and the control plane: {descriptors:?} before, {left:?} after");
    println!("events: {account:?}");
    account.judge(&sent);
    if args.bench && batches >= 60 {
        flat("the gateway", samples.iter().map(|sample| sample.gateway));
        flat("the control plane", samples.iter().map(|sample| sample.control));
    }
}

fn tell(done: usize, of: usize, batch: usize, memory: &Sample, began: Instant) {
    eprintln!(
        "{} of {} requests, {:.0}/s, gateway {:.1} MiB, control plane {:.1} MiB",
        done * batch,
        of * batch,
        (done * batch) as f64 / began.elapsed().as_secs_f64(),
        memory.gateway,
        memory.control
    );
}

/// Says something that has no end, or does not wait for the answer.
fn leave(gateway: SocketAddr, number: usize) {
    let said: &[u8] = match number % 3 {
        0 => b"POST /items HTTP/1.1\r\nHost: shop\r\nX-Half: ",
        1 => b"POST /items HTTP/1.1\r\nHost: shop\r\nContent-Length: 4000\r\n\r\nhalf",
        _ => b"GET /items HTTP/1.1\r\nHost: shop\r\n\r\n",
    };
    if let Ok(mut connection) = TcpStream::connect(gateway) {
        let _ = connection.write_all(said);
    }
    std::thread::sleep(Duration::from_millis(20));
}

/// After the first third memory does not grow: the last third needs no more than the second, but for what an allocator
/// takes at a time.
fn flat(whose: &str, memory: impl Iterator<Item = f64>) {
    let memory: Vec<_> = memory.collect();
    let third = memory.len() / 3;
    let median = |part: &[f64]| {
        let mut part = part.to_vec();
        part.sort_by(f64::total_cmp);
        part[part.len() / 2]
    };
    let (warm, last) = (median(&memory[third..2 * third]), median(&memory[2 * third..]));
    println!("memory of {whose}: {warm:.1} MiB in the second third, {last:.1} MiB in the last (medians)");
    assert!(last <= warm * 1.05 + 2.0, "{whose} grows: {memory:.1?}");
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
