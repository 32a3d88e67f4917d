//! `permyx backup`: a data directory in one archive, while the program runs on it.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::error::CliError;
use super::progress::Progress;
use crate::backup::{Taken, Wanted, take};
use crate::config::Config;
use crate::model::time::Timestamp;

/// A backup.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  permyx backup --data /var/lib/permyx-serve -o permyx-2026-11-27.tar.gz\n  \
                        permyx backup --data /var/lib/permyx-serve --without-keys -o for-the-archive.tar.gz\n\n\
                        The program may run meanwhile: what was answered before the backup began is in it. In it are the \
                        store, the signed log, the spool, keys, API keys (their hashes), revocations, and policies and \
                        catalogs that lie in the directory. What the ledger remembers is not: after a start it refuses \
                        tokens from before. Room for the store and the archive is needed beside FILE.")]
pub struct BackupArgs {
    /// Directory of the deployment's data; that of the configuration, or `data`, when left out
    #[arg(long, value_name = "DIR", env = "PERMYX_DATA")]
    data: Option<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "PERMYX_CONFIG")]
    config: Option<PathBuf>,
    /// The new file (*.tar.gz)
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Leave private keys out: those that sign tokens and the log, and the token of administration
    #[arg(long)]
    without_keys: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Takes a backup and tells what is in it.
pub fn run(args: &BackupArgs, now: Timestamp, out: &mut dyn Write) -> Result<(), CliError> {
    let config = args.config.as_deref().map(Config::load).transpose()?;
    let data = args.data.clone().or_else(|| config.as_ref().map(|config| config.data.clone()));
    let data = data.unwrap_or_else(|| PathBuf::from("data"));
    let (output, keys, version) = (&args.output, !args.without_keys, env!("CARGO_PKG_VERSION"));
    let mut progress = Progress::new();
    let wanted = Wanted { data: &data, output, keys, version, now };
    let mut taken = take(&wanted, &mut |done, all, what| progress.tell(done, all, what))?;
    drop(progress);
    taken.left_out.extend(config.iter().flat_map(|config| elsewhere(config, &data)));
    tell(args, &data, &taken, out)
}

/// Directories of the configuration that are kept at another place.
fn elsewhere(config: &Config, data: &Path) -> Vec<String> {
    let named = [&config.policies, &config.catalog].into_iter().flatten();
    let spools = config.evidence.spools.iter();
    named.chain(spools).filter(|dir| !dir.starts_with(data)).map(|dir| dir.display().to_string()).collect()
}

fn tell(args: &BackupArgs, data: &Path, taken: &Taken, out: &mut dyn Write) -> Result<(), CliError> {
    let Taken { manifest, bytes, logs, left_out } = taken;
    let (file, files) = (args.output.display().to_string(), manifest.files().len());
    if args.json {
        let log =
            |log: &crate::backup::Log| json!({ "origin": log.checkpoint.origin.as_str(), "size": log.checkpoint.size });
        let told = json!({
            "file": file, "bytes": bytes, "data": data.display().to_string(), "made": manifest.made,
            "version": manifest.version, "keys": manifest.keys, "files": files,
            "logs": logs.iter().map(log).collect::<Vec<_>>(), "leftOut": left_out,
        });
        return Ok(writeln!(out, "{told}")?);
    }
    writeln!(out, "{file}: {files} files of `{}` as of {}, {bytes} bytes", data.display(), manifest.made)?;
    for log in logs {
        writeln!(out, "log       {}, {} events signed", log.checkpoint.origin, log.checkpoint.size)?;
    }
    let keys =
        if manifest.keys { "private keys are in it: keep it as you keep them" } else { "no private keys are in it" };
    writeln!(out, "keys      {keys}")?;
    for left in left_out {
        writeln!(out, "left out  {left}")?;
    }
    Ok(writeln!(out, "check it: permyx restore --check {file}")?)
}
