//! What does a gateway need before its first request? Size of its program without symbols, time from its start until
//! only the ledger's own window is left, memory once it is idle. The sidecar is measured by
//! `cargo bench --no-default-features --features gateway --bench start`, another build by `-- --program PATH`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program that measures and tells"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use permyx::token::keys::{SigningKey, key_set};

/// Long enough for everything that happens once.
const IDLE: Duration = Duration::from_secs(3);
const START: Duration = Duration::from_secs(30);
const MIB: f64 = 1024.0 * 1024.0;

static PROGRAM: LazyLock<String> = LazyLock::new(|| {
    let named = std::env::args().skip_while(|arg| arg != "--program").nth(1);
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_permyx").to_owned())
});

fn main() {
    let rounds = if std::env::args().any(|arg| arg == "--bench") { 7 } else { 1 };
    let mut measured: Vec<_> = (0..rounds).map(|_| started()).collect();
    measured.sort_by_key(|(ready, _)| *ready);
    let (ready, _) = *measured.get(rounds / 2).unwrap();
    measured.sort_by_key(|(_, memory)| *memory);
    let (_, memory_kib) = *measured.get(rounds / 2).unwrap();
    println!(
        "{}: {:.1} MiB without symbols; ready but for the ledger's window in {:.0} ms, idle with {:.1} MiB (medians of {rounds})",
        *PROGRAM,
        stripped_bytes() as f64 / MIB,
        ready.as_secs_f64() * 1e3,
        memory_kib as f64 / 1024.0
    );
}

fn stripped_bytes() -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("permyx");
    let done = Command::new("strip").arg("-o").arg(&copy).arg(&*PROGRAM).status().unwrap();
    assert!(done.success());
    std::fs::metadata(copy).unwrap().len()
}

/// Time until it could serve, and its memory in KiB when it has nothing to do.
fn started() -> (Duration, u64) {
    let dir = tempfile::tempdir().unwrap();
    let key = SigningKey::generate().unwrap();
    std::fs::write(dir.path().join("jwks.json"), serde_json::to_string(&key_set([key.public()])).unwrap()).unwrap();
    let ops: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        "[log]\nfilter = \"error\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n[[gateway.routes]]\nname = \"checkout\"\n\
         path = \"/checkout\"\npreset = \"oneshot-json\"\nstore = \"s\"\nupstream = \"http://127.0.0.1:1\"\n\
         [ops]\nlisten = \"{ops}\"\n[ledger]\nsingle_instance = true\n[keys]\njwks_file = \"jwks.json\"\n"
    );
    std::fs::write(dir.path().join("permyx.toml"), config).unwrap();
    let began = Instant::now();
    let mut command = Command::new(&*PROGRAM);
    command.args(["gateway", "--config", "permyx.toml"]).current_dir(dir.path()).stdout(Stdio::null());
    let gateway = Ended(command.spawn().unwrap());
    while !could_serve(ops) {
        assert!(began.elapsed() < START, "it does not start");
        std::thread::sleep(Duration::from_millis(1));
    }
    let ready = began.elapsed();
    std::thread::sleep(IDLE);
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.0.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    (ready, line.trim().trim_end_matches(" kB").parse().unwrap())
}

/// Ready, or ready but for the window in which a memory ledger takes no tokens from before its start.
fn could_serve(ops: SocketAddr) -> bool {
    let Ok(mut connection) = TcpStream::connect(ops) else { return false };
    let asked = connection.write_all(b"GET /readyz HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    if asked.and_then(|()| connection.read_to_string(&mut answer)).is_err() {
        return false;
    }
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    head.starts_with("HTTP/1.1 200") || (!body.is_empty() && body.lines().all(|line| line.starts_with("quarantine: ")))
}

/// Ends with the value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
