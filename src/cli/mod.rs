//! Floor 9: the command line.

mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Check a configuration file, or print its schema
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Check policy files
    #[command(subcommand)]
    Policy(PolicyVerb),
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
    let done = match Cli::parse().verb {
        #[cfg(all(feature = "gateway", feature = "control-plane"))]
        Verb::Dev(args) => run::dev(&args),
        #[cfg(feature = "gateway")]
        Verb::Gateway(args) => run::gateway(&args),
        #[cfg(feature = "control-plane")]
        Verb::Serve(args) => run::serve(&args),
        Verb::Config(ConfigVerb::Validate { file }) => run::validate_config(&file),
        Verb::Config(ConfigVerb::Schema) => run::say(&crate::config::Config::schema()),
        Verb::Policy(PolicyVerb::Validate { paths }) => run::validate_policies(&paths),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
