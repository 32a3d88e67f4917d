//! The gateway that users run: intent check, policy, metrics and durable events on.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use permyx::evidence::record::{self, Next};
use serde::Deserialize;

use crate::job::{Job, Level};
use crate::proxy::Setting;
use crate::requests::is_wrong;

const POLICY: &str = "store = \"store-123\"\nmode = \"enforce\"\ncurrency = \"USD\"\n[limits]\nmax_quantity = 3\nmax_cart_value = \"250.00 USD\"\n";

/// Writes its configuration, and says how it is started.
pub fn arguments(command: &mut Command, dir: &Path, setting: &Setting<'_>) {
    let ledger = match (setting.level, setting.redis) {
        (Level::BurnInRedis, Some(redis)) => format!("[ledger.redis]\nnodes = [\"{}\"]\n", redis.address),
        _ => "[ledger]\nsingle_instance = true\n".to_owned(),
    };
    let mut config = format!(
        "data = \"data\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n[[gateway.routes]]\nname = \"checkout\"\npath = \"/checkout\"\n\
         preset = \"oneshot-json\"\nstore = \"store-123\"\nupstream = \"http://{}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n{ledger}\
         [policies]\ndir = \"policies\"\n[keys]\njwks_file = \"jwks.json\"\n",
        setting.merchant
    );
    std::fs::create_dir_all(dir.join("policies")).unwrap();
    std::fs::write(dir.join("policies/store-123.toml"), POLICY).unwrap();
    for n in 1..setting.stores {
        let policy = POLICY.replace("store-123", &format!("other-{n}"));
        std::fs::write(dir.join(format!("policies/other-{n}.toml")), policy).unwrap();
        config += &format!(
            "[[gateway.routes]]\nname = \"other-{n}\"\npath = \"/other-{n}\"\npreset = \"oneshot-json\"\n\
             store = \"other-{n}\"\nupstream = \"http://{}\"\n",
            setting.merchant
        );
    }
    std::fs::write(dir.join("jwks.json"), &setting.keys.jwks).unwrap();
    std::fs::write(dir.join("permyx.toml"), config).unwrap();
    command.args(["gateway", "--ready-json", "--config"]).arg(dir.join("permyx.toml"));
}

/// Those that came while the first was under way are told as retried, those after it as replays.
const AGAIN: &str = "execution.replay_detected or retried";

#[derive(Deserialize)]
struct Told {
    #[serde(rename = "type")]
    kind: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    count: Option<usize>,
}

/// How often each kind of event is on the disk; an event that stands for many counts as many.
fn recorded(dir: &Path) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let segments = std::fs::read_dir(dir.join("data/spool")).unwrap().flatten().map(|entry| entry.path());
    for segment in segments.filter(|path| path.extension().is_some_and(|extension| extension == "spool")) {
        let bytes = std::fs::read(segment).unwrap();
        let mut rest = bytes.as_slice();
        while let Next::Record(record) = record::next(rest) {
            let told: Told = serde_json::from_slice(record.body).unwrap();
            let name = told.kind.trim_start_matches("io.permyx.").trim_end_matches(".v1");
            *found.entry(name.to_owned()).or_default() += told.data.count.unwrap_or(1);
            rest = &rest[record.framed_len()..];
        }
    }
    found
}

/// What evidence says otherwise than the answers did. `sent`: all requests of its life, in the loads in which
/// they were sent.
pub fn objection(dir: &Path, job: Job, sent: &[usize]) -> Option<String> {
    let all: usize = sent.iter().sum();
    let wrong = sent.iter().flat_map(|&count| (0..count).filter(|&n| is_wrong(job, n))).count();
    let expected: &[(&str, usize)] = match job {
        Job::Pass => &[("execution.observed", all), ("order.observed", all)],
        Job::Burn | Job::Shared => &[
            ("execution.denied", wrong),
            ("execution.reserved", all - wrong),
            ("execution.validated", all - wrong),
            ("order.observed", all - wrong),
        ],
        Job::Replay => &[("execution.validated", 1), (AGAIN, all - 1)],
        Job::Forged => &[("execution.denied", all)],
    };
    let mut found = recorded(dir);
    let again = ["execution.replay_detected", "execution.retried"].iter().filter_map(|name| found.get(*name)).sum();
    found.insert(AGAIN.to_owned(), again);
    let differs = |(name, count): &&(&str, usize)| found.get(*name).copied().unwrap_or(0) != *count;
    let differences = expected.iter().filter(differs).map(|(name, count)| format!("{count} {name}"));
    let differences: Vec<_> = differences.collect();
    (!differences.is_empty()).then(|| format!("evidence lacks {differences:?}: it has {found:?}"))
}
