//! The vectors under `tests/vectors/evidence`: small logs and bundles, good and bad, and what each
//! must come to. `UPDATE=1 cargo test --test it evidence` writes them anew, the same bytes every time.

mod bundles;
mod logs;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::build::{put, signer};
use super::judges::{Case, Python, failed, verdicts};
use crate::support::repository;

/// What the auditor has.
#[derive(Clone, Copy, PartialEq)]
enum Brings {
    Key,
    /// Both keys of a log that changes its key.
    Keys,
    Nothing,
}

/// What lies there.
enum Evidence {
    Log(BTreeMap<String, Vec<u8>>),
    Bundle(Vec<u8>),
}

struct Vector {
    name: &'static str,
    /// What it is about, for whoever reads the index.
    about: &'static str,
    evidence: Evidence,
    brings: Brings,
    /// A checkpoint that the auditor kept.
    kept: Option<String>,
    /// The checks that must fail. All others must not.
    fails: &'static [&'static str],
    exit: u8,
}

impl Vector {
    fn log(
        name: &'static str,
        about: &'static str,
        files: BTreeMap<String, Vec<u8>>,
        fails: &'static [&'static str],
    ) -> Self {
        Self::new(name, about, Evidence::Log(files), fails)
    }

    fn bundle(name: &'static str, about: &'static str, bytes: Vec<u8>, fails: &'static [&'static str]) -> Self {
        Self::new(name, about, Evidence::Bundle(bytes), fails)
    }

    fn new(name: &'static str, about: &'static str, evidence: Evidence, fails: &'static [&'static str]) -> Self {
        let exit = u8::from(!fails.is_empty());
        Self { name, about, evidence, brings: Brings::Key, kept: None, fails, exit }
    }

    /// What is required cannot be said.
    fn unknown(self) -> Self {
        Self { exit: 3, ..self }
    }

    fn with(self, brings: Brings) -> Self {
        Self { brings, ..self }
    }

    fn knowing(self, checkpoint: String) -> Self {
        Self { kept: Some(checkpoint), ..self }
    }

    fn path(&self) -> PathBuf {
        let ending = if matches!(self.evidence, Evidence::Bundle(_)) { ".pmx" } else { "" };
        directory().join(format!("{}{ending}", self.name))
    }

    fn case(&self) -> Case {
        let keys: &[u8] = match self.brings {
            Brings::Key => &[1],
            Brings::Keys => &[1, 3],
            Brings::Nothing => &[],
        };
        let kept = self.kept.as_ref().map(|_| directory().join(format!("{}.kept", self.name)));
        let keys = keys.iter().map(|seed| signer(*seed).verifier().to_string()).collect();
        Case { path: self.path(), keys, checkpoints: kept.into_iter().collect() }
    }

    fn write(&self) {
        match &self.evidence {
            Evidence::Log(files) => put(&self.path(), files),
            Evidence::Bundle(bytes) => std::fs::write(self.path(), bytes).unwrap(),
        }
        if let Some(kept) = &self.kept {
            std::fs::write(directory().join(format!("{}.kept", self.name)), kept).unwrap();
        }
    }

    fn is_written(&self) -> bool {
        let is = |path: PathBuf, bytes: &[u8]| std::fs::read(path).is_ok_and(|there| there == bytes);
        match &self.evidence {
            Evidence::Log(files) => files.iter().all(|(name, bytes)| is(self.path().join(name), bytes)),
            Evidence::Bundle(bytes) => is(self.path(), bytes),
        }
    }

    /// The line of the index.
    fn told(&self, judged: &Value) -> Value {
        let case = self.case();
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        json!({
            "about": self.about, "path": name(&case.path), "keys": case.keys,
            "checkpoints": case.checkpoints.iter().map(name).collect::<Vec<_>>(),
            "exit": judged["exit"], "verdicts": verdicts(judged), "places": failed(judged),
        })
    }
}

fn directory() -> PathBuf {
    repository().join("tests/vectors/evidence")
}

fn all() -> Vec<Vector> {
    logs::good().into_iter().chain(logs::bad()).chain(bundles::good()).chain(bundles::bad()).collect()
}

fn index() -> Value {
    let lines = all().into_iter().map(|vector| (vector.name.to_owned(), vector.told(&vector.case().judged())));
    Value::Object(lines.collect())
}

#[test]
fn both_verifiers_judge_the_vectors_as_the_index_says() {
    let file = directory().join("index.json");
    if std::env::var_os("UPDATE").is_some() {
        let _ = std::fs::remove_dir_all(directory());
        std::fs::create_dir_all(directory()).unwrap();
        all().iter().for_each(Vector::write);
        std::fs::write(&file, format!("{:#}\n", index())).unwrap();
    }
    let said: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let vectors = all();
    assert_eq!(said.as_object().unwrap().len(), vectors.len());
    let mut python = Python::start();
    for vector in vectors {
        let name = vector.name;
        assert!(vector.is_written(), "{name}: UPDATE=1 cargo test --test it evidence writes it");
        let (ours, theirs) = (vector.case().judged(), python.judged(&vector.case()));
        let failing: Vec<_> = failed(&ours).into_keys().collect();
        assert_eq!((failing, &ours["exit"]), (sorted(vector.fails), &vector.exit.into()), "{name}: {ours:#}");
        assert_eq!(vector.told(&ours), said[name], "{name}");
        assert_eq!(vector.told(&theirs), said[name], "{name}, in Python: {theirs:#}");
    }
}

fn sorted(checks: &[&str]) -> Vec<String> {
    let mut checks: Vec<_> = checks.iter().map(|check| (*check).to_owned()).collect();
    checks.sort();
    checks
}
