//! The verbs, run as the real program.

use serde_json::Value;

use crate::support::dir::TempDir;
use crate::support::program::run;
use crate::support::repository;

/// What `permyx preset ARGS` prints, and its exit code.
fn said(dir: &TempDir, args: &[&str]) -> (String, Option<i32>) {
    let done = run(dir.path(), &[&["preset"], args].concat());
    let both = [done.stdout, done.stderr].concat();
    (String::from_utf8(both).unwrap(), done.status.code())
}

/// A copy of a built-in preset and its fixtures, of which the first case authorises another quantity
/// than it buys and gets another order than it expects.
fn with_a_mistake() -> TempDir {
    let dir = TempDir::new();
    let presets = repository().join("conf/presets");
    let text = |name: &str| std::fs::read_to_string(presets.join(name)).unwrap();
    dir.write("my.toml", &text("oneshot-form.toml"));
    let fixtures = text("oneshot-form.test.toml");
    let fixtures = fixtures.replacen("quantity = 2", "quantity = 3", 1).replacen("\"ord_1\",", "\"ord_2\",", 1);
    dir.write("my.test.toml", &fixtures);
    dir
}

#[test]
fn the_presets_are_listed_and_shown_as_they_are_compiled_in() {
    let dir = TempDir::new();
    let (list, code) = said(&dir, &["list"]);
    assert_eq!(code, Some(0));
    assert!(list.lines().any(|line| line.starts_with("ucp ") && line.contains("require") && line.contains("session")));
    let list: Value = serde_json::from_str(&said(&dir, &["list", "--json"]).0).unwrap();
    let ucp = list["presets"].as_array().unwrap().iter().find(|preset| preset["name"] == "ucp").unwrap();
    assert_eq!((&ucp["proven"], &ucp["facts"]), (&Value::Bool(true), &Value::from("session")));
    let shown = said(&dir, &["show", "ucp"]).0;
    assert_eq!(shown, std::fs::read_to_string(repository().join("conf/presets/ucp.toml")).unwrap());
    let (told, code) = said(&dir, &["show", "ucpp"]);
    assert!(told.contains("use one of: ") && told.contains("ucp") && code == Some(2), "{told}");
}

#[test]
fn the_built_in_presets_pass_their_fixtures() {
    let dir = TempDir::new();
    let (told, code) = said(&dir, &["test"]);
    assert!(code == Some(0) && told.ends_with(", failed: 0\n"), "{told}");
    let (told, code) = said(&dir, &["test", "ucp", "--json"]);
    let cases: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(code == Some(0) && cases.iter().all(|case| case["ok"] == true && case["preset"] == "ucp"), "{told}");
}

#[test]
fn a_case_that_comes_out_otherwise_is_told_with_what_was_found() {
    let dir = with_a_mistake();
    let (told, code) = said(&dir, &["test", "my.toml"]);
    assert_eq!(code, Some(1));
    let golden = std::fs::read_to_string(repository().join("tests/golden/failing_fixture.txt")).unwrap();
    assert_eq!(told, golden, "\n{told}");
    assert_eq!(said(&dir, &["test", "my.test.toml", "my.toml"]).0, golden, "one preset with its fixtures");
    let (told, code) = said(&dir, &["test", "my.toml", "--json"]);
    let first: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!((code, &first["ok"], &first["line"]), (Some(1), &Value::Bool(false), &Value::from(4)));
    assert_eq!(first["misses"][0]["member"], "decision");
}

#[test]
fn a_mistake_in_a_file_is_told_with_its_line() {
    let dir = with_a_mistake();
    dir.write("my.test.toml", "[[case]]\nname = \"x\"\nrequst = {}\n");
    let (told, code) = said(&dir, &["test", "my.toml"]);
    assert!(code == Some(1) && told.contains("my.test.toml:3: unknown field `requst`"), "{told}");
    dir.write("my.toml", "name = \"\"\n");
    let (told, _) = said(&dir, &["test", "my.toml"]);
    assert!(told.contains("my.toml:1: a preset needs a name"), "{told}");
    let (told, code) = said(&dir, &["test", "other.toml"]);
    assert!(code == Some(1) && told.contains("cannot read `other.toml`"), "{told}");
}
