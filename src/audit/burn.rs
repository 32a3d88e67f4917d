//! Tokens: each is burned once, and what settles one has its reservation. They are joined by
//! `correlationid` and token alone. A `traceId` names a call and never joins anything.

use std::collections::{HashMap, HashSet};

use super::canonical::unescaped;
use super::continuity::Extent;
use super::facts::{Facts, uuid};
use super::report::{Check, Finding, Findings, Outcome, Verdict};

/// Most tokens whose burns are remembered.
const TOKENS_MAX: usize = 1 << 26;
/// Most doubtful events that are kept to be judged at the end.
const DOUBTS_MAX: usize = 65_536;

/// How often a token was burned, and how often it turned out later what became of it.
#[derive(Clone, Copy, Default)]
struct Burned {
    validated: u8,
    indeterminate: u8,
    resolved: u8,
}

impl Burned {
    /// One `execution.validated`, or one `execution.indeterminate` that nothing resolved.
    fn times(self) -> u8 {
        self.validated.saturating_add(self.indeterminate.saturating_sub(self.resolved))
    }
}

/// An event that may be wrong; what was recorded by another producer may come later in the log.
struct Doubt {
    token: u128,
    execution: u128,
    at: Finding,
}

pub(super) struct Burns {
    extent: Extent,
    /// Pairs of execution and token.
    reserved: HashSet<(u128, u128)>,
    burned: HashMap<u128, Burned>,
    twice: Vec<Doubt>,
    unreserved: Vec<Doubt>,
    findings: Findings,
    joins: Findings,
    settlements: u64,
    /// Gap events: what they tell of may have been a reservation.
    gaps: u64,
    is_full: bool,
}

impl Burns {
    pub fn new(extent: Extent) -> Self {
        Self {
            extent,
            reserved: HashSet::new(),
            burned: HashMap::new(),
            twice: Vec::new(),
            unreserved: Vec::new(),
            findings: Findings::default(),
            joins: Findings::default(),
            settlements: 0,
            gaps: 0,
            is_full: false,
        }
    }

    /// Reservations may stand in the log before this one.
    pub fn continues(&mut self) {
        if self.extent == Extent::Whole {
            self.extent = Extent::Part;
        }
    }

    /// Takes the next event of the log.
    pub fn take(&mut self, index: u64, event: &Facts<'_>) {
        let name = event.name();
        self.gaps += u64::from(name == "evidence.gap");
        let Some(step) = name.strip_prefix("execution.") else { return };
        let settles = matches!(step, "validated" | "released" | "indeterminate");
        if !settles && !matches!(step, "reserved" | "resolved") {
            return;
        }
        let at = || place(index, event);
        let Some(token) = event.data.token.and_then(uuid) else {
            self.findings.add(Finding { what: "it names no token by its canonical UUID".to_owned(), ..at() });
            return;
        };
        let execution = event.correlation.and_then(|text| text.strip_prefix("exec_")).and_then(uuid);
        let Some(execution) = execution else {
            self.joins.add(Finding { what: "its correlationid is not `exec_` and a UUID".to_owned(), ..at() });
            return;
        };
        self.is_full |= self.burned.len() >= TOKENS_MAX || self.reserved.len() >= TOKENS_MAX;
        if self.is_full {
            return;
        }
        let doubt = || Doubt { token, execution, at: at() };
        self.settlements += u64::from(settles);
        if step == "reserved" {
            self.reserved.insert((execution, token));
        } else if settles && !self.reserved.contains(&(execution, token)) {
            keep(&mut self.unreserved, doubt(), &mut self.is_full);
        }
        if let Some(burned) = self.burn(step, token)
            && burned.times() > 1
        {
            keep(&mut self.twice, doubt(), &mut self.is_full);
        }
    }

    /// Notes an event that was joined by something else than what it should share.
    pub fn stranger(&mut self, index: u64, event: &Facts<'_>) {
        let what = "it does not share what the events of this bundle share".to_owned();
        self.joins.add(Finding { what, ..place(index, event) });
    }

    fn burn(&mut self, step: &str, token: u128) -> Option<Burned> {
        if !matches!(step, "validated" | "indeterminate" | "resolved") {
            return None;
        }
        let burned = self.burned.entry(token).or_default();
        let count = match step {
            "validated" => &mut burned.validated,
            "indeterminate" => &mut burned.indeterminate,
            _ => &mut burned.resolved,
        };
        *count = count.saturating_add(1);
        Some(*burned)
    }

    /// What it comes to: the burns, and the joining. `all` is false where leaves could not be read.
    pub fn finish(mut self, all: bool) -> [Outcome; 2] {
        for doubt in std::mem::take(&mut self.twice) {
            if self.burned.get(&doubt.token).is_some_and(|burned| burned.times() > 1) {
                let what = format!("the token {} is burned a second time", uuid::Uuid::from_u128(doubt.token));
                self.findings.add(Finding { what, ..doubt.at });
            }
        }
        let open = self.judge_unreserved();
        let tokens = self.burned.len() as u64;
        let (verdict, detail) = if !all || self.is_full {
            (Verdict::Unknown, "not all events were read".to_owned())
        } else if open > 0 {
            (Verdict::Unknown, format!("{open} settlements whose reservation may be in a gap or in an earlier log"))
        } else {
            (Verdict::Pass, format!("{tokens} tokens burned, each once in the events supplied"))
        };
        let burn = Outcome::of(Check::Burn, self.findings, verdict, tokens, detail);
        let verdict = match self.settlements {
            _ if !all => Verdict::Unknown,
            0 => Verdict::NotApplicable,
            _ => Verdict::Pass,
        };
        let detail = format!("{} settlements joined by correlationid, none by traceId", self.settlements);
        [burn, Outcome::of(Check::Join, self.joins, verdict, self.settlements, detail)]
    }

    /// Finds what is wrong with settlements without a reservation, and counts those of which that
    /// cannot be said.
    fn judge_unreserved(&mut self) -> u64 {
        let mut open = 0;
        let mut elsewhere = None;
        for Doubt { token, execution, at } in std::mem::take(&mut self.unreserved) {
            if self.reserved.contains(&(execution, token)) {
                continue;
            }
            let tokens =
                elsewhere.get_or_insert_with(|| self.reserved.iter().map(|(_, token)| *token).collect::<HashSet<_>>());
            if tokens.contains(&token) {
                let what = "its token is reserved in another execution: only correlationid joins the two".to_owned();
                self.joins.add(Finding { what, ..at });
            } else if self.extent == Extent::Whole && self.gaps == 0 {
                self.findings.add(Finding { what: "it settles a token that nothing reserved".to_owned(), ..at });
            } else if self.extent != Extent::Filtered {
                open += 1;
            }
        }
        open
    }
}

fn place(index: u64, event: &Facts<'_>) -> Finding {
    let source = unescaped(event.source.unwrap_or_default());
    Finding::default().at_leaf(index).of_stream(&source, event.place().unwrap_or_default())
}

fn keep(doubts: &mut Vec<Doubt>, doubt: Doubt, is_full: &mut bool) {
    if doubts.len() < DOUBTS_MAX {
        doubts.push(doubt);
    } else {
        *is_full = true;
    }
}
