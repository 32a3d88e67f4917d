//! The gateway under test: `permyx gateway` with routes and policies of a test's own, and the key
//! whose tokens it takes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use permyx::clock::Clock;
use permyx::evidence::record::{self, Next};
use permyx::model::ids::{AgentId, Jti, StoreId, VariantId};
use permyx::model::intent::{Intent, Quantity};
use permyx::model::money::Price;
use permyx::model::scope::Scope;
use permyx::token::issue::{Grant, Lifetime, issue};
use permyx::token::keys::{SigningKey, key_set};
use serde_json::Value;

use super::dir::TempDir;
use super::http::{Answer, Connection, request};
use super::program::Program;
use super::{files, leaks};

/// The cart of [`Purchase::mug`], and who pays for it how: no concern of ours ([`super::secrets`]).
pub const MUG: &str = concat!(
    r#"{"buyer":{"email":"pl4nted.shopper@mail.example","card":"4242424242424242"},"#,
    r#""currency":"USD","items":[{"variant":"shopify:variant:123456","quantity":1,"price":29.99}]}"#
);
pub const AGENT: &str = "ak_tests";
const GATEWAY: [&str; 3] = ["gateway", "--config", "permyx.toml"];

/// A guarded path, and the policy of the store behind it. The store has the route's name.
pub struct Guard {
    pub name: &'static str,
    /// All hosts, when empty.
    pub host: &'static str,
    pub path: String,
    pub preset: &'static str,
    pub upstream: String,
    /// What stands in the policy file behind `store`.
    pub policy: &'static str,
}

impl Guard {
    /// A one-shot checkout at `/NAME`, enforced for every host, open to requests without a token.
    pub fn enforcing(name: &'static str, upstream: String) -> Self {
        let policy = "mode = \"enforce\"\n";
        Self { name, host: "", path: format!("/{name}"), preset: "oneshot-json", upstream, policy }
    }

    fn route(&self) -> String {
        let Self { name, host, path, preset, upstream, .. } = self;
        let hosts = if host.is_empty() { "[]".to_owned() } else { format!("[\"{host}\"]") };
        format!(
            "[[gateway.routes]]\nname = \"{name}\"\nhosts = {hosts}\npath = \"{path}\"\npreset = \"{preset}\"\n\
             store = \"{name}\"\nupstream = \"{upstream}\"\n"
        )
    }
}

/// What a token is made for.
#[derive(Clone)]
pub struct Purchase {
    pub store: &'static str,
    pub variant: &'static str,
    pub quantity: i64,
    pub price: &'static str,
    pub scope: Scope,
    /// How long ago the token was issued, in seconds.
    pub age_s: i64,
}

impl Purchase {
    /// One blue mug in this store, as [`MUG`] asks for it.
    pub fn mug(store: &'static str) -> Self {
        let variant = "shopify:variant:123456";
        Self { store, variant, quantity: 1, price: "29.99 USD", scope: Scope::AgentExec, age_s: 0 }
    }

    pub fn signed_by(&self, key: &SigningKey) -> String {
        self.signed_for(AGENT, key)
    }

    pub fn signed_for(&self, agent: &str, key: &SigningKey) -> String {
        self.signed(agent, Jti::random(), key)
    }

    /// With this id, which another token may have.
    pub fn signed_as(&self, jti: Jti, key: &SigningKey) -> String {
        self.signed(AGENT, jti, key)
    }

    fn signed(&self, agent: &str, jti: Jti, key: &SigningKey) -> String {
        let intent = Intent {
            store: StoreId::parse(self.store).unwrap(),
            variant: VariantId::parse(self.variant).unwrap(),
            quantity: Quantity::new(self.quantity).unwrap(),
            price: Price::parse_text(self.price).unwrap(),
            scope: self.scope,
        };
        let grant = Grant {
            intent: &intent,
            agent: &AgentId::parse(agent).unwrap(),
            product: None,
            jti,
            issued: Clock::system().now().plus_seconds(-self.age_s),
            lifetime: Lifetime::MAX,
        };
        issue(key, &grant).unwrap().text
    }
}

/// How a gateway is started, where that is not as always.
pub struct Start<'a> {
    pub guards: &'a [Guard],
    pub name: &'a str,
    pub listen: &'a str,
    /// Stands in the `[gateway]` table.
    pub extra: &'a str,
    /// The `[ledger]` table, whole.
    pub ledger: &'a str,
    /// Stands in the `[keys]` table.
    pub keys: &'a str,
    /// Further tables, whole.
    pub more: &'a str,
    /// Whose tokens are taken from `jwks.json`.
    pub key: Arc<SigningKey>,
    /// What the program is started by way of ([`Program::start_via`]).
    pub via: &'a [String],
}

impl<'a> Start<'a> {
    /// By itself, with a new key.
    pub fn alone(guards: &'a [Guard]) -> Self {
        let key = Arc::new(SigningKey::generate().unwrap());
        let (ledger, keys) = ("[ledger]\nsingle_instance = true\n", "jwks_file = \"jwks.json\"");
        Self { guards, name: "tests", listen: "127.0.0.1:0", extra: "", ledger, keys, more: "", key, via: &[] }
    }
}

/// A running gateway and everything that belongs to it.
pub struct Gateway {
    program: Program,
    key: Arc<SigningKey>,
    via: Vec<String>,
    dir: TempDir,
}

impl Gateway {
    /// Starts one that takes the tokens of a new key. `extra` stands in its `[gateway]` table.
    pub fn start(guards: &[Guard], extra: &str) -> Self {
        Self::start_as(&Start { extra, ..Start::alone(guards) })
    }

    pub fn start_as(start: &Start) -> Self {
        let (dir, Start { name, listen, extra, ledger, keys, more, .. }) = (TempDir::new(), start);
        dir.write("jwks.json", &serde_json::to_string(&key_set([start.key.public()])).unwrap());
        for Guard { name, policy, .. } in start.guards {
            dir.write(&format!("policies/{name}.toml"), &format!("store = \"{name}\"\n{policy}"));
        }
        let routes: String = start.guards.iter().map(Guard::route).collect();
        let config = format!(
            "data = \"data\"\n[log]\nfilter = \"warn\"\nformat = \"text\"\n[gateway]\nname = \"{name}\"\n\
             listen = \"{listen}\"\n{extra}\n{routes}[ops]\nlisten = \"127.0.0.1:0\"\n\
             {ledger}[policies]\ndir = \"policies\"\n[keys]\n{keys}\n{more}"
        );
        dir.write("permyx.toml", &config);
        let program = Program::start_via(start.via, dir.path(), &GATEWAY);
        Self { program, key: start.key.clone(), via: start.via.to_vec(), dir }
    }

    /// `kill -9`.
    pub fn kill(&self) {
        let killed = Command::new("kill").args(["-9", &self.process().to_string()]).status().unwrap();
        assert!(killed.success());
    }

    /// Asks it to stop (SIGTERM) and waits until it did.
    pub fn stop(&mut self) -> ExitStatus {
        self.program.stop()
    }

    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Starts it again in the same directories, once its process is gone.
    pub fn restart(&mut self) {
        self.program.kill();
        self.program = Program::start_via(&self.via, self.dir.path(), &GATEWAY);
    }

    /// As long as this process lives: for a gateway that many tests share, which is never dropped.
    pub fn shared(self) -> &'static Self {
        let leash = Leash::new(self.process(), &self.dir);
        leaks::follow(self.address(), self.program.followed(self.dir.path().join("data/spool")));
        let (gateway, _) = Box::leak(Box::new((self, leash)));
        gateway
    }

    pub fn process(&self) -> u32 {
        self.program.id()
    }

    pub fn address(&self) -> SocketAddr {
        self.program.address("gateway")
    }

    pub fn ops(&self) -> SocketAddr {
        self.program.address("ops")
    }

    pub fn log(&self) -> String {
        self.program.log()
    }

    /// Where its files are; `policies/STORE.toml` is the policy of a store.
    pub fn dir(&self) -> &TempDir {
        &self.dir
    }

    /// A token for one mug of this store.
    pub fn token(&self, store: &'static str) -> String {
        self.sign(&Purchase::mug(store))
    }

    pub fn sign(&self, purchase: &Purchase) -> String {
        purchase.signed_by(&self.key)
    }

    pub fn sign_for(&self, agent: &str, purchase: &Purchase) -> String {
        purchase.signed_for(agent, &self.key)
    }

    /// Sends this token with this cart on a connection of its own.
    pub fn post(&self, path: &str, token: &str, cart: &str) -> Answer {
        self.send(&with_token(path, token, cart))
    }

    /// Sends these bytes on a connection of its own and reads the answer.
    pub fn send(&self, bytes: &[u8]) -> Answer {
        let mut connection = Connection::open(self.address());
        connection.send(bytes);
        connection.answer().unwrap_or_else(|| panic!("no answer to {}", String::from_utf8_lossy(bytes)))
    }

    /// Everything that is in its spool, in order.
    pub fn events(&self) -> Vec<Value> {
        self.events_as(|event| event)
    }

    /// As [`Self::events`], each turned into what a test needs of it.
    pub fn events_as<T>(&self, what: impl Fn(Value) -> T) -> Vec<T> {
        let mut found = Vec::new();
        each_event(self.dir.path().join("data/spool"), |event| found.push(what(event)));
        found
    }

    /// The events of one request.
    pub fn events_of(&self, trace: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["data"]["traceId"] == trace).collect()
    }
}

/// The bytes of a purchase with a token in its header.
pub fn with_token(path: &str, token: &str, cart: &str) -> Vec<u8> {
    request("POST", path, &[&format!("Permyx-Execution-Token: {token}")], cart)
}

/// Shows the events of a spool directory, read while its producer may be writing.
fn each_event(spool: PathBuf, mut see: impl FnMut(Value)) {
    for segment in files(&spool, ".spool") {
        let bytes = std::fs::read(segment).unwrap();
        let mut rest = bytes.as_slice();
        loop {
            match record::next(rest) {
                Next::Record(record) => {
                    see(serde_json::from_slice(record.body).unwrap());
                    rest = &rest[record.framed_len()..];
                }
                Next::Damage { bytes } => panic!("{bytes} damaged bytes in the spool"),
                Next::Tail => break,
            }
        }
    }
}

/// The short name of an event's type (`execution.observed`).
pub fn kind(event: &Value) -> &str {
    event["data"]["eventType"].as_str().unwrap()
}

/// Ends a program and removes its directory when this process ends, however it ends.
pub(super) struct Leash(#[expect(dead_code, reason = "its standard input is held open")] Child);

impl Leash {
    pub(super) fn new(pid: u32, dir: &TempDir) -> Self {
        let script = "cat >/dev/null; kill -9 \"$1\"; rm -r \"$2\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "leash", &pid.to_string()]).arg(dir.path());
        Self(shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}
