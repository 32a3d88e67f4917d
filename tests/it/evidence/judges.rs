//! The two verifiers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use permyx::audit::bundle;
use permyx::audit::render;
use permyx::audit::report::Required;
use permyx::audit::source::Directory;
use permyx::audit::trust::{Kept, Trust};
use permyx::audit::verify_log;
use permyx::tlog::key::VerifierKey;
use serde_json::{Value, json};

use crate::support::repository;

/// What is to be verified, and what the auditor brings.
pub struct Case {
    pub path: PathBuf,
    pub keys: Vec<String>,
    pub checkpoints: Vec<PathBuf>,
}

impl Case {
    /// What the program makes of it.
    pub fn judged(&self) -> Value {
        let keys = self.keys.iter().map(|key| VerifierKey::parse(key).unwrap()).collect();
        let trust = Trust::new(keys);
        let kept =
            |path: &PathBuf| Kept { name: path.to_str().unwrap().to_owned(), bytes: std::fs::read(path).unwrap() };
        let kept: Vec<_> = self.checkpoints.iter().map(kept).collect();
        let report = if self.path.is_dir() {
            verify_log(&Directory(self.path.clone()), &trust, &kept, &mut |_, _| {})
        } else {
            bundle::verify(&std::fs::read(&self.path).unwrap(), &trust, &kept)
        };
        json!(render::told(&report, &Required::Usual))
    }
}

/// The verifier in Python: many cases in one process.
pub struct Python(Child);

impl Python {
    pub fn start() -> Self {
        let script = repository().join("docs/verify_evidence.py");
        let missing = "python3 is missing: run .ci/setup, or apt-get install -y --no-install-recommends python3";
        let mut command = Command::new(interpreter());
        let child =
            command.arg(script).arg("--batch").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect(missing);
        Self(child)
    }

    pub fn judged(&mut self, case: &Case) -> Value {
        self.ask(case);
        self.answer()
    }

    /// Asks, so that it judges while others do.
    pub fn ask(&mut self, case: &Case) {
        let line = json!({"path": case.path, "keys": case.keys, "checkpoints": case.checkpoints});
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// What it makes of the case that it was asked.
    pub fn answer(&mut self) -> Value {
        let mut told = String::new();
        let stdout = self.0.stdout.as_mut().unwrap();
        // One line is all that is there: it answers before it is asked again.
        BufReader::new(stdout).read_line(&mut told).unwrap();
        let missing = "the verifier in Python does not answer: run .ci/setup, or apt-get install -y --no-install-recommends python3-cryptography";
        serde_json::from_str(&told).expect(missing)
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A Python that has the package: that of the path, or Debian's own, for which there is the package.
pub fn interpreter() -> &'static str {
    let has_it = |python: &&str| {
        let asked = Command::new(python).args(["-c", "import cryptography"]).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    let missing = "the package `cryptography` is missing: run .ci/setup, or apt-get install -y --no-install-recommends python3-cryptography";
    ["python3", "/usr/bin/python3"].into_iter().find(has_it).expect(missing)
}

/// The verdict of each check.
pub fn verdicts(told: &Value) -> BTreeMap<String, String> {
    let checks = told["checks"].as_array().unwrap().iter();
    checks.map(|check| (word(&check["check"]), word(&check["verdict"]))).collect()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The checks that failed, each with the place of its first finding.
pub fn failed(told: &Value) -> BTreeMap<String, Value> {
    let failed = told["checks"].as_array().unwrap().iter().filter(|check| check["verdict"] == "FAIL");
    failed.map(|check| (word(&check["check"]), place(&check["findings"][0]))).collect()
}

/// Where a finding is. The byte in a file of which only the whole is signed is each verifier's own.
fn place(finding: &Value) -> Value {
    let mut place = finding.as_object().unwrap().clone();
    place.remove("what");
    place.remove("byte");
    // A kept checkpoint is named by the path that was given for it.
    if let Some(file) = place.get("file").and_then(Value::as_str) {
        let name = Path::new(file).file_name().filter(|_| file.starts_with('/'));
        if let Some(name) = name.map(|name| name.to_string_lossy().into_owned()) {
            place.insert("file".to_owned(), name.into());
        }
    }
    place.into()
}
