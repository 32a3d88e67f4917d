//! `permyx evidence` beside a running control plane: what an operator types, and what an auditor does
//! with it.

use std::process::Output;
use std::time::{Duration, Instant};

use permyx::tlog::proof::Proof;
use serde_json::Value;

use super::sealed::{act, sealed, trusted};
use crate::support::PATIENCE;
use crate::support::control::Control;
use crate::support::gateway::kind;
use crate::support::program;

/// `permyx evidence ARGS` in the directory of the control plane.
fn evidence(control: &Control, args: &[&str]) -> Output {
    program::run(control.dir().path(), &[&["evidence"], args].concat())
}

/// What it prints when it succeeds.
#[track_caller]
fn said(control: &Control, args: &[&str]) -> String {
    let output = evidence(control, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn exit(control: &Control, args: &[&str]) -> i32 {
    evidence(control, args).status.code().unwrap()
}

/// Takes the newest execution out.
#[track_caller]
fn export(control: &Control, key: &str, file: &str) {
    said(control, &["export", "last", "-o", file, "--url", &control.url(), "--key", key]);
}

fn auditor(control: &Control) -> String {
    control.key(&["--role", "auditor", "--all-stores"])
}

#[test]
fn what_is_exported_verifies_with_the_pinned_key_and_what_is_changed_does_not() {
    let control = Control::start();
    let agent = control.key(&["--role", "agent", "--store", "shop"]);
    act(&control, &agent, 5);
    sealed(&control, 6);
    let (url, key) = (control.url(), auditor(&control));
    control.dir().write("auditor.keys", &said(&control, &["keys", "list"]));
    let told = said(&control, &["checkpoint", "--url", &url, "-o", "kept"]);
    assert!(told.starts_with("kept: checkpoint of the log localhost/permyx/"), "{told}");
    act(&control, &agent, 5);
    sealed(&control, 11);

    let asked =
        ["export", "last", "--since-checkpoint", "kept", "-o", "case.pmx", "--url", &url, "--key", &key, "--json"];
    let told: Value = serde_json::from_str(&said(&control, &asked)).unwrap();
    let command = told["verify"].as_str().unwrap().replace("FILE", "auditor.keys");
    let command: Vec<_> = command.split(' ').skip(2).collect();
    let found: Value = serde_json::from_str(&said(&control, &[&command[..], &["--json"]].concat())).unwrap();
    let consistency = found["checks"].as_array().unwrap().iter().find(|check| check["check"] == "consistency").unwrap();
    assert_eq!((&consistency["verdict"], &found["events"]), (&"PASS".into(), &told["events"]));
    assert_eq!(exit(&control, &asked), 2, "nothing is overwritten");

    let other = std::fs::read_to_string(control.dir().path().join("kept")).unwrap().replacen("localhost", "shop", 1);
    control.dir().write("other", &other);
    let asked = ["export", "last", "--since-checkpoint", "other", "-o", "no.pmx", "--url", &url, "--key", &key];
    assert_eq!(exit(&control, &asked), 2, "a checkpoint of another log proves nothing of this one");
    assert!(!control.dir().path().join("no.pmx").exists());

    let range = ["export", "--from", "0", "--to", "5", "-o", "range.pmx", "--url", &url, "--key", &key];
    let told = said(&control, &range);
    assert!(told.starts_with("range.pmx: 5 events of the log localhost/permyx/"), "{told}");
    assert_eq!(exit(&control, &["verify", "range.pmx", "--trust", "auditor.keys"]), 0);

    let path = control.dir().path().join("case.pmx");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(18).position(|some| some == b"execution.observed").unwrap();
    bytes[at] = b'E';
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(exit(&control, &["verify", "case.pmx", "--trust", "auditor.keys"]), 1);
}

#[test]
fn a_proof_is_of_the_bytes_that_the_api_shows() {
    let control = Control::start();
    let agent = control.key(&["--role", "agent", "--store", "shop"]);
    act(&control, &agent, 3);
    sealed(&control, 4);
    let (url, key) = (control.url(), auditor(&control));
    let event = control.events().into_iter().rfind(|event| kind(event) == "execution.observed").unwrap();
    let id = event["id"].as_str().unwrap();
    let proof = said(&control, &["prove", id, "--url", &url, "--key", &key]);
    Proof::parse(proof.as_bytes()).unwrap().open(event.to_string().as_bytes(), &trusted(&control)).unwrap();
    said(&control, &["prove", id, "-o", "kept", "--url", &url, "--key", &key]);
    let nobody = evidence(&control, &["prove", "nobody", "--url", &url, "--key", &key]);
    assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
    assert!(String::from_utf8(nobody.stderr).unwrap().contains("NOT_FOUND"));
}

/// Waits until the newest checkpoint has so many signatures.
#[track_caller]
fn signatures(control: &Control, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let checkpoint = said(control, &["checkpoint", "--url", &control.url()]);
        if checkpoint.lines().filter(|line| line.starts_with("— ")).count() == count {
            return;
        }
        assert!(Instant::now() < deadline, "not {count} signatures: {checkpoint}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[test]
fn a_rotated_key_signs_beside_the_one_before_and_a_retired_one_signs_no_more() {
    let control = Control::start();
    let agent = control.key(&["--role", "agent", "--store", "shop"]);
    act(&control, &agent, 5);
    let (year, _) = sealed(&control, 6);
    let auditor = auditor(&control);
    said(&control, &["keys", "rotate", "--overlap", "7d"]);
    signatures(&control, 2);
    let listed: Value = serde_json::from_str(&said(&control, &["keys", "list", "--json"])).unwrap();
    let [first, second] = [0, 1].map(|n| listed["logs"][0]["keys"][n].as_str().unwrap());
    let verified = |path: &str, key: &str| exit(&control, &["verify", path, "--key", key]);
    export(&control, &auditor, "both.pmx");
    assert_eq!((verified("both.pmx", first), verified("both.pmx", second)), (0, 0));

    said(&control, &["keys", "retire", listed["keys"][0]["fingerprint"].as_str().unwrap()]);
    signatures(&control, 1);
    export(&control, &auditor, "new.pmx");
    assert_eq!((verified("new.pmx", first), verified("new.pmx", second)), (1, 0));
    let log = format!("data/log/{year}");
    assert_eq!((verified(&log, first), verified(&log, second)), (1, 0));
    assert_eq!(verified("both.pmx", first), 0, "what a key signed stays verifiable");
}
