//! That any order of records leads to one set, and that a command always counts.

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::of_seconds(1_800_000_000);

fn note(text: &str) -> Note {
    Note::parse(text).unwrap()
}

fn agent(id: &str) -> Subject {
    Subject::of(Kind::Agent, id).unwrap()
}

fn revoked(subject: Subject, at: Timestamp) -> Revocation {
    Revocation { at, by: note("tests"), reason: note("leaked"), revoked: true, subject }
}

#[test]
fn a_subject_has_one_spelling() {
    for text in ["token:5b0e8a0e-3c58-4f6e-9a41-0c2d0a9b7e11", "agent:ak_1", "key:x-Y_z", "store:eu:shop/1"] {
        assert_eq!(Subject::parse(text).unwrap().to_string(), text);
        let json = serde_json::to_string(&Subject::parse(text).unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<Subject>(&json).unwrap().to_string(), text);
    }
    for bad in ["", "agent", "agent:", "Agent:a", " agent:a", "agent:a b", "token:x", "merchant:a", "key:*"] {
        assert!(Subject::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_note_is_one_short_line() {
    assert_eq!(note(&"ä".repeat(NOTE_MAX)).as_str().chars().count(), NOTE_MAX);
    assert_eq!(Note::parse(&"a".repeat(NOTE_MAX + 1)), Err(NotANote::TooLong));
    assert_eq!(Note::parse("a\nb"), Err(NotANote::Control));
}

#[test]
fn a_record_reads_back_and_members_of_newer_versions_are_passed_over() {
    let record = revoked(agent("ak_1"), NOW);
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(
        json,
        r#"{"at":"2027-01-15T08:00:00.000Z","by":"tests","reason":"leaked","revoked":true,"subject":"agent:ak_1"}"#
    );
    assert_eq!(serde_json::from_str::<Revocation>(&json.replace("{", "{\"more\":1,")).unwrap(), record);
}

#[test]
fn what_is_revoked_is_found_until_it_is_lifted() {
    let (store, ak, jti) = (StoreId::parse("s").unwrap(), AgentId::parse("ak_1").unwrap(), Jti::random());
    let mut all = Revocations::default();
    let found = |all: &Revocations| all.find(&store, &ak, Some(jti)).map(|found| found.kind);
    for (subject, kind) in [
        (Subject::Token(jti), Kind::Token),
        (Subject::Agent(ak.clone()), Kind::Agent),
        (Subject::Store(store.clone()), Kind::Store),
    ] {
        all.take(revoked(subject, NOW));
        assert_eq!((found(&all), all.count(kind)), (Some(kind), 1));
    }
    let of_agent = |all: &Revocations| all.find(&StoreId::parse("t").unwrap(), &ak, None).map(|found| found.kind);
    assert_eq!(of_agent(&all), Some(Kind::Agent));
    for subject in all.clone().records().map(|record| record.subject.clone()) {
        let lifted = all.lift(subject, Note::default(), note("tests"), NOW).unwrap();
        assert_eq!(all.take(lifted), Taken::New);
    }
    assert_eq!(found(&all), None);
    assert!(!all.has_key("ak_1"));
}

/// The clock of the process that revoked may be ahead of the one that lifts.
#[test]
fn a_command_counts_whatever_the_clocks_say() {
    let mut all = Revocations::default();
    all.take(revoked(agent("ak_1"), NOW.plus_seconds(60)));
    let lifted = all.lift(agent("ak_1"), Note::default(), note("tests"), NOW).unwrap();
    assert_eq!(all.take(lifted), Taken::New);
    let again = all.revoke(agent("ak_1"), Note::default(), note("tests"), NOW).unwrap().unwrap();
    assert_eq!((all.take(again), all.count(Kind::Agent)), (Taken::New, 1));
    assert_eq!(all.revoke(agent("ak_1"), Note::default(), note("tests"), NOW), Ok(None), "it is revoked already");
    let nothing = all.lift(agent("ak_2"), Note::default(), note("tests"), NOW);
    assert_eq!(nothing, Err(NoCommand::NotRevoked(agent("ak_2"))));
}

#[test]
fn a_dead_token_is_forgotten_and_nothing_else() {
    let mut all: Revocations =
        [revoked(Subject::Token(Jti::random()), NOW), revoked(agent("ak_1"), NOW)].into_iter().collect();
    all.prune(NOW.plus_seconds(TOKEN_KEPT_S - 1));
    assert_eq!((all.count(Kind::Token), all.records().count()), (1, 2));
    all.prune(NOW.plus_seconds(TOKEN_KEPT_S));
    assert_eq!((all.count(Kind::Token), all.count(Kind::Agent), all.records().count()), (0, 1, 1));
}

#[test]
fn when_full_it_refuses_and_forgets_nothing() {
    let mut all: Revocations = (0..RECORDS_MAX).map(|n| revoked(agent(&format!("ak_{n}")), NOW)).collect();
    assert_eq!(all.revoke(agent("one-more"), Note::default(), note("tests"), NOW), Err(NoCommand::Full));
    assert_eq!(all.take(revoked(agent("one-more"), NOW)), Taken::Full);
    let lifted = all.lift(agent("ak_0"), Note::default(), note("tests"), NOW).unwrap();
    assert_eq!(all.take(lifted), Taken::New);
    assert_eq!((all.records().count(), all.count(Kind::Agent)), (RECORDS_MAX, RECORDS_MAX - 1));
}

fn record() -> impl Strategy<Value = Revocation> {
    (0u8..4, 0i64..4, "[ab]", "[ab]", any::<bool>()).prop_map(|(id, at, by, reason, revoked)| Revocation {
        at: Timestamp::of_millis(at),
        by: note(&by),
        reason: note(&reason),
        revoked,
        subject: agent(&format!("ak_{id}")),
    })
}

proptest! {
    /// Commutative, associative and idempotent: every order and every repetition ends alike.
    #[test]
    fn any_order_leads_to_the_same_set(records in prop::collection::vec(record(), 0..30), seed: prop::sample::Index) {
        let forward: Revocations = records.iter().cloned().collect();
        let backward: Revocations = records.iter().rev().cloned().collect();
        let (left, right) = records.split_at(if records.is_empty() { 0 } else { seed.index(records.len()) });
        let mut joined: Revocations = right.iter().cloned().collect();
        for record in left.iter().chain(right).chain(left) {
            joined.take(record.clone());
        }
        prop_assert_eq!(&forward, &backward);
        prop_assert_eq!(&forward, &joined);
        prop_assert_eq!(forward.newer_than(&backward).count(), 0);
        let agents = forward.records().filter(|record| record.revoked).count();
        prop_assert_eq!(agents, forward.count(Kind::Agent));
    }
}
