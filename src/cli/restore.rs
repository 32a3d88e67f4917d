//! `permyx restore`: a backup brought back into a new directory, or looked at alone.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::error::CliError;
use super::progress::Progress;
use crate::audit::source::bounded;
use crate::audit::trust::Kept;
use crate::backup::manifest::Manifest;
use crate::backup::{LogFound, Restored, Unpacked};
use crate::model::time::Timestamp;
use crate::tlog::note::NOTE_MAX;

/// A backup brought back.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  permyx restore permyx-2026-11-27.tar.gz --data /var/lib/permyx-serve\n  \
                        permyx restore --check permyx-2026-11-27.tar.gz\n  \
                        permyx restore permyx-2026-11-27.tar.gz --data new --continue-log --checkpoint kept-in-october\n\n\
                        A backup cannot know what was signed after it. So the restored log is held: events are recorded \
                        and wait, and nothing is added to it until you say that nothing was signed after the backup \
                        (--continue-log, or remove the file that is named), or begin a log with another name. Signing on \
                        otherwise tells a second history, and whoever kept a checkpoint of the first one can prove it.\n\n\
                        Exit code 1: it cannot be restored, and nothing was written.")]
pub struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// Where to: a new or an empty directory
    #[arg(long, value_name = "DIR", env = "PERMYX_DATA", required_unless_present = "check")]
    data: Option<PathBuf>,
    /// Look at everything that a restore looks at, in a directory for scratch, and restore nothing
    #[arg(long, conflicts_with = "continue_log")]
    check: bool,
    /// A checkpoint of its log that somebody kept: the log must go on from it; may stand several times
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Nothing was signed after this backup: go on with its log
    #[arg(long)]
    continue_log: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Restores or checks, and tells what that means.
pub fn run(args: &RestoreArgs, now: Timestamp, out: &mut dyn Write) -> Result<(), CliError> {
    let unread = |path: &Path| {
        let path = path.to_owned();
        move |source| CliError::NothingToVerify { path, source }
    };
    std::fs::File::open(&args.file).map_err(unread(&args.file))?;
    let kept = |path: &PathBuf| {
        let bytes = std::fs::File::open(path).and_then(|file| bounded(file, NOTE_MAX)).map_err(unread(path))?;
        Ok(Kept { name: path.display().to_string(), bytes })
    };
    let kept = args.checkpoint.iter().map(kept).collect::<Result<Vec<_>, CliError>>()?;
    let mut progress = Progress::new();
    let tell = &mut |done, all, what| progress.tell(done, all, what);
    let Some(data) = args.data.as_deref().filter(|_| !args.check) else {
        let checked = Unpacked::to_check(&args.file, &std::env::temp_dir(), tell)?.check(&kept, tell)?;
        drop(progress);
        return good(args, checked.manifest(), checked.logs(), out);
    };
    let restored =
        Unpacked::beside(&args.file, data, now, tell)?.check(&kept, tell)?.restore(data, args.continue_log)?;
    drop(progress);
    done(args, data, &restored, out)
}

fn about(manifest: &Manifest, logs: &[LogFound]) -> Value {
    let log = |log: &LogFound| json!({ "origin": log.checkpoint.origin.as_str(), "size": log.checkpoint.size });
    json!({
        "made": manifest.made, "version": manifest.version, "keys": manifest.keys, "files": manifest.files().len(),
        "bytes": manifest.bytes(), "logs": logs.iter().map(log).collect::<Vec<_>>(),
    })
}

fn tell_logs(logs: &[LogFound], out: &mut dyn Write) -> Result<(), CliError> {
    for LogFound { checkpoint, .. } in logs {
        writeln!(out, "log      {}, {} events, all as they were signed", checkpoint.origin, checkpoint.size)?;
    }
    Ok(())
}

fn good(args: &RestoreArgs, manifest: &Manifest, logs: &[LogFound], out: &mut dyn Write) -> Result<(), CliError> {
    if args.json {
        return Ok(writeln!(out, "{}", about(manifest, logs))?);
    }
    let (file, files, Manifest { made, version, .. }) = (args.file.display(), manifest.files().len(), manifest);
    writeln!(out, "{file}: good, {files} files, made by permyx {version} at {made}")?;
    tell_logs(logs, out)
}

fn done(args: &RestoreArgs, data: &Path, restored: &Restored, out: &mut dyn Write) -> Result<(), CliError> {
    let Restored { manifest, logs, held } = restored;
    let (dir, made) = (data.display(), manifest.made);
    let held = held.as_ref().map(|file| data.join(file));
    if args.json {
        let mut told = about(manifest, logs);
        if let Value::Object(told) = &mut told {
            told.insert("data".to_owned(), dir.to_string().into());
            told.insert("held".to_owned(), held.map(|file| file.display().to_string()).into());
        }
        return Ok(writeln!(out, "{told}")?);
    }
    writeln!(out, "{dir}: restored, {} files, made by permyx {} at {made}", manifest.files().len(), manifest.version)?;
    tell_logs(logs, out)?;
    match held {
        Some(file) => writeln!(
            out,
            "held     nothing is added to the log: what was signed after {made} is not known here\n         \
             if nothing was: rm {}\n         else: begin a log with another name (docs/evidence.md)",
            file.display()
        )?,
        None if !logs.is_empty() => {
            writeln!(out, "goes on  the log is continued: whoever kept more than this of it sees a fork")?
        }
        None => {}
    }
    if !manifest.keys {
        writeln!(out, "keys     none are in it: permyx keys generate --data {dir}")?;
        if !logs.is_empty() {
            writeln!(out, "         and for the log: permyx evidence keys rotate --overlap 0s --data {dir}")?;
        }
    }
    writeln!(
        out,
        "since    API keys, revocations and counts are those of {made}: revoke again what was revoked later"
    )?;
    Ok(())
}
