//! What stands in a bundle, taken apart. Nothing of it is believed.

use std::collections::BTreeMap;

use super::zip::{self, NotOurs};
use super::{CHECKPOINT, EVENTS, EVENTS_MAX, INDICES, MANIFEST, VERIFY, proof_name};
use crate::audit::report::Finding;

/// Largest bundle that is read: it is held in memory.
pub const BUNDLE_MAX: usize = 512 << 20;

/// The parts of a bundle.
pub(super) struct Parts<'a> {
    pub manifest: &'a [u8],
    pub checkpoint: &'a [u8],
    /// Each with its index, in the order of the log.
    pub events: Vec<(u64, &'a [u8])>,
    /// Every file but the manifest.
    pub files: BTreeMap<&'a str, &'a [u8]>,
}

impl<'a> Parts<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<Self, Finding> {
        if bytes.len() > BUNDLE_MAX {
            return Err(Finding::new(format!("it is longer than {BUNDLE_MAX} bytes")));
        }
        let wrong = |NotOurs { byte, what }| Finding::new(format!("not a bundle: {what}")).at_byte(byte);
        let mut listed = zip::read(bytes).map_err(wrong)?.into_iter();
        let Some((MANIFEST, manifest)) = listed.next() else {
            return Err(Finding::new("it does not begin with its manifest").in_file(MANIFEST));
        };
        let files: Vec<_> = listed.collect();
        if !files.is_sorted() {
            return Err(Finding::new("its files are not in the order of their names"));
        }
        let files = BTreeMap::from_iter(files);
        let file = |name: &'static str| {
            files.get(name).copied().ok_or_else(|| Finding::new("the file is missing").in_file(name))
        };
        let checkpoint = file(CHECKPOINT)?;
        let (lines, indices) = (lines(file(EVENTS)?, EVENTS)?, lines(file(INDICES)?, INDICES)?);
        file(VERIFY)?;
        let events = paired(lines, &indices)?;
        Self { manifest, checkpoint, events, files }.without_strangers()
    }

    /// Refuses files that no bundle has.
    fn without_strangers(self) -> Result<Self, Finding> {
        let is_known = |name: &&&str| {
            let proof =
                name.strip_prefix("proofs/").and_then(|rest| rest.strip_suffix(".tlog-proof")).and_then(decimal);
            let proven = |index| self.events.binary_search_by_key(&index, |(index, _)| *index).is_ok();
            let old = name.strip_prefix("consistency/").and_then(decimal).is_some();
            old || proof.is_some_and(proven) || matches!(**name, CHECKPOINT | EVENTS | INDICES | VERIFY)
        };
        match self.files.keys().find(|name| !is_known(name)) {
            Some(name) => Err(Finding::new("the file belongs to no event of the bundle").in_file(name)),
            None => Ok(self),
        }
    }

    pub fn proof(&self, index: u64) -> Option<&'a [u8]> {
        self.files.get(proof_name(index).as_str()).copied()
    }
}

/// The lines of a file, each of which ends.
fn lines<'a>(bytes: &'a [u8], name: &str) -> Result<Vec<&'a [u8]>, Finding> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let Some(bytes) = bytes.strip_suffix(b"\n") else {
        return Err(Finding::new("its last line does not end").in_file(name));
    };
    let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').take(EVENTS_MAX + 1).collect();
    if lines.len() > EVENTS_MAX { Err(Finding::new("it has too many lines").in_file(name)) } else { Ok(lines) }
}

fn paired<'a>(events: Vec<&'a [u8]>, indices: &[&[u8]]) -> Result<Vec<(u64, &'a [u8])>, Finding> {
    let index = |line: &&[u8]| std::str::from_utf8(line).ok().and_then(decimal);
    let indices: Option<Vec<_>> = indices.iter().map(index).collect();
    let indices = indices.filter(|indices| indices.is_sorted_by(|left, right| left < right));
    let indices =
        indices.ok_or_else(|| Finding::new("its lines are not indices in ascending order").in_file(INDICES))?;
    if indices.len() != events.len() {
        let what = format!("{} indices for {} events", indices.len(), events.len());
        return Err(Finding::new(what).in_file(INDICES));
    }
    Ok(indices.into_iter().zip(events).collect())
}

fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}
