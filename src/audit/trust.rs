//! What the auditor brings: keys that are believed, and checkpoints that were kept.

use super::report::{Check, Finding, Findings, Outcome, Verdict};
use crate::tlog::checkpoint::{Checkpoint, Trusted};
use crate::tlog::key::{KeyError, VerifierKey};
use crate::tlog::note::Note;

/// Keys of one or several logs: one key signs for a year under the name of that year's log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trust(Vec<VerifierKey>);

/// A line of a trust file that is no key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line} {source}")]
pub struct NotATrustFile {
    line: usize,
    source: KeyError,
}

impl Trust {
    #[must_use]
    pub fn new(keys: Vec<VerifierKey>) -> Self {
        Self(keys)
    }

    /// Adds the keys of a trust file: one a line, `#` begins a comment.
    pub fn add_file(&mut self, text: &str) -> Result<(), NotATrustFile> {
        for (number, line) in text.lines().enumerate() {
            let key = line.split_once(" #").map_or(line, |(key, _)| key).trim();
            if !key.is_empty() && !key.starts_with('#') {
                let wrong = |source| NotATrustFile { line: number + 1, source };
                self.0.push(VerifierKey::parse(key).map_err(wrong)?);
            }
        }
        Ok(())
    }

    pub fn add(&mut self, key: VerifierKey) {
        self.0.push(key);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The trusted keys that signed a note; `None` where there is no key at all to ask.
    pub(super) fn signers(&self, note: &Note) -> Option<Result<Vec<&VerifierKey>, String>> {
        if self.0.is_empty() {
            return None;
        }
        Some(note.verify(&self.0).map_err(|error| error.to_string()))
    }

    /// Reads a checkpoint and says whether it is to be believed.
    pub(super) fn open(&self, bytes: &[u8]) -> (Opened, Outcome) {
        let fails = |what: String| {
            let mut findings = Findings::default();
            findings.add(Finding::new(what).in_file("checkpoint"));
            Outcome::of(Check::Signature, findings, Verdict::Fail, 1, "the checkpoint cannot be believed")
        };
        let note = match Note::parse(bytes) {
            Ok(note) => note,
            Err(error) => return (Opened::default(), fails(error.to_string())),
        };
        let Some(claimed) = Checkpoint::claimed(&note) else {
            return (Opened::default(), fails("it is not the three lines origin, size and root".to_owned()));
        };
        let unsure = |claimed| Opened { checkpoint: Some(claimed), is_verified: false };
        if self.0.is_empty() {
            let what = "no key was given: name the log's key with --key or --trust";
            return (unsure(claimed), Outcome::new(Check::Signature, Verdict::Unknown, 1, what));
        }
        let keys = self.0.iter().filter(|key| *key.name() == claimed.origin).cloned().collect();
        let opened = Trusted::new(keys).and_then(|trusted| Checkpoint::open(bytes, &trusted));
        match opened {
            Ok(verified) => {
                let ids: Vec<_> = verified.signers().iter().map(|key| format!("{}+{}", key.name(), key.id())).collect();
                let detail = format!("checkpoint size {} signed by {} (pinned)", claimed.size, ids.join(", "));
                let opened = Opened { checkpoint: Some(claimed), is_verified: true };
                (opened, Outcome::new(Check::Signature, Verdict::Pass, ids.len() as u64, detail))
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                let what = format!("no pinned key of `{}` signed the checkpoint ({error}{cause})", claimed.origin);
                (unsure(claimed), fails(what))
            }
        }
    }

    /// Reads a checkpoint that the auditor kept. It is the auditor's own, so without a key it is
    /// taken as it is; where there are keys of its log, one of them must have signed it.
    pub(super) fn kept(&self, kept: &Kept) -> Result<Checkpoint, String> {
        let note = Note::parse(&kept.bytes).map_err(|error| error.to_string())?;
        let claimed = Checkpoint::claimed(&note).ok_or("it is not the three lines origin, size and root")?;
        match self.signers(&note) {
            Some(Err(why)) => Err(why),
            _ => Ok(claimed),
        }
    }
}

/// A checkpoint that the auditor kept from an earlier day.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The name of its file, to be told.
    pub name: String,
    pub bytes: Vec<u8>,
}

/// The checkpoint of what is verified, as far as it could be read.
#[derive(Default)]
pub(super) struct Opened {
    pub checkpoint: Option<Checkpoint>,
    pub is_verified: bool,
}

impl Opened {
    /// What agrees with the checkpoint is proven only if the checkpoint is.
    pub fn agreement(&self) -> Verdict {
        if self.is_verified { Verdict::Pass } else { Verdict::Unknown }
    }
}
