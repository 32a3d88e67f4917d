//! `permyx evidence verify`: what an auditor runs, without a connection.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::audit::bundle::{self, BUNDLE_MAX};
use crate::audit::render;
use crate::audit::report::{Check, Report, Required, Verdict};
use crate::audit::source::{Directory, bounded};
use crate::audit::trust::{Kept, Trust};
use crate::audit::verify_log;
use crate::tlog::key::VerifierKey;
use crate::tlog::note::NOTE_MAX;

use super::super::error::CliError;
use super::super::progress::Progress;

/// Largest trust file.
const TRUST_MAX: usize = 1 << 20;

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// A log directory, or a bundle (*.pmx)
    path: PathBuf,
    /// A file of keys that you trust, one a line; `#` begins a comment
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
    /// A key that you trust, as `name+id+base64`
    #[arg(long, value_name = "VKEY", value_parser = key)]
    key: Vec<VerifierKey>,
    /// A checkpoint that you kept from an earlier day; may stand several times
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Checks that must pass [default: signature, manifest, tree or inclusion, continuity, canonical, burn, where they apply]
    #[arg(long, value_name = "CHECKS", value_delimiter = ',', value_parser = check)]
    require: Vec<Check>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn key(text: &str) -> Result<VerifierKey, String> {
    VerifierKey::parse(text).map_err(|error| format!("it {error}"))
}

fn check(text: &str) -> Result<Check, String> {
    let known = || format!("use some of: {}", Check::ALL.map(Check::as_str).join(", "));
    Check::parse(text).ok_or_else(known)
}

/// Runs the verb and writes what it found.
pub(super) fn run(args: &VerifyArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let mut trust = Trust::new(args.key.clone());
    for path in &args.trust {
        let bytes = read(path, TRUST_MAX)?;
        let wrong = |source| CliError::NotATrustFile { path: path.clone(), source };
        trust.add_file(&String::from_utf8_lossy(&bytes)).map_err(wrong)?;
    }
    let kept = |path: &PathBuf| Ok(Kept { name: path.display().to_string(), bytes: read(path, NOTE_MAX)? });
    let kept = args.checkpoint.iter().map(kept).collect::<Result<Vec<_>, CliError>>()?;
    let report = if args.path.is_dir() {
        let mut told = Progress::new();
        verify_log(&Directory(args.path.clone()), &trust, &kept, &mut |done, size| told.tell(done, size, "leaves"))
    } else {
        bundle::verify(&read(&args.path, BUNDLE_MAX)?, &trust, &kept)
    };
    let required = if args.require.is_empty() { Required::Usual } else { Required::Named(args.require.clone()) };
    if args.json {
        writeln!(out, "{}", serde_json::json!(render::told(&report, &required)))?;
    } else {
        out.write_all(render::text(&args.path.display().to_string(), &report, &required).as_bytes())?;
    }
    ended(&report, &required)
}

pub(super) fn read(path: &Path, max: usize) -> Result<Vec<u8>, CliError> {
    let unread = |source| CliError::NothingToVerify { path: path.to_owned(), source };
    File::open(path).and_then(|file| bounded(file, max)).map_err(unread)
}

fn ended(report: &Report, required: &Required) -> Result<(), CliError> {
    match report.exit(required) {
        0 => Ok(()),
        1 => {
            let failed = report.checks.iter().filter(|outcome| outcome.verdict == Verdict::Fail);
            Err(CliError::NotGenuine(failed.map(|outcome| outcome.check.as_str()).collect::<Vec<_>>().join(", ")))
        }
        _ => Err(CliError::NotProven),
    }
}
