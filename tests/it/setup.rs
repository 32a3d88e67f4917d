//! `.ci/setup` on machines that lack something. The machines are directories of stand-ins.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::dir::TempDir;
use crate::support::repository;

/// A machine: the programs that it has, and what it does when one of them is called.
struct Machine(TempDir);

impl Machine {
    fn with(programs: &[&str]) -> Self {
        let machine = Self(TempDir::new());
        symlink(real("bash"), machine.0.path().join("bash")).unwrap();
        for name in ["cargo", "python3", "node", "npm", "pg_ctlcluster", "promtool", "openssl"].iter().chain(programs) {
            machine.does(name, "exit 0");
        }
        machine
    }

    fn does(&self, name: &str, script: &str) -> &Self {
        let path = self.0.write(name, &format!("#!/usr/bin/env bash\n{script}\n"));
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        self
    }

    fn setup(&self) -> Output {
        let mut bash = Command::new(self.0.path().join("bash"));
        bash.arg(repository().join(".ci/setup")).env("PATH", self.0.path()).output().unwrap()
    }
}

fn real(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.exists()).unwrap()
}

#[test]
fn a_complete_machine_is_left_alone() {
    let machine = Machine::with(&["gcc", "g++", "make", "cmake", "curl", "valgrind", "redis-server"]);
    let done = machine.setup();
    assert!(done.status.success() && done.stdout.is_empty() && done.stderr.is_empty(), "{done:?}");
}

#[test]
fn root_installs_what_is_missing() {
    let machine = Machine::with(&["gcc", "g++", "make", "curl", "valgrind"]);
    machine.does("id", "echo 0").does("apt-get", "echo called apt-get $*");
    let done = machine.setup();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success());
    assert!(said.contains("called apt-get install -y --no-install-recommends cmake redis-server\n"), "{said}");
}

#[test]
fn others_go_through_sudo() {
    let machine = Machine::with(&["gcc", "g++", "make", "curl", "valgrind", "redis-server"]);
    machine.does("id", "echo 1000").does("sudo", "echo called sudo $*");
    let said = String::from_utf8(machine.setup().stdout).unwrap();
    assert!(said.contains("called sudo apt-get install -y --no-install-recommends cmake\n"), "{said}");
}

#[test]
fn without_rights_it_prints_the_line_to_run_and_stops() {
    let machine = Machine::with(&["gcc", "make", "curl", "valgrind", "redis-server"]);
    machine.does("id", "echo 1000");
    let done = machine.setup();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(said.contains("    apt-get install -y --no-install-recommends g++ cmake\n"), "{said}");
}

#[test]
fn without_rust_it_says_where_rust_is() {
    let machine = Machine::with(&[]);
    std::fs::remove_file(machine.0.path().join("cargo")).unwrap();
    let done = machine.setup();
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8(done.stderr).unwrap().contains("https://rustup.rs"));
}
