//! A real merchant's software, started for the tests by a script of `tests/counterparts`. Its
//! packages are installed the first time on a machine.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::repository;

/// A running merchant. It ends with the value, or with this process: its standard input closes.
pub struct RealShop {
    /// What it says of itself when it is ready.
    pub told: Value,
    child: Child,
}

impl RealShop {
    /// `script` is a file name; `home` keeps what is installed under `target/counterparts`.
    pub fn start(script: &str, home: &str) -> Self {
        let home = repository().join("target/counterparts").join(home);
        std::fs::create_dir_all(home.parent().unwrap()).unwrap();
        let log = home.with_extension("log");
        let mut child = Command::new("python3")
            .arg(repository().join("tests/counterparts").join(script))
            .arg(&home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .expect("python3 runs the merchant: apt-get install python3 python3-venv");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("{script} does not start: see {}, and run `.ci/setup`", log.display()));
        Self { told, child }
    }

    /// `http://host:port`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address())
    }

    pub fn address(&self) -> SocketAddr {
        let url = self.told["url"].as_str().unwrap().trim_start_matches("http://");
        url.split('/').next().unwrap().parse().unwrap()
    }
}

impl Drop for RealShop {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
