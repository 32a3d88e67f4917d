//! `permyx agents`, and lists that cannot be read, by the real program.

use serde_json::{Value, json};

use crate::support::dir::TempDir;
use crate::support::program::run;
use crate::support::repository;

/// What `permyx ARGS` prints, and its exit code.
fn said(dir: &TempDir, args: &[&str]) -> (String, Option<i32>) {
    let done = run(dir.path(), args);
    (String::from_utf8([done.stdout, done.stderr].concat()).unwrap(), done.status.code())
}

#[test]
fn the_tables_are_listed_shown_and_asked() {
    let dir = TempDir::new();
    dir.write("mine.yml", "My Assistant:\n  - mine.example\n");
    dir.write("crawlers.json", r#"[{"pattern":"MineBot\\/","tags":["ai-crawler"]}]"#);
    dir.write("permyx.toml", "[detect]\nlists = [\"mine.yml\", \"crawlers.json\"]\n");
    let list = said(&dir, &["agents", "list"]);
    assert!(list.1 == Some(0) && list.0.contains("ChatGPT-User") && list.0.contains("x.com/i/grok"), "{}", list.0);
    let more: Value =
        serde_json::from_str(&said(&dir, &["agents", "list", "--json", "--config", "permyx.toml"]).0).unwrap();
    assert_eq!(more["lists"][1], json!({"file": "crawlers.json", "new": 1, "leftOut": 0}));
    assert!(more["agents"].as_array().unwrap().iter().any(|agent| agent["name"] == "MineBot"));
    let shown = said(&dir, &["agents", "show"]).0;
    assert_eq!(shown, std::fs::read_to_string(repository().join("conf/agents.toml")).unwrap());
    let asked = ["agents", "explain", "--config", "permyx.toml", "--json", "--user-agent", "MineBot/1"];
    let asked = [&asked[..], &["--referrer", "https://www.mine.example/", "--address", "192.0.2.1"]].concat();
    let told: Value = serde_json::from_str(&said(&dir, &asked).0).unwrap();
    assert_eq!((&told["agentName"], &told["channel"]), (&json!("MineBot"), &json!("my-assistant")));
    assert_eq!((&told["agentConfidence"], &told["class"]), (&json!(5000), &json!("other")));
    let text = said(&dir, &["agents", "explain", "--user-agent", "GPTBot/1"]).0;
    assert!(text.contains("5000 of 10000") && text.contains("unusual_class"), "{text}");
}

#[test]
fn a_list_that_cannot_be_read_stands_against_a_start() {
    let dir = TempDir::new();
    dir.write("bad.json", r#"[{"pattern":"Good","tags":["ai-crawler"]},{"pattern":7}]"#);
    dir.write("ranges.json", r#"{"prefixes":[{"ipv4Prefix":"20.0.0.0/28"}]}"#);
    let config = "[gateway]\ntrusted_proxies = [\"10.0.0.1/8\"]\n[detect]\nlists = [\"bad.json\", \"gone.json\", \"ranges.json\"]\n\
                  [[detect.ranges]]\nagent = \"Nobody\"\nfile = \"ranges.json\"\n";
    dir.write("permyx.toml", config);
    let (told, code) = said(&dir, &["check", "--config", "permyx.toml"]);
    for error in [
        "permyx.toml:2: `10.0.0.1/8` has to be a network",
        "permyx.toml:4: `bad.json` is not taken: entry 1 ",
        "permyx.toml:4: `gone.json` cannot be read",
        "permyx.toml:4: `ranges.json` is not taken: it holds addresses",
        "permyx.toml:6: no table knows an agent `Nobody`",
    ] {
        assert!(code == Some(1) && told.contains(error), "no `{error}` in {told}");
    }
}
