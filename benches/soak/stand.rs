//! A gateway and the control plane that it delivers to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use permyx::token::keys::{SigningKey, key_set};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_permyx");

pub struct Stand {
    pub address: SocketAddr,
    pub gateway: Process,
    pub control: Process,
    ops: SocketAddr,
    dir: TempDir,
}

impl Stand {
    pub fn start(merchant: SocketAddr, key: &SigningKey) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [api, ops] = [free(), free()];
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let serve = format!(
            "data = \"control\"\n[log]\nfilter = \"warn\"\n[api]\nlisten = \"{api}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n"
        );
        write("serve.toml", &serve);
        run(dir.path(), &["keys", "generate", "--data", "control"]);
        let made = ["agent-key", "create", "--data", "control", "--role", "gateway", "--store", "store-123", "--json"];
        let made: serde_json::Value = serde_json::from_slice(&run(dir.path(), &made).stdout).unwrap();
        write("gateway.key", made["secret"].as_str().unwrap());
        write("jwks.json", &serde_json::to_string(&key_set([key.public()])).unwrap());
        std::fs::create_dir(dir.path().join("policies")).unwrap();
        write("policies/store-123.toml", &policy(0));
        let gateway = format!(
            "data = \"gateway\"\n[log]\nfilter = \"warn\"\n[gateway]\nlisten = \"127.0.0.1:0\"\nfallback = \"http://{merchant}\"\n\
             [[gateway.routes]]\nname = \"checkout\"\npath = \"/checkout\"\npreset = \"oneshot-json\"\nstore = \"store-123\"\n\
             upstream = \"http://{merchant}\"\n[ops]\nlisten = \"{ops}\"\n[ledger]\nsingle_instance = true\n\
             [policies]\ndir = \"policies\"\n[keys]\njwks_file = \"jwks.json\"\n[shutdown]\ndelay_s = 0\n\
             [evidence.ship]\nurl = \"http://{api}\"\nkey_file = \"gateway.key\"\n"
        );
        write("gateway.toml", &gateway);
        let (control, _) = Process::start(dir.path(), &["serve", "--config", "serve.toml", "--ready-json"]);
        let (gateway, ready) = Process::start(dir.path(), &["gateway", "--config", "gateway.toml", "--ready-json"]);
        let address = ready["gateway"].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
        Self { address, gateway, control, ops, dir }
    }

    /// One that says the same in another version.
    pub fn replace_policy(&self, version: usize) {
        let next = self.dir.path().join("next.toml");
        std::fs::write(&next, policy(version)).unwrap();
        std::fs::rename(next, self.dir.path().join("policies/store-123.toml")).unwrap();
    }

    /// A metric of the gateway that has no labels.
    pub fn metric(&self, name: &str) -> f64 {
        let mut connection = TcpStream::connect(self.ops).unwrap();
        connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {answer}")).trim().parse().unwrap()
    }

    /// Ends both, and says where the events are.
    pub fn end(self) -> (TempDir, PathBuf) {
        self.gateway.end();
        self.control.end();
        let store = self.dir.path().join("control/evidence/evidence.db");
        (self.dir, store)
    }
}

fn policy(version: usize) -> String {
    format!(
        "store = \"store-123\"\nversion = \"{version}\"\nmode = \"enforce\"\ncurrency = \"USD\"\n[limits]\nmax_quantity = 3\n"
    )
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn run(dir: &Path, args: &[&str]) -> Output {
    let output = Command::new(PROGRAM).args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    output
}

pub struct Process(Child);

impl Process {
    /// Its ready line, too.
    fn start(dir: &Path, args: &[&str]) -> (Self, serde_json::Value) {
        let mut command = Command::new(PROGRAM);
        let mut child = command.args(args).current_dir(dir).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let process = Self(child);
        (process, serde_json::from_str(&line).unwrap())
    }

    pub fn memory_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }

    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.0.id())).unwrap().count()
    }

    fn end(mut self) {
        let asked = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(asked.success() && self.0.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
