//! Backups that earlier releases made, in `tests/kept`: this one reads them, tells the same of them, and goes on
//! from them. Each release keeps one, before its version is raised:
//!
//! ```text
//! cargo test --locked --test it -- --ignored kept::keep_a_backup_of_this_release
//! ```
//!
//! makes `tests/kept/<version>.tar.gz` and the stories that it holds, `<version>.txt`.

use std::path::PathBuf;

use permyx::audit::report::{Check, Required, Verdict};
use permyx::audit::source::Directory;
use permyx::audit::trust::{Kept, Trust};
use permyx::audit::verify_log;
use permyx::clock::Clock;
use permyx::evidence::log::{LogDir, LogKeys};
use serde_json::Value;

use crate::backup::{Dev, newest, said, size_of};
use crate::support::dir::TempDir;
use crate::support::gateway::MUG;
use crate::support::{files, repository};

/// What stands before the id of each execution.
const EXECUTION: &str = "=== ";

fn kept() -> PathBuf {
    repository().join("tests/kept")
}

/// Ids, and what is told of each.
fn stories(text: &str) -> Vec<(String, String)> {
    let story = |part: &str| {
        let (id, story) = part.split_once('\n').unwrap();
        (id.to_owned(), story.to_owned())
    };
    text.split(EXECUTION).filter(|part| !part.is_empty()).map(story).collect()
}

/// Each time it is made it is another one, so it is never made over one that is there.
#[test]
#[ignore = "keeps a file for the releases to come"]
fn keep_a_backup_of_this_release() {
    let (dir, version) = (TempDir::new(), env!("CARGO_PKG_VERSION"));
    let (file, text) = (kept().join(format!("{version}.tar.gz")), kept().join(format!("{version}.txt")));
    assert!(!text.exists(), "{} is there already", text.display());
    let dev = Dev::start(dir.path(), "data");
    let token = dev.token();
    let answers = [
        (dev.buy(Some(&dev.token()), &MUG.replace("29.99", "19.99")), "INTENT_MISMATCH"),
        (dev.buy(Some(&token), MUG), "executed once"),
        (dev.buy(Some(&token), MUG), "REPLAY_DETECTED"),
        (dev.buy(None, MUG), "ord_"),
    ];
    let story = |(answer, tells): &(crate::support::http::Answer, &str)| {
        let trace = answer.header("permyx-trace").unwrap();
        format!("{EXECUTION}{trace}\n{}", dev.timeline_with(trace, tells))
    };
    let stories: String = answers.iter().map(story).collect();
    dev.signed(8);
    // At rest: what comes after the last checkpoint is signed when it ends.
    dev.stop();
    said(dir.path(), &["backup", "--data", "data", "--without-keys", "-o", file.to_str().unwrap()]);
    std::fs::write(text, stories).unwrap();
}

/// A heading of the changelog is a release.
#[test]
fn every_release_has_kept_a_backup() {
    let changes = std::fs::read_to_string(repository().join("CHANGELOG.md")).unwrap();
    let released = changes.lines().filter_map(|line| line.strip_prefix("## [")?.split(']').next());
    let missing: Vec<_> = released
        .filter(|version| *version != "Unreleased" && !kept().join(format!("{version}.tar.gz")).exists())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(kept().join("0.1.0.tar.gz").exists());
}

#[test]
fn what_earlier_releases_kept_is_told_as_then_and_continued() {
    for file in files(&kept(), ".tar.gz") {
        let text = file.to_str().unwrap().replace(".tar.gz", ".txt");
        let stories = stories(&std::fs::read_to_string(text).unwrap());
        assert!(stories.len() >= 4);
        let dir = TempDir::new();
        let told = said(dir.path(), &["restore", file.to_str().unwrap(), "--data", "data", "--continue-log", "--json"]);
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["keys"], false);
        said(dir.path(), &["evidence", "keys", "rotate", "--overlap", "0s", "--data", "data"]);
        let log = newest(&dir.path().join("data")).unwrap();
        let (size, note) = (size_of(&log), std::fs::read(log.join("checkpoint")).unwrap());
        assert_eq!(told["logs"][0]["size"], size);

        let dev = Dev::start(dir.path(), "data");
        for (id, story) in &stories {
            assert_eq!(dev.ask(&format!("/v1/evidence/timeline/{id}")).text(), *story, "{}", file.display());
        }
        let bought = dev.buy(Some(&dev.token()), MUG);
        assert_eq!(bought.status, 200, "{}", bought.text());
        dev.timeline_with(bought.header("permyx-trace").unwrap(), "executed once");
        // In a later year what is new is in a log of its own, which begins with the end of this one.
        let is_of_now = newest(&dev.data).unwrap() == log;
        dev.signed(if is_of_now { size + 3 } else { 3 });
        dev.stop();
        for root in std::fs::read_dir(dir.path().join("data/log")).unwrap().map(|entry| entry.unwrap().path()) {
            let kept = if root == log { vec![Kept { name: "kept".to_owned(), bytes: note.clone() }] } else { vec![] };
            let report = verify_log(&Directory(root.clone()), &trust(&dir, &root), &kept, &mut |_, _| ());
            assert_eq!(report.exit(&Required::Usual), 0, "{report:#?}");
            let consistency = report.outcome(Check::Consistency).unwrap().verdict;
            assert_eq!(consistency == Verdict::Pass, root == log, "{report:#?}");
        }
        assert!(!is_of_now || size_of(&log) >= size + 3);
    }
}

fn trust(dir: &TempDir, root: &std::path::Path) -> Trust {
    let note = std::fs::read_to_string(root.join("checkpoint")).unwrap();
    let (name, year) = note.lines().next().unwrap().rsplit_once('/').unwrap();
    let place = LogDir::of(&dir.path().join("data"), name, year.parse().unwrap()).unwrap();
    let keys = LogKeys::open(&dir.path().join("data"), Clock::system().now()).unwrap().list().unwrap();
    Trust::new(keys.iter().map(|key| key.verifier(place.origin()).unwrap()).collect())
}
