//! Whether the log goes on from the checkpoints that the auditor kept. Only here is a cut tail found,
//! and a history that the owner of the key wrote anew.

use super::report::{Check, Finding, Findings, Outcome, Verdict};
use super::trust::{Kept, Opened, Trust};
use crate::tlog::checkpoint::Checkpoint;

/// Kept checkpoints, and what was found of them.
pub(super) struct Consistency {
    known: Vec<(String, Checkpoint)>,
    findings: Findings,
    /// Kept checkpoints of which it cannot be said.
    open: u64,
    count: u64,
}

impl Consistency {
    /// Takes those of the same log that are not larger than it; what is wrong with the others is found.
    pub fn new(kept: &[Kept], trust: &Trust, now: &Opened) -> Self {
        let mut told = Self { known: Vec::new(), findings: Findings::default(), open: 0, count: kept.len() as u64 };
        for file in kept {
            match (trust.kept(file), &now.checkpoint) {
                (Err(why), _) => told.fails(&file.name, format!("your checkpoint cannot be believed: {why}")),
                (Ok(_), None) => told.open += 1,
                (Ok(old), Some(now)) if old.origin != now.origin => {
                    told.fails(
                        &file.name,
                        format!("your checkpoint is of the log `{}`, not of `{}`", old.origin, now.origin),
                    );
                }
                (Ok(old), Some(now)) if old.size > now.size => {
                    let what =
                        format!("the tail is cut: your checkpoint has {} leaves, this log {}", old.size, now.size);
                    told.findings.add(Finding::new(what).in_file(&file.name).at_leaf(now.size));
                }
                (Ok(old), Some(_)) => told.known.push((file.name.clone(), old)),
            }
        }
        told
    }

    fn fails(&mut self, file: &str, what: String) {
        self.findings.add(Finding::new(what).in_file(file));
    }

    /// Asks of each kept checkpoint whether the tree begins with its leaves: `None` where that cannot
    /// be said.
    pub fn judge(&mut self, mut begins: impl FnMut(&Checkpoint) -> Result<Option<()>, String>) {
        for (file, old) in std::mem::take(&mut self.known) {
            match begins(&old) {
                Ok(Some(())) => self.known.push((file, old)),
                Ok(None) => self.open += 1,
                Err(why) => {
                    self.fails(&file, format!("the first {} leaves are not those that you know: {why}", old.size))
                }
            }
        }
    }

    pub fn finish(self, now: &Opened) -> Outcome {
        let size = now.checkpoint.as_ref().map_or(0, |now| now.size);
        let known: Vec<_> = self.known.iter().map(|(_, old)| old.size.to_string()).collect();
        let (verdict, detail) = match self.count {
            0 => (
                Verdict::Unknown,
                "no earlier checkpoint was given (--checkpoint): a cut tail would not be seen".to_owned(),
            ),
            _ if self.open > 0 => {
                (Verdict::Unknown, format!("{} of {} checkpoints cannot be compared", self.open, self.count))
            }
            _ => (now.agreement(), format!("your checkpoints {} → {size}", known.join(", "))),
        };
        Outcome::of(Check::Consistency, self.findings, verdict, self.count, detail)
    }

    /// The sizes at which the root of the log's own leaves is asked for.
    pub fn sizes(&self) -> Vec<u64> {
        self.known.iter().map(|(_, old)| old.size).collect()
    }
}
