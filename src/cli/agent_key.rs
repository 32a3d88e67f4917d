//! `permyx agent-key`: the API keys of agents, merchants, auditors and operators.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::clock::Clock;
use crate::keystore::agent_file::ApiKeyStore;
use crate::keystore::agents::{Allowance, ApiKey, Enrolment, PER_MINUTE, Role, Terms};
use crate::model::ids::{AgentId, NotAnId, StoreId};

use super::error::CliError;

/// The API keys of callers.
#[derive(Debug, Args)]
pub struct AgentKeyArgs {
    #[command(subcommand)]
    command: AgentKeyCommand,
}

#[derive(Debug, Subcommand)]
enum AgentKeyCommand {
    /// Make an API key. Its secret is shown once and not kept.
    #[command(after_help = "Examples:\n  permyx agent-key create --role agent --store store-123\n  \
                            permyx agent-key create --role merchant --store store-123 --per-minute 600\n  \
                            permyx agent-key create --role operator --all-stores")]
    Create(CreateArgs),
    /// List the API keys, revoked ones included. Secrets are not known.
    #[command(after_help = "Example:\n  permyx agent-key list --json")]
    List(Place),
    /// Take a key's authority away for good. Running servers notice within seconds; tokens that it
    /// got live on for two minutes unless `permyx revoke agent` stops them.
    #[command(after_help = "Example:\n  permyx agent-key revoke ak_0123456789ab")]
    Revoke(RevokeArgs),
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
struct CreateArgs {
    #[command(flatten)]
    place: Place,
    /// What the key is for.
    #[arg(long, value_enum, default_value_t = Role::Agent)]
    role: Role,
    /// A store that the key may act for; may be given several times.
    #[arg(long = "store", value_name = "STORE", value_parser = store, required_unless_present = "all_stores")]
    stores: Vec<StoreId>,
    /// All stores, those of the future included: for auditors and operators.
    #[arg(long, conflicts_with = "stores")]
    all_stores: bool,
    /// Calls per minute.
    #[arg(long, value_name = "N", default_value_t = PER_MINUTE, value_parser = clap::value_parser!(u32).range(1..))]
    per_minute: u32,
    /// Calls per calendar month, UTC; without it there is no limit.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    per_month: Option<u64>,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    #[command(flatten)]
    place: Place,
    /// The key's id (`ak_…`), as `list` shows it.
    #[arg(value_name = "ID", value_parser = agent)]
    id: AgentId,
}

/// Runs one of the verbs and writes what it has to say.
pub fn run(args: &AgentKeyArgs, clock: &Clock, out: &mut dyn Write) -> Result<(), CliError> {
    match &args.command {
        AgentKeyCommand::Create(create) => made(create, clock, out),
        AgentKeyCommand::List(place) => list(place, out),
        AgentKeyCommand::Revoke(revoke) => revoked(revoke, clock, out),
    }
}

fn made(args: &CreateArgs, clock: &Clock, out: &mut dyn Write) -> Result<(), CliError> {
    let stores = if args.all_stores { Enrolment::AllStores } else { Enrolment::Only(args.stores.clone()) };
    let allowance = Allowance { per_minute: Some(args.per_minute), per_month: args.per_month };
    let terms = Terms { role: args.role, stores, allowance };
    let (key, secret) = ApiKeyStore::of(&args.place.data).create(terms, clock.now())?;
    if args.place.json {
        let mut members = described(&key);
        members.insert("secret".to_owned(), secret.reveal().into());
        writeln!(out, "{}", Value::Object(members))?;
        return Ok(());
    }
    writeln!(out, "API key {} ({}, {})", key.id, key.terms.role, stores_of(&key))?;
    writeln!(out, "  {}", secret.reveal())?;
    writeln!(out, "  It is shown only now. Send it as the header X-API-Key.")?;
    Ok(())
}

fn list(place: &Place, out: &mut dyn Write) -> Result<(), CliError> {
    let keys = ApiKeyStore::of(&place.data).list()?;
    if place.json {
        writeln!(out, "{}", json!({ "keys": keys.iter().map(described).collect::<Vec<_>>() }))?;
        return Ok(());
    }
    writeln!(
        out,
        "{:15}  {:8}  {:24}  {:10}  {:10}  {:24}  STORES",
        "ID", "ROLE", "CREATED", "PER MINUTE", "PER MONTH", "REVOKED"
    )?;
    for key in &keys {
        let Allowance { per_minute, per_month } = key.terms.allowance;
        let revoked = key.revoked.map_or_else(|| "-".to_owned(), |at| at.to_string());
        writeln!(
            out,
            "{:15}  {:8}  {:24}  {:10}  {:10}  {revoked:24}  {}",
            key.id.to_string(),
            key.terms.role.as_str(),
            key.created.to_string(),
            limit(per_minute.map(u64::from)),
            limit(per_month),
            stores_of(key),
        )?;
    }
    Ok(())
}

fn revoked(args: &RevokeArgs, clock: &Clock, out: &mut dyn Write) -> Result<(), CliError> {
    let key = ApiKeyStore::of(&args.place.data).revoke(&args.id, clock.now())?;
    if args.place.json {
        writeln!(out, "{}", Value::Object(described(&key)))?;
    } else {
        writeln!(out, "API key {} is revoked", key.id)?;
    }
    Ok(())
}

fn described(key: &ApiKey) -> Map<String, Value> {
    let Terms { role, stores, allowance } = &key.terms;
    let stores = match stores {
        Enrolment::AllStores => json!("all"),
        Enrolment::Only(stores) => json!(stores),
    };
    let members = [
        ("id", json!(key.id)),
        ("role", json!(role)),
        ("stores", stores),
        ("per_minute", json!(allowance.per_minute)),
        ("per_month", json!(allowance.per_month)),
        ("created", json!(key.created)),
        ("revoked", json!(key.revoked)),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn stores_of(key: &ApiKey) -> String {
    match &key.terms.stores {
        Enrolment::AllStores => "all stores".to_owned(),
        Enrolment::Only(stores) => stores.iter().map(StoreId::as_str).collect::<Vec<_>>().join(", "),
    }
}

fn limit(limit: Option<u64>) -> String {
    limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string())
}

fn store(text: &str) -> Result<StoreId, NotAnId> {
    StoreId::parse(text)
}

fn agent(text: &str) -> Result<AgentId, NotAnId> {
    AgentId::parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: AgentKeyArgs,
    }

    fn said(line: &[&str]) -> Result<String, CliError> {
        let command = Command::try_parse_from(["agent-key"].iter().chain(line)).unwrap();
        let clock = Clock::manual(Timestamp::of_seconds(1_800_000_000));
        let mut out = Vec::new();
        run(&command.args, &clock, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    fn json(line: &[&str]) -> Value {
        serde_json::from_str(&said(line).unwrap()).unwrap()
    }

    #[test]
    fn a_key_is_made_listed_and_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_str().unwrap();
        let made = json(&["create", "--store", "a", "--store", "b", "--per-month", "9", "--data", data, "--json"]);
        let secret = made["secret"].as_str().unwrap();
        assert!(secret.starts_with("permyx_agent_"));
        assert_eq!(
            (&made["stores"], &made["per_minute"], &made["per_month"]),
            (&json!(["a", "b"]), &json!(6000), &json!(9))
        );
        let known = ApiKeyStore::of(dir.path()).load().unwrap().authenticate(secret).unwrap();
        assert_eq!(known.id.as_str(), made["id"]);
        let list = said(&["list", "--data", data]).unwrap();
        assert!(list.contains(known.id.as_str()) && list.contains("a, b") && !list.contains(secret), "{list}");
        said(&["revoke", known.id.as_str(), "--data", data]).unwrap();
        assert_eq!(json(&["list", "--data", data, "--json"])["keys"][0]["revoked"], "2027-01-15T08:00:00.000Z");
        let unknown = said(&["revoke", "ak_000000000000", "--data", data]).unwrap_err();
        assert_eq!(unknown.exit() as i32, 1);
    }

    #[test]
    fn all_stores_are_for_those_who_look_after_all() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_str().unwrap();
        assert!(
            said(&["create", "--role", "operator", "--all-stores", "--data", data]).unwrap().contains("all stores")
        );
        let refused = said(&["create", "--role", "agent", "--all-stores", "--data", data]).unwrap_err();
        assert_eq!(refused.exit() as i32, 2);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_refused() {
        for bad in [
            &["create"][..],
            &["create", "--store", "a|b"],
            &["create", "--store", "a", "--all-stores"],
            &["create", "--store", "a", "--per-minute", "0"],
            &["create", "--store", "a", "--role", "root"],
            &["revoke"],
        ] {
            assert!(Command::try_parse_from(["agent-key"].iter().chain(bad)).is_err(), "{bad:?}");
        }
    }
}
