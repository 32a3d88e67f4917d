//! `permyx evidence`: take out, prove and verify what was recorded, and the keys of the log.

mod export;
mod file;
#[cfg(feature = "control-plane")]
mod keys;
mod prove;
mod tail;
mod verify;

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::audit::bundle::BUNDLE_MAX;
#[cfg(feature = "control-plane")]
use crate::clock::Clock;
use crate::net::client::Limits;

use super::error::CliError;
use super::run::waiting;

/// What is asked for is computed first: a bundle of a thousand events takes its time.
const LIMITS: Limits = Limits { time: Duration::from_secs(60), body: BUNDLE_MAX };

/// What was recorded, for those who have to believe it.
#[derive(Debug, Args)]
pub struct EvidenceArgs {
    #[command(subcommand)]
    command: EvidenceCommand,
}

#[derive(Debug, Subcommand)]
enum EvidenceCommand {
    /// Verify a log directory or a bundle, without a connection
    #[command(after_help = "Examples:\n  permyx evidence verify case-4711.pmx --trust auditor.keys\n  \
        permyx evidence verify data/log/2026 --key shop.example/permyx/2026+facc8bbc+AX… --checkpoint kept-in-october\n\n\
        Keys come from you and never from what is verified: without one nothing passes. Without a checkpoint that you \
        kept, a cut tail is not seen. Keep the checkpoint of every log that you verified.\n\n\
        Exit code 0: all that is required passed, 1: something is wrong, 3: it cannot be said.")]
    Verify(verify::VerifyArgs),
    /// Take an execution, or a range of the log, out as a bundle that an auditor verifies
    #[command(after_help = "Examples:\n  permyx evidence export last -o last.pmx\n  \
        permyx evidence export 1001 --since-checkpoint kept-in-october -o order-1001.pmx\n  \
        permyx evidence export --from 0 --to 1000 -o first-thousand.pmx\n\n\
        A range is all that this year's log holds there, of all stores: the key must see all of them. The log records who \
        took what.")]
    Export(export::ExportArgs),
    /// Get the proof that one event is in the signed log
    #[command(after_help = "Examples:\n  permyx evidence prove 0199f3a1-6c1e-7c55-9d0e-2f6a4d1f9b10\n  \
        permyx evidence prove 4711 -o 4711.tlog-proof\n\nIt is a tlog-proof of C2SP, for the bytes of the event as \
        `/v1/evidence/events` shows them.")]
    Prove(prove::ProveArgs),
    /// Get the newest checkpoint of the log, to keep it
    #[command(after_help = "Examples:\n  permyx evidence checkpoint -o kept-in-october\n  \
        permyx evidence checkpoint --year 2026 --json\n\nWhat it covers cannot be changed any more without being \
        seen by whoever kept it: `permyx evidence verify PATH --trust FILE --checkpoint kept-in-october`.")]
    Checkpoint(prove::CheckpointArgs),
    /// Follow the events as they are recorded
    #[command(after_help = "Examples:\n  permyx evidence tail --type execution.denied\n  \
        permyx evidence tail --store store-123 --from-start --json\n\n\
        It begins with what is recorded from now on, and goes on where it was when the connection is lost.")]
    Tail(tail::TailArgs),
    /// The keys that sign the log
    #[cfg(feature = "control-plane")]
    Keys(keys::KeysArgs),
}

/// Runs one of the verbs and writes what it has to say.
pub fn run(args: &EvidenceArgs, out: &mut dyn Write) -> Result<(), CliError> {
    match &args.command {
        EvidenceCommand::Verify(args) => verify::run(args, out),
        EvidenceCommand::Export(args) => waiting(export::run(args, out)),
        EvidenceCommand::Prove(args) => waiting(prove::run(args, out)),
        EvidenceCommand::Checkpoint(args) => waiting(prove::checkpoint(args, out)),
        EvidenceCommand::Tail(args) => waiting(tail::run(args, out)),
        #[cfg(feature = "control-plane")]
        EvidenceCommand::Keys(args) => keys::run(args, Clock::system().now(), out),
    }
}

// A flattened struct has no comment of its own: it would stand for that of the verb.
#[derive(Debug, Args)]
struct Api {
    /// Where the control plane is
    #[arg(long, env = "PERMYX_URL", default_value = "http://127.0.0.1:8481")]
    url: String,
    /// The key of a merchant, an auditor or an operator
    #[arg(long, env = "PERMYX_EVIDENCE_KEY", hide_env_values = true, default_value = "permyx_merchant_YOUR_KEY")]
    key: String,
}
