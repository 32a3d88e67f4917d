//! What was looked at and what came of it.

use serde::{Serialize, Serializer};

/// Most findings of one check that are told; all are counted.
pub const TOLD_MAX: usize = 16;

/// What a check came to. Only [`Verdict::Pass`] claims anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Verdict {
    #[serde(rename = "PASS")]
    Pass,
    #[serde(rename = "FAIL")]
    Fail,
    /// It cannot be said: a key, a checkpoint or a leaf is not there.
    #[serde(rename = "UNKNOWN")]
    Unknown,
    /// There is nothing that it could be asked of.
    #[serde(rename = "N-A")]
    NotApplicable,
}

impl Verdict {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Unknown => "UNKNOWN",
            Self::NotApplicable => "N-A",
        }
    }
}

/// What is checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Check {
    /// A pinned key signed the checkpoint.
    Signature,
    /// The signed manifest names exactly the files of the bundle.
    Manifest,
    /// All leaves of a log hash to the root of its checkpoint.
    Tree,
    /// Each event of a bundle is a leaf of the tree of its checkpoint.
    Inclusion,
    /// The tree continues the one that the auditor knows.
    Consistency,
    /// The streams of the producers have no undeclared hole.
    Continuity,
    /// The bytes of each event are the only ones that it could have.
    Canonical,
    /// A token is burned once, and a settlement has its reservation.
    Burn,
    /// What is told of one execution is joined by `correlationid`.
    Join,
    /// The hash of an intent is that of the facts beside it.
    Intent,
}

impl Check {
    pub const ALL: [Self; 10] = [
        Self::Signature,
        Self::Manifest,
        Self::Tree,
        Self::Inclusion,
        Self::Consistency,
        Self::Continuity,
        Self::Canonical,
        Self::Burn,
        Self::Join,
        Self::Intent,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Manifest => "manifest",
            Self::Tree => "tree",
            Self::Inclusion => "inclusion",
            Self::Consistency => "consistency",
            Self::Continuity => "continuity",
            Self::Canonical => "canonical",
            Self::Burn => "burn",
            Self::Join => "join",
            Self::Intent => "intent",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.as_str() == name)
    }

    /// Asked for where the auditor names nothing, as far as it applies.
    const fn is_required(self) -> bool {
        !matches!(self, Self::Consistency | Self::Join | Self::Intent)
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// One thing that is wrong: what, and as exactly as is known, where.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Finding {
    pub what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Index of the leaf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Offset in the file, or in the leaf where there is an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byte: Option<usize>,
}

impl Finding {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), ..Self::default() }
    }

    #[must_use]
    pub fn in_file(self, file: impl ToString) -> Self {
        Self { file: Some(file.to_string()), ..self }
    }

    #[must_use]
    pub fn at_leaf(self, index: u64) -> Self {
        Self { index: Some(index), ..self }
    }

    #[must_use]
    pub fn of_stream(self, source: &str, sequence: u64) -> Self {
        Self { source: Some(source.to_owned()), sequence: Some(sequence), ..self }
    }

    #[must_use]
    pub fn at_byte(self, byte: usize) -> Self {
        Self { byte: Some(byte), ..self }
    }
}

/// Findings as they come: the first are kept, all are counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings {
    told: Vec<Finding>,
    count: u64,
}

impl Findings {
    pub fn add(&mut self, finding: Finding) {
        if self.told.len() < TOLD_MAX {
            self.told.push(finding);
        }
        self.count += 1;
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// What one check came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Outcome {
    pub check: Check,
    pub verdict: Verdict,
    /// How many things it was asked of.
    pub count: u64,
    pub detail: String,
    /// How many findings there are; the first [`TOLD_MAX`] are told.
    pub failures: u64,
    pub findings: Vec<Finding>,
}

impl Outcome {
    pub fn new(check: Check, verdict: Verdict, count: u64, detail: impl Into<String>) -> Self {
        Self { check, verdict, count, detail: detail.into(), failures: 0, findings: Vec::new() }
    }

    /// Fails if there are findings; else it is as said.
    pub fn of(check: Check, findings: Findings, verdict: Verdict, count: u64, detail: impl Into<String>) -> Self {
        let verdict = if findings.is_empty() { verdict } else { Verdict::Fail };
        let Findings { mut told, count: failures } = findings;
        // The most exact place comes first.
        told.sort_by_key(|finding| (finding.index.is_none(), finding.index));
        Self { check, verdict, count, detail: detail.into(), failures, findings: told }
    }
}

/// What was verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Log,
    Bundle,
}

/// Everything that a verification came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    pub kind: Kind,
    /// Name of the log, as its checkpoint says; nothing is claimed of it unless the signature holds.
    pub origin: Option<String>,
    /// Number of leaves, from the same checkpoint.
    pub size: Option<u64>,
    /// Events that were looked at.
    pub events: u64,
    /// What a bundle holds of the log, as its manifest says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    pub checks: Vec<Outcome>,
}

/// What must hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Required {
    /// What is asked for by default, as far as it applies.
    Usual,
    Named(Vec<Check>),
}

impl Report {
    #[must_use]
    pub fn outcome(&self, check: Check) -> Option<&Outcome> {
        self.checks.iter().find(|outcome| outcome.check == check)
    }

    /// The exit code: 0 all that is required passed, 1 something failed, 3 it cannot be said.
    #[must_use]
    pub fn exit(&self, required: &Required) -> u8 {
        let is_open = |outcome: &Outcome| match required {
            Required::Usual => outcome.check.is_required() && outcome.verdict == Verdict::Unknown,
            Required::Named(checks) => checks.contains(&outcome.check) && outcome.verdict != Verdict::Pass,
        };
        if self.checks.iter().any(|outcome| outcome.verdict == Verdict::Fail) {
            1
        } else if self.checks.iter().any(is_open) {
            3
        } else {
            0
        }
    }
}
