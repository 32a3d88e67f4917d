use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::record::{self, Next};
use super::*;
use crate::clock::Clock;
use crate::model::event::{Event, EventKind};
use crate::model::ids::{Jti, TraceId};
use crate::model::intent::Sha256;
use crate::model::time::Timestamp;
use crate::telemetry::metrics::Metrics;

const NOW: Timestamp = Timestamp::of_millis(1_795_000_000_123);
const BIG: u64 = 1 << 30;

fn options(dir: &Path, limit_bytes: u64) -> SpoolOptions {
    SpoolOptions {
        dir: dir.to_owned(),
        source: "/gateways/a".to_owned(),
        limit_bytes,
        segment_bytes: 1 << 22,
        class: Class::Spool,
    }
}

fn open(dir: &Path) -> Spool {
    open_with(options(dir, BIG)).unwrap()
}

fn open_with(options: SpoolOptions) -> Result<Spool, SpoolError> {
    open_counted(options, &Arc::new(Metrics::new().unwrap()))
}

fn open_counted(options: SpoolOptions, metrics: &Arc<Metrics>) -> Result<Spool, SpoolError> {
    Spool::open(options, Clock::manual(NOW), Arc::clone(metrics))
}

fn gaps(metrics: &Metrics, cause: &str) -> u64 {
    metrics.evidence_gaps.with_label_values(&[cause]).get()
}

fn event(kind: EventKind) -> Event {
    Event::new(kind, NOW, TraceId::random()).of_token(Jti::random())
}

fn denied() -> Event {
    event(EventKind::ExecutionDenied)
}

/// The segment files, oldest first.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "spool")).collect();
    files.sort();
    files
}

fn events(dir: &Path) -> Vec<(u64, serde_json::Value)> {
    records(dir).into_iter().map(|(sequence, body)| (sequence, serde_json::from_slice(&body).unwrap())).collect()
}

fn raw(dir: &Path) -> Vec<Vec<u8>> {
    records(dir).into_iter().map(|(_, body)| body).collect()
}

/// Sequence and body of every whole record of a directory.
fn records(dir: &Path) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    for file in files(dir) {
        let content = std::fs::read(file).unwrap();
        let mut rest = content.as_slice();
        loop {
            match record::next(rest) {
                Next::Record(record) => {
                    found.push((record.sequence, record.body.to_vec()));
                    rest = &rest[record.framed_len()..];
                }
                Next::Damage { bytes } => rest = &rest[bytes..],
                Next::Tail => break,
            }
        }
    }
    found
}

/// `<sequence> <event type>` of every record, and the cause where there is one.
fn story(dir: &Path) -> Vec<String> {
    let line = |(sequence, event): (u64, serde_json::Value)| {
        assert_eq!(event["sequence"], format!("{sequence:020}"));
        let data = &event["data"];
        let cause = data["cause"].as_str().map(|cause| format!(" {cause}")).unwrap_or_default();
        format!("{sequence} {}{cause}", data["eventType"].as_str().unwrap())
    };
    events(dir).into_iter().map(line).collect()
}

#[test]
fn a_clean_run_begins_and_ends_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    assert_eq!(spool.append(&denied()).unwrap().sequence(), 2);
    spool.close().unwrap();
    spool.close().unwrap();
    assert!(matches!(spool.append(&denied()), Err(SpoolError::Closed)));
    drop(spool);
    open(dir.path()).close().unwrap();
    let expected =
        ["1 system.started", "2 execution.denied", "3 system.stopped", "4 system.started", "5 system.stopped"];
    assert_eq!(story(dir.path()), expected);
}

#[test]
fn a_segment_has_its_room_from_its_first_sync_and_gives_back_what_it_did_not_use() {
    const SEGMENT: u64 = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let spool = open_with(SpoolOptions { segment_bytes: SEGMENT, ..options(dir.path(), BIG) }).unwrap();
    let on_disk = || {
        let segments = segment::list(dir.path()).unwrap().into_iter();
        segments
            .map(|segment| (segment.bytes, 512 * std::fs::metadata(&segment.path).unwrap().blocks()))
            .collect::<Vec<_>>()
    };
    let is_trimmed = |&(written, taken): &(u64, u64)| taken < written + (64 << 10);
    spool.sync().unwrap();
    assert!(matches!(on_disk()[..], [(written, taken)] if written < 4096 && taken >= SEGMENT));
    while on_disk().len() < 2 {
        let _receipt = spool.append(&denied()).unwrap();
    }
    spool.sync().unwrap();
    let [full, begun] = on_disk().try_into().unwrap();
    assert!(is_trimmed(&full) && begun.1 >= SEGMENT, "{full:?} {begun:?}");
    spool.close().unwrap();
    assert!(on_disk().iter().all(is_trimmed), "{:?}", on_disk());
}

/// Each event names the hash of the one before it, over restarts and segments.
#[test]
fn the_events_of_a_stream_are_a_chain() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let spool = open_with(SpoolOptions { segment_bytes: 1, ..options(dir.path(), BIG) }).unwrap();
        for _ in 0..100 {
            let _receipt = spool.append(&denied()).unwrap();
        }
    }
    // Each start has a record, and each start after a kill a gap.
    assert_eq!(raw(dir.path()).len(), 300 + 3 + 2);
    is_a_chain(dir.path());
}

fn is_a_chain(dir: &Path) {
    let mut expected = None;
    for body in &raw(dir) {
        let event: serde_json::Value = serde_json::from_slice(body).unwrap();
        let source = event["source"].as_str().unwrap();
        assert!(source.starts_with("/gateways/a/") && source.len() == "/gateways/a/".len() + 32, "{source}");
        let first = || Sha256::of(source.as_bytes()).to_string();
        assert_eq!(event["pmxprev"], expected.unwrap_or_else(first));
        expected = Some(Sha256::of_leaf(body).to_string());
    }
}

#[test]
fn a_killed_run_is_declared() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    let _receipt = spool.append(&denied()).unwrap();
    drop(spool);
    let metrics = Arc::new(Metrics::new().unwrap());
    let _spool = open_counted(options(dir.path(), BIG), &metrics).unwrap();
    let expected = ["1 system.started", "2 execution.denied", "3 evidence.gap unclean_shutdown", "4 system.started"];
    assert_eq!(story(dir.path()), expected);
    assert_eq!(gaps(&metrics, "unclean_shutdown"), 1);
}

/// A process may die at any byte of a write: nothing whole is lost, nothing torn stays.
#[test]
fn a_torn_record_is_cut_at_whatever_byte_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    let _receipt = spool.append(&denied()).unwrap();
    let before = spool.usage().0;
    let _receipt = spool.append(&denied()).unwrap();
    let after = spool.usage().0;
    drop(spool);
    let whole = std::fs::read(&files(dir.path())[0]).unwrap();
    assert_eq!(whole.len() as u64, after);
    for cut in before..after {
        let torn = tempfile::tempdir().unwrap();
        let file = torn.path().join(format!("{:020}.spool", 1));
        std::fs::write(&file, &whole[..usize::try_from(cut).unwrap()]).unwrap();
        open(torn.path()).close().unwrap();
        let expected =
            ["1 system.started", "2 execution.denied", "3 evidence.gap unclean_shutdown", "4 system.started"];
        assert_eq!(story(torn.path())[..4], expected, "cut at {cut}");
        let gap = &events(torn.path())[2].1["data"];
        let damage = (cut > before).then(|| format!("{} damaged bytes", cut - before));
        assert_eq!(gap["observed"].as_str(), damage.as_deref());
    }
}

#[test]
fn a_flipped_bit_in_the_middle_costs_one_record() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    let first = spool.usage().0;
    for _ in 0..3 {
        let _receipt = spool.append(&denied()).unwrap();
    }
    drop(spool);
    let file = &files(dir.path())[0];
    let mut content = std::fs::read(file).unwrap();
    content[usize::try_from(first).unwrap() + 5] ^= 0x40;
    std::fs::write(file, content).unwrap();
    open(dir.path()).close().unwrap();
    drop(open(dir.path()));
    let expected = [
        "1 system.started",
        "3 execution.denied",
        "4 execution.denied",
        "5 evidence.gap unclean_shutdown",
        "6 system.started",
        "7 system.stopped",
        "8 system.started",
    ];
    assert_eq!(story(dir.path()), expected);
}

#[test]
fn a_quarter_is_kept_for_executions_and_half_of_it_for_their_outcomes() {
    let dir = tempfile::tempdir().unwrap();
    let limit = 64 << 10;
    let metrics = Arc::new(Metrics::new().unwrap());
    let spool = open_counted(options(dir.path(), limit), &metrics).unwrap();
    while spool.append(&denied()).is_ok() {}
    assert!(matches!(spool.append(&denied()), Err(SpoolError::Full { .. })));
    assert!(!spool.writable());
    let ordinary = spool.usage().0;
    assert!(ordinary <= limit / 4 * 3 && ordinary > limit / 4 * 3 - 1024);
    while spool.append(&event(EventKind::ExecutionReserved)).is_ok() {}
    let reserved = spool.usage().0;
    assert!(reserved <= limit / 8 * 7 && reserved > limit / 8 * 7 - 1024);
    while spool.append(&event(EventKind::ExecutionValidated)).is_ok() {}
    let (used, _) = spool.usage();
    assert!(used <= limit && used > limit - 1024);
    assert_eq!(gaps(&metrics, "spool_full"), 4);
}

#[test]
fn what_a_full_spool_refused_is_declared_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_with(SpoolOptions { segment_bytes: 1, ..options(dir.path(), 1 << 20) }).unwrap();
    let mut last = 0;
    while let Ok(receipt) = spool.append(&denied()) {
        last = receipt.sequence();
    }
    assert!(spool.append(&denied()).is_err());
    spool.release_before(last).unwrap();
    assert!(spool.writable());
    assert_eq!(spool.append(&denied()).unwrap().sequence(), last + 2);
    let (_, gap) = events(dir.path()).into_iter().find(|(sequence, _)| *sequence == last + 1).unwrap();
    assert_eq!((&gap["data"]["cause"], &gap["data"]["count"]), (&"spool_full".into(), &2.into()));
}

#[test]
fn a_full_spool_opens_and_settles() {
    let dir = tempfile::tempdir().unwrap();
    let limit = 64 << 10;
    let spool = open_with(options(dir.path(), limit)).unwrap();
    while spool.append(&denied()).is_ok() {}
    drop(spool);
    let spool = open_with(options(dir.path(), limit)).unwrap();
    assert!(spool.append(&event(EventKind::ExecutionValidated)).is_ok());
}

#[test]
fn segments_follow_each_other_and_are_released() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_with(SpoolOptions { segment_bytes: 1, ..options(dir.path(), BIG) }).unwrap();
    for _ in 0..1000 {
        let _receipt = spool.append(&denied()).unwrap();
    }
    let all = files(dir.path());
    assert!(all.len() > 3, "{} segments", all.len());
    let sequences: Vec<u64> = events(dir.path()).into_iter().map(|(sequence, _)| sequence).collect();
    assert!(sequences.iter().copied().eq(1..=1001));
    spool.release_before(1).unwrap();
    assert_eq!(files(dir.path()), all);
    spool.release_before(u64::MAX).unwrap();
    assert_eq!(files(dir.path()), all[all.len() - 1..]);
    assert_eq!(spool.usage().0, std::fs::metadata(&all[all.len() - 1]).unwrap().len());
    drop(spool);
    let spool = open(dir.path());
    assert_eq!(spool.append(&denied()).unwrap().sequence(), 1004);
}

/// What was read stays for a restart, but not in the way of what is still to come.
#[test]
fn what_was_read_is_kept_as_long_as_nothing_needs_its_room() {
    let dir = tempfile::tempdir().unwrap();
    let limit = 1 << 20;
    let spool = open_with(SpoolOptions { segment_bytes: 1, ..options(dir.path(), limit) }).unwrap();
    let keep = Keep::for_a_restart(limit);
    while spool.usage().0 <= limit / 2 {
        let _receipt = spool.append(&denied()).unwrap();
    }
    let all = files(dir.path());
    segment::release_before(dir.path(), 1, keep).unwrap();
    assert_eq!(files(dir.path()), all, "what was not read is never released");
    segment::release_before(dir.path(), u64::MAX, keep).unwrap();
    assert_eq!(files(dir.path()), all[1..]);
    segment::release_before(dir.path(), u64::MAX, keep).unwrap();
    assert_eq!(files(dir.path()), all[1..]);
}

#[test]
fn an_empty_newest_segment_continues_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().unwrap();
    std::fs::write(dir.path().join(format!("{:020}.spool", 3)), "").unwrap();
    open(dir.path()).close().unwrap();
    assert_eq!(story(dir.path())[2..], ["3 system.started", "4 system.stopped"]);
}

#[test]
fn a_directory_has_one_producer() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let Err(second) = open_with(options(dir.path(), BIG)) else { panic!("two producers") };
    assert!(second.to_string().ends_with("is in use by another process"), "{second}");
    drop(first);
    let _third = open(dir.path());
}

#[test]
fn producers_of_one_spool_get_one_order() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let receipts: Vec<_> = (0..200).map(|_| spool.append(&denied()).unwrap().sequence()).collect();
                assert!(receipts.is_sorted());
            });
        }
    });
    let sequences: Vec<u64> = events(dir.path()).into_iter().map(|(sequence, _)| sequence).collect();
    assert!(sequences.iter().copied().eq(1..=801));
}

#[tokio::test]
async fn the_loop_syncs_and_ends_with_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Arc::new(open(dir.path()));
    let running = tokio::spawn(sync_loop(Arc::clone(&spool)));
    let _receipt = spool.append(&denied()).unwrap();
    spool.close().unwrap();
    running.await.unwrap();
}

/// A flood from one address against a small spool: what is authorised still has room, and every
/// refusal is told or counted.
#[tokio::test]
async fn what_is_placed_is_written_together_by_whoever_waits_first() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    let [first, second] = [(); 2].map(|()| spool.place(&denied()).unwrap());
    assert_eq!(story(dir.path()), ["1 system.started"], "nobody waited");
    let receipt = spool.written(second).await.unwrap();
    assert_eq!(receipt.sequence(), 3);
    assert_eq!(story(dir.path()), ["1 system.started", "2 execution.denied", "3 execution.denied"]);
    let waiting = spool.place(&denied()).unwrap();
    let _receipt = spool.append(&event(EventKind::ExecutionReserved)).unwrap();
    assert_eq!(story(dir.path())[3..], ["4 execution.denied", "5 execution.reserved"], "in the order of their places");
    assert_eq!(spool.written(first).await.unwrap().sequence(), 2);
    assert_eq!(spool.written(waiting).await.unwrap().sequence(), 4);
    is_a_chain(dir.path());
}

#[tokio::test]
async fn a_batch_that_cannot_be_written_is_lost_whole_and_declared() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let place = dir.path().join("spool");
    let small = SpoolOptions { segment_bytes: 0, ..options(&place, BIG) };
    let spool = open_counted(small, &metrics).unwrap();
    let before = files(&place);
    // Behind a full segment comes a new one, and there is no place to begin it.
    let (segment, mut used) = ((record::BODY_MAX + record::HEADER) as u64, 0);
    while 2 * spool.usage().0 - used <= segment {
        used = spool.usage().0;
        let _receipt = spool.append(&denied()).unwrap();
    }
    let away = dir.path().join("away");
    std::fs::rename(&place, &away).unwrap();
    let next = spool.next();
    for _ in 0..3 {
        let placed = spool.place(&denied()).unwrap();
        assert!(matches!(spool.written(placed).await, Err(SpoolError::Io { doing: "begin a segment", .. })));
    }
    assert_eq!((spool.next(), gaps(&metrics, "write_failed")), (next, 3));
    std::fs::rename(&away, &place).unwrap();
    let _receipt = spool.append(&denied()).unwrap();
    assert_eq!(files(&place).len(), before.len() + 1);
    let gap = events(&place).into_iter().find(|(_, event)| event["type"] == "io.permyx.evidence.gap.v1").unwrap();
    assert_eq!((gap.0, &gap.1["data"]["count"]), (next, &3.into()));
    is_a_chain(&place);
}

#[test]
fn a_flood_leaves_room_and_its_counts_are_exact() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let metrics = Arc::new(Metrics::new().unwrap());
    let spool = Spool::open(options(dir.path(), 512 << 10), clock.clone(), Arc::clone(&metrics)).unwrap();
    let attacker = Caller::at("192.0.2.1".parse().unwrap());
    for second in 0..50 {
        for _ in 0..2000 {
            spool.append_or_fold(&denied(), attacker.clone(), Foldable::Always).unwrap();
        }
        for _ in 0..2 {
            let _receipt = spool.append(&event(EventKind::ExecutionReserved)).unwrap();
            let _receipt = spool.append(&event(EventKind::ExecutionValidated)).unwrap();
        }
        clock.advance(1000 + second);
    }
    spool.close().unwrap();
    let refusals = events(dir.path()).into_iter().filter(|(_, event)| event["data"]["eventType"] == "execution.denied");
    let told: u64 = refusals.map(|(_, event)| event["data"]["count"].as_u64().unwrap_or(1)).sum();
    assert_eq!(told, 50 * 2000);
    assert!(metrics.evidence_folded.get() > 49 * 2000);
}

#[test]
fn while_there_is_room_requests_without_a_token_are_told_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_with(options(dir.path(), 1 << 20)).unwrap();
    let shoppers = Caller::at("192.0.2.1".parse().unwrap());
    let observed = event(EventKind::ExecutionObserved);
    let pass = || spool.append_or_fold(&observed, shoppers.clone(), Foldable::UnderPressure).unwrap();
    for _ in 0..100 {
        assert!(pass().is_some());
    }
    while spool.usage().0 <= 1 << 19 {
        let _receipt = spool.append(&denied()).unwrap();
    }
    assert!(pass().is_some());
    assert!(pass().is_none());
}

#[tokio::test]
async fn strict_waits_for_the_disk_and_a_failed_disk_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Arc::new(open_with(SpoolOptions { class: Class::Strict, ..options(dir.path(), BIG) }).unwrap());
    let receipt = spool.append(&denied()).unwrap();
    let running = tokio::spawn(sync_loop(Arc::clone(&spool)));
    spool.secure(receipt).await.unwrap();
    spool.close().unwrap();
    running.await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any text in an event, any number of runs, cut anywhere: whole records read back as they
    /// were written.
    #[test]
    fn events_read_back(texts in prop::collection::vec("\\PC{0,80}", 1..12), cut: prop::sample::Index) {
        let dir = tempfile::tempdir().unwrap();
        let spool = open(dir.path());
        let mut ends = Vec::new();
        for text in &texts {
            let mut event = denied();
            event.data.observed = Some(text.clone().into());
            let _receipt = spool.append(&event).unwrap();
            ends.push(spool.usage().0);
        }
        drop(spool);
        let file = &files(dir.path())[0];
        let content = std::fs::read(file).unwrap();
        let cut = cut.index(content.len() + 1);
        std::fs::write(file, &content[..cut]).unwrap();
        drop(open(dir.path()));
        let whole = ends.iter().filter(|end| **end <= cut as u64).count();
        let read: Vec<_> = events(dir.path()).into_iter().filter(|(_, event)| event["data"]["eventType"] == "execution.denied").collect();
        prop_assert_eq!(read.len(), whole);
        for ((_, event), text) in read.iter().zip(&texts) {
            prop_assert_eq!(event["data"]["observed"].as_str(), Some(text.as_str()));
        }
    }
}
