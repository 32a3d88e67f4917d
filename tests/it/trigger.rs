//! `permyx trigger`: scenarios, played by the real program against a real one, and the merchant's own count of
//! what came of them.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use permyx::clock::Clock;
use permyx::keystore::signing::SigningStore;
use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::dir::TempDir;
use crate::support::gateway::{Gateway, Guard, Purchase, Start};
use crate::support::http::{exchange, get, request};
use crate::support::merchant::{Merchant, Reply};
use crate::support::program::{Program, permyx, run};
use crate::support::redis::Redis;

const ENFORCE: &str = "mode = \"enforce\"\n";

/// `permyx dev`, and who plays against it.
struct Stage {
    dev: Program,
    dir: TempDir,
}

impl Stage {
    fn open() -> Self {
        let (dir, mut args) = (TempDir::new(), vec!["dev", "--data", "data"]);
        for flag in ["--gateway-listen", "--api-listen", "--merchant-listen", "--ops-listen"] {
            args.extend([flag, "127.0.0.1:0"]);
        }
        let dev = Program::start(dir.path(), &args);
        Self { dev, dir }
    }

    /// What `permyx trigger ARGS` says, and its exit code.
    fn plays(&self, args: &[&str]) -> (String, Option<i32>) {
        self.plays_at(&self.dev.said("gateway"), args)
    }

    /// As [`Self::plays`], at another gateway: it takes the tokens of this control plane.
    fn plays_at(&self, gateway: &str, args: &[&str]) -> (String, Option<i32>) {
        let api = self.dev.said("api");
        let done = run(self.dir.path(), &[&["trigger", "--url", &api, "--gateway", gateway], args].concat());
        (String::from_utf8([done.stdout, done.stderr].concat()).unwrap(), done.status.code())
    }

    /// The object at the end, and the exit code.
    fn told(&self, args: &[&str]) -> (Value, Option<i32>) {
        let (told, code) = self.plays(&[args, &["--json"]].concat());
        (serde_json::from_str(told.lines().next().unwrap()).unwrap_or_else(|why| panic!("{why}: {told}")), code)
    }

    /// What the sandbox merchant counted: `executed`, `mostPerTrace`.
    fn count(&self, name: &str) -> u64 {
        get(self.dev.address("merchant"), "/stats").json()[name].as_u64().unwrap()
    }

    /// A gateway of its own for the store of the sandbox, which takes the tokens of this control plane.
    fn gateway(&self, upstream: String, policy: &'static str, ledger: &str) -> Gateway {
        let guard = Guard { path: "/checkout".to_owned(), policy, ..Guard::enforcing("store-123", upstream) };
        let guards = [guard];
        let keys = format!("jwks_url = \"http://{}/.well-known/jwks.json\"", self.dev.address("api"));
        Gateway::start_as(&Start { ledger, keys: &keys, ..Start::alone(&guards) })
    }

    /// The key of an operator, once it is known.
    fn operator(&self) -> String {
        let words = ["agent-key", "create", "--role", "operator", "--all-stores", "--data", "data", "--json"];
        let made: Value = serde_json::from_slice(&run(self.dir.path(), &words).stdout).unwrap();
        let key = made["secret"].as_str().unwrap().to_owned();
        let asks = request("GET", "/v1/revocations", &[&format!("X-API-Key: {key}")], "");
        let deadline = Instant::now() + PATIENCE;
        while exchange(self.dev.address("api"), &asks).unwrap().status != 200 {
            assert!(Instant::now() < deadline, "a new key is not taken");
        }
        key
    }
}

/// Where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn url(gateway: &Gateway) -> String {
    format!("http://{}", gateway.address())
}

/// What was decided at each step of a scenario.
fn steps(played: &Value) -> Vec<(u64, String)> {
    let step = |step: &Value| {
        assert!(step["trace"].as_str().unwrap().starts_with("trc_"), "{step}");
        let said = if step["code"].is_null() { &step["decision"] } else { &step["code"] };
        (step["status"].as_u64().unwrap(), said.as_str().unwrap_or("-").to_owned())
    };
    played["steps"].as_array().unwrap().iter().map(step).collect()
}

#[test]
fn everything_that_needs_nothing_special_holds_in_the_sandbox() {
    let stage = Stage::open();
    let (played, code) = stage.told(&["all"]);
    assert_eq!((code, &played["scenario"], &played["held"]), (Some(0), &"all".into(), &true.into()), "{played:#}");
    let expected = [
        ("allowed", vec![(200, "allowed"), (200, "allowed")]),
        ("denied", vec![(403, "POLICY_DENIED")]),
        ("replay", vec![(200, "allowed"), (200, "allowed"), (403, "REPLAY_DETECTED")]),
        ("mismatch", vec![(200, "allowed"), (403, "INTENT_MISMATCH"), (200, "-")]),
        ("tokenless", vec![(200, "observed")]),
    ];
    let scenarios = played["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), expected.len());
    for (played, (name, expected)) in scenarios.iter().zip(expected) {
        let expected: Vec<_> = expected.into_iter().map(|(status, said)| (status, said.to_owned())).collect();
        assert_eq!((&played["scenario"], &played["held"], steps(played)), (&name.into(), &true.into(), expected));
    }
    // One each of `allowed`, `replay` and `tokenless`.
    assert_eq!((stage.count("executed"), stage.count("refused"), stage.count("mostPerTrace")), (3, 0, 1));
}

#[test]
fn a_step_says_what_was_sent_what_came_and_where_its_story_is() {
    let stage = Stage::open();
    let (told, code) = stage.plays(&["mismatch", "--quantity", "50", "--price", "1.00 USD"]);
    let (own, merchant) = (stage.dev.said("gateway"), stage.count("executed"));
    assert_eq!((code, merchant), (Some(1), 0), "{told}");
    // More than the sandbox's policy allows: there is no token, and nothing is sent without one.
    assert!(told.contains("expected: 2xx allowed") && !told.contains("/checkout"), "{told}");
    let (told, code) = stage.plays(&["mismatch"]);
    assert_eq!(code, Some(0), "{told}");
    for part in [
        "1. ask for a token: 1 × shopify:variant:123456 at 29.99 USD in store-123\n",
        "2. buy 2 with it\n",
        &format!("POST {}/checkout\n", own.trim_end_matches('/')),
        "→ 403 INTENT_MISMATCH  trc_",
        "/quantity: authorized 1, actual 2\n",
        "→ 200 unused  trc_",
        "is really bought",
        "  held; the whole story: permyx timeline trc_",
    ] {
        assert!(told.contains(part), "no `{part}` in:\n{told}");
    }
    let trace = told.split_whitespace().find(|word| word.starts_with("trc_")).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !run(stage.dir.path(), &["timeline", trace, "--url", &stage.dev.said("api")]).status.success() {
        assert!(Instant::now() < deadline, "{trace} has no story");
    }
}

#[test]
fn a_token_of_earlier_has_expired() {
    let stage = Stage::open();
    let keys = SigningStore::of(&stage.dir.path().join("data")).load(Clock::system().now()).unwrap();
    let purchase = Purchase { age_s: 200, ..Purchase::mug("store-123") };
    let token = purchase.signed_by(keys.signers().next().unwrap());
    let (played, code) = stage.told(&["expired", "--expired-token", &token]);
    assert_eq!((code, steps(&played)), (Some(0), vec![(403, "TOKEN_EXPIRED".to_owned())]), "{played:#}");
    // What is no token at all is not waited for, and is told as what it is.
    let (played, code) = stage.told(&["expired", "--expired-token", "a.b.c"]);
    assert_eq!((code, steps(&played)), (Some(1), vec![(403, "INVALID_SIGNATURE".to_owned())]), "{played:#}");
    assert_eq!(stage.count("executed"), 0);
}

#[test]
fn an_operator_revokes_a_token() {
    let stage = Stage::open();
    let (told, code) = stage.plays(&["revoked"]);
    assert!(code == Some(2) && told.contains("agent-key create --role operator"), "{told}");
    let (played, code) = stage.told(&["revoked", "--operator-key", &stage.operator()]);
    let said: Vec<_> = steps(&played).into_iter().map(|(status, _)| status).collect();
    assert_eq!((code, said, stage.count("executed")), (Some(0), vec![200, 200, 403], 0), "{played:#}");
    let (played, code) = stage.told(&["revoked", "--operator-key", "permyx_agent_YOUR_KEY"]);
    assert_eq!((code, steps(&played)[1].1.as_str()), (Some(1), "FORBIDDEN"), "{played:#}");
}

#[test]
fn somebody_stops_the_ledger_and_nothing_passes() {
    let (stage, mut redis, merchant) = (Stage::open(), Redis::start(), Merchant::selling());
    let ledger = format!("[ledger]\ndurability = \"async\"\n[ledger.redis]\nnodes = [\"{}\"]\n", redis.address());
    let gateway = stage.gateway(merchant.url(), ENFORCE, &ledger);
    let args = ["trigger", "ledger-down", "--url", &stage.dev.said("api"), "--gateway", &url(&gateway)];
    let mut playing = Command::new(permyx())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let asked = BufReader::new(playing.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(asked.into_iter().any(|line| line.contains("press Enter")));
    redis.kill();
    playing.stdin.take().unwrap().write_all(b"\n").unwrap();
    let told = playing.wait_with_output().unwrap();
    let (told, status) = (String::from_utf8(told.stdout).unwrap(), told.status);
    assert!(status.success() && told.contains("→ 503 LEDGER_UNAVAILABLE"), "{told}");
    // It is known by the name of the product too, and by whoever broke it before.
    let (told, code) = stage.plays_at(&url(&gateway), &["redis-down", "--fault-is-there"]);
    assert!(code == Some(0) && told.contains("→ 503 LEDGER_UNAVAILABLE"), "{told}");
    assert!(merchant.recorded().is_empty());
}

#[test]
fn what_nobody_broke_is_not_claimed() {
    let stage = Stage::open();
    let (told, code) = stage.plays(&["ledger-down"]);
    assert!(code == Some(2) && told.contains("--fault-is-there"), "{told}");
    assert_eq!(stage.count("executed"), 0);
    // The ledger of `permyx dev` cannot be away: what was said is not so, and it was bought.
    let (told, code) = stage.plays(&["ledger-down", "--fault-is-there"]);
    assert!(code == Some(1) && told.contains("did NOT hold") && told.contains("let through"), "{told}");
    assert_eq!(stage.count("executed"), 1);
}

#[test]
fn a_merchant_that_is_not_there_uses_no_token_up() {
    let stage = Stage::open();
    let gateway = stage.gateway(format!("http://{}", nobody()), ENFORCE, Start::alone(&[]).ledger);
    let (told, code) = stage.plays_at(&url(&gateway), &["merchant-down", "--fault-is-there"]);
    assert!(code == Some(0) && told.contains("→ 502 UPSTREAM_UNAVAILABLE"), "{told}");
}

/// A gateway waits a minute for a merchant that says nothing: here another one answers as it then does.
#[test]
fn what_was_not_answered_must_not_be_sent_again() {
    fn says(status: u16, code: &str) -> Reply {
        let body = format!(r#"{{"error":{{"code":"{code}","message":"no"}}}}"#);
        let trace = "Permyx-Trace: trc_0199f3a16c1e7c559d0e2f6a4d1f9b10";
        let head = format!("HTTP/1.1 {status} X\r\n{trace}\r\nContent-Length: {}\r\n\r\n", body.len());
        Reply::Bytes([head, body].concat().into())
    }
    let stage = Stage::open();
    for (second, expected) in [("REPLAY_DETECTED", Some(0)), ("INTERNAL", Some(1))] {
        // Whether a connection is kept for the second request is nobody's promise.
        let asked = AtomicUsize::new(0);
        let gateway = Merchant::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
            0 => says(504, "OUTCOME_UNKNOWN"),
            _ => says(403, second),
        });
        let (told, code) = stage.plays_at(&gateway.url(), &["upstream-timeout", "--fault-is-there"]);
        assert_eq!(code, expected, "{told}");
        let sent = gateway.wait_for(2);
        assert_eq!(sent[0].header("permyx-execution-token"), sent[1].header("permyx-execution-token"));
        assert_eq!(sent[0].body(), sent[1].body());
    }
}

#[test]
fn a_scenario_that_does_not_hold_is_a_finding() {
    let stage = Stage::open();
    // Past the gateway: the merchant sells to everybody, and nobody counts tokens.
    let (told, code) = stage.plays_at(&stage.dev.said("merchant"), &["replay"]);
    assert!(code == Some(1) && told.contains("no gateway of Permyx's answered"), "{told}");
    assert!(told.contains("error: it did not hold: replay"), "{told}");
    assert_eq!(stage.count("executed"), 1);
    // A policy that observes blocks nothing.
    let observing = "mode = \"observe\"\n";
    let gateway = stage.gateway(stage.dev.said("merchant"), observing, Start::alone(&[]).ledger);
    let (told, code) = stage.plays_at(&url(&gateway), &["mismatch"]);
    assert!(code == Some(1) && told.contains("observes and blocks nothing"), "{told}");
    let (told, code) = stage.plays(&["allowed", "--path", "items"]);
    assert!(code == Some(1) && told.contains("no route of the gateway guards this path"), "{told}");
    let (played, code) = stage.told(&["allowed", "--key", "permyx_agent_nobody"]);
    let wrong = vec![(401, "UNAUTHORIZED".to_owned())];
    assert_eq!((code, steps(&played), &played["held"]), (Some(1), wrong, &false.into()));
}

#[test]
fn a_store_that_requires_tokens_refuses_what_has_none() {
    let (stage, merchant) = (Stage::open(), Merchant::selling());
    let policy = "mode = \"enforce\"\ntokenless = \"require\"\n";
    let gateway = stage.gateway(merchant.url(), policy, Start::alone(&[]).ledger);
    let (told, code) = stage.plays_at(&url(&gateway), &["tokenless"]);
    assert!(code == Some(0) && told.contains("→ 403 NO_TOKEN"), "{told}");
    assert!(merchant.recorded().is_empty());
}

#[test]
fn nothing_is_bought_elsewhere_unless_that_is_meant() {
    let stage = Stage::open();
    for args in [["--gateway", "http://shop.example"], ["--url", "https://permyx.example"]] {
        let done = run(stage.dir.path(), &[&["trigger", "allowed"], &args[..]].concat());
        let told = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(2), "{told}");
        assert!(told.contains(args[1]) && told.contains("--yes-this-buys"), "{told}");
    }
    // It sends no purchase: where the gateway is does not matter.
    assert_eq!(stage.plays_at("http://shop.example", &["denied"]).1, Some(0));
    assert_eq!(stage.plays(&["allowed", "--yes-this-buys"]).1, Some(0));
    assert_eq!(stage.count("executed"), 1);
}

#[test]
fn nobody_there_is_not_a_finding() {
    let stage = Stage::open();
    let nobody = format!("http://{}", nobody());
    let done = run(stage.dir.path(), &["trigger", "allowed", "--url", &nobody, "--gateway", &nobody, "--json"]);
    let played: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((done.status.code(), &played["held"], &played["steps"]), (Some(4), &Value::Null, &Value::Array(vec![])));
    let (told, code) = stage.plays_at(&nobody, &["allowed"]);
    assert!(code == Some(4) && told.contains("permyx gateway"), "{told}");
    assert_eq!(stage.plays_at("nonsense", &["allowed"]).1, Some(2));
    // Somebody is there, but no control plane.
    let merchant = stage.dev.said("merchant");
    let done = run(stage.dir.path(), &["trigger", "denied", "--url", &merchant]);
    assert_eq!(done.status.code(), Some(4), "{done:?}");
}

#[test]
fn what_there_is_is_told_in_a_line_each() {
    let dir = TempDir::new();
    let list = String::from_utf8(run(dir.path(), &["trigger", "--list"]).stdout).unwrap();
    let told: Value = serde_json::from_slice(&run(dir.path(), &["trigger", "--list", "--json"]).stdout).unwrap();
    let told = told.as_array().unwrap();
    assert_eq!((list.lines().count(), told.len()), (11, 11), "{list}");
    for (line, one) in list.lines().zip(told) {
        assert!(line.starts_with(one["scenario"].as_str().unwrap()), "{line}");
        assert!(line.contains(one["about"].as_str().unwrap()) && line.chars().count() <= 120, "{line}");
    }
    assert_eq!(run(dir.path(), &["trigger"]).status.code(), Some(2));
    assert_eq!(run(dir.path(), &["trigger", "everything"]).status.code(), Some(2));
}
