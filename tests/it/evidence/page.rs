//! The page `docs/evidence.md`, and the program as an auditor runs it.

use std::fmt::Write;

use permyx::tlog::hash::leaf_hash;
use serde_json::Value;

use super::build::{Log, ORIGIN, purchases, put, signer};
use super::judges::interpreter;
use crate::support::dir::TempDir;
use crate::support::program::run;
use crate::support::repository;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// The worked example, from its first line on.
fn example() -> String {
    let log = Log(vec![b"{\"a\":1}".to_vec(), b"{\"b\":2}".to_vec()]);
    let signer = signer(1);
    let note = log.checkpoint(std::slice::from_ref(&signer)).note().to_string();
    let mut told = String::new();
    for (n, leaf) in log.0.iter().enumerate() {
        writeln!(told, "leaf {n}        {}", String::from_utf8_lossy(leaf)).unwrap();
        writeln!(told, "leaf hash {n}   {}", hex(leaf_hash(leaf).as_bytes())).unwrap();
    }
    writeln!(told, "root          {}\nkey           {}", hex(log.root().as_bytes()), signer.verifier()).unwrap();
    let lines = note.lines().enumerate();
    lines.for_each(|(n, line)| {
        let name = if n == 0 { "checkpoint" } else { "" };
        writeln!(told, "{}", format!("{name:14}{line}").trim_end()).unwrap();
    });
    told
}

#[test]
fn the_worked_example_recomputes() {
    let path = repository().join("docs/evidence.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once("<!-- example -->\n```\n").unwrap();
    let (there, behind) = rest.split_once("```\n").unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{before}<!-- example -->\n```\n{}```\n{behind}", example())).unwrap();
        return;
    }
    assert_eq!(there, example());
}

#[test]
fn an_auditor_gets_a_report_and_an_exit_code_from_both_programs() {
    let (dir, log, ours) = (TempDir::new(), Log(purchases(3)), [signer(1)]);
    put(&dir.path().join("log"), &log.files(&ours));
    put(&dir.path().join("cut"), &log.at(4).files(&ours));
    std::fs::copy(dir.path().join("log/checkpoint"), dir.path().join("kept")).unwrap();
    dir.write("keys", &format!("# the log of the tests\n{}  # 2026\n", ours[0].verifier()));
    let script = repository().join("docs/verify_evidence.py");
    let both = |line: &[&str]| {
        let program = run(dir.path(), &[&["evidence", "verify"], line].concat());
        let mut python = std::process::Command::new(interpreter());
        let python = python.arg(&script).args(line).current_dir(dir.path()).output().unwrap();
        assert_eq!(program.status.code(), python.status.code(), "{line:?} {program:?} {python:?}");
        let said = [program.stdout, python.stdout].map(|said| String::from_utf8(said).unwrap());
        (program.status.code().unwrap(), said)
    };
    let (code, said) = both(&["log", "--trust", "keys", "--checkpoint", "kept"]);
    assert_eq!(code, 0, "{said:?}");
    for said in &said {
        assert!(
            said.contains(ORIGIN) && said.contains("\ntree         PASS ") && said.contains("\nNOT PROVEN: "),
            "{said}"
        );
        assert!(said.ends_with("exit 0\n"), "{said}");
    }
    let (code, said) = both(&["cut", "--trust", "keys", "--checkpoint", "kept"]);
    assert_eq!(code, 1);
    said.iter().for_each(|said| assert!(said.contains("the tail is cut"), "{said}"));
    assert_eq!(both(&["log"]).0, 3);
    assert_eq!(both(&["log", "--trust", "keys", "--require", "signature,consistency"]).0, 3);
    assert_eq!(both(&["log", "--trust", "keys", "--require", "signature"]).0, 0);
    for wrong in [
        ["log", "--key", "x"],
        ["log", "--require", "luck"],
        ["log", "--trust", "nowhere"],
        ["nothing", "--trust", "keys"],
    ] {
        assert_eq!(both(&wrong).0, 2, "{wrong:?}");
    }
    let (_, said) = both(&["log", "--trust", "keys", "--json"]);
    let [ours, theirs] = said.map(|said| serde_json::from_str::<Value>(&said).unwrap());
    let members = |told: &Value| told.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!((members(&ours), members(&ours["checks"][0])), (members(&theirs), members(&theirs["checks"][0])));
    assert_eq!(ours["notProven"], theirs["notProven"]);
}
