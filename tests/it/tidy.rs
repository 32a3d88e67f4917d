//! The house rules, held by a test instead of by review: floors, lengths, words, files that must
//! parse. ARCHITECTURE.md says why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use permyx::model::event::EventKind;
use permyx::model::reason::{Fault, ReasonCode};

use crate::support::{files, repository};

/// Which floor a top-level module of `src` stands on. A file imports only floors below its own.
const FLOORS: &[(u8, &[&str])] = &[
    (0, &["model"]),
    (1, &["token", "tlog", "protocol", "detect"]),
    (2, &["decide"]),
    (3, &["clock", "draining", "durable", "fixtures", "reload", "telemetry", "net"]),
    (4, &["ledger", "evidence", "quota", "catalog", "collector", "jwks", "keystore", "revocation", "sessions"]),
    (5, &["audit", "authority", "governance"]),
    (6, &["gateway", "api", "portal", "ops", "backup"]),
    (7, &["config", "sandbox"]),
    (8, &["boot"]),
    (9, &["cli"]),
];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 60;
const ARCHITECTURE_LINES_MAX: usize = 150;
const MAKE_TARGETS_MAX: usize = 12;

/// Functions that may be longer, each with the reason. An entry that is no longer needed fails.
const LONG_FUNCTIONS: &[(&str, &str)] = &[
    // A flat list of registrations: splitting it would only hide half of it.
    ("src/telemetry/metrics.rs", "new"),
];

/// A source file: its path from the repository's root, and its text.
struct Source {
    path: String,
    text: String,
}

fn sources(dir: &str) -> Vec<Source> {
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        Source { path: path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned(), text }
    };
    files(&repository().join(dir), ".rs").into_iter().map(read).collect()
}

/// Fails with all findings at once.
fn none(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn a_file_imports_only_floors_below_it() {
    let floors: BTreeMap<&str, u8> =
        FLOORS.iter().flat_map(|(floor, names)| names.iter().map(|name| (*name, *floor))).collect();
    let mut findings = Vec::new();
    for source in sources("src") {
        let Some(module) = module_of(&source.path) else { continue };
        let Some(floor) = floors.get(module[0].as_str()) else {
            findings.push(format!("{}: `{}` has no floor; give it one in FLOORS", source.path, module[0]));
            continue;
        };
        for used in imports(&without_tests(&source.text), &module) {
            let Some(below) = floors.get(used.as_str()) else { continue };
            if used != module[0] && below >= floor {
                findings.push(format!("{} (floor {floor}) imports `{used}` (floor {below})", source.path));
            }
        }
    }
    none(findings);
}

/// `src/token/verify.rs` → `[token, verify]`; `None` for the two roots and for files of tests.
fn module_of(path: &str) -> Option<Vec<String>> {
    let parts: Vec<_> = path.strip_prefix("src/")?.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    let last = parts.last()?.as_str();
    if matches!(path, "src/lib.rs" | "src/main.rs") || last == "tests" {
        return None;
    }
    let parents = if last == "mod" { parts.len() - 1 } else { parts.len() };
    Some(parts[..parents].to_vec())
}

/// The text without what stands under `#[cfg(test)]`.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let item = lines.by_ref().find(|line| !line.trim_start().starts_with("#[")).unwrap_or_default();
        if item.trim_end().ends_with('{') {
            let end = format!("{indent}}}");
            lines.by_ref().find(|line| *line == end);
        }
    }
    kept
}

/// The top-level modules of this crate that a text names: by `crate::`, or by `super::` where that
/// leads to the root.
fn imports(text: &str, module: &[String]) -> BTreeSet<String> {
    let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let to_root = "super::".repeat(module.len());
    let mut found = BTreeSet::new();
    for root in ["crate::", to_root.as_str()] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            found.extend(first_names(&code[at + root.len()..]).into_iter().filter(|name| !name.is_empty()));
        }
    }
    found
}

/// The names directly behind `crate::`: one, or those of a braced group.
fn first_names(rest: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(name(group[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    return names;
                }
            }
            _ => {}
        }
    }
    names
}

#[test]
fn the_floor_test_sees_what_it_should() {
    let at = |text: &str| imports(&without_tests(text), &["ledger".to_owned(), "memory".to_owned()]);
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(at("use crate::model::ids::Jti;\nfn f(x: crate::clock::Clock) {}"), set(&["model", "clock"]));
    assert_eq!(at("use crate::{\n    api::{self, x},\n    portal,\n};\n"), set(&["api", "portal"]));
    assert_eq!(at("use super::super::gateway::x;\nuse super::entry;"), set(&["gateway"]));
    assert_eq!(at("/// [clock](crate::clock)\nuse other_crate::model;"), set(&[]));
    assert_eq!(at("#[cfg(test)]\nmod tests {\n    use crate::api;\n}\nuse crate::cli;\n"), set(&["cli"]));
    assert_eq!(module_of("src/ledger/mod.rs"), Some(vec!["ledger".to_owned()]));
    assert_eq!(module_of("src/decide/tests.rs"), None);
}

#[test]
fn files_and_functions_fit_a_head() {
    let mut findings = Vec::new();
    let mut excused = BTreeSet::new();
    for source in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", source.path));
        }
        for (name, lines) in functions(&source.text).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX) {
            match LONG_FUNCTIONS.iter().find(|(path, known)| (*path, *known) == (&source.path, &name)) {
                Some(entry) => drop(excused.insert(entry)),
                None => {
                    findings.push(format!("{}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}", source.path));
                }
            }
        }
    }
    let stale = LONG_FUNCTIONS.iter().filter(|entry| !excused.contains(entry));
    findings.extend(stale.map(|(path, name)| format!("{path}: `{name}` is short now, take it from LONG_FUNCTIONS")));
    none(findings);
}

/// Names and lengths of the functions. rustfmt closes each at the indentation at which it began.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<_> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some((before, after)) = code.split_once("fn ") else { continue };
        let qualifiers = ["pub", "const", "async", "unsafe", "extern", "\"C\""];
        let is_item = before.split_whitespace().all(|word| qualifiers.contains(&word) || word.starts_with("pub("));
        if !is_item || code.ends_with(';') {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - code.len()]);
        let length = lines[start..].iter().position(|line| *line == end).map_or(1, |at| at + 1);
        let name = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        found.push((name, if code.ends_with('}') { 1 } else { length }));
    }
    found
}

#[test]
fn nothing_is_left_unfinished_or_silenced() {
    // Written in two parts, so that this file does not hold them.
    let in_code = [["to", "do!("], ["unimple", "mented!("], ["db", "g!("], ["#[al", "low("], ["#![al", "low("]];
    let in_comments = [["FIX", "ME"], ["XX", "X"], ["HA", "CK"]];
    let mut findings = Vec::new();
    for source in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        for (number, line) in source.text.lines().enumerate() {
            let comment = line.split_once("//").map_or("", |(_, comment)| comment);
            let code = in_code.iter().map(|parts| parts.concat()).find(|word| line.contains(word));
            let word =
                code.or_else(|| in_comments.iter().map(|parts| parts.concat()).find(|word| comment.contains(word)));
            findings.extend(word.map(|word| format!("{}:{}: `{word}`", source.path, number + 1)));
        }
    }
    none(findings);
}

#[test]
fn every_golden_file_is_used() {
    // Those of the charts are held by tests/ops.
    let of_charts = repository().join("tests/golden/helm");
    let mut golden = files(&repository().join("tests/golden"), "");
    golden.retain(|path| !path.starts_with(&of_charts));
    let tests: String = sources("tests").into_iter().map(|source| source.text).collect();
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    none(golden.iter().map(name).filter(|name| !tests.contains(name.as_str())).collect());
}

#[test]
fn presets_policies_and_configurations_parse() {
    let mut findings = Vec::new();
    let mut check = |dir: &str, parse: &dyn Fn(&str) -> Option<String>| {
        for path in files(&repository().join(dir), ".toml") {
            let text = std::fs::read_to_string(&path).unwrap();
            findings.extend(parse(&text).map(|why| format!("{}: {why}", path.display())));
        }
    };
    check("conf/presets", &|text| {
        let fixtures = || permyx::fixtures::parse(text).err();
        let preset = || permyx::protocol::preset::Preset::parse(text).err();
        let wrong = if text.contains("[[case]]") { fixtures() } else { preset() };
        wrong.map(|why| format!("{why:?}"))
    });
    check("policies", &|text| permyx::decide::policy::Policy::parse(text).err().map(|why| format!("{why:?}")));
    let config = |text: &str| permyx::config::Config::parse(text, repository()).err().map(|why| format!("{why:?}"));
    check("conf/examples", &config);
    let whole = std::fs::read_to_string(repository().join("conf/permyx.toml")).unwrap();
    assert_eq!(config(&whole), None);
    none(findings);
}

#[test]
fn the_files_of_the_readme_are_good() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let files: Vec<_> = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [config, policy] = files.as_slice() else { panic!("{} files", files.len()) };
    assert_eq!(permyx::config::Config::parse(config, repository()).unwrap().gateway.routes.len(), 1);
    assert_eq!(permyx::decide::policy::Policy::parse(policy).unwrap().store().as_str(), "store-123");
}

#[test]
fn the_changed_preset_of_the_documents_is_good() {
    let page = std::fs::read_to_string(repository().join("docs/presets.md")).unwrap();
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let preset = &permyx::config::Config::parse(example, repository()).unwrap().gateway.routes[0].preset;
    assert_eq!(preset.variant_of("1"), "vendure:variant:1");
}

#[test]
fn every_preset_file_is_compiled_in() {
    let built_in: BTreeSet<_> = permyx::protocol::preset::built_in().unwrap().into_keys().collect();
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let stems: Vec<_> = files(&repository().join("conf/presets"), ".toml").into_iter().map(stem).collect();
    let (tests, presets): (Vec<_>, Vec<_>) = stems.into_iter().partition(|stem| stem.ends_with(".test"));
    assert_eq!(built_in, presets.into_iter().collect());
    assert_eq!(built_in, tests.iter().map(|stem| stem.trim_end_matches(".test").to_owned()).collect());
}

#[test]
fn the_map_of_the_house_stays_short_and_complete() {
    let map = std::fs::read_to_string(repository().join("ARCHITECTURE.md")).unwrap();
    assert!(map.lines().count() <= ARCHITECTURE_LINES_MAX, "{} lines", map.lines().count());
    let modules: BTreeSet<_> =
        sources("src").iter().filter_map(|source| Some(module_of(&source.path)?[0].clone())).collect();
    none(modules.into_iter().filter(|module| !map.contains(&format!("`{module}"))).collect());
}

/// The last column of the invariants: every test that is named there is there.
#[test]
fn the_tests_of_the_invariants_exist() {
    let map = std::fs::read_to_string(repository().join("ARCHITECTURE.md")).unwrap();
    let rows = map.lines().filter(|line| line.starts_with("| I")).filter_map(|row| row.rsplit('|').nth(1));
    let named: BTreeSet<_> = rows.flat_map(|tests| tests.split('`').skip(1).step_by(2)).collect();
    let code: String = ["src", "tests"].into_iter().flat_map(sources).map(|source| source.text).collect();
    let is_there = |name: &&str| code.contains(&format!("fn {name}(")) || repository().join(name).exists();
    assert!(named.len() >= 10, "{named:?}");
    none(named.into_iter().filter(|name| !is_there(name)).map(str::to_owned).collect());
}

#[test]
fn the_commands_of_the_readme_are_targets() {
    let makefile = std::fs::read_to_string(repository().join("Makefile")).unwrap();
    let is_target = |line: &&str| line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains(": ");
    let targets: Vec<_> = makefile.lines().filter(is_target).filter_map(|line| line.split(':').next()).collect();
    assert!(targets.len() <= MAKE_TARGETS_MAX, "{targets:?}");
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    for command in ["dev", "test"] {
        assert!(targets.contains(&command) && readme.contains(&format!("make {command}")), "make {command}");
    }
}

#[test]
fn no_file_names_a_machine() {
    let own = repository().parent().unwrap().to_str().unwrap().to_owned() + "/";
    let homes = [["/ro", "ot/"].concat(), ["/ho", "me/"].concat(), ["/wo", "rk/"].concat(), own];
    let mut findings = Vec::new();
    for path in tracked(repository()) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let home = homes.iter().find(|home| text.contains(home.as_str()));
        findings.extend(home.map(|home| format!("{} names `{home}`", path.display())));
    }
    none(findings);
}

/// The files of the repository, without what is built or kept beside it.
fn tracked(dir: &Path) -> Vec<PathBuf> {
    let kept_out = ["target", ".git", ".permyx", "__pycache__"];
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let inside = entries.filter(|path| !kept_out.contains(&path.file_name().unwrap().to_str().unwrap()));
    inside.flat_map(|path| if path.is_dir() { tracked(&path) } else { vec![path] }).collect()
}

/// The documents' tables are compared with the enums, so that neither grows alone.
#[test]
fn the_documents_name_every_reason_fault_and_event() {
    let doc = |name: &str| std::fs::read_to_string(repository().join("docs").join(name)).unwrap();
    let (api, data) = (doc("execution-auth-api.md"), doc("data-contract.md"));
    let quoted = |name: &str| format!("`{name}`");
    let mut findings = Vec::new();
    for name in ReasonCode::ALL.map(ReasonCode::as_str).into_iter().chain(Fault::ALL.map(Fault::as_str)) {
        let row = api.lines().find(|line| line.starts_with(&format!("| {} |", quoted(name))));
        findings.extend(row.is_none().then(|| format!("docs/execution-auth-api.md has no row for `{name}`")));
    }
    for name in EventKind::ALL.iter().map(|kind| kind.name()) {
        let row = data.lines().find(|line| line.starts_with("| `") && line.contains(&quoted(name)));
        findings.extend(row.is_none().then(|| format!("docs/data-contract.md has no row for `{name}`")));
    }
    let order: Vec<_> = api.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let reasons: Vec<_> =
        order.into_iter().filter(|name| ReasonCode::ALL.iter().any(|r| r.as_str() == *name)).collect();
    assert_eq!(reasons, ReasonCode::ALL.map(ReasonCode::as_str), "the order of precedence");
    none(findings);
}

/// What `permyx dev` prints to try is what the README tells.
#[test]
fn dev_and_the_readme_tell_one_story() {
    let verbs = std::fs::read_to_string(repository().join("src/cli/run.rs")).unwrap();
    let story = verbs.split_once("pub const STORY").unwrap().1.split_once("\"#;").unwrap().0;
    let command = |line: &&str| ["T=", "curl ", "target/release/permyx "].iter().any(|start| line.starts_with(start));
    let commands: Vec<_> = story.lines().map(str::trim).filter(command).collect();
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    assert_eq!(commands.len(), 4, "{commands:?}");
    none(commands.into_iter().filter(|line| !readme.lines().any(|told| told == *line)).map(str::to_owned).collect());
}
