//! The checks of a bundle.

use super::manifest::{Manifest, Scope, ScopeKind};
use super::read::Parts;
use super::{MANIFEST, consistency_name};
use crate::audit::canonical::unescaped;
use crate::audit::consistency::Consistency;
use crate::audit::continuity::Extent;
use crate::audit::facts::Facts;
use crate::audit::leaves::{Leaves, Part};
use crate::audit::report::{Check, Finding, Findings, Kind, Outcome, Report, Verdict};
use crate::audit::trust::{Kept, Opened, Trust};
use crate::model::intent::Sha256;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::hash::{Hash, leaf_hash};
use crate::tlog::merkle;
use crate::tlog::note::Note;
use crate::tlog::proof::Proof;

/// Verifies a bundle.
#[must_use]
pub fn verify(bytes: &[u8], trust: &Trust, kept: &[Kept]) -> Report {
    let parts = match Parts::read(bytes) {
        Ok(parts) => parts,
        Err(finding) => return unreadable(finding),
    };
    let (opened, signature) = trust.open(parts.checkpoint);
    let (manifest, manifest_outcome) = judge_manifest(&parts, trust, &opened);
    let (leaves, inclusion) = judge_events(&parts, &opened, manifest.as_ref());
    let mut consistency = Consistency::new(kept, trust, &opened);
    if let Some(now) = &opened.checkpoint {
        consistency.judge(|old| continues(&parts, old, now));
    }
    let mut checks = vec![signature, manifest_outcome, inclusion, consistency.finish(&opened)];
    checks.extend(leaves.finish(true));
    Report {
        kind: Kind::Bundle,
        origin: opened.checkpoint.as_ref().map(|checkpoint| checkpoint.origin.to_string()),
        size: opened.checkpoint.as_ref().map(|checkpoint| checkpoint.size),
        events: parts.events.len() as u64,
        scope: manifest.map(|told| format!("{}, range {}..{}", told.scope, told.range.start, told.range.end)),
        checks,
    }
}

fn unreadable(finding: Finding) -> Report {
    let mut findings = Findings::default();
    findings.add(finding);
    let manifest = Outcome::of(Check::Manifest, findings, Verdict::Fail, 0, "it cannot be read as a bundle");
    let unknown = |check| Outcome::new(check, Verdict::Unknown, 0, "the bundle cannot be read");
    let mut checks = vec![unknown(Check::Signature), manifest];
    checks.extend([Check::Inclusion, Check::Consistency].map(unknown));
    checks.extend(Leaves::of(&Part::default()).finish(false));
    Report { kind: Kind::Bundle, origin: None, size: None, events: 0, scope: None, checks }
}

/// The manifest speaks of this log, of this tree, and of exactly these files.
fn judge_manifest(parts: &Parts<'_>, trust: &Trust, opened: &Opened) -> (Option<Manifest>, Outcome) {
    let mut findings = Findings::default();
    let note = Note::parse(parts.manifest).map_err(|error| error.to_string());
    let read = note.and_then(|note| {
        let manifest = Manifest::parse(note.text()).ok_or("its lines are not those of a manifest")?;
        Ok((note, manifest))
    });
    let (note, manifest) = match read {
        Ok(read) => read,
        Err(why) => {
            findings.add(Finding::new(why).in_file(MANIFEST));
            return (None, Outcome::of(Check::Manifest, findings, Verdict::Fail, 0, "the manifest cannot be read"));
        }
    };
    let signed = trust.signers(&note);
    match &signed {
        Some(Err(why)) => findings.add(Finding::new(why.clone()).in_file(MANIFEST)),
        Some(Ok(keys)) if keys.iter().any(|key| *key.name() != manifest.origin) => {
            findings.add(Finding::new("it is signed by the key of another log").in_file(MANIFEST));
        }
        _ => {}
    }
    compare(parts, &manifest, opened, &mut findings);
    let count = manifest.files.len() as u64;
    let verdict = if signed.is_some() { Verdict::Pass } else { Verdict::Unknown };
    let detail = format!("{count} files, of which it has the hashes; {} events", manifest.count);
    (Some(manifest), Outcome::of(Check::Manifest, findings, verdict, count, detail))
}

fn compare(parts: &Parts<'_>, manifest: &Manifest, opened: &Opened, findings: &mut Findings) {
    let mut wrong = |what: &str| findings.add(Finding::new(what).in_file(MANIFEST));
    if opened.checkpoint.as_ref().is_some_and(|now| now.origin != manifest.origin || now.size != manifest.size) {
        wrong("origin and size are not those of the checkpoint");
    }
    let Manifest { range, size, count, .. } = manifest;
    let inside = parts.events.iter().all(|(index, _)| range.contains(index));
    if range.start > range.end || range.end > *size || !inside {
        wrong("the range is not one of this tree, or does not hold the events");
    }
    if *count != parts.events.len() as u64 {
        wrong("it tells another number of events");
    }
    if manifest.scope.kind() == ScopeKind::All && *count != range.end.saturating_sub(range.start) {
        wrong("not every event of the range is there");
    }
    let named = manifest.files.iter().map(|(name, _)| name.as_str());
    if !named.eq(parts.files.keys().copied()) {
        wrong("it names other files than there are");
        return;
    }
    for ((name, hash), bytes) in manifest.files.iter().zip(parts.files.values()) {
        if Sha256::of(bytes).hex() != *hash {
            findings.add(Finding::new("the file does not have the hash that the manifest says").in_file(name));
        }
    }
}

/// Each event is in the tree of the checkpoint, and says what events say.
fn judge_events(parts: &Parts<'_>, opened: &Opened, manifest: Option<&Manifest>) -> (Leaves, Outcome) {
    let scope = manifest.map(|manifest| &manifest.scope);
    let mut leaves = Leaves::of(&manifest.map_or_else(Part::default, part));
    let mut findings = Findings::default();
    for (index, bytes) in &parts.events {
        let leaf = leaf_hash(bytes);
        if let Some(now) = &opened.checkpoint
            && let Err((what, file)) = included(parts, *index, leaf, now)
        {
            findings.add(Finding::new(what).at_leaf(*index).in_file(file));
        }
        if let Some(event) = leaves.take(*index, bytes, leaf)
            && scope.is_some_and(|scope| !belongs(scope, &event))
        {
            leaves.stranger(*index, &event);
        }
    }
    let count = parts.events.len() as u64;
    let verdict = if count == 0 || opened.checkpoint.is_none() { Verdict::Unknown } else { opened.agreement() };
    let detail = match (count, opened.is_verified) {
        (0, _) => "there are no events".to_owned(),
        (_, true) => format!("{count} of {count} leaves lead to the signed root"),
        (_, false) => format!("{count} leaves lead to a root that nobody vouches for"),
    };
    (leaves, Outcome::of(Check::Inclusion, findings, verdict, count, detail))
}

/// What is wrong, and in which file.
fn included(parts: &Parts<'_>, index: u64, leaf: Hash, now: &Checkpoint) -> Result<(), (String, String)> {
    let file = super::proof_name(index);
    let Some(bytes) = parts.proof(index) else { return Err(("the file is missing".to_owned(), file)) };
    let proof = Proof::parse(bytes).map_err(|error| (error.to_string(), file.clone()))?;
    // What a proof says of the tree is not looked at: size and root are those of the checkpoint.
    if proof.index() != index || proof.note().to_string().as_bytes() != parts.checkpoint {
        return Err(("it is the proof of another index or checkpoint".to_owned(), file));
    }
    proof.path().verify(leaf, index, now.size, &now.root).map_err(|refusal| (refusal.to_string(), file))
}

fn continues(parts: &Parts<'_>, old: &Checkpoint, now: &Checkpoint) -> Result<Option<()>, String> {
    let name = consistency_name(old.size);
    let path = match parts.files.get(name.as_str()) {
        Some(bytes) => path_of(bytes).ok_or_else(|| format!("{name} does not hold hashes"))?,
        None if old.size == now.size || old.size == 0 => merkle::Consistency::default(),
        None => return Ok(None),
    };
    let verdict = path.verify((old.size, &old.root), (now.size, &now.root));
    verdict.map(Some).map_err(|refusal| refusal.to_string())
}

fn path_of(bytes: &[u8]) -> Option<merkle::Consistency> {
    let text = std::str::from_utf8(bytes).ok()?;
    let lines = text.strip_suffix('\n').map_or_else(Vec::new, |lines| lines.split('\n').collect());
    let is_whole = text.is_empty() || text.ends_with('\n');
    let path: Option<Vec<_>> = lines.into_iter().map(Hash::parse).collect();
    path.filter(|path| is_whole && path.len() <= merkle::PATH_MAX).map(merkle::Consistency)
}

/// How much of the streams a bundle has.
fn part(manifest: &Manifest) -> Part {
    let from_start = if manifest.range.start == 0 { Extent::Whole } else { Extent::Part };
    match manifest.scope.kind() {
        ScopeKind::All if manifest.range.start == 0 => {
            Part { streams: Extent::Whole, only: None, tokens: Extent::Whole }
        }
        ScopeKind::All => Part { streams: Extent::Part, only: None, tokens: Extent::Filtered },
        ScopeKind::Source => {
            let only = Some(manifest.scope.value().to_owned());
            Part { streams: from_start, only, tokens: Extent::Filtered }
        }
        _ => Part::default(),
    }
}

/// Whether an event is one of those that the scope names.
fn belongs(scope: &Scope, event: &Facts<'_>) -> bool {
    let is = |text: Option<&str>| text.is_some_and(|text| unescaped(text) == scope.value());
    match scope.kind() {
        ScopeKind::All => true,
        // With what declares the holes of the stream.
        ScopeKind::Source => is(event.source) || (event.name() == "evidence.gap" && is(event.data.of)),
        ScopeKind::Execution => is(event.correlation),
        ScopeKind::Store => is(event.data.store),
        ScopeKind::Agent => is(event.data.agent),
        ScopeKind::Order => is(event.data.order),
    }
}
