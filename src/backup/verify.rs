//! Whether what was unpacked is what was signed: the tiles by the log's own keys, as an auditor would, and the store
//! by the same root. What the files hash to says that they arrived; this says that they were good.

use std::path::Path;

use super::layout::{LOG_KEYS, STORE, year_of};
use super::{BackupError, Tell};
use crate::audit::report::{Check, Report, Verdict};
use crate::audit::source::Directory;
use crate::audit::trust::{Kept, Trust};
use crate::audit::verify_log;
use crate::evidence::log::LogKeys;
use crate::evidence::{Store, YearLog, store};
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::hash::leaf_hash;
use crate::tlog::merkle::Frontier;
use crate::tlog::note::{NOTE_MAX, Note};

/// Leaves that are read at once.
const PAGE: usize = 1024;

/// A log that was found to be what its checkpoint says.
#[derive(Clone, Debug)]
pub struct LogFound {
    pub year: u16,
    pub checkpoint: Checkpoint,
    pub note: Note,
}

/// Every log of a directory.
#[derive(Debug)]
pub struct Logs {
    /// Those that were published, the oldest first.
    pub all: Vec<LogFound>,
    /// The year whose log is continued by the next start: it may not be published yet.
    pub(super) current: Option<u16>,
}

/// Verifies every log below `dir`. `kept` are checkpoints that somebody kept: each is of one of these logs, which
/// begins with it. The store is brought to the form of this program, as a start would do.
pub(super) fn verify(dir: &Path, kept: &[Kept], tell: Tell<'_>) -> Result<Logs, BackupError> {
    let mut all = Vec::new();
    if dir.join("log").is_dir() {
        for entry in std::fs::read_dir(dir.join("log")).map_err(BackupError::io("read", dir))? {
            let name = entry.map_err(BackupError::io("read", dir))?.file_name();
            all.extend(name.to_str().and_then(year_of).map(|year| found(dir, year)).transpose()?);
        }
    }
    all.sort_by_key(|log: &LogFound| log.year);
    belong(kept, &all)?;
    for log in &all {
        tiles_of(dir, log, kept, tell)?;
    }
    let mut current = all.last().map(|log| log.year);
    if dir.join(STORE).exists() {
        // It is closed by its writer last: then there is one file of it.
        let (store, _writer) = store::open(&dir.join(STORE))?;
        store.look_through()?;
        let years = store.logs()?;
        for log in &all {
            leaves_of(&store, log, years.iter().find(|kept| kept.year == log.year), tell)?;
        }
        current = current.max(years.last().map(|log| log.year));
        drop(store);
    }
    Ok(Logs { all, current })
}

fn found(dir: &Path, year: u16) -> Result<LogFound, BackupError> {
    let path = dir.join("log").join(year.to_string()).join("checkpoint");
    let strange = || BackupError::NotSigned(format!("`log/{year}/checkpoint` is no checkpoint"));
    let text = crate::durable::read(&path, NOTE_MAX as u64)?.ok_or_else(strange)?;
    let note = Note::parse(text.as_bytes()).map_err(|_| strange())?;
    let checkpoint = Checkpoint::claimed(&note).ok_or_else(strange)?;
    Ok(LogFound { year, checkpoint, note })
}

/// A checkpoint of another log says nothing of these.
fn belong(kept: &[Kept], logs: &[LogFound]) -> Result<(), BackupError> {
    for kept in kept {
        let claimed = Note::parse(&kept.bytes).ok().and_then(|note| Checkpoint::claimed(&note));
        let Some(claimed) = claimed else {
            return Err(BackupError::NotSigned(format!("`{}` is not a checkpoint", kept.name)));
        };
        if logs.iter().all(|log| log.checkpoint.origin != claimed.origin) {
            let all: Vec<_> = logs.iter().map(|log| format!("`{}`", log.checkpoint.origin)).collect();
            let found = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            return Err(BackupError::OtherLog { name: kept.name.clone(), kept: claimed.origin.to_string(), found });
        }
    }
    Ok(())
}

/// The tiles hash to the root that its own keys signed, and go on from what was kept.
fn tiles_of(dir: &Path, log: &LogFound, kept: &[Kept], tell: Tell<'_>) -> Result<(), BackupError> {
    if !dir.join(LOG_KEYS).exists() {
        return Err(BackupError::NotSigned(format!("`{LOG_KEYS}` is missing, and nothing says whose log it is")));
    }
    let origin = &log.checkpoint.origin;
    let keys = LogKeys::existing(dir)?.list()?;
    let keys = keys.iter().map(|key| key.verifier(origin)).collect::<Result<_, _>>()?;
    let is_of_it = |kept: &&Kept| {
        let claimed = Note::parse(&kept.bytes).ok().and_then(|note| Checkpoint::claimed(&note));
        claimed.is_some_and(|claimed| claimed.origin == *origin)
    };
    let kept: Vec<Kept> = kept.iter().filter(is_of_it).cloned().collect();
    let root = dir.join("log").join(log.year.to_string());
    let report = verify_log(&Directory(root), &Trust::new(keys), &kept, &mut |done, all| tell(done, all, "leaves"));
    let required = [Check::Signature, Check::Tree].into_iter().chain((!kept.is_empty()).then_some(Check::Consistency));
    match required.into_iter().find_map(|check| wrong(&report, check)) {
        None => Ok(()),
        Some(what) => Err(BackupError::NotSigned(format!("{origin}: {what}"))),
    }
}

/// What stands against a check.
fn wrong(report: &Report, check: Check) -> Option<String> {
    let outcome = report.outcome(check)?;
    let finding = outcome.findings.first().map(|finding| match &finding.file {
        Some(file) => format!("{file}: {}", finding.what),
        None => finding.what.clone(),
    });
    let what = finding.unwrap_or_else(|| outcome.detail.clone());
    (outcome.verdict != Verdict::Pass).then(|| format!("{}: {what}", check.as_str()))
}

/// The store holds what was signed. It may hold more, which is signed after the next start.
fn leaves_of(store: &Store, log: &LogFound, kept: Option<&YearLog>, tell: Tell<'_>) -> Result<(), BackupError> {
    let Checkpoint { origin, size, root } = &log.checkpoint;
    let mut tree = Frontier::default();
    while let Some(kept) = kept
        && tree.size() < *size
    {
        let leaves = store.leaves(*kept, tree.size(), PAGE)?;
        let left = usize::try_from(size - tree.size()).unwrap_or(PAGE);
        if leaves.is_empty() {
            break;
        }
        tree.extend(leaves.iter().take(left).map(|leaf| leaf_hash(leaf)));
        tell(tree.size(), *size, "events");
    }
    if tree.size() == *size && tree.root() == *root {
        return Ok(());
    }
    let held = tree.size();
    let what = if held == *size { "other events than" } else { "fewer events than" };
    Err(BackupError::NotSigned(format!("{origin}: the store holds {what} the {size} that were signed")))
}
