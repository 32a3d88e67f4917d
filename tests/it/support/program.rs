//! The real program as a process: started on free ports in a directory of its own, stopped or
//! killed at will, its output kept for the moment a test fails.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{PATIENCE, leaks, secrets};

/// Between two looks at whether a process has ended.
const POLL: Duration = Duration::from_millis(5);
/// How long a program that ended may take to be read to the end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Commands whose output is a secret: it is told this once.
const TELLING: [[&str; 2]; 2] = [["token", "request"], ["agent-key", "create"]];

/// The program under test: the one that `PERMYX` names, or the one that was built with the tests.
pub fn permyx() -> &'static str {
    static NAMED: LazyLock<Option<String>> = LazyLock::new(|| {
        let named = std::env::var_os("PERMYX")?;
        Some(std::path::absolute(named).unwrap().into_os_string().into_string().unwrap())
    });
    NAMED.as_deref().unwrap_or(env!("CARGO_BIN_EXE_permyx"))
}

/// A running `permyx`. It is killed when the value is dropped, and nothing that it said may hold a secret.
pub struct Program {
    child: Child,
    dir: PathBuf,
    ready: serde_json::Value,
    log: Arc<Mutex<String>>,
    /// Standard output.
    said: Arc<Mutex<String>>,
    reading: [JoinHandle<()>; 2],
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
        let (log, reading_log) = collect(child.stderr.take().unwrap());
        let (said, lines, reading_lines) = lines_of(child.stdout.take().unwrap());
        let (ready, reading) = (serde_json::Value::Null, [reading_log, reading_lines]);
        let mut program = Self { child, dir: dir.to_owned(), ready, log, said, reading };
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
        self.signal("-TERM");
        self.wait()
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Everything that it wrote to its standard output so far.
    pub fn output(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// How often it said that it serves: once for each program that it was.
    pub fn starts(&self) -> usize {
        self.said.lock().unwrap().matches("\"ready\":true").count()
    }

    /// Waits until it ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
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

impl Program {
    /// What is looked at of a program that nobody drops.
    pub fn followed(&self, spool: PathBuf) -> leaks::Followed {
        leaks::Followed { log: self.log.clone(), spool, ops: self.address("ops"), seen: Mutex::default() }
    }

    /// What it counted so far; nothing, if it has ended.
    fn metrics(&mut self) -> Vec<u8> {
        let lives = matches!(self.child.try_wait(), Ok(None)) && self.ready["ops"].is_string();
        if lives { leaks::metrics(self.address("ops")) } else { Vec::new() }
    }

    fn wait_for_last_words(&self) {
        let deadline = Instant::now() + LAST_WORDS;
        while self.reading.iter().any(|reading| !reading.is_finished()) && Instant::now() < deadline {
            std::thread::park_timeout(POLL);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let fails = std::thread::panicking();
        let metrics = if fails { Vec::new() } else { self.metrics() };
        let _ = self.child.kill();
        let _ = self.child.wait();
        if fails {
            println!("--- log of the program ---\n{}", self.log());
            return;
        }
        self.wait_for_last_words();
        secrets::refuse("the metrics of the program", &metrics);
        secrets::refuse("the log of the program", self.log().as_bytes());
        secrets::refuse("what the program said", self.said.lock().unwrap().as_bytes());
        // What it keeps in the directory of the test is looked at when that goes.
        let data = self.dir.join(self.ready["data"].as_str().unwrap_or_default());
        if !data.starts_with(&self.dir) {
            leaks::directory(&data, &BTreeSet::new());
        }
    }
}

/// Runs `permyx ARGS` to its end in `dir`.
pub fn run(dir: &Path, args: &[&str]) -> Output {
    let output = command(&[], dir, args).output().unwrap();
    let verb = args.first().copied().unwrap_or_default();
    secrets::refuse(format_args!("an error of `{verb}`"), &output.stderr);
    if !TELLING.iter().any(|words| args.starts_with(words)) {
        secrets::refuse(format_args!("what `{verb}` says"), &output.stdout);
    }
    output
}

fn command(via: &[String], dir: &Path, args: &[&str]) -> Command {
    let words: Vec<_> = via.iter().map(String::as_str).chain([permyx()]).chain(args.iter().copied()).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped());
    // What the machine has set must not change a test.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PERMYX_")) {
        command.env_remove(name);
    }
    // Nobody routes requests to it who had to notice that it stops.
    command.env("PERMYX_SHUTDOWN_DELAY_S", "0");
    command
}

fn collect(mut from: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let log = Arc::new(Mutex::new(String::new()));
    let writer = Arc::clone(&log);
    let reading = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            writer.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    });
    (log, reading)
}

/// All lines together, and one after the other.
fn lines_of(from: impl Read + Send + 'static) -> (Arc<Mutex<String>>, Receiver<String>, JoinHandle<()>) {
    let (lines, received) = mpsc::channel();
    let said = Arc::new(Mutex::new(String::new()));
    let writer = Arc::clone(&said);
    let reading = std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            writer.lock().unwrap().push_str(&format!("{line}\n"));
            let _ = lines.send(line);
        }
    });
    (said, received, reading)
}
