//! `permyx report`: figures over a period, as the control plane computes them.

use std::io::Write;

use clap::{Args, Subcommand};

use super::ask::{Asked, escaped};
use super::error::CliError;

#[derive(Debug, Subcommand)]
pub enum ReportVerb {
    /// How many orders and commits passed under authority, and each that does not fit
    Coverage(CoverageArgs),
}

/// How much of what was sold passed under authority.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  permyx report coverage\n  \
                        permyx report coverage --store store-123 --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z")]
pub struct CoverageArgs {
    /// First instant, in RFC 3339; all from the beginning without it
    #[arg(long)]
    from: Option<String>,
    /// First instant that is not wanted any more
    #[arg(long)]
    to: Option<String>,
    /// One store; all that the key may see without it
    #[arg(long)]
    store: Option<String>,
    /// Where the control plane is
    #[arg(long, env = "PERMYX_URL", default_value = "http://127.0.0.1:8481")]
    url: String,
    /// The key of a merchant, an auditor or an operator
    #[arg(long, env = "PERMYX_EVIDENCE_KEY", hide_env_values = true, default_value = "permyx_merchant_YOUR_KEY")]
    key: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb and writes the report.
pub async fn coverage(args: &CoverageArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let asked = [("from", &args.from), ("to", &args.to), ("store", &args.store)];
    let pairs = asked.iter().filter_map(|(name, value)| Some(format!("{name}={}", escaped(value.as_deref()?))));
    let path = format!("/v1/evidence/coverage?{}", pairs.collect::<Vec<_>>().join("&"));
    Asked { url: &args.url, path: &path, key: Some(&args.key) }.write_answer(args.json, out).await
}
