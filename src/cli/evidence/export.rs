//! `permyx evidence export`: a bundle of what was recorded, and how it is verified.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use serde_json::json;

use super::super::ask::{Asked, escaped};
use super::super::error::CliError;
use super::file::{must_be_new, write_new};
use super::prove::claimed;
use super::verify::read;
use super::{Api, LIMITS};
use crate::audit::bundle;
use crate::audit::report::Report;
use crate::audit::trust::Trust;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::NOTE_MAX;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["id", "from"]))]
pub(super) struct ExportArgs {
    /// A trace (trc_…), a token's jti, an execution (exec_…), an order, or `last`
    id: Option<String>,
    /// Index of the first leaf of a range of this year's log
    #[arg(long, value_name = "N", requires = "to")]
    from: Option<u64>,
    /// Index of the leaf behind the last
    #[arg(long, value_name = "M", requires = "from")]
    to: Option<u64>,
    /// A checkpoint that the auditor kept: the bundle proves that the log continues it
    #[arg(long, value_name = "FILE")]
    since_checkpoint: Option<PathBuf>,
    /// The new file (*.pmx)
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    api: Api,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Takes a bundle out and writes it to its file.
pub(super) async fn run(args: &ExportArgs, out: &mut dyn Write) -> Result<(), CliError> {
    must_be_new(&args.output)?;
    let since = args.since_checkpoint.as_deref().map(kept).transpose()?;
    let Api { url, key } = &args.api;
    let path = path(args, since.as_ref());
    let bytes = Asked { url, path: &path, key: Some(key) }.bytes("application/zip", LIMITS).await?;
    // Nothing is trusted here: this reads what it says of itself.
    let report = bundle::verify(&bytes, &Trust::default(), &[]);
    let Some(origin) = &report.origin else {
        return Err(CliError::NotPermyx { url: url.clone(), status: 200 });
    };
    if let (Some(path), Some(kept)) = (&args.since_checkpoint, since)
        && kept.origin.as_str() != origin
    {
        return Err(CliError::OtherLog { path: path.clone(), kept: kept.origin, found: origin.clone() });
    }
    write_new(&args.output, &bytes)?;
    tell(args, &report, bytes.len(), out)
}

fn kept(path: &Path) -> Result<Checkpoint, CliError> {
    let bytes = read(path, NOTE_MAX)?;
    claimed(&bytes).ok_or_else(|| CliError::NotACheckpoint(path.to_owned()))
}

fn path(args: &ExportArgs, since: Option<&Checkpoint>) -> String {
    let id = args.id.as_deref().map(|id| format!("/{}", escaped(id))).unwrap_or_default();
    let since = since.map(|checkpoint| checkpoint.size);
    let asked = [("from", args.from), ("to", args.to), ("since", since)];
    let pairs = asked.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?)));
    format!("/v1/evidence/export{id}?{}", pairs.collect::<Vec<_>>().join("&"))
}

fn tell(args: &ExportArgs, report: &Report, bytes: usize, out: &mut dyn Write) -> Result<(), CliError> {
    let (file, origin) = (args.output.display(), report.origin.as_deref().unwrap_or_default());
    let scope = report.scope.as_deref().unwrap_or_default();
    let kept = args.since_checkpoint.as_ref().map(|path| format!(" --checkpoint {}", path.display()));
    let verify = format!("permyx evidence verify {file} --trust FILE{}", kept.unwrap_or_default());
    if args.json {
        let told = json!({
            "file": file.to_string(), "bytes": bytes, "events": report.events, "origin": origin, "size": report.size,
            "scope": scope, "verify": verify,
        });
        return Ok(writeln!(out, "{told}")?);
    }
    writeln!(out, "{file}: {} events of the log {origin} ({scope}), {bytes} bytes", report.events)?;
    writeln!(out, "verify it, with a FILE of the log's keys from `permyx evidence keys list`:\n  {verify}")?;
    Ok(())
}
