//! The proxies that are measured, each a process of its own on the first processor.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::bare;
use crate::gateway;
use crate::job::{Job, Level};
use crate::keys::Keys;
use crate::redis::Redis;

/// How long a proxy may take until it listens.
const START: Duration = Duration::from_secs(20);

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub enum Peer {
    /// No proxy: what the load side itself can do.
    Direct,
    /// pingora, and nothing else.
    Bare,
    Gateway,
    Haproxy,
    Nginx,
    Envoy,
}

impl Peer {
    pub const ALL: [Self; 6] = [Self::Direct, Self::Bare, Self::Gateway, Self::Haproxy, Self::Nginx, Self::Envoy];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Bare => "bare pingora",
            Self::Gateway => "gateway",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx + Lua",
            Self::Envoy => "Envoy",
        }
    }

    /// One that a merchant would pick instead.
    pub const fn is_rival(self) -> bool {
        matches!(self, Self::Haproxy | Self::Nginx | Self::Envoy)
    }

    /// Whether it can do the job. Envoy's HTTP filters have no step in Redis.
    pub fn does(self, job: Job) -> bool {
        match self {
            Self::Direct | Self::Bare => job == Job::Pass,
            Self::Gateway | Self::Nginx => true,
            Self::Haproxy | Self::Envoy => job != Job::Shared,
        }
    }

    /// Where its program is; `None` where it is not installed.
    pub fn program(self) -> Option<PathBuf> {
        let named = |name: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
            dirs.map(|dir| dir.join(name)).find(|path| path.exists())
        };
        match self {
            Self::Direct | Self::Bare => std::env::current_exe().ok(),
            Self::Gateway => Some(env!("CARGO_BIN_EXE_permyx").into()),
            Self::Haproxy => named("haproxy"),
            Self::Nginx => named("nginx").filter(|_| Path::new(MODULES).join("ngx_http_lua_module.so").exists()),
            Self::Envoy => std::env::var_os("ENVOY").map(PathBuf::from).or_else(|| named("envoy")),
        }
    }
}

/// Where Debian has nginx's modules.
const MODULES: &str = "/usr/lib/nginx/modules";

/// What a proxy is started for.
pub struct Setting<'s> {
    pub level: Level,
    pub merchant: SocketAddr,
    pub keys: &'s Keys,
    pub redis: Option<&'s Redis>,
    /// Stores that the gateway knows.
    pub stores: usize,
    /// What our own proxies are started by way of.
    pub via: &'s [String],
    /// The gateway, where it is not the one that was built with this bench.
    pub program: Option<&'s Path>,
}

/// One proxy under load. It ends with the value.
pub struct Proxy {
    pub address: SocketAddr,
    pub dir: TempDir,
    child: Option<Child>,
}

impl Proxy {
    pub fn start(peer: Peer, setting: &Setting<'_>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = setting.program.filter(|_| peer == Peer::Gateway).map(Path::to_path_buf);
        let program = program.or_else(|| peer.program()).expect("only what is installed is measured");
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "0"]);
        command.args(setting.via.iter().filter(|_| !peer.is_rival())).arg(&program);
        match peer {
            Peer::Direct => Self { address: setting.merchant, dir, child: None },
            Peer::Bare => {
                command.args([bare::ARGUMENT, &setting.merchant.to_string()]);
                Self::told(command, dir)
            }
            Peer::Gateway => {
                gateway::arguments(&mut command, dir.path(), setting);
                Self::told(command, dir)
            }
            Peer::Haproxy => {
                let file = configured(dir.path(), "haproxy.cfg", include_str!("conf/haproxy.cfg"), setting);
                command.arg("-db").arg("-f").arg(&file.path);
                Self::listening(command, dir, file.address)
            }
            Peer::Nginx => {
                std::fs::write(dir.path().join("gate.lua"), include_str!("conf/gate.lua")).unwrap();
                let file = configured(dir.path(), "nginx.conf", include_str!("conf/nginx.conf"), setting);
                command.arg("-p").arg(dir.path()).arg("-c").arg(&file.path).arg("-e").arg(dir.path().join("nginx.log"));
                Self::listening(command, dir, file.address)
            }
            Peer::Envoy => {
                let file = configured(dir.path(), "envoy.yaml", include_str!("conf/envoy.yaml"), setting);
                command.arg("-c").arg(&file.path).args(["--concurrency", "1", "--disable-hot-restart", "-l", "error"]);
                Self::listening(command, dir, file.address)
            }
        }
    }

    /// One that says where it listens.
    fn told(mut command: Command, dir: TempDir) -> Self {
        let log = std::fs::File::create(dir.path().join("stderr")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let log = || std::fs::read_to_string(dir.path().join("stderr")).unwrap_or_default();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}{}", log()));
        let address = ready["gateway"].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
        Self { address, dir, child: Some(child) }
    }

    /// One that listens where it was told.
    fn listening(mut command: Command, dir: TempDir, address: SocketAddr) -> Self {
        let log = std::fs::File::create(dir.path().join("stderr")).unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut proxy = Self { address, dir, child: Some(child) };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = proxy.child.as_mut().and_then(|child| child.try_wait().unwrap());
            let said = std::fs::read_to_string(proxy.dir.path().join("stderr")).unwrap_or_default();
            assert!(ended.is_none() && started.elapsed() < START, "{ended:?}: {said}");
            std::thread::sleep(Duration::from_millis(10));
        }
        proxy
    }

    pub fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn processes(&self) -> Vec<u32> {
        let Some(child) = &self.child else { return Vec::new() };
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap_or_default();
        std::iter::once(child.id()).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }

    /// CPU time of all threads of its processes so far.
    pub fn cpu(&self) -> Duration {
        let tasks = self.processes().into_iter().filter_map(|pid| std::fs::read_dir(format!("/proc/{pid}/task")).ok());
        let nanos = tasks.flatten().flatten().filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// Resident memory of its processes, in MiB.
    pub fn memory_mib(&self) -> f64 {
        let of = |pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim();
            line.strip_suffix(" kB")?.parse::<f64>().ok()
        };
        self.processes().into_iter().filter_map(of).sum::<f64>() / 1024.0
    }

    /// Asks it to end, and waits for that. Its directory stays with the value.
    pub fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(asked.is_ok_and(|status| status.success()));
        child.wait().unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx and its worker end together only when they are asked to.
        self.end();
    }
}

struct Configured {
    path: PathBuf,
    address: SocketAddr,
}

/// Writes the lines of a configuration that belong to the level.
fn configured(dir: &Path, name: &str, template: &str, setting: &Setting<'_>) -> Configured {
    let level = match setting.level {
        Level::Forward => 1,
        Level::Verify => 2,
        Level::Burn => 3,
        Level::BurnInRedis => 4,
    };
    let of_level = |line: &str| match line.split_at_checked(1) {
        Some((digit, rest)) if digit.chars().all(|c| c.is_ascii_digit()) => {
            (digit.parse::<u8>().unwrap_or(0) <= level).then(|| format!(" {rest}\n"))
        }
        _ => Some(format!("{line}\n")),
    };
    let address = free_address();
    let values = [
        ("@PORT@", address.port().to_string()),
        ("@DIR@", dir.display().to_string()),
        ("@PEM@", setting.keys.pem.display().to_string()),
        ("@JWKS@", setting.keys.jwks.clone()),
        ("@LEVEL@", level.to_string()),
        ("@MODULES@", MODULES.to_owned()),
        ("@REDIS@", setting.redis.map_or(0, |redis| redis.address.port()).to_string()),
        ("@MERCHANT_HOST@", setting.merchant.ip().to_string()),
        ("@MERCHANT_PORT@", setting.merchant.port().to_string()),
        ("@MERCHANT@", setting.merchant.to_string()),
    ];
    let text: String = template.lines().filter_map(of_level).collect();
    let text = values.iter().fold(text, |text, (name, value)| text.replace(name, value));
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    Configured { path, address }
}

/// A port that nobody has now.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
