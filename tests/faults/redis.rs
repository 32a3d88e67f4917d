//! Real `redis-server` processes: servers, replicas and sentinels, started in directories of their
//! own, stopped in every way there is.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support::dir::TempDir;

const LOOK: Duration = Duration::from_millis(2);
/// A server that says nothing for so long is dead. On a loaded machine a server that is well may be late by
/// half a second, and a failover that nobody planted would be judged.
const DEAD_MS: u32 = 1500;
/// How a ledger's Redis has to be set up.
const LEDGER: &str = "appendonly yes\nappendfsync everysec\nmaxmemory-policy noeviction\nsave \"\"\n";
/// A name in a server's directory under which no snapshot can be saved.
pub const BLOCKED: &str = "blocked";
/// What every server here has.
const COMMON: &str = "protected-mode no\nenable-debug-command yes\ndaemonize no\nlogfile server.log\nenable-protected-configs yes\n\
    repl-diskless-sync-delay 0\nrepl-ping-replica-period 1\n";

/// A server; it is killed when the value is dropped.
pub struct Redis {
    address: SocketAddr,
    dir: TempDir,
    /// What stands before the program: a network namespace, a clock.
    via: Vec<String>,
    sentinel: bool,
    child: Child,
}

impl Redis {
    /// A server for a ledger, on a free port.
    pub fn start() -> Self {
        Self::start_via(free_address(Ipv4Addr::LOCALHOST.into()), &[])
    }

    /// As [`Self::start`], where it is told, by way of another program.
    pub fn start_via(address: SocketAddr, via: &[String]) -> Self {
        Self::start_at(address, via, LEDGER, false)
    }

    /// A replica of the server that is reached at `primary`.
    pub fn replica_of(primary: SocketAddr, own: IpAddr) -> Self {
        let (ip, port) = (primary.ip(), primary.port());
        Self::start_at(free_address(own), &[], &format!("{LEDGER}replicaof {ip} {port}\n"), false)
    }

    /// A sentinel that watches the server at `primary` under the name `mymaster`.
    pub fn sentinel_of(primary: SocketAddr, own: IpAddr) -> Self {
        let (ip, port) = (primary.ip(), primary.port());
        let lines = format!(
            "sentinel monitor mymaster {ip} {port} 2\nsentinel down-after-milliseconds mymaster {DEAD_MS}\n\
             sentinel failover-timeout mymaster 5000\n"
        );
        Self::start_at(free_address(own), &[], &lines, true)
    }

    fn start_at(address: SocketAddr, via: &[String], lines: &str, sentinel: bool) -> Self {
        let dir = TempDir::new();
        let (ip, port, own) = (address.ip(), address.port(), dir.path().display());
        dir.write("redis.conf", &format!("bind {ip}\nport {port}\ndir {own}\n{COMMON}{lines}"));
        dir.write(&format!("{BLOCKED}/file"), "");
        let child = spawn(&dir, via, sentinel);
        let redis = Self { address, dir, via: via.to_vec(), sentinel, child };
        redis.wait_until_it_answers();
        redis
    }

    fn wait_until_it_answers(&self) {
        wait_for("redis-server to answer", || self.try_command::<String>(&["PING"]).is_ok());
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs a command; it must succeed.
    pub fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_command(words).unwrap_or_else(|why| panic!("{words:?}: {why}"))
    }

    /// Runs a command on a connection of its own.
    pub fn try_command<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        command(words).query(&mut self.connect()?)
    }

    /// A connection that keeps the rights it has now.
    pub fn connect(&self) -> redis::RedisResult<redis::Connection> {
        let client = redis::Client::open(format!("redis://{}/", self.address))?;
        let connection = client.get_connection_with_timeout(Duration::from_secs(1))?;
        connection.set_read_timeout(Some(PATIENCE))?;
        Ok(connection)
    }

    /// How many keys begin so.
    pub fn keys(&self, prefix: &str) -> usize {
        self.command::<Vec<String>>(&["KEYS", &format!("{prefix}*")]).len()
    }

    /// A field of `INFO`; empty at a moment when it cannot be asked, as in a promotion.
    pub fn info(&self, field: &str) -> String {
        let info: String = self.try_command(&["INFO"]).unwrap_or_default();
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_default().trim().to_owned()
    }

    /// Stops it as it is (SIGSTOP): its sockets stay open and say nothing.
    pub fn pause(&self) {
        signal(self.child.id(), "-STOP");
    }

    pub fn resume(&self) {
        signal(self.child.id(), "-CONT");
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was, with what it has on disk.
    pub fn restart(&mut self) {
        self.child = spawn(&self.dir, &self.via, self.sentinel);
        self.wait_until_it_answers();
    }

    /// Starts it again with nothing: its disk was lost.
    pub fn restart_empty(&mut self) {
        std::fs::remove_dir_all(self.dir.path().join("appendonlydir")).unwrap();
        self.restart();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn command(words: &[&str]) -> redis::Cmd {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command
}

fn spawn(dir: &TempDir, via: &[String], sentinel: bool) -> Child {
    let mut words: Vec<&str> = via.iter().map(String::as_str).chain(["redis-server", "redis.conf"]).collect();
    words.extend(sentinel.then_some("--sentinel"));
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(dir.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is started: apt-get install redis-server")
}

pub fn signal(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// An address where nobody listens now. The port is below those that the kernel gives to
/// connections, of which there are many here: none of them takes it before the server does.
pub fn free_address(ip: IpAddr) -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 100) as u16 * 100;
    let next = || SocketAddr::from((ip, first + NEXT.fetch_add(1, Ordering::Relaxed) % 2000));
    std::iter::repeat_with(next).find(|address| TcpListener::bind(address).is_ok()).unwrap()
}

/// Looks until it is so. A look is cheap; the wait has a bound.
pub fn wait_for(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::park_timeout(LOOK);
    }
    started.elapsed()
}

/// Whether `program` is there and may do this.
pub fn works(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Writes a line to whoever watches a long run.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
