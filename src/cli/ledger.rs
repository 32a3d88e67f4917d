//! `permyx ledger`: what the shared ledger remembers.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::authority::policies::{NotTaken, Policies};
use crate::clock::Clock;
use crate::config::Config;
use crate::ledger::redis::{Full, RedisLedger};
use crate::ledger::{Ledger, Namespace, Slot, State};
use crate::model::ids::{Jti, StoreId};
use crate::model::time::Timestamp;
use crate::reload::read_dir;
use crate::telemetry::metrics::Metrics;

use super::error::CliError;

/// Time for the server to answer at all.
const PATIENCE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);

/// What the shared ledger remembers.
#[derive(Debug, Args)]
pub struct LedgerArgs {
    #[command(subcommand)]
    command: LedgerCommand,
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// Tell what is remembered of one token: whether it was used, by which call, and what came of it
    #[command(after_help = "Examples:\n  permyx ledger show 3f0e1a5e-6d0c-4a57-9a39-1b1f5d1f0c11\n  \
                            permyx ledger show exec_3f0e1a5e-6d0c-4a57-9a39-1b1f5d1f0c11 --store store-123 --json\n\n\
                            Exit code 1: it is not remembered. Tokens are remembered for five minutes; after that \
                            `permyx timeline` tells.")]
    Show(ShowArgs),
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// A token's jti, or the execution that it opened (exec_…)
    #[arg(value_name = "ID", value_parser = jti)]
    id: Jti,
    /// The store, where it is known; without it all stores of the configuration are asked
    #[arg(long, value_name = "STORE", value_parser = StoreId::parse)]
    store: Option<StoreId>,
    /// Configuration file
    #[arg(long, short, env = "PERMYX_CONFIG", default_value = "conf/permyx.toml")]
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn jti(text: &str) -> Result<Jti, String> {
    let bare = text.strip_prefix("exec_").unwrap_or(text);
    Jti::parse(bare).ok_or_else(|| "a token's id is a lower-case UUID v4, as `permyx timeline` tells it".to_owned())
}

/// Runs one of the verbs.
pub async fn run(args: &LedgerArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let LedgerCommand::Show(args) = &args.command;
    let config = Config::load(&args.config)?;
    let ledger = open(&config).await?;
    for store in stores(args.store.as_ref(), &config)? {
        for namespace in [Namespace::Enforce, Namespace::Observe] {
            let slot = Slot { namespace, store: store.clone(), jti: args.id };
            if let Some(full) = ledger.show(&slot).await.map_err(|error| CliError::Ledger(error.to_string()))? {
                return Ok(tell(&slot, &full, args.json, out)?);
            }
        }
    }
    Err(CliError::NotRemembered(args.id))
}

async fn open(config: &Config) -> Result<RedisLedger, CliError> {
    let Some(options) = &config.ledger.redis else { return Err(CliError::NoSharedLedger) };
    let metrics = Arc::new(Metrics::new().map_err(crate::boot::BootError::from)?);
    let ledger = RedisLedger::open(options.clone(), [], Clock::system(), metrics, mpsc::channel(1).0);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match ledger.health().usable {
            Ok(()) => return Ok(ledger),
            Err(why) if tokio::time::Instant::now() >= deadline => return Err(CliError::Ledger(why)),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

fn stores(asked: Option<&StoreId>, config: &Config) -> Result<BTreeSet<StoreId>, CliError> {
    if let Some(store) = asked {
        return Ok(BTreeSet::from([store.clone()]));
    }
    let mut stores = config.stores();
    if let Some(dir) = &config.policies {
        let policies = Policies::parse(&read_dir(dir, "toml").map_err(NotTaken::from)?).map_err(NotTaken::Wrong)?;
        stores.extend(policies.iter().map(|policy| policy.store().clone()));
    }
    Ok(stores)
}

fn tell(slot: &Slot, full: &Full, as_json: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let state = match full.entry.state {
        State::Reserved => "reserved",
        State::Spent(spent) => spent.as_str(),
    };
    let mode = match slot.namespace {
        Namespace::Enforce => "enforce",
        Namespace::Observe => "observe",
    };
    let since = Timestamp::of_millis(full.since_ms);
    if as_json {
        let told: Value = json!({
            "jti": slot.jti, "store": slot.store, "mode": mode, "state": state, "reserved_at": since,
            "trace": full.entry.first, "replica": full.replica, "idempotency_key": full.entry.retry.is_some(),
        });
        return writeln!(out, "{told}");
    }
    writeln!(out, "token     {}", slot.jti)?;
    writeln!(out, "store     {} ({mode})", slot.store)?;
    writeln!(out, "state     {state}")?;
    writeln!(out, "reserved  {since} by {}", full.entry.first)?;
    writeln!(out, "process   {}", full.replica)?;
    writeln!(out, "retry     {}", if full.entry.retry.is_some() { "by its Idempotency-Key" } else { "no key was sent" })
}
