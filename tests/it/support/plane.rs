//! A control plane in this process: the real API over the real parts below it, on a port of its
//! own, with a clock that stands still until it is moved.

use std::net::SocketAddr;
use std::sync::Arc;

use permyx::api::{self, Api, Beside};
use permyx::authority::Authority;
use permyx::authority::policies::PolicyBook;
use permyx::catalog::Catalog;
use permyx::clock::Clock;
use permyx::evidence::{Class, Spool, SpoolOptions};
use permyx::keystore::agent_file::ApiKeyStore;
use permyx::keystore::agents::{Allowance, ApiKey, ApiKeys, Enrolment, Role, Terms};
use permyx::keystore::signing::SigningStore;
use permyx::ledger::AnyLedger;
use permyx::ledger::front::Front;
use permyx::ledger::memory::MemoryLedger;
use permyx::model::ids::StoreId;
use permyx::model::time::Timestamp;
use permyx::quota::allowance::Allowances;
use permyx::reload::Reloaded;
use permyx::revocation::KillSwitch;
use permyx::telemetry::metrics::Metrics;
use permyx::telemetry::traces::Traces;
use permyx::token::keys::KeyRing;
use serde_json::{Value, json};

use super::dir::TempDir;
use super::http::{Answer, exchange, request};
use super::secrets;

pub const AUTHORIZE: &str = "/agents/v1/exec/authorize";
pub const VALIDATE: &str = "/agents/v1/exec/validate";
pub const OBSERVE: &str = "/agents/v1/exec/observe";
pub const INTROSPECT: &str = "/agents/v1/exec/introspect";

/// When a control plane starts: 2027-01-15T08:00:00Z, at the first second of a minute.
pub const START_S: i64 = 1_800_000_000;

/// What a control plane is started with.
pub struct Setup {
    /// Policy files.
    pub policies: Vec<&'static str>,
    /// True where this process burns tokens.
    pub burns: bool,
    pub beside: Beside,
    pub traces: Option<Arc<Traces>>,
}

impl Default for Setup {
    fn default() -> Self {
        let policies = vec!["store = \"store-123\"\nversion = \"1\"\nmode = \"enforce\"\n"];
        Self { policies, burns: true, beside: Beside::default(), traces: None }
    }
}

/// The running control plane; it stops when the value is dropped.
pub struct Plane {
    pub clock: Clock,
    pub authority: Arc<Authority>,
    address: SocketAddr,
    keys: Arc<Reloaded<ApiKeys>>,
    dir: TempDir,
    _runtime: tokio::runtime::Runtime,
}

/// An API key that a test holds.
pub struct Held {
    pub key: ApiKey,
    pub secret: String,
}

impl Plane {
    pub fn new() -> Self {
        let plane = Self::start(Setup::default());
        // The second in which a memory ledger starts is over.
        plane.clock.advance(1000);
        plane
    }

    pub fn with_policy(policy: &'static str) -> Self {
        let plane = Self::start(Setup { policies: vec![policy], ..Setup::default() });
        plane.clock.advance(1000);
        plane
    }

    pub fn start(setup: Setup) -> Self {
        let dir = TempDir::new();
        let clock = Clock::manual(Timestamp::of_seconds(START_S));
        let authority = Arc::new(authority(&dir, &clock, &setup));
        let keys = Arc::new(Reloaded::new(ApiKeys::default()));
        let beside = setup.beside;
        let allowances = Arc::new(Allowances::in_memory());
        let api = Arc::new(Api::new(authority.clone(), keys.clone(), allowances, Box::new(move || beside)));
        let router = api::closed(api::router(api.clone()), api);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { clock, authority, address, keys, dir, _runtime: runtime }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its files are.
    pub fn dir(&self) -> &TempDir {
        &self.dir
    }

    /// Makes an API key and lets it in.
    pub fn key(&self, role: Role, stores: &[&str]) -> Held {
        self.key_with(role, stores, Allowance::default())
    }

    pub fn key_with(&self, role: Role, stores: &[&str], allowance: Allowance) -> Held {
        let stores = Enrolment::Only(stores.iter().map(|id| StoreId::parse(id).unwrap()).collect());
        let store = ApiKeyStore::of(self.dir.path());
        let (key, secret) = store.create(Terms { role, stores, allowance }, self.clock.now()).unwrap();
        self.keys.replace(store.load().unwrap());
        Held { key, secret: secret.reveal().to_owned() }
    }

    pub fn agent(&self) -> Held {
        self.key(Role::Agent, &["store-123"])
    }

    pub fn merchant(&self) -> Held {
        self.key(Role::Merchant, &["store-123"])
    }

    pub fn revoke(&self, held: &Held) {
        let store = ApiKeyStore::of(self.dir.path());
        store.revoke(&held.key.id, self.clock.now()).unwrap();
        self.keys.replace(store.load().unwrap());
    }

    pub fn post(&self, path: &str, held: &Held, body: &Value) -> Answer {
        self.send("POST", path, held, &[], &body.to_string())
    }

    pub fn send(&self, method: &str, path: &str, held: &Held, headers: &[&str], body: &str) -> Answer {
        let key = format!("X-API-Key: {}", held.secret);
        let headers: Vec<_> = headers.iter().copied().chain([key.as_str()]).collect();
        exchange(self.address, request(method, path, &headers, body)).unwrap()
    }

    /// A token for the purchase of [`purchase`].
    pub fn token(&self, held: &Held) -> String {
        let answer = self.post(AUTHORIZE, held, &purchase());
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["executionToken"].as_str().unwrap().to_owned()
    }

    pub fn validate(&self, held: &Held, token: &str) -> Answer {
        self.post(VALIDATE, held, &json!({ "storeId": "store-123", "executionToken": token }))
    }

    /// Everything that was recorded so far, as text.
    pub fn evidence(&self) -> String {
        let spool = super::files(&self.dir.path().join("spool"), "");
        spool.iter().map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect()
    }
}

fn authority(dir: &TempDir, clock: &Clock, setup: &Setup) -> Authority {
    for (n, policy) in setup.policies.iter().enumerate() {
        dir.write(&format!("policies/{n}.toml"), policy);
    }
    let metrics = Arc::new(Metrics::new().unwrap());
    let options = SpoolOptions {
        dir: dir.path().join("spool"),
        source: "/servers/test".to_owned(),
        limit_bytes: 64 << 20,
        segment_bytes: 8 << 20,
        class: Class::Spool,
    };
    let signing = SigningStore::of(dir.path());
    signing.generate(clock.now()).unwrap();
    let issuer = signing.load(clock.now()).unwrap();
    let ledger = || MemoryLedger::open(dir.path(), 10_000, clock.clone(), 0).unwrap();
    let policies = setup.policies.first().map(|_| dir.path().join("policies"));
    let revocations = KillSwitch::open(dir.path(), clock.clone(), metrics.clone(), Box::new(|_| {})).unwrap();
    Authority {
        clock: clock.clone(),
        ledger: if setup.burns { AnyLedger::Memory(Box::new(ledger())) } else { AnyLedger::Elsewhere },
        front: Front::default(),
        evidence: Arc::new(Spool::open(options, clock.clone(), metrics.clone()).unwrap()),
        keys: Arc::new(Reloaded::new(KeyRing::of_set(issuer.published()).0)),
        issuer: Some(Arc::new(Reloaded::new(issuer))),
        policies: Arc::new(PolicyBook::open(policies, clock.clone(), metrics.clone()).unwrap()),
        metrics,
        traces: setup.traces.clone(),
        catalog: Arc::new(Catalog::open(&dir.path().join("catalog")).unwrap()),
        revocations: Arc::new(revocations),
        unknown_key: Arc::default(),
    }
}

/// The purchase of the public examples.
pub fn purchase() -> Value {
    json!({
        "storeId": "store-123",
        "permyxProductId": "permyx:product:demo",
        "sourceVariantId": "shopify:variant:123456",
        "quantity": 1,
        "price": { "amount": 29.99, "currency": "USD" },
        "scope": "agent_exec",
        // Whatever else an agent sends is not looked at.
        "buyer": { "email": secrets::EMAIL, "card": secrets::CARD, "cookie": secrets::COOKIE },
    })
}

/// [`purchase`] with the members at these JSON Pointers set, or taken away by `null`.
pub fn purchase_with(changes: &[(&str, Value)]) -> Value {
    let mut body = purchase();
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let object = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Value::Null => drop(object.remove(name)),
            value => drop(object.insert(name.to_owned(), value.clone())),
        }
    }
    body
}

/// Asserts a refusal in the one shape of all refusals and hands back its body.
#[track_caller]
pub fn refused(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (status, Some(code)), "{}", answer.text());
    let body = answer.json();
    common(answer);
    assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    assert_eq!((&body["allowed"], &body["tokenConsumed"]), (&json!(false), &json!(false)));
    let judged = matches!(status, 403 | 422 | 429) && code != "FORBIDDEN";
    assert_eq!(body["reasonCode"], if judged { json!(code) } else { Value::Null });
    body
}

/// What every answer has.
#[track_caller]
pub fn common(answer: &Answer) {
    for name in ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"] {
        let value = answer.header(name).unwrap_or_else(|| panic!("no `{name}` in {answer:?}"));
        assert!(value.parse::<u64>().is_ok(), "{name}: {value}");
    }
    let body = answer.json();
    assert!(matches!(body["permyx_protocol_version"].as_str(), Some("1.0" | "1.5")), "{body}");
    if let Some(trace) = body.get("traceId") {
        assert!(trace.as_str().unwrap().starts_with("trc_"));
    }
}

/// The names of an object's members, sorted.
pub fn names(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}
