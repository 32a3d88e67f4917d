//! A real Redis on a port of its own, in a directory of its own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::dir::TempDir;
use super::gateway::Leash;

/// Between two looks at whether it listens.
const POLL: Duration = Duration::from_millis(5);

/// A running `redis-server` that keeps nothing on the disk. It is killed when the value is dropped.
pub struct Redis {
    child: Child,
    address: SocketAddr,
    dir: TempDir,
}

impl Redis {
    pub fn start() -> Self {
        let dir = TempDir::new();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { child: serve(&dir, address), address, dir }
    }

    /// As long as this process lives: for a server that many tests share, which is never dropped.
    pub fn shared(self) -> &'static Self {
        let leash = Leash::new(self.child.id(), &self.dir);
        let (redis, _) = Box::leak(Box::new((self, leash)));
        redis
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub fn flush(&self) {
        self.ask(&redis::cmd("FLUSHALL"))
    }

    /// The answer to a command, over a connection of its own.
    pub fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> T {
        let mut connection = redis::Client::open(self.url()).unwrap().get_connection().unwrap();
        command.query(&mut connection).unwrap()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, empty, where it was.
    pub fn restart(&mut self) {
        self.child = serve(&self.dir, self.address);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(dir: &TempDir, address: SocketAddr) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().expect("these tests need Redis 7: apt-get install redis-server");
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline, "redis-server does not listen");
        std::thread::park_timeout(POLL);
    }
    child
}
