//! `permyx keys`: the keys that sign execution tokens.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::clock::Clock;
use crate::keystore::signing::{Handover, KeyEntry, KeyState, SigningStore};

use super::error::CliError;

/// The keys that sign execution tokens.
#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make the first signing key.
    #[command(after_help = "Example:\n  permyx keys generate --data /var/lib/permyx")]
    Generate(Place),
    /// List the signing keys with what each one does now.
    #[command(after_help = "Example:\n  permyx keys list --data /var/lib/permyx --json")]
    List(Place),
    /// Make the next signing key and let the one before it retire.
    ///
    /// The new key is published at once and signs after the lead time; the old one stays published
    /// for the overlap after that, so no token that is out becomes invalid. Running servers notice.
    #[command(after_help = "Examples:\n  permyx keys rotate --data /var/lib/permyx\n  \
                            permyx keys rotate --lead 0s        # sign with the new key at once")]
    Rotate(RotateArgs),
}

#[derive(Debug, Args)]
struct Place {
    /// Directory of the deployment's data.
    #[arg(long, value_name = "DIR", env = "PERMYX_DATA", default_value = "data")]
    data: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RotateArgs {
    #[command(flatten)]
    place: Place,
    /// How long the new key is published before it signs: gateways read the key set every 5 minutes.
    #[arg(long, value_name = "TIME", default_value = "6m", value_parser = lead)]
    lead: i64,
    /// How long the old key stays published after its last signature.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = overlap)]
    overlap: i64,
}

/// Runs one of the verbs and writes what it has to say.
pub fn run(args: &KeysArgs, clock: &Clock, out: &mut dyn Write) -> Result<(), CliError> {
    let now = clock.now();
    match &args.command {
        KeysCommand::Generate(place) => {
            let made = SigningStore::of(&place.data).generate(now)?;
            tell_made(place, &made, "now", out)
        }
        KeysCommand::Rotate(RotateArgs { place, lead, overlap }) => {
            // Both were checked when the command line was read.
            let handover = Handover::seconds(*lead, *overlap).unwrap_or_default();
            let made = SigningStore::of(&place.data).rotate(handover, now)?;
            tell_made(place, &made, &made.signs_from.to_string(), out)
        }
        KeysCommand::List(place) => tell_all(place, &SigningStore::of(&place.data).list(now)?, out),
    }
}

fn tell_made(place: &Place, made: &KeyEntry, from: &str, out: &mut dyn Write) -> Result<(), CliError> {
    if place.json {
        writeln!(out, "{}", json!({ "key": made }))?;
        return Ok(());
    }
    writeln!(out, "signing key {}", made.kid)?;
    writeln!(out, "  published now, signs from {from}")?;
    writeln!(
        out,
        "  private key: {} (keep it secret)",
        place.data.join("keys").join(format!("{}.pem", made.kid)).display()
    )?;
    Ok(())
}

fn tell_all(place: &Place, keys: &[(KeyEntry, KeyState)], out: &mut dyn Write) -> Result<(), CliError> {
    if place.json {
        let keys: Vec<_> = keys.iter().map(|(key, state)| json!({ "key": key, "state": state })).collect();
        writeln!(out, "{}", json!({ "keys": keys }))?;
        return Ok(());
    }
    writeln!(out, "{:43}  {:8}  {:24}  RETIRES", "KID", "STATE", "SIGNS FROM")?;
    for (key, state) in keys {
        let retires = key.retires_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        writeln!(out, "{:43}  {:8}  {:24}  {retires}", key.kid, word(*state), key.signs_from.to_string())?;
    }
    Ok(())
}

fn word(state: KeyState) -> &'static str {
    match state {
        KeyState::Pending => "pending",
        KeyState::Active => "active",
        KeyState::Retiring => "retiring",
        KeyState::Retired => "retired",
    }
}

fn lead(text: &str) -> Result<i64, String> {
    let valid = seconds(text).filter(|lead| Handover::seconds(*lead, Handover::OVERLAP_MIN_S).is_some());
    valid.ok_or_else(|| "write a time from 0s to 24h, like 6m".to_owned())
}

fn overlap(text: &str) -> Result<i64, String> {
    let valid = seconds(text).filter(|overlap| Handover::seconds(0, *overlap).is_some());
    valid.ok_or_else(|| {
        format!("write a time from {}s to {}h, like 10m", Handover::OVERLAP_MIN_S, Handover::OVERLAP_MAX_S / 3600)
    })
}

/// `90s`, `5m`, `6h` or `7d` as seconds.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let (number, factor) = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    let plain = number.len() <= 9 && number.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| number.parse::<i64>().ok()).flatten().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: KeysArgs,
    }

    fn said(clock: &Clock, line: &[&str]) -> Result<String, CliError> {
        let command = Command::try_parse_from(["keys"].iter().chain(line)).unwrap();
        let mut out = Vec::new();
        run(&command.args, clock, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_key_is_made_rotated_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_str().unwrap();
        let clock = Clock::manual(Timestamp::of_seconds(1_800_000_000));
        let made = said(&clock, &["generate", "--data", data]).unwrap();
        assert!(made.starts_with("signing key ") && made.contains("signs from now"), "{made}");
        let again = said(&clock, &["generate", "--data", data]).unwrap_err();
        assert!(again.report().contains("permyx keys rotate"), "{}", again.report());
        assert_eq!(again.exit() as i32, 1);
        let rotated = said(&clock, &["rotate", "--data", data, "--lead", "1m", "--json"]).unwrap();
        let rotated: serde_json::Value = serde_json::from_str(&rotated).unwrap();
        assert_eq!(rotated["key"]["signs_from"], "2027-01-15T08:01:00.000Z");
        clock.advance(60_000);
        let list: serde_json::Value =
            serde_json::from_str(&said(&clock, &["list", "--data", data, "--json"]).unwrap()).unwrap();
        assert_eq!((&list["keys"][0]["state"], &list["keys"][1]["state"]), (&"retiring".into(), &"active".into()));
        assert_eq!(list["keys"][1]["key"]["kid"], rotated["key"]["kid"]);
        let table = said(&clock, &["list", "--data", data]).unwrap();
        assert_eq!(table.lines().count(), 3, "{table}");
    }

    #[test]
    fn nothing_there_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::of_seconds(1_800_000_000));
        let error = said(&clock, &["list", "--data", dir.path().to_str().unwrap()]).unwrap_err();
        assert!(error.report().contains("permyx keys generate"), "{}", error.report());
    }

    #[test]
    fn times_out_of_range_are_refused_when_the_line_is_read() {
        for bad in [["--overlap", "139s"], ["--overlap", "721h"], ["--lead", "25h"], ["--lead", "-1s"], ["--lead", "1"]]
        {
            assert!(Command::try_parse_from(["keys", "rotate"].iter().chain(&bad)).is_err(), "{bad:?}");
        }
    }
}
