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
