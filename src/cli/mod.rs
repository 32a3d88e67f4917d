//! Floor 9: the command line.

pub mod agent_key;
pub mod agents;
mod ask;
#[cfg(feature = "control-plane")]
pub mod backup;
pub mod check;
pub mod error;
pub mod evidence;
pub mod keys;
pub mod ledger;
pub mod preset;
mod progress;
pub mod report;
#[cfg(feature = "control-plane")]
pub mod restore;
pub mod revoke;
mod run;
mod shell;
pub mod timeline;
pub mod token;
pub mod trigger;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::clock::Clock;
use crate::config::Config;

use error::CliError;

/// Exit codes: 0 ok, 1 a finding or a refusal, 2 wrong usage, 3 incomplete, 4 cannot reach.
#[derive(Parser)]
#[command(name = "permyx", version, about, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run everything in one process, with throw-away keys and a sandbox merchant
    #[cfg(all(feature = "gateway", feature = "control-plane"))]
    Dev(run::DevArgs),
    /// Run the gateway in front of a merchant's checkout
    #[cfg(feature = "gateway")]
    Gateway(run::ServeArgs),
    /// Run the execution API, the evidence store and the portal
    #[cfg(feature = "control-plane")]
    Serve(run::ServeArgs),
    /// Get a token to try things with
    Token(token::TokenArgs),
    /// Play a scenario and check what came of it: a replay, a changed cart, an expired token
    Trigger(trigger::TriggerArgs),
    /// Tell the story of one execution
    Timeline(timeline::TimelineArgs),
    /// What was sold under authority, and what was not
    #[command(subcommand)]
    Report(report::ReportVerb),
    /// Take out, prove and verify what was recorded; the keys of the log
    Evidence(evidence::EvidenceArgs),
    /// What the shared ledger remembers
    Ledger(ledger::LedgerArgs),
    /// Signing keys of the issuer
    Keys(keys::KeysArgs),
    /// API keys of agents, merchants, auditors and operators
    AgentKey(agent_key::AgentKeyArgs),
    /// Agents and channels that are known, and what they say of a request
    Agents(agents::AgentsArgs),
    /// Revoke a token, an agent, a signing key or a store, at once and everywhere
    Revoke(revoke::RevokeArgs),
    /// Take a backup of a data directory, while the program runs on it
    #[cfg(feature = "control-plane")]
    Backup(backup::BackupArgs),
    /// Restore a backup into a new directory, or check one
    #[cfg(feature = "control-plane")]
    Restore(restore::RestoreArgs),
    /// Check everything that a gateway reads and needs, before it starts or while it runs
    Check(check::CheckArgs),
    /// Check a configuration file, or print its schema
    #[command(subcommand)]
    Config(ConfigVerb),
    /// The checkout protocols that are known, and their tests
    Preset(preset::PresetArgs),
    /// Check policy files
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Print what a shell needs to complete these commands
    Completions(shell::CompletionsArgs),
    /// Print the manual page
    Man(shell::ManArgs),
}

#[derive(Subcommand)]
enum ConfigVerb {
    /// Report every problem of a configuration file, with line and fix
    Validate { file: PathBuf },
    /// Print the JSON Schema of the configuration file
    Schema,
}

#[derive(Subcommand)]
enum PolicyVerb {
    /// Report every problem of policy files or directories of them, with line and fix
    Validate {
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

/// Runs the program with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    match run_verb(Cli::parse().verb, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}", error.report());
            ExitCode::from(error.exit() as u8)
        }
    }
}

fn run_verb(verb: Verb, out: &mut dyn Write) -> Result<(), CliError> {
    match verb {
        #[cfg(all(feature = "gateway", feature = "control-plane"))]
        Verb::Dev(args) => run::dev(&args, out),
        #[cfg(feature = "gateway")]
        Verb::Gateway(args) => run::gateway(&args, out),
        #[cfg(feature = "control-plane")]
        Verb::Serve(args) => run::serve(&args, out),
        Verb::Token(args) => run::waiting(token::run(&args, out)),
        Verb::Trigger(args) => run::waiting(trigger::run(&args, out)),
        Verb::Timeline(args) => run::waiting(timeline::run(&args, out)),
        Verb::Report(report::ReportVerb::Coverage(args)) => run::waiting(report::coverage(&args, out)),
        Verb::Evidence(args) => evidence::run(&args, out),
        Verb::Ledger(args) => run::waiting(ledger::run(&args, out)),
        Verb::Keys(args) => keys::run(&args, &Clock::system(), out),
        Verb::AgentKey(args) => agent_key::run(&args, &Clock::system(), out),
        Verb::Agents(args) => agents::run(&args, out),
        Verb::Revoke(args) => revoke::run(&args, &Clock::system(), out),
        #[cfg(feature = "control-plane")]
        Verb::Backup(args) => backup::run(&args, Clock::system().now(), out),
        #[cfg(feature = "control-plane")]
        Verb::Restore(args) => restore::run(&args, Clock::system().now(), out),
        Verb::Check(args) => run::waiting(check::run(&args, out)),
        Verb::Config(ConfigVerb::Validate { file }) => run::validate_config(&file, out),
        Verb::Config(ConfigVerb::Schema) => Ok(writeln!(out, "{}", Config::schema())?),
        Verb::Preset(args) => preset::run(&args, out),
        Verb::Policy(PolicyVerb::Validate { paths }) => run::validate_policies(&paths, out),
        Verb::Completions(args) => shell::completions(&args, out),
        Verb::Man(args) => shell::man(&args, out),
    }
}
