//! Real servers on free ports, in directories of their own.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Between two looks at a server that starts.
const POLL: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(20);

/// A running `redis-server`. It ends with the value.
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
    pub(super) dir: tempfile::TempDir,
}

impl Server {
    /// One that keeps an append-only file.
    pub(super) fn start(more: &[&str]) -> Self {
        let base = ["--save", "", "--appendonly", "yes"];
        let words: Vec<_> = base.iter().chain(more).map(|word| (*word).to_owned()).collect();
        Self::run(|_, port| [&["--port".to_owned(), port.to_string()][..], &words].concat())
    }

    /// One whose command line depends on its directory and its port.
    pub(super) fn run(line: impl FnOnce(&Path, u16) -> Vec<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("redis-server");
        command.args(line(dir.path(), port)).args(["--bind", "127.0.0.1", "--dir"]).arg(dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("redis-server is needed: apt-get install redis-server");
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline, "redis-server does not listen");
            std::thread::park_timeout(POLL);
        }
        Self { child, port, dir }
    }

    /// A sentinel that watches one primary, with nobody else to agree with.
    pub(super) fn sentinel(primary: u16) -> Self {
        Self::run(|dir, port| {
            let file = dir.join("sentinel.conf");
            let text = format!(
                "port {port}\nsentinel monitor shop 127.0.0.1 {primary} 1\nsentinel down-after-milliseconds shop 300\n\
                 sentinel failover-timeout shop 2000\n"
            );
            std::fs::write(&file, text).unwrap();
            vec![file.to_str().unwrap().to_owned(), "--sentinel".to_owned()]
        })
    }

    pub(super) fn client(&self) -> redis::Connection {
        redis::Client::open(("127.0.0.1", self.port)).unwrap().get_connection().unwrap()
    }

    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
