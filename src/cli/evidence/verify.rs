//! `permyx evidence verify`: what an auditor runs, without a connection.

use std::fs::File;
use std::io::{IsTerminal, Write};
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

/// Largest trust file.
const TRUST_MAX: usize = 1 << 20;
/// Leaves between two words about how far it is.
const TELL_EVERY: u64 = 1 << 16;

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
        verify_log(&Directory(args.path.clone()), &trust, &kept, &mut |done, size| told.tell(done, size))
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

/// How far it is, for whoever waits at a terminal.
struct Progress {
    is_watched: bool,
    next: u64,
}

impl Progress {
    fn new() -> Self {
        Self { is_watched: std::io::stderr().is_terminal(), next: TELL_EVERY }
    }

    fn tell(&mut self, done: u64, size: u64) {
        if !self.is_watched || done < self.next {
            return;
        }
        self.next = done + TELL_EVERY;
        let mut stderr = std::io::stderr();
        // Nobody is harmed where it cannot be told.
        let _ = write!(stderr, "\r{done} of {size} leaves").and_then(|()| stderr.flush());
        if self.next > size {
            let _ = writeln!(stderr);
        }
    }
}
