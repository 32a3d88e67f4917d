//! `permyx check`: what stands against a start, and what a gateway would not do, before it starts.

mod bypass;
mod connect;
mod findings;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use tokio::time::Instant;

use crate::authority::policies::{NotTaken, Policies};
use crate::catalog::{Catalog, CatalogError};
use crate::config::{Config, ConfigError};
use crate::model::document::Problems;
use crate::reload::read_dir;

use super::error::CliError;
use findings::{Finding, Group, Known, Level};

/// How long it is waited before what was wrong is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// A look at everything that a gateway would read when it starts.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:\n  permyx check --config /etc/permyx/permyx.toml\n  \
                        permyx check --config /etc/permyx/permyx.toml --connect --wait 60\n\n\
                        Exit code 1: there is an error. Nothing is started or written; without --connect nothing is \
                        connected to.")]
pub struct CheckArgs {
    #[command(subcommand)]
    what: Option<Special>,
    /// Ask what it will need as well: key set, ledger, merchants, control plane, and the process that runs
    #[arg(long)]
    connect: bool,
    /// Look again until there is no error, for at most so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: Option<u64>,
    /// Configuration file
    #[arg(long, short, env = "PERMYX_CONFIG", default_value = "conf/permyx.toml")]
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Special {
    /// Try from here whether the merchant can be reached without passing the gateway
    Bypass(bypass::BypassArgs),
}

/// Checks and writes what was found.
pub async fn run(args: &CheckArgs, out: &mut dyn Write) -> Result<(), CliError> {
    if let Some(Special::Bypass(args)) = &args.what {
        return bypass::run(args, out).await;
    }
    let deadline = args.wait.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut found = look(&args.config, args.connect).await;
    while has_error(&found) && deadline.is_some_and(|deadline| Instant::now() < deadline) {
        tokio::time::sleep(AGAIN).await;
        found = look(&args.config, args.connect).await;
    }
    tell(args, found, out)
}

fn has_error(found: &[Finding]) -> bool {
    found.iter().any(|finding| finding.level == Level::Error)
}

fn tell(args: &CheckArgs, mut found: Vec<Finding>, out: &mut dyn Write) -> Result<(), CliError> {
    found.sort_by_key(|finding| finding.level);
    let count = |level| found.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings, notes) = (count(Level::Error), count(Level::Warning), count(Level::Note));
    if args.json {
        writeln!(out, "{}", json!({ "config": args.config.display().to_string(), "findings": found }))?;
    } else {
        for Finding { level, about, message, fix, .. } in &found {
            writeln!(out, "{:7}  {about}: {message}\n         fix: {fix}", level.as_str())?;
        }
        let file = args.config.display();
        writeln!(out, "{file}: errors: {errors}, warnings: {warnings}, notes: {notes}")?;
    }
    if errors == 0 { Ok(()) } else { Err(CliError::NotReady(errors)) }
}

async fn look(file: &Path, connect: bool) -> Vec<Finding> {
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(ConfigError::Wrong(problems)) => return listed(&problems).collect(),
        Err(ConfigError::Read { path, source }) => return vec![unread(&path, &source)],
    };
    let mut found = Vec::new();
    let policies = policies(&config, &mut found);
    let catalog = catalog(&config, &mut found);
    #[cfg(feature = "otlp")]
    if let Some(file) = config.traces.as_ref().and_then(|traces| traces.headers.as_deref())
        && let Err(error) = crate::collector::header_fields(file)
    {
        found.push(Finding::error(
            Group::Config,
            "[traces]",
            error.to_string(),
            "write `Name: value` on each line of it",
        ));
    }
    let known = Known { config: &config, policies: policies.as_ref(), catalog: catalog.as_ref() };
    found.extend(known.findings());
    if connect {
        found.extend(connect::findings(&config).await);
    }
    found
}

/// `None` where they cannot be read, which is told.
fn policies(config: &Config, found: &mut Vec<Finding>) -> Option<Policies> {
    let Some(dir) = &config.policies else { return Some(Policies::default()) };
    let read = read_dir(dir, "toml").map_err(NotTaken::from);
    match read.and_then(|files| Policies::parse(&files).map_err(NotTaken::Wrong)) {
        Ok(policies) => Some(policies),
        Err(NotTaken::Wrong(wrong)) => {
            found.extend(wrong.iter().flat_map(listed));
            None
        }
        Err(other) => {
            found.push(unread(dir, &other));
            None
        }
    }
}

/// `None` where they cannot be read, which is told.
fn catalog(config: &Config, found: &mut Vec<Finding>) -> Option<Catalog> {
    // Opening one makes its directory; a check makes nothing.
    let Some(dir) = config.catalog.as_deref().filter(|dir| dir.exists()) else { return Some(Catalog::none()) };
    match Catalog::open(dir) {
        Ok(catalog) => Some(catalog),
        Err(CatalogError::Faulty(faulty)) => {
            found.extend(faulty.0.iter().flat_map(listed));
            None
        }
        Err(other) => {
            found.push(unread(dir, &other));
            None
        }
    }
}

fn listed(problems: &Problems) -> impl Iterator<Item = Finding> {
    problems.list().iter().map(|problem| {
        Finding::error(Group::Config, problems.place(problem), problem.message.clone(), problem.fix.clone())
    })
}

fn unread(path: &Path, why: &dyn std::error::Error) -> Finding {
    let about = path.display().to_string();
    Finding::error(Group::Config, about, format!("it cannot be used: {why}"), "make it readable, or name another one")
}
