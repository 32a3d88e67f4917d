//! The story of the README: four commands, told by the real program on free ports. Whoever tries
//! Permyx sees this first.

use std::time::Instant;

use crate::support::dir::TempDir;
use crate::support::gateway::MUG as CART;
use crate::support::http::{Answer, get, post};
use crate::support::program::{Program, run};
use crate::support::{PATIENCE, files};

/// `permyx dev`, and whoever tries it.
struct Trial {
    dev: Program,
    dir: TempDir,
}

impl Trial {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(flags: &[&str]) -> Self {
        let (dir, mut args) = (TempDir::new(), [&["dev"], flags].concat());
        for flag in ["--gateway-listen", "--api-listen", "--merchant-listen", "--ops-listen"] {
            args.extend([flag, "127.0.0.1:0"]);
        }
        let dev = Program::start(dir.path(), &args);
        Self { dir, dev }
    }

    /// What `permyx ARGS --url API` prints.
    fn permyx(&self, args: &[&str]) -> String {
        let url = self.dev.said("api");
        let done = run(self.dir.path(), &[args, &["--url", &url]].concat());
        assert!(done.status.success(), "{args:?}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    fn buy(&self, token: Option<&str>, cart: &str) -> Answer {
        let header = token.map(|token| format!("Permyx-Execution-Token: {}", token.trim()));
        post(self.dev.address("gateway"), "/checkout", header.as_deref().as_slice(), cart)
    }

    fn executed(&self) -> u64 {
        get(self.dev.address("merchant"), "/stats").json()["executed"].as_u64().unwrap()
    }

    /// The timeline, once it tells of this: events are stored a moment after they are written.
    fn timeline_with(&self, id: &str, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let done = run(self.dir.path(), &["timeline", id, "--url", &self.dev.said("api")]);
            let told = String::from_utf8_lossy(&done.stdout).into_owned();
            if told.contains(text) {
                return told;
            }
            assert!(Instant::now() < deadline, "no `{text}` in the timeline of {id}: {told}{done:?}");
        }
    }
}

#[test]
fn the_four_commands_do_what_the_readme_says() {
    let trial = Trial::start();
    let token = trial.permyx(&["token", "request"]);
    let bought = trial.buy(Some(&token), CART);
    assert_eq!((bought.status, bought.header("permyx-decision")), (200, Some("allowed")));
    let again = trial.buy(Some(&token), CART);
    assert_eq!((again.status, again.json()["reasonCode"].as_str()), (403, Some("REPLAY_DETECTED")));
    let shopper = trial.buy(None, CART);
    assert_eq!((shopper.status, shopper.header("permyx-decision")), (200, Some("observed")));
    assert_eq!(trial.executed(), 2);

    let order = |answer: &Answer| answer.json()["orderId"].as_str().unwrap().to_owned();
    trial.timeline_with("last", &order(&shopper));
    let story = trial.timeline_with(bought.header("permyx-trace").unwrap(), "REPLAY_DETECTED");
    for step in ["1 × shopify:variant:123456 at 29.99 USD", "executed once", &order(&bought)] {
        assert!(story.contains(step), "no `{step}` in:\n{story}");
    }
}

#[test]
fn a_changed_cart_is_explained_and_the_token_is_still_good() {
    let trial = Trial::start();
    let token = trial.permyx(&["token", "request"]);
    for (from, to, path) in [("\"quantity\":1", "\"quantity\":2", "/quantity"), ("29.99", "29.98", "/price/amount")] {
        let changed = trial.buy(Some(&token), &CART.replace(from, to)).json();
        assert_eq!((&changed["reasonCode"], &changed["diff"][0]["path"]), (&"INTENT_MISMATCH".into(), &path.into()));
    }
    assert_eq!((trial.executed(), trial.buy(Some(&token), CART).status, trial.executed()), (0, 200, 1));
}

#[test]
fn everything_that_the_sandbox_sells_can_be_bought_with_a_token() {
    let trial = Trial::start();
    let items = get(trial.dev.address("merchant"), "/items").json();
    for item in items["items"].as_array().unwrap() {
        let (variant, price) = (item["variant"].as_str().unwrap(), &item["price"]);
        let asked = format!("{:.2} USD", price.as_f64().unwrap());
        let token = trial.permyx(&["token", "request", "--variant", variant, "--price", &asked]);
        let cart = CART.replace("shopify:variant:123456", variant).replace("29.99", &price.to_string());
        assert_eq!(trial.buy(Some(&token), &cart).status, 200, "{cart}");
    }
}

/// Whichever of the two comes second is a replay.
#[test]
fn the_gateway_and_validate_share_one_ledger() {
    let trial = Trial::start();
    let validate = |token: &str| {
        let body = format!(r#"{{"storeId":"store-123","executionToken":"{}"}}"#, token.trim());
        post(trial.dev.address("api"), "/agents/v1/exec/validate", &["X-API-Key: permyx_agent_YOUR_KEY"], &body)
    };
    let code = |answer: &Answer| (answer.status, answer.json()["reasonCode"].as_str().map(str::to_owned));
    let replay = (403, Some("REPLAY_DETECTED".to_owned()));
    let token = trial.permyx(&["token", "request"]);
    assert_eq!((trial.buy(Some(&token), CART).status, code(&validate(&token))), (200, replay.clone()));
    let token = trial.permyx(&["token", "request"]);
    assert_eq!((validate(&token).status, code(&trial.buy(Some(&token), CART))), (200, replay));
    assert_eq!(trial.executed(), 1);
}

/// Tokens and API keys are looked for in everything that the program says and keeps, at the most
/// talkative log level: good ones, used ones, and one that was forged.
#[test]
fn no_secret_is_ever_written() {
    let mut trial = Trial::start_with(&["--data", "data", "--log", "trace"]);
    let (used, unused) = (trial.permyx(&["token", "request"]), trial.permyx(&["token", "request"]));
    let parts = |token: &str| token.trim().rsplit_once('.').map(|(message, end)| (message.to_owned(), end.to_owned()));
    let (message, signed_for_another) = (parts(&unused).unwrap().0, parts(&used).unwrap().1);
    let forged = format!("{message}.{signed_for_another}");
    let presented = [&used, &used, &forged];
    let mut said: String = presented.iter().map(|token| trial.buy(Some(token), CART).text()).collect();
    trial.timeline_with("last", "INVALID_SIGNATURE");
    said += &get(trial.dev.address("ops"), "/metrics").text();
    said += &get(trial.dev.address("api"), "/").text();
    assert!(trial.dev.stop().success());
    said += &trial.dev.log();
    let kept = files(&trial.dir.path().join("data"), "");
    assert!(said.contains("permyx_replays_total 1") && kept.len() > 4, "{kept:?}");
    let kept = kept.iter().filter(|path| path.extension().is_none_or(|kind| kind != "pem"));
    said += &kept.map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect::<String>();

    let signatures = [&used, &unused].map(|token| parts(token).unwrap().1);
    let secrets = signatures.iter().map(String::as_str).chain([message.as_str(), "permyx_agent_YOUR_KEY"]);
    let leaked: Vec<_> = secrets.filter(|secret| said.contains(secret)).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    assert!(!said.contains("PRIVATE KEY"));
}

/// Throw-away means thrown away.
#[test]
fn dev_leaves_nothing_behind() {
    let mut trial = Trial::start();
    let data = std::path::PathBuf::from(trial.dev.said("data"));
    assert!(data.join("keys").exists());
    assert!(trial.dev.stop().success());
    assert!(!data.exists());
    assert!(std::fs::read_dir(trial.dir.path()).unwrap().next().is_none());
}
