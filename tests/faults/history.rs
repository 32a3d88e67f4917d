//! Judges what happened: from what the callers were told, what reached the merchant and what the
//! evidence says. Pure; each token is judged by itself, in O(n log n) of its operations.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

/// One request with a token, as its caller saw it. Times count from the start of the book.
#[derive(Debug, Clone)]
pub struct Operation {
    pub token: usize,
    pub id: usize,
    pub gateway: usize,
    pub start: Duration,
    pub end: Duration,
    /// `None` when no answer came.
    pub told: Option<Told>,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub status: u16,
    /// `Permyx-Decision: allowed`: the merchant's own answer, whatever its status.
    pub allowed: bool,
    /// Reason or fault of a refusal.
    pub code: String,
    pub trace: String,
    /// A stored answer, told again.
    pub replayed: bool,
}

/// One request as it reached the merchant, in full or in part.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub token: usize,
    pub operation: usize,
    /// Empty where the request was cut off before it.
    pub trace: String,
}

/// The part of an event that matters here.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub kind: String,
    pub trace: String,
    pub cause: String,
    /// How many it tells of, where it says so.
    pub count: Option<u64>,
}

/// Everything that is known of one run.
#[derive(Debug, Default)]
pub struct History {
    pub operations: Vec<Operation>,
    pub arrivals: Vec<Arrival>,
    pub events: Vec<Recorded>,
}

/// What must not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// More than one request with one token reached the merchant.
    DoubleExecution { token: usize, arrivals: usize },
    /// The merchant's answer was told, and the merchant saw no request.
    AnsweredUnexecuted { token: usize, operation: usize },
    /// Told that the token was used, or is in use, when nobody else can have used it.
    FalseReplay { token: usize, operation: usize, gateway: usize, code: String },
    /// Answered as an execution, and evidence holds no reservation or no settlement of it.
    LostEvent { token: usize, trace: String, kind: &'static str },
    /// Reached the merchant without a reservation in evidence.
    Unrecorded { token: usize, trace: String },
    /// Reserved, and settled not once.
    Settlements { trace: String, count: usize },
    /// Recorded as not sent, and the merchant saw it.
    ReleasedAfterSending { trace: String },
}

const RESERVED: &str = "execution.reserved";
const RELEASED: &str = "execution.released";
const SETTLEMENTS: [&str; 3] = ["execution.validated", RELEASED, "execution.indeterminate"];
/// Answers that only another use of the same token explains.
const SECOND: [&str; 4] = ["REPLAY_DETECTED", "IN_FLIGHT", "ALREADY_EXECUTED", "OUTCOME_UNKNOWN"];

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DoubleExecution { token, arrivals } => {
                write!(f, "token {token} reached the merchant {arrivals} times")
            }
            Self::AnsweredUnexecuted { token, operation } => {
                write!(f, "token {token}, request {operation}: answered, and the merchant saw nothing")
            }
            Self::FalseReplay { token, operation, gateway, code } => {
                write!(
                    f,
                    "token {token}, request {operation} at gateway {gateway}: {code}, and nobody else had used it"
                )
            }
            Self::LostEvent { token, trace, kind } => {
                write!(f, "token {token}, {trace}: answered, no {kind} in evidence")
            }
            Self::Unrecorded { token, trace } => {
                write!(f, "token {token}, {trace}: at the merchant, not reserved in evidence")
            }
            Self::Settlements { trace, count } => write!(f, "{trace}: reserved and settled {count} times"),
            Self::ReleasedAfterSending { trace } => write!(f, "{trace}: released, and the merchant saw it"),
        }
    }
}

impl Told {
    /// A 409 `OUTCOME_UNKNOWN` is told to a retry; 502 and 504 to the first caller.
    fn is_second(&self) -> bool {
        !self.allowed && SECOND.contains(&self.code.as_str()) && !matches!(self.status, 502 | 504)
    }

    /// The end of an execution of this very request: evidence has to know it.
    fn is_execution(&self) -> bool {
        let sent = self.allowed && !self.replayed;
        sent || (!self.is_second() && matches!(self.code.as_str(), "OUTCOME_UNKNOWN" | "UPSTREAM_UNAVAILABLE"))
    }
}

impl Operation {
    /// Whether this request can have taken the token: it was not refused before the ledger took it.
    fn may_have_reserved(&self) -> bool {
        let Some(told) = &self.told else { return true };
        told.is_execution() || matches!(told.code.as_str(), "LEDGER_UNAVAILABLE" | "EVIDENCE_UNAVAILABLE" | "INTERNAL")
    }
}

/// Evidence by trace: how often each kind stands there.
#[derive(Default)]
struct Trail {
    reserved: usize,
    settled: usize,
    released: usize,
}

/// How far executions came whose callers got no answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// Nothing is recorded of them.
    pub unrecorded: usize,
    /// Reserved, and the merchant saw nothing.
    pub reserved: usize,
    /// The merchant saw them, and evidence cannot say what came of it.
    pub sent: usize,
    /// Only the answer was missing.
    pub settled: usize,
}

impl Broken {
    pub fn of(history: &History) -> Self {
        let kinds = |of: &dyn Fn(&str) -> bool| -> HashSet<&str> {
            history.events.iter().filter(|event| of(&event.kind)).map(|event| event.trace.as_str()).collect()
        };
        let told = history.operations.iter().filter_map(|operation| Some(operation.told.as_ref()?.trace.as_str()));
        let told: HashSet<_> = told.collect();
        let arrived: HashSet<_> = history.arrivals.iter().map(|arrival| arrival.trace.as_str()).collect();
        let unknown = kinds(&|kind| kind == "execution.indeterminate");
        let unanswered = history.operations.iter().filter(|operation| operation.told.is_none()).count();
        let reserved = kinds(&|kind| kind == RESERVED).into_iter().filter(|trace| !told.contains(trace));
        let (sent, unsent): (Vec<_>, Vec<_>) = reserved.partition(|trace| arrived.contains(trace));
        let lost = sent.iter().filter(|trace| unknown.contains(*trace)).count();
        let unrecorded = unanswered.saturating_sub(sent.len() + unsent.len());
        Self { unrecorded, reserved: unsent.len(), sent: lost, settled: sent.len() - lost }
    }
}

/// How many reservations have no settlement.
pub fn unsettled(events: &[Recorded]) -> usize {
    let traces = |of: &dyn Fn(&str) -> bool| -> HashSet<&str> {
        events.iter().filter(|event| of(&event.kind)).map(|event| event.trace.as_str()).collect()
    };
    traces(&|kind| kind == RESERVED).difference(&traces(&|kind| SETTLEMENTS.contains(&kind))).count()
}

/// Everything that is wrong with a history.
pub fn check(history: &History) -> Vec<Violation> {
    let mut trails: BTreeMap<&str, Trail> = BTreeMap::new();
    for event in &history.events {
        let trail = trails.entry(&event.trace).or_default();
        trail.reserved += usize::from(event.kind == RESERVED);
        trail.settled += usize::from(SETTLEMENTS.contains(&event.kind.as_str()));
        trail.released += usize::from(event.kind == RELEASED);
    }
    let mut found = Vec::new();
    check_tokens(history, &mut found);
    check_answers(history, &trails, &mut found);
    check_trails(history, &trails, &mut found);
    found
}

fn check_tokens(history: &History, found: &mut Vec<Violation>) {
    let mut arrivals: BTreeMap<usize, usize> = BTreeMap::new();
    for arrival in &history.arrivals {
        *arrivals.entry(arrival.token).or_default() += 1;
    }
    let doubles = arrivals.iter().filter(|(_, count)| **count > 1);
    found.extend(doubles.map(|(token, count)| Violation::DoubleExecution { token: *token, arrivals: *count }));
    let mut by_token: HashMap<usize, Vec<&Operation>> = HashMap::new();
    for operation in &history.operations {
        by_token.entry(operation.token).or_default().push(operation);
    }
    for (token, operations) in by_token {
        // The first two are enough: one of them is not the request that is judged.
        let mut takers: Vec<_> = operations.iter().filter(|operation| operation.may_have_reserved()).collect();
        takers.sort_by_key(|operation| operation.start);
        takers.truncate(2);
        for operation in &operations {
            let Some(told) = operation.told.as_ref().filter(|told| told.is_second()) else { continue };
            if !takers.iter().any(|taker| taker.id != operation.id && taker.start <= operation.end) {
                let (operation, gateway, code) = (operation.id, operation.gateway, told.code.clone());
                found.push(Violation::FalseReplay { token, operation, gateway, code });
            }
        }
    }
}

fn check_answers(history: &History, trails: &BTreeMap<&str, Trail>, found: &mut Vec<Violation>) {
    let arrived: HashSet<_> = history.arrivals.iter().map(|arrival| arrival.trace.as_str()).collect();
    let executed: HashSet<_> = history.arrivals.iter().map(|arrival| arrival.token).collect();
    for Operation { token, id, told, .. } in &history.operations {
        let Some(told) = told else { continue };
        let is_there = if told.replayed { executed.contains(token) } else { arrived.contains(told.trace.as_str()) };
        if told.allowed && !is_there {
            found.push(Violation::AnsweredUnexecuted { token: *token, operation: *id });
        }
        if !told.is_execution() {
            continue;
        }
        let trail = trails.get(told.trace.as_str());
        let mut lost = |kind| found.push(Violation::LostEvent { token: *token, trace: told.trace.clone(), kind });
        if trail.is_none_or(|trail| trail.reserved == 0) {
            lost("reservation");
        }
        if trail.is_none_or(|trail| trail.settled == 0) {
            lost("settlement");
        }
    }
}

fn check_trails(history: &History, trails: &BTreeMap<&str, Trail>, found: &mut Vec<Violation>) {
    let seen: HashSet<_> = history.arrivals.iter().map(|arrival| arrival.trace.as_str()).collect();
    for (trace, trail) in trails {
        if trail.reserved > 0 && trail.settled != 1 {
            found.push(Violation::Settlements { trace: (*trace).to_owned(), count: trail.settled });
        }
        if trail.released > 0 && seen.contains(trace) {
            found.push(Violation::ReleasedAfterSending { trace: (*trace).to_owned() });
        }
    }
    for Arrival { token, trace, .. } in history.arrivals.iter().filter(|arrival| !arrival.trace.is_empty()) {
        if trails.get(trace.as_str()).is_none_or(|trail| trail.reserved == 0) {
            found.push(Violation::Unrecorded { token: *token, trace: trace.clone() });
        }
    }
}
