//! `permyx evidence keys`: the keys that sign the log.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::super::error::CliError;
use super::super::keys::seconds;
use crate::evidence::log::{LogKey, LogKeys, published};
use crate::model::time::Timestamp;
use crate::tlog::checkpoint::VerifiedCheckpoint;

/// Longest time that two keys sign together.
const OVERLAP_MAX_S: u32 = 366 * 86_400;
/// How it becomes true in a server that runs.
const SOON: &str = "a running `permyx serve` reads the keys again every 10 seconds";

#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// List the keys, and the lines that auditors pin: one of each key for each year with a log
    #[command(after_help = "Example:\n  permyx evidence keys list --data /var/lib/permyx > auditor.keys\n\n\
        What is printed is a trust file for `permyx evidence verify --trust`: give it to auditors on a way of its own.")]
    List(Place),
    /// Make the next key; the one before it signs along for the overlap
    ///
    /// Within the overlap every checkpoint has both signatures, so auditors have the time to learn of the new key. A
    /// running `permyx serve` reads the keys again every 10 seconds.
    #[command(after_help = "Examples:\n  permyx evidence keys rotate --data /var/lib/permyx\n  \
        permyx evidence keys rotate --overlap 30d")]
    Rotate(RotateArgs),
    /// End the overlap of a key at once and destroy its private half
    ///
    /// What it signed stays verifiable. The newest key is never retired: rotate first.
    #[command(after_help = "Example:\n  permyx evidence keys retire 0f3a91c2b4d5e6f7 --data /var/lib/permyx")]
    Retire(RetireArgs),
}

#[derive(Debug, Args)]
struct Place {
    /// Directory of the deployment's data
    #[arg(long, value_name = "DIR", env = "PERMYX_DATA", default_value = "data")]
    data: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RotateArgs {
    #[command(flatten)]
    place: Place,
    /// How long the key before signs along
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = overlap)]
    overlap: u32,
}

#[derive(Debug, Args)]
struct RetireArgs {
    /// The key, as `permyx evidence keys list` calls it
    fingerprint: String,
    #[command(flatten)]
    place: Place,
}

fn overlap(text: &str) -> Result<u32, String> {
    let valid = seconds(text).and_then(|overlap| u32::try_from(overlap).ok());
    valid.filter(|overlap| *overlap <= OVERLAP_MAX_S).ok_or_else(|| "write a time from 0s to 366d, like 7d".to_owned())
}

/// Runs one of the verbs and writes what it has to say.
pub(super) fn run(args: &KeysArgs, now: Timestamp, out: &mut dyn Write) -> Result<(), CliError> {
    match &args.command {
        KeysCommand::List(place) => list(place, now, out),
        KeysCommand::Rotate(RotateArgs { place, overlap }) => {
            let keys = LogKeys::existing(&place.data)?;
            let made = keys.rotate(*overlap, now)?;
            if place.json {
                return Ok(writeln!(out, "{}", json!({ "key": told(&made, now) }))?);
            }
            writeln!(out, "log key {}", made.fingerprint())?;
            for before in keys.list()?.iter().filter(|key| key.signs(now) && **key != made) {
                writeln!(out, "  {} signs along until {}", before.fingerprint(), until(before))?;
            }
            writeln!(out, "  {SOON}")?;
            Ok(writeln!(out, "  tell auditors: permyx evidence keys list --data {}", place.data.display())?)
        }
        KeysCommand::Retire(RetireArgs { fingerprint, place }) => {
            let retired = LogKeys::existing(&place.data)?.retire(fingerprint, now)?;
            if place.json {
                return Ok(writeln!(out, "{}", json!({ "key": told(&retired, now) }))?);
            }
            Ok(writeln!(out, "log key {fingerprint} signs no more; its private half is destroyed\n  {SOON}")?)
        }
    }
}

/// As text it is a trust file: what is no key stands behind `#`.
fn list(place: &Place, now: Timestamp, out: &mut dyn Write) -> Result<(), CliError> {
    let store = LogKeys::existing(&place.data)?;
    let (keys, logs) = (store.list()?, published(&place.data, &store)?);
    let mut lines = Vec::new();
    for log in &logs {
        let pinned = keys.iter().map(|key| Ok(key.verifier(log.origin())?.to_string()));
        lines.push((log, pinned.collect::<Result<Vec<_>, CliError>>()?));
    }
    if place.json {
        let keys: Vec<_> = keys.iter().map(|key| told(key, now)).collect();
        let log = |(log, keys): &(&VerifiedCheckpoint, Vec<String>)| json!({ "origin": log.origin().as_str(), "size": log.size(), "keys": keys });
        let logs: Vec<_> = lines.iter().map(log).collect();
        return Ok(writeln!(out, "{}", json!({ "keys": keys, "logs": logs }))?);
    }
    writeln!(out, "# {:16}  {:7}  {:24}  SIGNS UNTIL", "KEY", "STATE", "CREATED")?;
    for key in &keys {
        let created = key.created.to_string();
        writeln!(out, "# {}  {:7}  {created:24}  {}", key.fingerprint(), state(key, now), until(key))?;
    }
    if lines.is_empty() {
        writeln!(out, "# no log yet: it begins with the first event")?;
    }
    for (log, keys) in &lines {
        writeln!(out, "# {}, {} events", log.origin(), log.size())?;
        keys.iter().try_for_each(|key| writeln!(out, "{key}"))?;
    }
    Ok(())
}

fn state(key: &LogKey, now: Timestamp) -> &'static str {
    if key.signs(now) { "signs" } else { "retired" }
}

fn until(key: &LogKey) -> String {
    key.retires_at.map_or_else(|| "-".to_owned(), |at| at.to_string())
}

fn told(key: &LogKey, now: Timestamp) -> Value {
    let retires = key.retires_at.map(|at| at.to_string());
    json!({
        "fingerprint": key.fingerprint(), "state": state(key, now), "created": key.created.to_string(),
        "retires_at": retires,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::trust::Trust;
    use crate::evidence::log::{Appender, LogDir};
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: KeysArgs,
    }

    const NOW: Timestamp = Timestamp::of_seconds(1_800_000_000);

    fn said(now: Timestamp, line: &[&str]) -> Result<String, CliError> {
        let command = Command::try_parse_from(["keys"].iter().chain(line)).unwrap();
        let mut out = Vec::new();
        run(&command.args, now, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_list_is_a_trust_file_of_each_year() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_str().unwrap();
        let keys = LogKeys::open(dir.path(), NOW).unwrap();
        assert!(said(NOW, &["list", "--data", data]).unwrap().contains("no log yet"));
        for year in [2026, 2027] {
            let log = LogDir::of(dir.path(), "shop.example/permyx", year).unwrap();
            let mut log = Appender::open(log, &keys, NOW).unwrap();
            log.append(b"{}").unwrap();
            log.publish().unwrap();
        }
        said(NOW, &["rotate", "--data", data]).unwrap();
        let text = said(NOW, &["list", "--data", data]).unwrap();
        let pinned: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let names: Vec<_> = pinned.iter().map(|line| line.split('+').next().unwrap()).collect();
        assert_eq!(names, [["shop.example/permyx/2026"; 2], ["shop.example/permyx/2027"; 2]].concat(), "{text}");
        let mut trust = Trust::default();
        trust.add_file(&text).unwrap();
        assert!(!trust.is_empty());
        let json: Value = serde_json::from_str(&said(NOW, &["list", "--data", data, "--json"]).unwrap()).unwrap();
        assert_eq!((&json["logs"][1]["keys"][1], &json["logs"][1]["size"]), (&pinned[3].into(), &1.into()));
    }

    #[test]
    fn a_key_signs_along_until_its_overlap_ends_or_it_is_retired() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_str().unwrap();
        let first = LogKeys::open(dir.path(), NOW).unwrap().list().unwrap()[0].fingerprint();
        let told = said(NOW, &["rotate", "--data", data, "--overlap", "1d"]).unwrap();
        assert!(told.contains(&format!("{first} signs along until 2027-01-16T08:00:00.000Z")), "{told}");
        let states = |now| {
            let list = said(now, &["list", "--data", data, "--json"]).unwrap();
            let list: Value = serde_json::from_str(&list).unwrap();
            [0, 1].map(|n| list["keys"][n]["state"].as_str().unwrap().to_owned())
        };
        assert_eq!(states(NOW.plus_seconds(86_399)), ["signs", "signs"]);
        assert_eq!(states(NOW.plus_seconds(86_400)), ["retired", "signs"]);
        said(NOW, &["retire", &first, "--data", data]).unwrap();
        assert_eq!(states(NOW), ["retired", "signs"]);
    }

    #[test]
    fn what_cannot_be_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_str().unwrap();
        let error = said(NOW, &["rotate", "--data", data]).unwrap_err();
        assert!(error.report().contains("`permyx serve` makes the first one"), "{}", error.report());
        assert_eq!((error.exit() as i32, std::fs::read_dir(dir.path()).unwrap().count()), (2, 0));
        let only = LogKeys::open(dir.path(), NOW).unwrap().list().unwrap()[0].fingerprint();
        for (fingerprint, why) in [(only.as_str(), "rotate first"), ("0f3a", "there is no log key `0f3a`")] {
            let error = said(NOW, &["retire", fingerprint, "--data", data]).unwrap_err();
            assert!(error.report().contains(why), "{}", error.report());
            assert_eq!(error.exit() as i32, 1);
        }
        for bad in ["367d", "-1s", "7", ""] {
            assert!(Command::try_parse_from(["keys", "rotate", "--overlap", bad]).is_err(), "{bad}");
        }
    }
}
