//! `permyx serve` as a process: a control plane that gateways deliver to.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use permyx::audit::report::Required;
use permyx::audit::source::Directory;
use permyx::audit::trust::Trust;
use permyx::audit::verify_log;
use permyx::tlog::key::VerifierKey;
use serde_json::Value;

use super::PATIENCE;
use super::dir::TempDir;
use super::http::{Answer, exchange, request};
use super::program::{self, Program};
use super::stream::Stream;

/// A running control plane and its files. Its address stays the same over restarts.
pub struct Control {
    program: Option<Program>,
    address: SocketAddr,
    auditor: String,
    dir: TempDir,
}

impl Control {
    pub fn start() -> Self {
        let dir = TempDir::new();
        let reserved = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = reserved.local_addr().unwrap();
        let config = format!(
            "data = \"data\"\n[log]\nfilter = \"warn\"\nformat = \"text\"\n[api]\nlisten = \"{address}\"\n\
             [ops]\nlisten = \"127.0.0.1:0\"\n"
        );
        dir.write("permyx.toml", &config);
        assert!(program::run(dir.path(), &["keys", "generate", "--data", "data"]).status.success());
        let mut control = Self { dir, address, program: None, auditor: String::new() };
        control.auditor = control.key(&["--role", "auditor", "--all-stores"]);
        // Held until now: other tests run beside this one and look for a port too.
        drop(reserved);
        control.start_again();
        control
    }

    /// Makes an API key with these arguments of `permyx agent-key create`, and waits until it is known.
    pub fn key(&self, terms: &[&str]) -> String {
        let args = [&["agent-key", "create", "--data", "data", "--json"], terms].concat();
        let output = program::run(self.dir.path(), &args);
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        let secret = made["secret"].as_str().unwrap().to_owned();
        let deadline = Instant::now() + PATIENCE;
        while self.program.is_some() && self.send(&secret, "/v1/evidence/streams/0", &[], "").status == 401 {
            assert!(Instant::now() < deadline, "a new key is not taken");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        secret
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn dir(&self) -> &TempDir {
        &self.dir
    }

    pub fn log(&self) -> String {
        self.program.as_ref().map(Program::log).unwrap_or_default()
    }

    pub fn start_again(&mut self) {
        self.program = Some(Program::start(self.dir.path(), &["serve", "--config", "permyx.toml"]));
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut program) = self.program.take() {
            program.kill();
        }
    }

    /// Asks it to stop, and waits until it did.
    pub fn stop(&mut self) {
        let mut program = self.program.take().unwrap();
        assert!(program.stop().success());
    }

    /// A stream of events from this query on, or behind `last`; else the refusal.
    pub fn stream(&self, key: &str, query: &str, last: Option<u64>) -> Result<Stream, Answer> {
        let key = format!("X-API-Key: {key}");
        let last = last.map(|last| format!("Last-Event-ID: {last}"));
        let headers: Vec<_> = std::iter::once(key.as_str()).chain(last.as_deref()).collect();
        Stream::open(self.address, request("GET", &format!("/v1/evidence/stream?{query}"), &headers, ""))
    }

    /// The key that sees everything.
    pub fn auditor(&self) -> &str {
        &self.auditor
    }

    pub fn get(&self, path: &str) -> Answer {
        let key = format!("X-API-Key: {}", self.auditor);
        exchange(self.address, request("GET", path, &[&key], "")).unwrap()
    }

    pub fn send(&self, key: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let key = format!("X-API-Key: {key}");
        let headers: Vec<_> = headers.iter().copied().chain([key.as_str()]).collect();
        exchange(self.address, request("POST", path, &headers, body)).unwrap()
    }

    /// All events of its log, in its order.
    pub fn events(&self) -> Vec<Value> {
        self.events_like("")
    }

    /// As [`Self::events`]; `filter` is a further part of the query, such as `&type=evidence.gap`.
    pub fn events_like(&self, filter: &str) -> Vec<Value> {
        let (mut events, mut cursor) = (Vec::new(), 0);
        loop {
            let page = self.get(&format!("/v1/evidence/events?limit=500&cursor={cursor}{filter}")).json();
            events.extend(page["events"].as_array().unwrap().iter().map(|one| one["event"].clone()));
            cursor = page["next"].as_u64().unwrap();
            if page["more"] == false {
                return events;
            }
        }
    }

    /// What an auditor with its keys finds wrong with its log. What is still on its way is not wrong.
    pub fn verify(&self) -> String {
        let answer = self.get("/log/keys").text();
        let keys: Vec<_> = answer.lines().map(|line| VerifierKey::parse(line).unwrap()).collect();
        let year = keys.last().and_then(|key| key.name().as_str().rsplit('/').next().map(str::to_owned));
        let Some(year) = year else { return String::new() };
        let root = self.dir.path().join("data/log").join(year);
        let report = verify_log(&Directory(root), &Trust::new(keys), &[], &mut |_, _| ());
        if report.exit(&Required::Usual) == 1 { format!("{report:#?}") } else { String::new() }
    }

    /// Waits until its log holds what is asked for.
    #[track_caller]
    pub fn wait_for(&self, what: &str, there: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let events = self.events();
            if there(&events) {
                return events;
            }
            assert!(Instant::now() < deadline, "{what} did not come; there are {} events", events.len());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}
