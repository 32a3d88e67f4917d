//! What does a checked checkout cost in the gateway, beside what a merchant would otherwise pick? In one
//! run, as CPU time of the proxy for each request.
//!
//! Each proxy has one processor and one thread; the callers, the merchant and Redis have another. Every
//! proxy is fresh, rounds are interleaved (A B C, C B A, …), medians are told, and figures count only
//! where the proxy did the job: absolute figures drift with the machine, ratios of one run hold.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench that cannot run stops, and it talks to whoever runs it"
)]

mod bare;
mod gateway;
mod instructions;
#[path = "../support/intent.rs"]
mod intent;
mod job;
mod keys;
#[path = "../support/load.rs"]
mod load;
mod proxy;
mod redis;
mod requests;
mod table;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Parser;

use instructions::{COUNTED, Counter};
use job::Job;
use keys::Keys;
use load::{Load, Offer};
use proxy::{Peer, Proxy, Setting};
use redis::Redis;
use requests::Sizes;
use table::{Measured, render};

#[derive(Parser)]
#[command(name = "peers", about = "The gateway beside other proxies, in one run")]
struct Args {
    /// Jobs to run, all of them unless some are named
    #[arg(long, value_delimiter = ',')]
    jobs: Vec<Job>,
    /// Proxies to run: all that are installed unless some are named
    #[arg(long, value_delimiter = ',')]
    peers: Vec<Peer>,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Requests of one measured round
    #[arg(long, default_value_t = 15_000)]
    requests: usize,
    /// Requests before them
    #[arg(long, default_value_t = 2_000)]
    warm_up: usize,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Bytes of a body, at least
    #[arg(long, default_value_t = 0)]
    body: usize,
    /// Bytes of the product id in a token, at most 128: a longer token
    #[arg(long, default_value_t = 0)]
    product: usize,
    /// Stores that the gateway has routes and policies for
    #[arg(long, default_value_t = 1)]
    stores: usize,
    /// Requests a second; without it as many as the proxy takes
    #[arg(long)]
    rate: Option<f64>,
    /// The gateway to measure, instead of the one that was built with this bench
    #[arg(long)]
    program: Option<PathBuf>,
    /// Also write the table into this file
    #[arg(long)]
    out: Option<PathBuf>,
    /// Start our own proxies by way of this: `--via "valgrind --tool=callgrind"`
    #[arg(long, value_delimiter = ' ')]
    via: Vec<String>,
    /// Count instructions instead of time
    #[arg(long)]
    instructions: bool,
    /// Compare the instructions with this record; `UPDATE=1` replaces it
    #[arg(long, requires = "instructions")]
    record: Option<PathBuf>,
    /// Given by `cargo bench`; without it everything runs once, to see that it runs
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some(bare::ARGUMENT) {
        return bare::run();
    }
    let mut args = Args::parse();
    if args.instructions {
        return count_instructions(args);
    }
    if !args.bench {
        (args.rounds, args.requests, args.warm_up) = (1, 200, 100);
        args.peers = vec![Peer::Direct, Peer::Bare, Peer::Gateway];
        args.jobs = vec![Job::Pass, Job::Burn, Job::Replay, Job::Forged];
    }
    let jobs = if args.jobs.is_empty() { Job::ALL.to_vec() } else { args.jobs.clone() };
    let wanted = if args.peers.is_empty() { Peer::ALL.to_vec() } else { args.peers.clone() };
    let (peers, missing): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|peer| peer.program().is_some());
    for peer in missing {
        eprintln!("{} is not installed: it is left out", peer.name());
    }
    stay_on_the_second_processor();
    let (keys, mut measured) = (Keys::generate(), Vec::new());
    for round in 0..args.rounds {
        for &job in &jobs {
            let mut order: Vec<_> = peers.iter().copied().filter(|peer| peer.does(job)).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for peer in order {
                eprintln!("round {} of {}: {}, {}", round + 1, args.rounds, job.title(), peer.name());
                measured.push(measure(&args, job, peer, &keys, None));
            }
        }
    }
    let offered = args.rate.map_or("as many as it takes".to_owned(), |rate| format!("{rate} requests/s"));
    let program = match &args.program {
        Some(program) => format!("`{}`", program.display()),
        None => "a plain release build".to_owned(),
    };
    let table = format!(
        "{program}; {} requests × {} rounds over {} connections, {offered}; medians\n\n{}",
        args.requests,
        args.rounds,
        args.connections,
        render(&measured)
    );
    println!("{table}");
    if let Some(out) = &args.out {
        std::fs::write(out, &table).unwrap();
    }
    let objections = measured.iter().filter_map(|row| Some((row, row.objection.as_ref()?)));
    let ours = objections.filter(|(row, _)| row.peer == Peer::Gateway).map(|(_, why)| why);
    assert_eq!(ours.count(), 0, "the gateway did not do its job: see the table");
}

fn count_instructions(mut args: Args) {
    if !Counter::is_installed() {
        eprintln!("valgrind is not installed: instructions are not counted here");
        return;
    }
    (args.requests, args.warm_up) = (instructions::REQUESTS, instructions::WARM_UP);
    stay_on_the_second_processor();
    let keys = Keys::generate();
    let wanted = COUNTED.into_iter().filter(|(job, _)| args.jobs.is_empty() || args.jobs.contains(job));
    let counted = wanted.collect::<Vec<_>>().into_iter().map(|(job, peer)| {
        let counter = Counter::new();
        args.via = counter.via();
        let measured = measure(&args, job, peer, &keys, Some(&counter));
        assert_eq!(measured.objection, None, "{}: {}", job.title(), peer.name());
        (instructions::name(job, peer), counter.read() / instructions::REQUESTS as u64)
    });
    let counted: instructions::Counts = counted.collect();
    println!("{}", serde_json::to_string_pretty(&counted).unwrap());
    let risen = args.record.map_or(Vec::new(), |record| instructions::judge(&counted, &record));
    assert!(risen.is_empty(), "{risen:#?}\nif that is meant, record it: see benches/README.md");
}

/// Whatever this process starts inherits it, unless it is told otherwise.
fn stay_on_the_second_processor() {
    let own = std::process::id().to_string();
    let done =
        Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", "1", &own]).stdout(Stdio::null()).status();
    if !done.is_ok_and(|status| status.success()) {
        eprintln!("there is no second processor: the load side shares the proxy's");
    }
}

fn measure(args: &Args, job: Job, peer: Peer, keys: &Keys, counter: Option<&Counter>) -> Measured {
    let (mut load, redis) = (Load::start(), (job == Job::Shared).then(Redis::start));
    let (level, merchant) = (job.level(), load.merchant());
    let setting = Setting {
        level,
        merchant,
        keys,
        redis: redis.as_ref(),
        stores: args.stores,
        via: &args.via,
        program: args.program.as_deref(),
    };
    let mut proxy = Proxy::start(peer, &setting);
    let offer = Offer { connections: args.connections, rate: args.rate, spins: job.lets_the_load_side_spin() };
    let sizes = Sizes { body: args.body, product: args.product };
    let requests = requests::of(job, args.requests, sizes, &keys.signing);
    let warm = match job {
        // What is replayed was used before.
        Job::Replay => requests::first(&requests, args.warm_up),
        _ => requests::of(job, args.warm_up, sizes, &keys.signing),
    };
    load.send(proxy.address, &warm, Offer { rate: None, ..offer });
    let count = |proxy: &Proxy, on| counter.zip(proxy.process()).map(|(counter, process)| counter.count(process, on));
    count(&proxy, true);
    let before = proxy.cpu();
    let report = load.send(proxy.address, &requests, offer);
    let cpu = proxy.cpu() - before;
    count(&proxy, false);
    let memory_mib = proxy.memory_mib();
    let mut objection = job.objection(&report, &requests, peer == Peer::Gateway);
    if peer == Peer::Gateway || counter.is_some() {
        proxy.end();
    }
    if peer == Peer::Gateway {
        let sent = [warm.count(), requests.count()];
        objection = objection.or_else(|| gateway::objection(proxy.dir.path(), job, &sent));
    }
    if let Some(why) = &objection {
        eprintln!("{} did not do the job: {why}", peer.name());
    }
    Measured {
        job,
        peer,
        cpu_us: cpu.as_secs_f64() * 1e6 / requests.count() as f64,
        per_second: requests.count() as f64 / report.wall.as_secs_f64(),
        p50: report.latency(0.5),
        p99: report.latency(0.99),
        p999: report.latency(0.999),
        memory_mib,
        objection,
    }
}
