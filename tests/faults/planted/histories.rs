//! Each rule of the checker against a history in which it is broken, and only it.

use std::time::Duration;

use crate::history::{Arrival, Broken, History, Operation, Recorded, Told, Violation, check};

/// Allowed, executed, recorded, settled.
const GOOD: usize = 1;

fn told(status: u16, code: &str) -> Told {
    let allowed = code.is_empty();
    Told { status, allowed, code: code.to_owned(), trace: String::new(), replayed: false }
}

fn trace(operation: usize) -> String {
    format!("trc_{operation}")
}

/// A history in which token 7 was bought once, by operation 1, from the 10th to the 20th ms.
fn bought() -> History {
    let mut history = History::default();
    ask(&mut history, GOOD, 10..20, Some(told(200, "")));
    history.arrivals.push(Arrival { token: 7, operation: GOOD, trace: trace(GOOD) });
    record(&mut history, GOOD, "execution.reserved");
    record(&mut history, GOOD, "execution.validated");
    history
}

fn ask(history: &mut History, id: usize, ms: std::ops::Range<u64>, told: Option<Told>) {
    let told = told.map(|told| Told { trace: trace(id), ..told });
    let [start, end] = [ms.start, ms.end].map(Duration::from_millis);
    history.operations.push(Operation { token: 7, id, gateway: 0, start, end, told });
}

fn record(history: &mut History, id: usize, kind: &str) {
    history.events.push(Recorded { kind: kind.to_owned(), trace: trace(id), cause: String::new(), count: None });
}

#[test]
fn a_good_history_is_good() {
    let mut history = bought();
    ask(&mut history, 2, 15..18, Some(told(409, "IN_FLIGHT")));
    ask(&mut history, 3, 30..31, Some(told(403, "REPLAY_DETECTED")));
    ask(&mut history, 4, 30..31, Some(told(503, "LEDGER_UNAVAILABLE")));
    ask(&mut history, 5, 40..41, Some(Told { replayed: true, ..told(200, "") }));
    ask(&mut history, 6, 40..41, None);
    assert_eq!(check(&history), []);
}

#[test]
fn a_second_arrival_is_seen() {
    let mut history = bought();
    history.arrivals.push(Arrival { token: 7, operation: 2, trace: trace(GOOD) });
    assert_eq!(check(&history), [Violation::DoubleExecution { token: 7, arrivals: 2 }]);
}

#[test]
fn an_answer_out_of_nothing_is_seen() {
    let mut history = bought();
    history.arrivals.clear();
    assert_eq!(check(&history), [Violation::AnsweredUnexecuted { token: 7, operation: GOOD }]);
    let mut history = History::default();
    ask(&mut history, 2, 0..1, Some(Told { replayed: true, ..told(200, "") }));
    assert_eq!(check(&history), [Violation::AnsweredUnexecuted { token: 7, operation: 2 }]);
}

#[test]
fn a_replay_of_nothing_is_seen() {
    for (status, code) in
        [(403, "REPLAY_DETECTED"), (409, "IN_FLIGHT"), (409, "ALREADY_EXECUTED"), (409, "OUTCOME_UNKNOWN")]
    {
        let mut history = History::default();
        ask(&mut history, 2, 0..5, Some(told(status, code)));
        // Refused without having taken the token, or not asked before the answer was there.
        ask(&mut history, 3, 0..1, Some(told(503, "LEDGER_QUARANTINE")));
        ask(&mut history, 4, 6..9, Some(told(503, "LEDGER_UNAVAILABLE")));
        let code = code.to_owned();
        assert_eq!(check(&history), [Violation::FalseReplay { token: 7, operation: 2, gateway: 0, code }]);
        ask(&mut history, 5, 4..9, Some(told(503, "LEDGER_UNAVAILABLE")));
        assert_eq!(check(&history), []);
    }
}

#[test]
fn a_lost_event_is_seen() {
    let mut history = bought();
    history.events.remove(1);
    let lost = |kind| Violation::LostEvent { token: 7, trace: trace(GOOD), kind };
    assert_eq!(check(&history), [lost("settlement"), Violation::Settlements { trace: trace(GOOD), count: 0 }]);
    history.events.clear();
    let unrecorded = Violation::Unrecorded { token: 7, trace: trace(GOOD) };
    assert_eq!(check(&history), [lost("reservation"), lost("settlement"), unrecorded]);
    let mut unknown = History::default();
    ask(&mut unknown, 1, 0..1, Some(told(502, "OUTCOME_UNKNOWN")));
    assert_eq!(check(&unknown), [lost("reservation"), lost("settlement")]);
}

#[test]
fn a_second_settlement_is_seen() {
    let mut history = bought();
    record(&mut history, GOOD, "execution.indeterminate");
    assert_eq!(check(&history), [Violation::Settlements { trace: trace(GOOD), count: 2 }]);
}

#[test]
fn a_release_of_what_was_sent_is_seen() {
    let mut history = bought();
    history.events[1].kind = "execution.released".to_owned();
    assert_eq!(check(&history), [Violation::ReleasedAfterSending { trace: trace(GOOD) }]);
}

#[test]
fn how_far_a_broken_execution_came_is_told() {
    let mut history = bought();
    history.operations[0].told = None;
    assert_eq!(Broken::of(&history), Broken { settled: 1, ..Broken::default() });
    history.events[1].kind = "execution.indeterminate".to_owned();
    assert_eq!(Broken::of(&history), Broken { sent: 1, ..Broken::default() });
    history.arrivals.clear();
    assert_eq!(Broken::of(&history), Broken { reserved: 1, ..Broken::default() });
    history.events.clear();
    assert_eq!(Broken::of(&history), Broken { unrecorded: 1, ..Broken::default() });
}
