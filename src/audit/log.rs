//! A whole log directory, in one pass. One thread reads and hashes, another one looks into events.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::consistency::Consistency;
use super::leaves::Leaves;
use super::report::{Check, Finding, Findings, Kind, Outcome, Report, Verdict};
use super::source::{CHECKPOINT, Moment, Source};
use super::tiles::{Batch, Pass};
use super::trust::{Kept, Opened, Trust};
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::NOTE_MAX;

/// Bundles between the two threads: at most 68 MB.
const AHEAD: usize = 4;

/// Verifies a log. `progress` hears how many leaves of how many are done.
pub fn verify(source: &impl Source, trust: &Trust, kept: &[Kept], progress: &mut dyn FnMut(u64, u64)) -> Report {
    let source = &Moment::of(source);
    let (opened, signature) = match source.read(CHECKPOINT, NOTE_MAX) {
        Ok(Some(bytes)) => trust.open(&bytes),
        Ok(None) => (Opened::default(), unsigned("the file is missing".to_owned())),
        Err(error) => (Opened::default(), unsigned(format!("it cannot be read: {error}"))),
    };
    let mut consistency = Consistency::new(kept, trust, &opened);
    let mut report = Report {
        kind: Kind::Log,
        origin: opened.checkpoint.as_ref().map(|checkpoint| checkpoint.origin.to_string()),
        size: opened.checkpoint.as_ref().map(|checkpoint| checkpoint.size),
        events: 0,
        scope: None,
        checks: vec![signature],
    };
    let Some(checkpoint) = &opened.checkpoint else {
        let unknown = |check| Outcome::new(check, Verdict::Unknown, 0, "there is no checkpoint to compare with");
        report.checks.extend([unknown(Check::Tree), consistency.finish(&opened)]);
        report.checks.extend(Leaves::whole().finish(false));
        return report;
    };
    let (pass, leaves) = read(source, checkpoint, consistency.sizes(), progress);
    consistency.judge(|old| match pass.roots.iter().find(|(size, _)| *size == old.size) {
        None => Ok(None),
        Some((_, root)) if *root == old.root => Ok(Some(())),
        Some(_) => Err("they hash to another root".to_owned()),
    });
    report.events = pass.done();
    let all = pass.is_done();
    report.checks.extend([tree(pass, checkpoint, &opened), consistency.finish(&opened)]);
    report.checks.extend(leaves.finish(all));
    report
}

fn unsigned(what: String) -> Outcome {
    let mut findings = Findings::default();
    findings.add(Finding::new(what).in_file("checkpoint"));
    Outcome::of(Check::Signature, findings, Verdict::Fail, 0, "there is no checkpoint")
}

fn tree<S: Source>(mut pass: Pass<'_, S>, checkpoint: &Checkpoint, opened: &Opened) -> Outcome {
    let size = checkpoint.size;
    if pass.is_done() {
        pass.finish();
        if pass.root() != checkpoint.root {
            let what = format!("the leaves hash to the root {}, and not to that of the checkpoint", pass.root());
            pass.findings.add(Finding::new(what).in_file("checkpoint"));
        }
    }
    let verdict = if size == 0 { Verdict::Unknown } else { opened.agreement() };
    let detail = match (size, opened.is_verified) {
        (0, _) => "the log is empty".to_owned(),
        (_, true) => format!("{size} leaves hash to the tiles and to the signed root"),
        (_, false) => format!("{size} leaves hash to the tiles and to a root that nobody vouches for"),
    };
    let done = pass.done();
    Outcome::of(Check::Tree, pass.findings, verdict, done, detail)
}

/// The pass over all leaves, and what is in them.
fn read<'s, S: Source>(
    source: &'s S,
    checkpoint: &Checkpoint,
    wanted: Vec<u64>,
    progress: &mut dyn FnMut(u64, u64),
) -> (Pass<'s, S>, Leaves) {
    let mut pass = Pass::new(source, checkpoint.size, wanted);
    let leaves = std::thread::scope(|threads| {
        let (batches, taken) = sync_channel(AHEAD);
        let looking = threads.spawn(move || look(&taken));
        hash(&mut pass, &batches, progress);
        drop(batches);
        looking.join()
    });
    // A thread that died has judged nothing: its checks begin anew and stay UNKNOWN.
    (pass, leaves.unwrap_or_else(|_| Leaves::whole()))
}

fn hash<S: Source>(pass: &mut Pass<'_, S>, batches: &SyncSender<Batch>, progress: &mut dyn FnMut(u64, u64)) {
    while !pass.is_done() {
        let Some(batch) = pass.next() else { return };
        progress(pass.done(), pass.size());
        if batches.send(batch).is_err() {
            return;
        }
    }
}

fn look(batches: &Receiver<Batch>) -> Leaves {
    let mut leaves = Leaves::whole();
    for batch in batches {
        let indices = batch.first..;
        for ((index, entry), leaf) in indices.zip(batch.entries()).zip(&batch.hashes) {
            leaves.take(index, entry, *leaf);
        }
    }
    leaves
}
