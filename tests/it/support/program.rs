//! The real program as a process: started on free ports in a directory of its own, stopped or
//! killed at will, its output kept for the moment a test fails.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// The binary under test.
const PERMYX: &str = env!("CARGO_BIN_EXE_permyx");
/// Between two looks at whether a process has ended.
const POLL: Duration = Duration::from_millis(5);

/// A running `permyx`. It is killed when the value is dropped.
pub struct Program {
    child: Child,
    ready: serde_json::Value,
    log: Arc<Mutex<String>>,
}

impl Program {
    /// Starts `permyx ARGS --ready-json` in `dir` and waits until it says that it serves.
    pub fn start(dir: &Path, args: &[&str]) -> Self {
        Self::start_via(&[], dir, args)
    }

    /// As [`Self::start`], by way of a program that becomes it: `prlimit`, `env`, `ip netns exec`.
    pub fn start_via(via: &[String], dir: &Path, args: &[&str]) -> Self {
        let mut command = command(via, dir, args);
        let mut child = command.arg("--ready-json").stderr(Stdio::piped()).spawn().unwrap();
        let log = collect(child.stderr.take().unwrap());
        let lines = lines_of(child.stdout.take().unwrap());
        let mut program = Self { child, ready: serde_json::Value::Null, log };
        program.ready = program.wait_until_ready(&lines, args);
        program
    }

    fn wait_until_ready(&mut self, lines: &Receiver<String>, args: &[&str]) -> serde_json::Value {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(&line)
                && value["ready"] == true
            {
                return value;
            }
        }
        panic!("`permyx {}` did not say that it is ready:\n{}", args.join(" "), self.log());
    }

    /// A member of the ready line, such as `data`.
    pub fn said(&self, name: &str) -> String {
        let value = self.ready[name].as_str();
        value.unwrap_or_else(|| panic!("no `{name}` in {}", self.ready)).to_owned()
    }

    /// Where `gateway`, `api`, `merchant` or `ops` listens.
    pub fn address(&self, name: &str) -> SocketAddr {
        let url = self.said(name);
        url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap_or_else(|_| panic!("`{url}`"))
    }

    /// Everything that was logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`: the process gets no chance to finish anything.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop (SIGTERM) and waits until it did.
    pub fn stop(&mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "did not stop:\n{}", self.log());
            std::thread::park_timeout(POLL);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- log of the program ---\n{}", self.log());
        }
    }
}

/// Runs `permyx ARGS` to its end in `dir`.
pub fn run(dir: &Path, args: &[&str]) -> Output {
    command(&[], dir, args).output().unwrap()
}

fn command(via: &[String], dir: &Path, args: &[&str]) -> Command {
    let words: Vec<_> = via.iter().map(String::as_str).chain([PERMYX]).chain(args.iter().copied()).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped());
    // What the machine has set must not change a test.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PERMYX_")) {
        command.env_remove(name);
    }
    command
}

fn collect(mut from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let log = Arc::new(Mutex::new(String::new()));
    let writer = Arc::clone(&log);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            writer.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    });
    log
}

fn lines_of(from: impl Read + Send + 'static) -> Receiver<String> {
    let (lines, received) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
    received
}
