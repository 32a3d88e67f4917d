//! How many instructions a request costs, counted by callgrind. Unlike times they are nearly the same in every
//! run, so what costs more is noticed when it is made.
//!
//! The record is of the build that the tests use, which optimises only the dependencies: its figures are no
//! measure of speed, and they rise with every step that is added to a request.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum;
use tempfile::TempDir;

use crate::job::Job;
use crate::proxy::Peer;

/// Requests that are counted, and requests before them.
pub const REQUESTS: usize = 400;
pub const WARM_UP: usize = 100;
/// What is counted: in memory, because Redis answers whenever it likes.
pub const COUNTED: [(Job, Peer); 5] = [
    (Job::Pass, Peer::Bare),
    (Job::Pass, Peer::Gateway),
    (Job::Burn, Peer::Gateway),
    (Job::Replay, Peer::Gateway),
    (Job::Forged, Peer::Gateway),
];
/// How much more than recorded fails.
const RISE_MAX: f64 = 1.10;

/// One proxy under callgrind.
pub struct Counter {
    dir: TempDir,
}

impl Counter {
    pub fn is_installed() -> bool {
        let mut asked = Command::new("callgrind_control");
        asked.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("counts")
    }

    /// What the proxy is started by way of.
    pub fn via(&self) -> Vec<String> {
        let out = format!("--callgrind-out-file={}", self.file().display());
        ["valgrind", "--tool=callgrind", "--instr-atstart=no", &out].map(ToOwned::to_owned).to_vec()
    }

    pub fn count(&self, process: u32, on: bool) {
        let switch = if on { "--instr=on" } else { "--instr=off" };
        let mut control = Command::new("callgrind_control");
        control.args([switch, &process.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(control.status().unwrap().success(), "callgrind does not listen");
    }

    /// What was counted, once the proxy has ended.
    pub fn read(&self) -> u64 {
        let text = std::fs::read_to_string(self.file()).unwrap();
        let total = text.lines().rev().find_map(|line| line.strip_prefix("totals:")).expect("callgrind tells a total");
        total.trim().parse().unwrap()
    }
}

/// Instructions of one request, by what was counted.
pub type Counts = BTreeMap<String, u64>;

pub fn name(job: Job, peer: Peer) -> String {
    let job = job.to_possible_value().unwrap().get_name().to_owned();
    if peer == Peer::Bare { format!("{job} bare pingora") } else { job }
}

/// Compares with the record, or replaces it where `UPDATE=1` says so. Answers what has risen too much.
pub fn judge(found: &Counts, record: &Path) -> Vec<String> {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(record, serde_json::to_string_pretty(found).unwrap() + "\n").unwrap();
        return Vec::new();
    }
    let text = std::fs::read_to_string(record).unwrap_or_else(|error| panic!("{}: {error}", record.display()));
    let recorded: Counts = serde_json::from_str(&text).unwrap();
    let bare = name(Job::Pass, Peer::Bare);
    let times_bare =
        |counts: &Counts, count: u64| counts.get(&bare).map_or(f64::NAN, |bare| count as f64 / *bare as f64);
    let mut risen = Vec::new();
    for (name, &count) in found {
        let Some(&before) = recorded.get(name) else {
            risen.push(format!("{name} is not recorded"));
            continue;
        };
        let (by_itself, by_bare) =
            (count as f64 / before as f64, times_bare(found, count) / times_bare(&recorded, before));
        eprintln!(
            "{name}: {count} instructions a request, {by_itself:.3} of what is recorded; {:.2} times bare pingora",
            times_bare(found, count)
        );
        if by_itself.max(by_bare) > RISE_MAX {
            risen.push(format!("{name}: {count} instructions a request, where {before} are recorded"));
        }
    }
    risen
}
