//! `permyx revoke`: the kill switch at hand.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::boot::{BootError, shared_revocations};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::revocation::{Kind, NotANote, NotASubject, Note, Revocation, Subject};
use crate::revocation::shared::exchange_once;
use crate::revocation::{KillSwitch, RevocationError};
use crate::telemetry::metrics::Metrics;

use super::error::CliError;
use super::run::waiting;

/// The kill switch.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  permyx revoke agent ak_0123456789ab --reason \"key leaked\"\n  \
                        permyx revoke token 5b0e8a0e-3c58-4f6e-9a41-0c2d0a9b7e11 --config /etc/permyx/permyx.toml\n  \
                        permyx revoke list\n  permyx revoke lift agent:ak_0123456789ab")]
pub struct RevokeArgs {
    #[command(subcommand)]
    command: RevokeCommand,
}

#[derive(Debug, Subcommand)]
enum RevokeCommand {
    /// Refuse one token, named by its jti as `permyx timeline` tells it
    Token(IdArgs),
    /// Refuse all tokens of an agent, and make no new ones for it
    Agent(IdArgs),
    /// Trust nothing that a signing key signed, and sign with another one
    Key(IdArgs),
    /// Refuse all tokens for a store, and make no new ones for it
    Store(IdArgs),
    /// List what is revoked and what was lifted
    List(Place),
    /// Take a revocation back
    Lift(LiftArgs),
}

#[derive(Debug, Args)]
struct Place {
    /// Directory of the deployment's data; that of the configuration, or `data`, when left out.
    #[arg(long, value_name = "DIR", env = "PERMYX_DATA")]
    data: Option<PathBuf>,
    /// Configuration file. Where it names a shared ledger, the other hosts hear of it at once.
    #[arg(long, value_name = "FILE", env = "PERMYX_CONFIG")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct IdArgs {
    id: String,
    /// Why, for the record: one line.
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = note, hide_default_value = true)]
    reason: Note,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct LiftArgs {
    /// As `list` shows it: `agent:ak_…`.
    #[arg(value_parser = subject)]
    subject: Subject,
    /// Why, for the record: one line.
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = note, hide_default_value = true)]
    reason: Note,
    #[command(flatten)]
    place: Place,
}

/// Runs one of the verbs and writes what it has to say.
pub fn run(args: &RevokeArgs, clock: &Clock, out: &mut dyn Write) -> Result<(), CliError> {
    let by = Note::parse("command line").unwrap_or_default();
    match &args.command {
        RevokeCommand::Token(args) => revoke(Kind::Token, args, by, clock, out),
        RevokeCommand::Agent(args) => revoke(Kind::Agent, args, by, clock, out),
        RevokeCommand::Key(args) => revoke(Kind::Key, args, by, clock, out),
        RevokeCommand::Store(args) => revoke(Kind::Store, args, by, clock, out),
        RevokeCommand::List(place) => list(place, clock, out),
        RevokeCommand::Lift(LiftArgs { subject, reason, place }) => {
            command(place, clock, out, |switch| switch.lift(subject.clone(), reason.clone(), by))
        }
    }
}

fn revoke(kind: Kind, args: &IdArgs, by: Note, clock: &Clock, out: &mut dyn Write) -> Result<(), CliError> {
    let subject = Subject::of(kind, &args.id).map_err(|why| CliError::NotASubject { id: args.id.clone(), why })?;
    command(&args.place, clock, out, |switch| {
        switch.revoke(subject, args.reason.clone(), by).map(|(record, _new)| record)
    })
}

/// Gives a command: it is in the file, then on other hosts, then told.
fn command(
    place: &Place,
    clock: &Clock,
    out: &mut dyn Write,
    give: impl FnOnce(&KillSwitch) -> Result<Revocation, RevocationError>,
) -> Result<(), CliError> {
    let (switch, config) = place.open(clock)?;
    let record = give(&switch).map_err(|error| match error {
        RevocationError::NoCommand(why) => CliError::NoCommand(why),
        error => error.into(),
    })?;
    if let Some(redis) = config.as_ref().and_then(shared_revocations) {
        waiting(async { Ok(exchange_once(&switch, &redis).await?) })?;
        switch.refresh()?;
    }
    if place.json {
        return Ok(writeln!(out, "{}", json!(record))?);
    }
    Ok(writeln!(out, "{} {}", record.subject, if record.revoked { "is revoked" } else { "is no longer revoked" })?)
}

fn list(place: &Place, clock: &Clock, out: &mut dyn Write) -> Result<(), CliError> {
    let all = place.open(clock)?.0.snapshot();
    if place.json {
        return Ok(writeln!(out, "{}", json!({ "revocations": all.records().collect::<Vec<_>>() }))?);
    }
    writeln!(out, "{:44}  {:7}  {:24}  {:16}  REASON", "SUBJECT", "STATE", "SINCE", "BY")?;
    for record in all.records() {
        let state = if record.revoked { "revoked" } else { "lifted" };
        let (subject, at, by) = (record.subject.to_string(), record.at.to_string(), record.by.as_str());
        writeln!(out, "{subject:44}  {state:7}  {at:24}  {by:16}  {}", record.reason)?;
    }
    Ok(())
}

impl Place {
    fn open(&self, clock: &Clock) -> Result<(KillSwitch, Option<Config>), CliError> {
        let config = self.config.as_deref().map(Config::load).transpose()?;
        let data = self.data.clone().or_else(|| config.as_ref().map(|config| config.data.clone()));
        let data = data.unwrap_or_else(|| PathBuf::from("data"));
        let metrics = Arc::new(Metrics::new().map_err(BootError::from)?);
        // A running process that owns the directory keeps the log.
        Ok((KillSwitch::open(&data, clock.clone(), metrics, Box::new(|_| {}))?, config))
    }
}

fn note(text: &str) -> Result<Note, NotANote> {
    Note::parse(text)
}

fn subject(text: &str) -> Result<Subject, NotASubject> {
    Subject::parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: RevokeArgs,
    }

    fn said(line: &[&str]) -> Result<String, CliError> {
        let command = Command::try_parse_from(["revoke"].iter().chain(line)).unwrap();
        let clock = Clock::manual(Timestamp::of_seconds(1_800_000_000));
        let mut out = Vec::new();
        run(&command.args, &clock, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_is_revoked_is_listed_and_lifted() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_str().unwrap();
        let told = said(&["agent", "ak_1", "--reason", "key leaked", "--data", data]).unwrap();
        assert_eq!(told, "agent:ak_1 is revoked\n");
        let list: serde_json::Value =
            serde_json::from_str(&said(&["list", "--data", data, "--json"]).unwrap()).unwrap();
        let expected = json!({ "at": "2027-01-15T08:00:00.000Z", "by": "command line", "reason": "key leaked",
            "revoked": true, "subject": "agent:ak_1" });
        assert_eq!(list, json!({ "revocations": [expected] }));
        assert!(said(&["lift", "agent:ak_1", "--data", data]).unwrap().contains("no longer"));
        let list = said(&["list", "--data", data]).unwrap();
        assert!(list.contains("agent:ak_1") && list.contains("lifted"), "{list}");
        let twice = said(&["lift", "agent:ak_1", "--data", data]).unwrap_err();
        assert_eq!((twice.report().as_str(), twice.exit() as i32), ("error: `agent:ak_1` is not revoked", 1));
    }

    #[test]
    fn the_data_directory_of_a_configuration_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("permyx.toml");
        std::fs::write(&config, "data = \"here\"\n").unwrap();
        said(&["store", "store-123", "--config", config.to_str().unwrap()]).unwrap();
        let list = said(&["list", "--data", dir.path().join("here").to_str().unwrap()]).unwrap();
        assert!(list.contains("store:store-123"), "{list}");
    }

    #[test]
    fn a_line_that_makes_no_sense_is_refused() {
        for bad in
            [&["agent"][..], &["lift", "ak_1"], &["lift", "token:1"], &["agent", "a", "--reason", "a\nb"], &["all"]]
        {
            assert!(Command::try_parse_from(["revoke"].iter().chain(bad)).is_err(), "{bad:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let wrong = said(&["token", "eyJ", "--data", dir.path().to_str().unwrap()]).unwrap_err();
        assert!(wrong.report().contains("jti"), "{}", wrong.report());
        assert_eq!(wrong.exit() as i32, 2);
    }
}
