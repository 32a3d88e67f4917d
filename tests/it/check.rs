//! `permyx check`: what stands against a start, told before it, by the real program.

use serde_json::Value;

use crate::support::dir::TempDir;
use crate::support::program::run;

const CONFIG: &str = "[[gateway.routes]]\nname = \"checkout\"\npath = \"/checkout\"\npreset = \"oneshot-json\"\n\
                      store = \"store-123\"\nupstream = \"http://127.0.0.1:1\"\n[policies]\ndir = \"policies\"\n\
                      [catalog]\ndir = \"catalog\"\n[ledger]\nsingle_instance = true\n\
                      [keys]\njwks_url = \"https://permyx.example/.well-known/jwks.json\"\n";

/// A directory with a configuration and a policy.
fn written(config: &str, policy: &str) -> TempDir {
    let dir = TempDir::new();
    dir.write("permyx.toml", config);
    dir.write("policies/store-123.toml", policy);
    dir
}

/// What `permyx check --config permyx.toml ARGS` prints, and its exit code.
fn said(dir: &TempDir, args: &[&str]) -> (String, Option<i32>) {
    let done = run(dir.path(), &[&["check", "--config", "permyx.toml"], args].concat());
    let both = [done.stdout, done.stderr].concat();
    (String::from_utf8(both).unwrap(), done.status.code())
}

#[test]
fn what_starts_well_may_still_be_worth_a_word() {
    let dir = written(CONFIG, "store = \"store-123\"\nmode = \"enforce\"\n");
    let (told, code) = said(&dir, &[]);
    let expected = "warning  route checkout: this route does not stop an agent that leaves the header out\n         \
        fix: set `tokenless = \"require\"` in the policy if no shopper comes this way\n\
        note     store store-123: it has no catalog: prices are not verified\n         \
        fix: put a file for this store into the directory of [catalog]\n\
        permyx.toml: errors: 0, warnings: 1, notes: 1\n";
    assert_eq!((told.as_str(), code), (expected, Some(0)));
    assert!(!dir.path().join("catalog").exists() && !dir.path().join("data").exists(), "a check makes nothing");
}

#[test]
fn what_stands_against_a_start_is_an_error() {
    let config = CONFIG.replace("single_instance = true", "").replace("jwks_url", "# jwks_url");
    let dir = written(&config, "store = \"store-123\"\nmode = \"enforced\"\n");
    let (told, code) = said(&dir, &[]);
    assert_eq!(code, Some(1));
    for error in ["error    [ledger]: ", "error    [keys]: ", "error    policies/store-123.toml:2: ", "errors: 3"] {
        assert!(told.contains(error), "no `{error}` in {told}");
    }
    let (told, code) = said(&dir, &["--json"]);
    let told: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    let levels: Vec<_> = told["findings"].as_array().unwrap().iter().map(|found| &found["level"]).collect();
    assert!(code == Some(1) && levels == ["error", "error", "error", "note"], "{told:#}");
}

#[test]
fn a_configuration_that_is_none_is_told_with_its_lines() {
    let dir = written("[gateway]\nlisten_on = 1\n[ledgr]\n", "store = \"store-123\"\n");
    let (told, code) = said(&dir, &[]);
    assert!(code == Some(1) && told.contains("permyx.toml:2: ") && told.contains("permyx.toml:3: "), "{told}");
    std::fs::remove_file(dir.path().join("permyx.toml")).unwrap();
    assert!(said(&dir, &[]).0.contains("error    permyx.toml: it cannot be used"));
    dir.write("permyx.toml", &CONFIG.replace("\"policies\"", "\"elsewhere\""));
    assert!(said(&dir, &[]).0.contains("elsewhere: it cannot be used"));
}

#[test]
fn what_a_gateway_will_need_is_asked_where_that_is_wanted() {
    use crate::support::merchant::{Merchant, Reply};

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let issuer = Merchant::start(|_| Reply::json(200, r#"{"keys":[]}"#));
    let config = CONFIG
        .replace("http://127.0.0.1:1", &format!("http://{closed}"))
        .replace("single_instance = true", &format!("[ledger.redis]\nnodes = [\"{closed}\"]"))
        .replace("https://permyx.example", &issuer.url());
    let dir = written(&config, "store = \"store-123\"\n");
    let (quiet, code) = said(&dir, &[]);
    assert_eq!((code, quiet.contains("errors: 0")), (Some(0), true), "{quiet}");
    let (told, code) = said(&dir, &["--connect", "--json"]);
    let told: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    let errors: Vec<_> =
        told["findings"].as_array().unwrap().iter().filter(|found| found["level"] == "error").collect();
    let groups: Vec<_> = errors.iter().map(|found| found["group"].as_str().unwrap()).collect();
    assert_eq!((code, groups), (Some(1), vec!["keys", "ledger", "upstream"]), "{told:#}");
    assert!(errors.iter().all(|found| !found["fix"].as_str().unwrap().is_empty()));
}

#[test]
fn it_waits_for_what_is_not_there_yet() {
    let dir = written(CONFIG, "store = \"store-123\"\nmode = \"enforced\"\n");
    let path = dir.path().to_owned();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_secs(2));
            std::fs::write(path.join("policies/store-123.toml"), "store = \"store-123\"\n").unwrap();
        });
        let (told, code) = said(&dir, &["--wait", "60"]);
        assert_eq!(code, Some(0), "{told}");
    });
    let began = std::time::Instant::now();
    dir.write("policies/store-123.toml", "mode = \"enforced\"\n");
    assert_eq!(said(&dir, &["--wait", "1"]).1, Some(1));
    assert!(began.elapsed() < std::time::Duration::from_secs(30));
}

#[test]
fn keys_that_verify_nothing_are_an_error() {
    let config =
        CONFIG.replace("jwks_url = \"https://permyx.example/.well-known/jwks.json\"", "jwks_file = \"jwks.json\"");
    let dir = written(&config, "store = \"store-123\"\n");
    for set in [
        r#"{"keys":[]}"#,
        "{",
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"}]}"#,
    ] {
        dir.write("jwks.json", set);
        let (told, code) = said(&dir, &[]);
        assert!(code == Some(1) && told.contains("error    [keys]"), "{told}");
    }
}

#[test]
fn a_way_around_the_gateway_is_found_and_a_name_that_does_not_resolve_proves_nothing() {
    let merchant = crate::support::merchant::Merchant::selling();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dir = TempDir::new();
    let tried = |to: &str| {
        let done = run(dir.path(), &["check", "bypass", "--to", to]);
        (done.status.code(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
    };
    let (code, told) = tried(&merchant.url());
    assert!(code == Some(1) && told.contains("without passing the gateway"), "{told}");
    let (code, told) = tried(&format!("http://{closed}/checkout"));
    assert!(code == Some(0) && told.contains("cannot be passed by"), "{told}");
    for unknown in ["http://nowhere.invalid/", "nonsense"] {
        let (code, told) = tried(unknown);
        assert!(code == Some(3) && told.contains("not known"), "{told}");
    }
}

#[test]
fn a_shell_and_man_know_every_verb() {
    let dir = TempDir::new();
    for shell in ["bash", "zsh", "fish"] {
        let told = String::from_utf8(run(dir.path(), &["completions", shell]).stdout).unwrap();
        assert!(["gateway", "timeline", "bypass", "trigger"].iter().all(|verb| told.contains(verb)), "{shell}");
    }
    let page = String::from_utf8(run(dir.path(), &["man"]).stdout).unwrap();
    assert!(page.contains(".TH permyx 1") && page.contains("gateway"), "{page}");
    // They tell the public key of the demo, which no other file may.
    let pages = tempfile::tempdir().unwrap();
    assert!(run(dir.path(), &["man", "--out", pages.path().to_str().unwrap()]).status.success());
    assert!(pages.path().join("permyx-check-bypass.1").exists());
}
