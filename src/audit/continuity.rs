//! The streams of the producers: each counts without holes, and each event names the hash of the one
//! before it. What is missing was declared, or is found.

use std::collections::HashMap;

use super::canonical::unescaped;
use super::facts::Facts;
use super::report::{Check, Finding, Findings, Outcome, Verdict};
use crate::model::intent::Sha256;
use crate::tlog::hash::Hash;

/// Most streams of one log.
const STREAMS_MAX: usize = 65_536;
/// Most holes and steps back that are kept to be judged at the end.
const BREAKS_MAX: usize = 65_536;

/// How much of the streams there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Extent {
    /// Everything from the first event on.
    Whole,
    /// Everything from some place on.
    Part,
    /// What a filter let through: holes say nothing.
    Filtered,
}

/// Where a stream does not go on as it should; judged at the end, for what declares it may come later.
struct Break {
    stream: usize,
    kind: BreakKind,
    /// The leaf at which it shows.
    index: u64,
}

enum BreakKind {
    /// These sequences are not there.
    Missing(u64, u64),
    /// This sequence was there before; it is the so-manieth time that the stream goes back.
    Back(u64, usize),
}

#[derive(Default)]
struct Stream {
    source: String,
    next: u64,
    last: Option<Hash>,
    /// Sequences that gap events declare as missing.
    declared: Vec<(u64, u64)>,
    /// How often gap events say that its spool was set back.
    went_back: usize,
    /// How often it was.
    steps_back: usize,
    events: u64,
}

pub(super) struct Continuity {
    extent: Extent,
    /// The one stream that is there to this extent, if not all are; the others are filtered.
    only: Option<String>,
    names: HashMap<String, usize>,
    streams: Vec<Stream>,
    breaks: Vec<Break>,
    findings: Findings,
    links: u64,
}

impl Continuity {
    pub fn new(extent: Extent, only: Option<String>) -> Self {
        let (names, streams, breaks) = (HashMap::new(), Vec::new(), Vec::new());
        Self { extent, only, names, streams, breaks, findings: Findings::default(), links: 0 }
    }

    /// The log goes on from another one, and so do its streams.
    pub fn continues(&mut self) {
        if self.extent == Extent::Whole {
            self.extent = Extent::Part;
        }
    }

    /// Takes the next event of the log.
    pub fn take(&mut self, index: u64, leaf: Hash, event: &Facts<'_>) {
        let source = event.source.unwrap_or_default();
        let Some(sequence) = event.place() else {
            let what = "the sequence is not twenty digits, counted from 1";
            self.findings.add(Finding { source: Some(unescaped(source)), ..Finding::new(what).at_leaf(index) });
            return;
        };
        self.declare(event);
        let Some(at) = self.stream(source) else { return };
        let expected = self.expected(at, source, sequence, index);
        let previous = event.previous.unwrap_or_default();
        match expected {
            Some(hash) if !is_hex_of(previous, &hash) => {
                let what = "pmxprev is not the hash of the event before it in its stream";
                self.findings.add(Finding::new(what).at_leaf(index).of_stream(&unescaped(source), sequence));
            }
            Some(_) => self.links += 1,
            None => {}
        }
        if let Some(stream) = self.streams.get_mut(at) {
            stream.next = sequence.saturating_add(1);
            stream.last = Some(leaf);
            stream.events += 1;
        }
    }

    /// What `pmxprev` must be, where that can be known. Notes a hole or a step back.
    fn expected(&mut self, at: usize, source: &str, sequence: u64, index: u64) -> Option<[u8; 32]> {
        let stream = self.streams.get_mut(at)?;
        let kind = match stream.next {
            next if next == sequence => return stream.last.map(|hash| *hash.as_bytes()),
            0 if sequence == 1 => return Some(*Sha256::of(unescaped(source).as_bytes()).as_bytes()),
            0 if self.extent == Extent::Whole => BreakKind::Missing(1, sequence - 1),
            0 => return None,
            next if sequence > next => BreakKind::Missing(next, sequence - 1),
            _ => {
                stream.steps_back += 1;
                BreakKind::Back(sequence, stream.steps_back)
            }
        };
        if self.extent == Extent::Filtered {
            return None;
        }
        if self.breaks.len() < BREAKS_MAX {
            self.breaks.push(Break { stream: at, kind, index });
        } else {
            self.findings.add(Finding::new("there are more holes than can be judged").at_leaf(index));
        }
        None
    }

    fn declare(&mut self, event: &Facts<'_>) {
        let data = &event.data;
        let Some(of) = data.of.filter(|_| event.name() == "evidence.gap") else { return };
        let Some(stream) = self.stream(of).and_then(|at| self.streams.get_mut(at)) else { return };
        if data.cause == Some("went_back") {
            stream.went_back += 1;
        } else if let (Some(from), Some(to)) = (data.from_sequence, data.to_sequence)
            && stream.declared.len() < BREAKS_MAX
        {
            stream.declared.push((from, to));
        }
    }

    fn stream(&mut self, source: &str) -> Option<usize> {
        if let Some(at) = self.names.get(source) {
            return Some(*at);
        }
        if self.streams.len() == STREAMS_MAX {
            self.findings.add(Finding::new(format!("there are more than {STREAMS_MAX} streams")));
            return None;
        }
        self.names.insert(source.to_owned(), self.streams.len());
        self.streams.push(Stream { source: unescaped(source), ..Stream::default() });
        Some(self.streams.len() - 1)
    }

    /// What it comes to. `all` is false where leaves could not be read.
    pub fn finish(mut self, all: bool) -> Outcome {
        for stream in &mut self.streams {
            stream.declared.sort_unstable();
        }
        let mut declared = 0;
        for found in &self.breaks {
            let Some(stream) = self.streams.get(found.stream) else { continue };
            if self.only.as_ref().is_some_and(|only| *only != stream.source) {
                continue;
            }
            match found.undeclared(stream) {
                Some(finding) => self.findings.add(finding),
                None => declared += 1,
            }
        }
        let streams = self.streams.iter().filter(|stream| stream.events > 0).count();
        let events: u64 = self.streams.iter().map(|stream| stream.events).sum();
        let links = self.links;
        let (verdict, detail) = match self.extent {
            _ if events == 0 || !all => (Verdict::Unknown, "not all events were read".to_owned()),
            Extent::Filtered => (
                Verdict::NotApplicable,
                format!("{streams} streams are filtered; {links} events follow their forerunner"),
            ),
            Extent::Part => (
                Verdict::Pass,
                format!("{streams} streams from where they begin here, {links} links, {declared} declared gaps"),
            ),
            Extent::Whole => (
                Verdict::Pass,
                format!("{streams} streams from their first event, {links} links, {declared} declared gaps"),
            ),
        };
        Outcome::of(Check::Continuity, self.findings, verdict, events, detail)
    }
}

impl Break {
    /// The finding, unless gap events declare it.
    fn undeclared(&self, stream: &Stream) -> Option<Finding> {
        let (sequence, what) = match self.kind {
            BreakKind::Missing(from, to) => {
                let (from, to) = first_undeclared(from, to, &stream.declared)?;
                (from, format!("sequences {from} to {to} are missing and no evidence.gap declares them"))
            }
            BreakKind::Back(_, nth) if nth <= stream.went_back => return None,
            BreakKind::Back(sequence, _) => {
                (sequence, "the sequence goes back and no evidence.gap says that the spool was set back".to_owned())
            }
        };
        Some(Finding::new(what).at_leaf(self.index).of_stream(&stream.source, sequence))
    }
}

/// The first part of `from..=to` that the declared ranges, which are sorted, leave open.
fn first_undeclared(mut from: u64, to: u64, declared: &[(u64, u64)]) -> Option<(u64, u64)> {
    for &(first, last) in declared {
        if first > from {
            return Some((from, to.min(first - 1)));
        }
        if last >= to {
            return None;
        }
        from = from.max(last.saturating_add(1));
    }
    Some((from, to))
}

/// Whether a text is `sha256:` and the lower-case hex of a hash.
fn is_hex_of(text: &str, hash: &[u8; 32]) -> bool {
    let Some(hex) = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64) else { return false };
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    let (pairs, _) = hex.as_bytes().as_chunks::<2>();
    pairs.iter().zip(hash).all(|([high, low], byte)| *high == digit(byte >> 4) && *low == digit(byte & 15))
}
