//! What callers that behave badly do to one that behaves well: its latency beside each crowd and beside nobody, in
//! one run; the memory of the gateway; and how soon it is as before. Without `--bench`: a short form that only sees
//! that nobody is failed.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a program that measures and tells"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

/// The one that behaves well asks this often.
const PACE: Duration = Duration::from_millis(5);
const BUYS: &str = r#"{"currency":"USD","items":[{"variant":"shopify:variant:123456","quantity":1,"price":29.99}]}"#;

/// How much of each crowd there is.
#[derive(Clone, Copy)]
struct Size {
    requests: usize,
    idle: usize,
    slow: usize,
    resets_per_s: u64,
    floods_per_s: u64,
}

const FULL: Size = Size { requests: 2_000, idle: 10_000, slow: 1_000, resets_per_s: 4_000, floods_per_s: 1_000 };
const SHORT: Size = Size { requests: 60, idle: 200, slow: 50, resets_per_s: 200, floods_per_s: 100 };

fn main() {
    let size = if std::env::args().any(|arg| arg == "--bench") { FULL } else { SHORT };
    let pid = std::process::id().to_string();
    let _ = Command::new("prlimit").args(["--pid", &pid, "--nofile=16384:"]).status();
    let gateway = Gateway::start(merchant());
    well_behaved(&gateway, size.requests / 4);
    let quiet = Measured::of(&gateway, size.requests);
    println!("| crowd | p50 ms | p99 ms | p99 beside nobody's | memory MiB | failed | p99 after it |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    quiet.tell("nobody", &quiet, None);
    let (at, done) = (gateway.address, AtomicBool::new(false));
    let mut failed = quiet.failed;
    let mut beside = |name: &str, crowd: &(dyn Fn(&AtomicBool) + Sync), settle: Duration| {
        done.store(false, Ordering::Release);
        let measured = std::thread::scope(|scope| {
            scope.spawn(|| crowd(&done));
            std::thread::sleep(settle);
            let measured = Measured::of(&gateway, size.requests);
            done.store(true, Ordering::Release);
            measured
        });
        let after = Measured::of(&gateway, size.requests / 2);
        measured.tell(name, &quiet, Some(&after));
        failed += measured.failed + after.failed;
    };
    let soon = Duration::from_secs(1);
    beside(&format!("{} idle connections", size.idle), &|done| idle(at, size.idle, "", done), 3 * soon);
    let kept = format!("{} connections that are kept after a request", size.idle);
    beside(&kept, &|done| idle(at, size.idle, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n", done), 5 * soon);
    let head = "POST /checkout HTTP/1.1\r\nHost: shop\r\nX-Slow: ";
    beside(&format!("{} slow heads", size.slow), &|done| trickle(at, size.slow, head, done), soon);
    let body = "POST /checkout HTTP/1.1\r\nHost: shop\r\nContent-Length: 60000\r\n\r\n{";
    beside(&format!("{} slow bodies", size.slow), &|done| trickle(at, size.slow, body, done), soon);
    let resets = format!("HTTP/2 rapid reset, {} streams/s", size.resets_per_s);
    beside(&resets, &|done| rapid_reset(at, size.resets_per_s, done), soon);
    let flood = format!("connection flood, {}/s", size.floods_per_s);
    beside(&flood, &|done| flood_with(at, size.floods_per_s, done), soon);
    assert_eq!(failed, 0, "the caller that behaves well was failed");
}

/// What the caller that behaves well saw, and the gateway's memory meanwhile.
struct Measured {
    times: Vec<Duration>,
    failed: usize,
    memory_mib: f64,
}

impl Measured {
    fn of(gateway: &Gateway, requests: usize) -> Self {
        let (mut times, failed) = well_behaved(gateway, requests);
        times.sort_unstable();
        Self { times, failed, memory_mib: gateway.memory_mib() }
    }

    fn at(&self, share: f64) -> f64 {
        let last = self.times.len().saturating_sub(1);
        self.times.get((last as f64 * share) as usize).copied().unwrap_or_default().as_secs_f64() * 1e3
    }

    fn tell(&self, name: &str, quiet: &Self, after: Option<&Self>) {
        let ratio = self.at(0.99) / quiet.at(0.99);
        let after = after.map_or(String::new(), |after| format!("{:.2}", after.at(0.99) / quiet.at(0.99)));
        println!(
            "| {name} | {:.2} | {:.2} | {ratio:.2} | {:.1} | {} | {after} |",
            self.at(0.5),
            self.at(0.99),
            self.memory_mib,
            self.failed
        );
    }
}

/// Buys on one connection, at its own pace whatever comes back.
fn well_behaved(gateway: &Gateway, requests: usize) -> (Vec<Duration>, usize) {
    let request = format!(
        "POST /checkout HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{BUYS}",
        BUYS.len()
    );
    let (mut connection, mut times, mut failed) = (gateway.connect(), Vec::with_capacity(requests), 0);
    let began = Instant::now();
    for number in 0..requests {
        let due = began + PACE * u32::try_from(number).unwrap();
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let sent = Instant::now();
        if connection.write_all(request.as_bytes()).is_ok() && answered(&mut connection) {
            times.push(sent.elapsed());
        } else {
            failed += 1;
            connection = gateway.connect();
        }
    }
    (times, failed)
}

/// Reads one answer with a length; true where it is a 200.
fn answered(connection: &mut TcpStream) -> bool {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let Ok(read @ 1..) = connection.read(&mut piece) else { return false };
        bytes.extend_from_slice(&piece[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        if bytes.len() >= end + 4 + length.unwrap_or(0) {
            return head.starts_with("http/1.1 200");
        }
    }
}

/// Opens connections, perhaps asks once on each, and leaves them.
fn idle(to: SocketAddr, count: usize, first: &str, done: &AtomicBool) {
    let open: Vec<_> = (0..count)
        .filter_map(|number| {
            if number % 100 == 99 {
                std::thread::sleep(Duration::from_millis(10));
            }
            let mut connection = TcpStream::connect(to).ok()?;
            if !first.is_empty() {
                connection.write_all(first.as_bytes()).ok()?;
                answered(&mut connection);
            }
            Some(connection)
        })
        .collect();
    assert!(open.len() > count * 9 / 10, "{} of {count} connections", open.len());
    wait(done);
}

/// A byte each second on each of many connections, each at a time of its own; a new one for each that was closed.
fn trickle(to: SocketAddr, count: usize, first: &str, done: &AtomicBool) {
    let begin = || {
        let mut connection = TcpStream::connect(to).ok()?;
        connection.write_all(first.as_bytes()).ok()?;
        Some(connection)
    };
    let mut open: Vec<_> = (0..count).filter_map(|_| begin()).collect();
    let (began, each) = (Instant::now(), Duration::from_secs(1) / u32::try_from(count).unwrap());
    for number in 0_u32.. {
        if done.load(Ordering::Acquire) {
            return;
        }
        std::thread::sleep((began + each * number).saturating_duration_since(Instant::now()));
        let Some(connection) = open.get_mut(number as usize % count) else { continue };
        if connection.write_all(b"x").is_err()
            && let Some(new) = begin()
        {
            *connection = new;
        }
    }
}

/// CVE-2023-44487: streams that are opened and reset at once, over two connections.
fn rapid_reset(to: SocketAddr, per_s: u64, done: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pause = Duration::from_millis(10);
    runtime.block_on(async {
        while !done.load(Ordering::Acquire) {
            let Ok(socket) = tokio::net::TcpStream::connect(to).await else { continue };
            let Ok((mut send, connection)) = h2::client::handshake(socket).await else { continue };
            let driver = tokio::spawn(connection);
            while !done.load(Ordering::Acquire) && !driver.is_finished() {
                for _ in 0..per_s / 100 {
                    let request = http::Request::post("http://shop/checkout").body(()).unwrap();
                    let Ok(ready) = send.clone().ready().await else { break };
                    send = ready;
                    let Ok((answer, mut body)) = send.send_request(request, false) else { break };
                    let _ = body.send_data(Bytes::from_static(b"{"), false);
                    body.send_reset(h2::Reason::CANCEL);
                    drop(answer);
                }
                tokio::time::sleep(pause).await;
            }
            driver.abort();
        }
    });
}

fn flood_with(to: SocketAddr, per_s: u64, done: &AtomicBool) {
    while !done.load(Ordering::Acquire) {
        for _ in 0..per_s / 100 {
            drop(TcpStream::connect(to));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn wait(done: &AtomicBool) {
    while !done.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `permyx gateway` by itself, with one observed route.
struct Gateway {
    child: Mutex<Child>,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Gateway {
    fn start(merchant: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = permyx::token::keys::SigningKey::generate().unwrap();
        let set = permyx::token::keys::key_set([key.public()]);
        std::fs::write(dir.path().join("jwks.json"), serde_json::to_string(&set).unwrap()).unwrap();
        let config = format!(
            "[log]\nfilter = \"error\"\n[gateway]\nlisten = \"127.0.0.1:0\"\nconnections_max = 20000\nfallback = \"http://{merchant}\"\n\
             [[gateway.routes]]\nname = \"checkout\"\npath = \"/checkout\"\npreset = \"oneshot-json\"\nstore = \"s\"\n\
             upstream = \"http://{merchant}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n[ledger]\nsingle_instance = true\n\
             [keys]\njwks_file = \"jwks.json\"\n"
        );
        std::fs::write(dir.path().join("permyx.toml"), config).unwrap();
        let mut command = Command::new("prlimit");
        command.args(["--nofile=16384:", env!("CARGO_BIN_EXE_permyx"), "gateway", "--config", "permyx.toml"]);
        let mut child = command.arg("--ready-json").current_dir(dir.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = ready["gateway"].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
        Self { child: Mutex::new(child), address, _dir: dir }
    }

    fn connect(&self) -> TcpStream {
        let connection = TcpStream::connect(self.address).unwrap();
        connection.set_nodelay(true).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        connection
    }

    fn memory_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.lock().unwrap().id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1024.0
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A shop that sells everything to everybody, on a thread for each connection.
fn merchant() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let sold = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for connection in listener.incoming().flatten() {
                let sold = &sold;
                scope.spawn(move || serve(connection, sold));
            }
        });
    });
    address
}

fn serve(mut connection: TcpStream, sold: &AtomicUsize) {
    let _ = connection.set_nodelay(true);
    let (mut bytes, mut piece) = (Vec::new(), [0; 8192]);
    loop {
        let Ok(read @ 1..) = connection.read(&mut piece) else { return };
        bytes.extend_from_slice(&piece[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        if bytes.len() < end + 4 + length.unwrap_or(0) {
            continue;
        }
        bytes.clear();
        let body = format!("{{\"order\":\"{}\"}}", sold.fetch_add(1, Ordering::Relaxed));
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        if connection.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}
