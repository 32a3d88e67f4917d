//! The proxies that are measured, each a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use permyx::clock::Clock;
use permyx::model::ids::{AgentId, Jti, StoreId, VariantId};
use permyx::model::intent::{Intent, Quantity};
use permyx::model::money::Price;
use permyx::model::scope::Scope;
use permyx::token::issue::{Grant, Lifetime, issue};
use permyx::token::keys::{SigningKey, key_set};
use pingora::apps::ServerApp;
use pingora::proxy::{HttpProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;

/// First argument of the process that is a pingora with nothing in it.
pub const BARE: &str = "run-bare-pingora";

/// One proxy under load. It ends with the value.
pub struct Proxy {
    address: SocketAddr,
    child: Option<Child>,
    dir: Option<PathBuf>,
    key: Option<SigningKey>,
}

impl Proxy {
    pub fn start(name: &str, merchant: SocketAddr) -> Self {
        match name {
            "direct" => Self { address: merchant, child: None, dir: None, key: None },
            "bare pingora" => {
                let program = std::env::current_exe().unwrap();
                let mut command = Command::new(program);
                command.args([BARE, &merchant.to_string()]);
                Self::run(command, None, None)
            }
            name => Self::gateway(name.ends_with("enforced"), merchant),
        }
    }

    fn gateway(enforced: bool, merchant: SocketAddr) -> Self {
        let dir = std::env::temp_dir().join(format!("permyx-bench-{}", Jti::random()));
        std::fs::create_dir_all(dir.join("policies")).unwrap();
        let key = SigningKey::generate().unwrap();
        std::fs::write(dir.join("jwks.json"), serde_json::to_string(&key_set([key.public()])).unwrap()).unwrap();
        let mode = if enforced { "enforce" } else { "observe" };
        let policy = format!(
            "store = \"store-123\"\nmode = \"{mode}\"\ncurrency = \"USD\"\n[limits]\nmax_quantity = 3\nmax_cart_value = \"250.00 USD\"\n"
        );
        std::fs::write(dir.join("policies/store-123.toml"), policy).unwrap();
        let config = format!(
            "[gateway]\nlisten = \"127.0.0.1:0\"\n[[gateway.routes]]\nname = \"checkout\"\npath = \"/checkout\"\npreset = \"oneshot-json\"\n\
             store = \"store-123\"\nupstream = \"http://{merchant}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n[ledger]\nsingle_instance = true\n\
             [policies]\ndir = \"policies\"\n[keys]\njwks_file = \"jwks.json\"\n"
        );
        std::fs::write(dir.join("permyx.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_permyx"));
        command.args(["gateway", "--ready-json", "--config"]).arg(dir.join("permyx.toml"));
        Self::run(command, Some(dir), enforced.then_some(key))
    }

    fn run(mut command: Command, dir: Option<PathBuf>, key: Option<SigningKey>) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = ready["gateway"].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
        Self { address, child: Some(child), dir, key }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time of all threads of the process so far.
    pub fn cpu(&self) -> Duration {
        let Some(child) = &self.child else { return Duration::ZERO };
        let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
        let nanos = tasks.flatten().filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// A token for every request, where the proxy burns them.
    pub fn tokens(&self, count: usize) -> Vec<String> {
        let Some(key) = &self.key else { return Vec::new() };
        let (agent, now) = (AgentId::parse("ak_bench").unwrap(), Clock::system().now());
        let intent = Intent {
            store: StoreId::parse("store-123").unwrap(),
            variant: VariantId::parse("shopify:variant:123456").unwrap(),
            quantity: Quantity::new(1).unwrap(),
            price: Price::parse_text("29.99 USD").unwrap(),
            scope: Scope::AgentExec,
        };
        let token = |_| {
            let (jti, lifetime) = (Jti::random(), Lifetime::MAX);
            let grant = Grant { intent: &intent, agent: &agent, product: None, jti, issued: now, lifetime };
            issue(key, &grant).unwrap().text
        };
        (0..count).map(token).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(dir) = &self.dir {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

/// pingora, and nothing else.
struct Bare(SocketAddr);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

pub fn run_bare() {
    let merchant = std::env::args().nth(2).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{{\"gateway\":\"http://{}\"}}", listener.local_addr().unwrap());
        let mut proxy = HttpProxy::new(Bare(merchant), Arc::default());
        proxy.handle_init_modules();
        let (proxy, (_keep, stop)) = (Arc::new(proxy), tokio::sync::watch::channel(false));
        while let Ok((socket, _)) = listener.accept().await {
            let (proxy, stop) = (proxy.clone(), stop.clone());
            socket.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let stream = pingora::protocols::l4::stream::Stream::from(socket);
                proxy.process_new(Box::new(stream), &stop).await;
            });
        }
    });
}
