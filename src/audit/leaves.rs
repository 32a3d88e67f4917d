//! What is asked of each event, in the order of the log.

use super::burn::Burns;
use super::canonical::{self, Fault, unescaped};
use super::continuity::{Continuity, Extent};
use super::facts::Facts;
use super::intent;
use super::report::{Check, Finding, Findings, Outcome, Verdict};
use crate::tlog::hash::Hash;

/// How much of the log is looked at.
pub(super) struct Part {
    pub streams: Extent,
    /// The one stream of which there is so much, if not of all.
    pub only: Option<String>,
    pub tokens: Extent,
}

/// What a filter let through.
impl Default for Part {
    fn default() -> Self {
        Self { streams: Extent::Filtered, only: None, tokens: Extent::Filtered }
    }
}

/// The checks that look into events.
pub(super) struct Leaves {
    continuity: Continuity,
    burns: Burns,
    canonical: Findings,
    intents: Findings,
    intent_count: u64,
    count: u64,
}

impl Leaves {
    /// The checks of a whole log.
    pub fn whole() -> Self {
        Self::of(&Part { streams: Extent::Whole, only: None, tokens: Extent::Whole })
    }

    pub fn of(part: &Part) -> Self {
        Self {
            continuity: Continuity::new(part.streams, part.only.clone()),
            burns: Burns::new(part.tokens),
            canonical: Findings::default(),
            intents: Findings::default(),
            intent_count: 0,
            count: 0,
        }
    }

    /// Takes the next leaf, and says what it tells if it is an event. One that is not is found here,
    /// and is no event to the other checks.
    pub fn take<'a>(&mut self, index: u64, bytes: &'a [u8], leaf: Hash) -> Option<Facts<'a>> {
        self.count += 1;
        let event = match canonical::read(bytes) {
            Ok(event) => event,
            Err(Fault { byte, what }) => {
                self.canonical.add(Finding::new(what).at_leaf(index).at_byte(byte));
                return None;
            }
        };
        if index == 0 && event.name() == "evidence.log_opened" && event.data.checkpoint.is_some() {
            self.continuity.continues();
            self.burns.continues();
        }
        self.continuity.take(index, leaf, &event);
        self.burns.take(index, &event);
        if let Some(holds) = intent::holds(&event.data) {
            self.intent_count += 1;
            if !holds {
                let source = unescaped(event.source.unwrap_or_default());
                let what = "intentHash is not the hash of the intent beside it";
                let at = Finding::new(what).at_leaf(index);
                self.intents.add(at.of_stream(&source, event.place().unwrap_or_default()));
            }
        }
        Some(event)
    }

    /// Notes an event that does not belong to what it is shown with.
    pub fn stranger(&mut self, index: u64, event: &Facts<'_>) {
        self.burns.stranger(index, event);
    }

    /// What it comes to. `all` is false where leaves could not be read.
    pub fn finish(self, all: bool) -> Vec<Outcome> {
        let some = all && self.count > 0;
        let verdict = if some { Verdict::Pass } else { Verdict::Unknown };
        let detail = format!("{} events in the only spelling that they have (RFC 8785)", self.count);
        let canonical = Outcome::of(Check::Canonical, self.canonical, verdict, self.count, detail);
        let (verdict, detail) = match self.intent_count {
            0 => (Verdict::NotApplicable, "no event tells a whole intent".to_owned()),
            count if all => (Verdict::Pass, format!("{count} hashes recompute from the facts beside them")),
            _ => (Verdict::Unknown, "not all events were read".to_owned()),
        };
        let intent = Outcome::of(Check::Intent, self.intents, verdict, self.intent_count, detail);
        let [burn, join] = self.burns.finish(some);
        vec![self.continuity.finish(some), canonical, burn, join, intent]
    }
}
