//! One data directory: what is commanded is in force, survives, and is heard of once.

use super::*;
use crate::model::ids::{Jti, StoreId};
use crate::model::time::Timestamp;

const NOW: Timestamp = Timestamp::of_seconds(1_800_000_000);

/// A process of this data directory, and what it heard from the file.
struct Process {
    switch: KillSwitch,
    heard: Arc<Mutex<Vec<String>>>,
}

fn process(data: &Path, clock: &Clock) -> Process {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = heard.clone();
    let hear = move |record: &Revocation| hearing.lock().push(record.subject.to_string());
    let metrics = Arc::new(Metrics::new().unwrap());
    Process { switch: KillSwitch::open(data, clock.clone(), metrics, Box::new(hear)).unwrap(), heard }
}

impl Process {
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.lock())
    }

    fn revoke(&self, subject: &Subject) -> (Revocation, bool) {
        self.switch.revoke(subject.clone(), Note::default(), Note::default()).unwrap()
    }

    fn lift(&self, subject: &Subject) -> Revocation {
        self.switch.lift(subject.clone(), Note::default(), Note::default()).unwrap()
    }

    fn is_revoked(&self, subject: &Subject) -> bool {
        self.switch.snapshot().get(subject).is_some_and(|record| record.revoked)
    }
}

fn store() -> Subject {
    Subject::Store(StoreId::parse("store-123").unwrap())
}

#[test]
fn a_command_is_in_force_at_once_and_survives_a_restart() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    let first = process(dir.path(), &clock);
    assert!(first.revoke(&store()).1 && first.is_revoked(&store()));
    assert!(!first.revoke(&store()).1, "it was revoked already");
    let again = process(dir.path(), &clock);
    assert!(again.is_revoked(&store()));
    again.lift(&store());
    assert!(!process(dir.path(), &clock).is_revoked(&store()));
    assert!(again.heard().is_empty() && first.heard().is_empty(), "nobody hears of its own command");
}

#[test]
fn the_process_of_the_directory_hears_of_a_command_once() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    let (running, cli) = (process(dir.path(), &clock), process(dir.path(), &clock));
    let (record, _new) = cli.revoke(&store());
    clock.advance(250);
    // It may come by the other way first.
    running.switch.learn([record]);
    running.switch.refresh().unwrap();
    running.switch.refresh().unwrap();
    assert_eq!((running.is_revoked(&store()), running.heard()), (true, vec!["store:store-123".to_owned()]));
    assert_eq!(running.switch.metrics.revocation_propagation.get_sample_sum(), 0.25);
    assert_eq!(running.switch.metrics.revocations.with_label_values(&["store"]).get(), 1);
}

#[test]
fn what_other_hosts_revoked_is_kept_and_not_heard() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    let (record, _new) = process(&dir.path().join("other"), &clock).revoke(&store());
    let here = process(dir.path(), &clock);
    assert!(here.switch.learn([record.clone()]) && !here.switch.learn([record]));
    here.switch.refresh().unwrap();
    assert!(process(dir.path(), &clock).is_revoked(&store()) && here.heard().is_empty());
}

#[test]
fn a_lost_file_is_written_again_and_a_damaged_one_changes_nothing() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    let here = process(dir.path(), &clock);
    here.revoke(&store());
    let path = dir.path().join("revocations.json");
    std::fs::remove_file(&path).unwrap();
    here.switch.refresh().unwrap();
    assert!(process(dir.path(), &clock).is_revoked(&store()));
    std::fs::write(&path, "{").unwrap();
    assert!(matches!(here.switch.refresh(), Err(RevocationError::Damaged { .. })));
    assert!(here.is_revoked(&store()));
    let metrics = Arc::new(Metrics::new().unwrap());
    assert!(KillSwitch::open(dir.path(), clock, metrics, Box::new(|_| {})).is_err(), "a start takes no half");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{", "what an operator should look at stays");
}

/// A disk that takes nothing is no reason to let a thief buy.
#[test]
fn what_cannot_be_written_is_in_force_all_the_same() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    let here = process(dir.path(), &clock);
    std::fs::create_dir(dir.path().join("revocations.json")).unwrap();
    assert!(here.switch.revoke(store(), Note::default(), Note::default()).is_err());
    assert!(here.is_revoked(&store()));
    std::fs::remove_dir(dir.path().join("revocations.json")).unwrap();
    here.switch.refresh().unwrap();
    assert!(process(dir.path(), &clock).is_revoked(&store()));
}

#[test]
fn a_dead_token_leaves_the_file() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    let here = process(dir.path(), &clock);
    let token = Subject::Token(Jti::random());
    here.revoke(&token);
    let text = || std::fs::read_to_string(dir.path().join("revocations.json")).unwrap();
    assert!(text().contains(&token.to_string()));
    clock.advance(300_000);
    here.switch.refresh().unwrap();
    assert!(!text().contains(&token.to_string()) && !here.is_revoked(&token));
}

#[test]
fn commands_of_many_processes_at_once_are_all_kept() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    std::thread::scope(|scope| {
        for of in 0..4 {
            let (dir, clock) = (dir.path(), &clock);
            scope.spawn(move || {
                let here = process(dir, clock);
                for n in 0..5 {
                    here.revoke(&Subject::of(Kind::Agent, &format!("ak_{of}_{n}")).unwrap());
                }
            });
        }
    });
    assert_eq!(process(dir.path(), &clock).switch.snapshot().count(Kind::Agent), 20);
}
