use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use uuid::Uuid;

use super::record;
use super::store::{self, Hole, HoleCause, Writer};
use super::tail::{Place, Read, Tail};
use super::*;
use crate::clock::Clock;
use crate::model::event::{Event, EventKind, Link};
use crate::model::ids::{AgentId, Jti, StoreId, TraceId};
use crate::model::intent::Sha256;
use crate::model::reason::ReasonCode;
use crate::model::time::Timestamp;
use crate::telemetry::metrics::Metrics;

const NOW: Timestamp = Timestamp::of_millis(1_795_000_000_123);

fn open_spool(dir: &Path, source: &str) -> Spool {
    let options = SpoolOptions {
        dir: dir.to_owned(),
        source: source.to_owned(),
        limit_bytes: 1 << 30,
        segment_bytes: 1,
        class: Class::Spool,
    };
    Spool::open(options, Clock::manual(NOW), Arc::new(Metrics::new().unwrap())).unwrap()
}

fn store_of(name: &str) -> StoreId {
    StoreId::parse(name).unwrap()
}

fn event(kind: EventKind, store: &str) -> Event {
    let mut event = Event::new(kind, NOW, TraceId::random()).of_token(Jti::random());
    event.data.store_id = Some(store_of(store));
    event
}

fn denied(store: &str) -> Event {
    event(EventKind::ExecutionDenied, store)
}

/// A store in a directory of its own, and the means to fill it.
struct Setting {
    dir: tempfile::TempDir,
    metrics: Arc<Metrics>,
}

impl Setting {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), metrics: Arc::new(Metrics::new().unwrap()) }
    }

    fn spool(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self) -> (Store, Writer) {
        store::open(&self.dir.path().join("evidence.db")).unwrap()
    }

    /// Follows these spools until the store has what they hold.
    fn take(&self, spools: &[&str], consumed: Consumed) -> Store {
        let (store, writer) = self.open();
        self.start(writer, spools, consumed).stop();
        store
    }

    fn start(&self, writer: Writer, spools: &[&str], consumed: Consumed) -> Follower {
        let spools = spools.iter().map(|name| Followed { dir: self.spool(name), consumed }).collect();
        Follower::start(writer, spools, None, Clock::manual(NOW), Arc::clone(&self.metrics)).unwrap()
    }

    fn gaps(&self, cause: &str) -> u64 {
        self.metrics.evidence_gaps.with_label_values(&[cause]).get()
    }
}

fn all(store: &Store) -> Vec<StoredEvent> {
    store.events(&Filter::default(), 0, LIMIT_MAX).unwrap()
}

/// `<source> <sequence> <type>` of every event in the order of the log.
fn story(store: &Store) -> Vec<String> {
    let line = |event: &StoredEvent| {
        let value: serde_json::Value = serde_json::from_str(&event.body).unwrap();
        let sequence: u64 = value["sequence"].as_str().unwrap().parse().unwrap();
        let body = event.read().unwrap();
        let (producer, _stream) = body.source.rsplit_once('/').unwrap();
        format!("{producer} {sequence} {}", body.name())
    };
    all(store).iter().map(line).collect()
}

fn newest_segment(dir: &Path) -> PathBuf {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "spool")).max().unwrap()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within ten seconds");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

#[test]
fn events_of_two_spools_arrive_once_with_their_exact_bytes() {
    let setting = Setting::new();
    let (a, b) = (open_spool(&setting.spool("a"), "/gateways/a"), open_spool(&setting.spool("b"), "/gateways/b"));
    let _receipts = (a.append(&denied("s")).unwrap(), b.append(&denied("s")).unwrap());
    a.close().unwrap();
    let store = setting.take(&["a", "b", "not-there"], Consumed::Kept);
    let mut expected = ["a 1 system.started", "a 2 execution.denied", "a 3 system.stopped", "b 1 system.started"]
        .map(|line| format!("/gateways/{line}"))
        .to_vec();
    expected.push("/gateways/b 2 execution.denied".to_owned());
    assert_eq!(story(&store), expected);
    let written = std::fs::read(newest_segment(&setting.spool("b"))).unwrap();
    assert!(written.windows(all(&store)[4].body.len()).any(|bytes| bytes == all(&store)[4].body.as_bytes()));

    b.close().unwrap();
    expected.push("/gateways/b 3 system.stopped".to_owned());
    let store = setting.take(&["a", "b"], Consumed::Kept);
    assert_eq!(story(&store), expected);
    assert_eq!((store.size().unwrap(), store.missing().unwrap()), (6, 0));
}

#[test]
fn a_running_follower_keeps_up() {
    let setting = Setting::new();
    let spool = open_spool(&setting.spool("a"), "/a");
    let (store, writer) = setting.open();
    let follower = setting.start(writer, &["a"], Consumed::Kept);
    for round in 1..4 {
        for _ in 0..600 {
            let _receipt = spool.append(&denied("s")).unwrap();
        }
        until("the store has all", || store.size().unwrap() == 600 * round + 1);
    }
    until("nothing waits", || setting.metrics.evidence_lag.get() == 0.0);
    assert!(setting.metrics.evidence_commit.get_sample_count() >= 3);
    follower.stop();
}

#[test]
fn consumed_segments_go_only_where_they_may() {
    let setting = Setting::new();
    let spool = open_spool(&setting.spool("a"), "/a");
    for _ in 0..1000 {
        let _receipt = spool.append(&denied("s")).unwrap();
    }
    let files = || {
        std::fs::read_dir(setting.spool("a"))
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "spool"))
            .count()
    };
    let before = files();
    assert!(before > 3);
    setting.take(&["a"], Consumed::Kept);
    assert_eq!(files(), before);
    let _receipt = spool.append(&denied("s")).unwrap();
    let store = setting.take(&["a"], Consumed::ReleasedAfter(Keep::NOT_AT_ALL));
    assert_eq!((files(), store.size().unwrap(), store.missing().unwrap()), (1, 1002, 0));
}

#[test]
fn a_damaged_record_is_a_hole_and_nothing_more() {
    let setting = Setting::new();
    let dir = setting.spool("a");
    let spool = open_spool(&dir, "/a");
    let start = spool.usage().0;
    for _ in 0..4 {
        let _receipt = spool.append(&denied("s")).unwrap();
    }
    let file = newest_segment(&dir);
    let mut content = std::fs::read(&file).unwrap();
    content[usize::try_from(start).unwrap() + 30] ^= 1;
    std::fs::write(&file, content).unwrap();
    let store = setting.take(&["a"], Consumed::Kept);
    let expected = [
        "/a 1 system.started",
        "/a 3 execution.denied",
        "/a 4 execution.denied",
        "/a 5 execution.denied",
        "/log 1 evidence.gap",
    ];
    assert_eq!(story(&store), expected);
    assert_eq!((store.missing().unwrap(), setting.gaps("missing")), (1, 1));
}

#[test]
fn what_is_no_event_is_a_hole() {
    let setting = Setting::new();
    let dir = setting.spool("a");
    drop(open_spool(&dir, "/a"));
    let mut bytes = Vec::new();
    record::encode(&mut bytes, 2, |body| body.extend_from_slice(b"{}")).unwrap();
    std::fs::File::options().append(true).open(newest_segment(&dir)).unwrap().write_all(&bytes).unwrap();
    let store = setting.take(&["a"], Consumed::Kept);
    assert_eq!(story(&store), ["/a 1 system.started", "/log 1 evidence.gap"]);
    assert_eq!((store.missing().unwrap(), setting.gaps("unreadable")), (1, 1));
}

#[test]
fn a_directory_that_was_made_anew_is_another_stream() {
    let setting = Setting::new();
    open_spool(&setting.spool("a"), "/a").close().unwrap();
    setting.take(&["a"], Consumed::Kept);
    std::fs::remove_dir_all(setting.spool("a")).unwrap();
    open_spool(&setting.spool("a"), "/a").close().unwrap();
    let store = setting.take(&["a"], Consumed::Kept);
    let run = ["/a 1 system.started", "/a 2 system.stopped"];
    assert_eq!(story(&store), [run, run].concat());
}

#[test]
fn a_directory_that_was_set_back_loses_nothing_new() {
    let setting = Setting::new();
    let dir = setting.spool("a");
    open_spool(&dir, "/a").close().unwrap();
    let backup = std::fs::read(newest_segment(&dir)).unwrap();
    open_spool(&dir, "/a").close().unwrap();
    setting.take(&["a"], Consumed::Kept);
    std::fs::write(newest_segment(&dir), backup).unwrap();
    setting.take(&["a"], Consumed::Kept);
    assert_eq!(setting.gaps("went_back"), 1);
    open_spool(&dir, "/a").close().unwrap();
    let store = setting.take(&["a"], Consumed::Kept);
    let second = ["/a 3 system.started", "/a 4 system.stopped"];
    assert_eq!(story(&store)[2..], [&second[..], &["/log 1 evidence.gap"], &second[..]].concat());
}

#[test]
fn a_second_writer_is_refused_before_it_doubles_anything() {
    let setting = Setting::new();
    let (store, mut first) = setting.open();
    let (_, mut second) = setting.open();
    let identity = Uuid::new_v4();
    let mut body = Vec::new();
    denied("s").write_json(&mut body, Link::first("/a", NOW));
    let records = [Read { sequence: 1, body }];
    let mut position = first.stream(identity).unwrap();
    let mut stale = second.stream(identity).unwrap();
    assert_eq!(first.commit(&mut position, &records, NOW).unwrap(), []);
    // The unique place of the event refuses it; an empty batch is refused by the place in the stream.
    assert!(second.commit(&mut stale, &records, NOW).is_err());
    assert!(matches!(second.commit(&mut stale, &[], NOW), Err(StoreError::SecondWriter)));
    assert_eq!((store.size().unwrap(), position.next, stale.next), (1, 2, 1));
}

/// What is missing of a stream is in the log too, so that whoever verifies it knows.
#[test]
fn holes_are_told() {
    let setting = Setting::new();
    let (store, mut writer) = setting.open();
    let mut stream = writer.stream(Uuid::new_v4()).unwrap();
    let mut previous = Sha256::of(b"/a");
    let mut read = |sequence| {
        let mut body = Vec::new();
        denied("s").write_json(&mut body, Link { sequence, previous, ..Link::first("/a", NOW) });
        previous = Sha256::of_leaf(&body);
        Read { sequence, body }
    };
    let records = [read(3), read(4), read(9), read(10)];
    let forged = [read(11), read(12)];
    let holes = |holes: Vec<Hole>| holes.iter().map(|hole| (hole.from, hole.to, hole.cause)).collect::<Vec<_>>();
    let found = holes(writer.commit(&mut stream, &records, NOW).unwrap());
    assert_eq!(found, [(1, 2, HoleCause::Missing), (5, 8, HoleCause::Missing)]);
    assert_eq!((store.missing().unwrap(), stream.next), (6, 11));
    // The chain goes on from batch to batch: an event that does not name the one before it is told.
    let stands_in = Read { sequence: 11, body: forged[1].body.clone() };
    let found = holes(writer.commit(&mut stream, &[stands_in], NOW).unwrap());
    assert_eq!(found, [(11, 11, HoleCause::BrokenChain)]);
    assert_eq!(store.missing().unwrap(), 6);
    let events = store.events(&Filter::default(), 0, 100).unwrap();
    let told = events.iter().filter_map(StoredEvent::read).filter(|body| body.name() == "evidence.gap");
    let told: Vec<_> = told.map(|body| (body.data.of, body.data.from_sequence, body.data.to_sequence)).collect();
    let gap = |from, to| (Some("/a".to_owned()), Some(from), Some(to));
    assert_eq!(told, [gap(1, 2), gap(5, 8), gap(11, 11)]);
}

/// A stream belongs to whoever began it: a directory on this host, or a key.
#[test]
fn nobody_goes_on_with_the_stream_of_somebody_else() {
    let setting = Setting::new();
    let (_store, mut writer) = setting.open();
    let (local, remote) = (Uuid::new_v4(), Uuid::new_v4());
    let by = |key: &str, inherits| Producer { key: AgentId::parse(key).unwrap(), inherits };
    writer.stream(local).unwrap();
    assert!(matches!(writer.delivered(local, &by("ak_1", true), None), Err(StoreError::Local)));
    assert_eq!(writer.delivered(remote, &by("ak_1", false), None).unwrap().next, 1);
    assert!(matches!(writer.delivered(remote, &by("ak_2", false), None), Err(StoreError::Foreign(_))));
    assert!(writer.delivered(remote, &by("ak_2", true), None).is_ok());
    assert!(matches!(writer.delivered(remote, &by("ak_1", false), None), Err(StoreError::Foreign(_))));
}

#[test]
fn many_refusals_hide_no_outcome() {
    let setting = Setting::new();
    let spool = open_spool(&setting.spool("a"), "/a");
    let token = Jti::random();
    let of = |kind| {
        let mut event = Event::new(kind, NOW, TraceId::random()).of_token(token);
        event.data.store_id = Some(store_of("s"));
        event
    };
    for _ in 0..LIMIT_MAX + 5 {
        let _receipt = spool.append(&of(EventKind::ExecutionDenied)).unwrap();
    }
    let _receipt = spool.append(&of(EventKind::ExecutionValidated)).unwrap();
    let joined = setting.take(&["a"], Consumed::Kept).timeline(&token.to_string(), None).unwrap();
    assert!(joined.truncated);
    assert_eq!(joined.events.last().unwrap().read().unwrap().name(), "execution.validated");
}

#[test]
fn a_newer_schema_is_refused() {
    let setting = Setting::new();
    drop(setting.open());
    let path = setting.dir.path().join("evidence.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 7").unwrap();
    assert!(matches!(store::open(&path), Err(StoreError::Newer { found: 7, .. })));
}

/// A log of two stores, an hour of events, one each minute.
fn filled(setting: &Setting) -> Store {
    let spool = open_spool(&setting.spool("a"), "/a");
    for minute in 0..60 {
        let mut event = denied(if minute % 2 == 0 { "even" } else { "odd" });
        event.time = NOW.plus_seconds(minute * 60);
        event.data.decision = Some("denied");
        event.data.agent_id = (minute < 10).then(|| AgentId::parse("ak_1").unwrap());
        event.data.reason_code = (minute < 20).then_some(ReasonCode::NoToken);
        let _receipt = spool.append(&event).unwrap();
    }
    let _receipt = spool.append(&event(EventKind::ExecutionReserved, "even")).unwrap();
    setting.take(&["a"], Consumed::Kept)
}

#[test]
fn filters_and_pages() {
    let setting = Setting::new();
    let store = filled(&setting);
    let (odd, both) = ([store_of("odd")], [store_of("odd"), store_of("even")]);
    let count = |filter: Filter<'_>| store.events(&filter, 0, LIMIT_MAX).unwrap().len();
    assert_eq!(count(Filter::default()), 62);
    assert_eq!(count(Filter { visible: Some(&odd), ..Filter::default() }), 30);
    assert_eq!(count(Filter { visible: Some(&both), ..Filter::default() }), 61);
    assert_eq!(count(Filter { visible: Some(&[]), ..Filter::default() }), 0);
    assert_eq!(count(Filter { visible: Some(&odd), store: Some("even"), ..Filter::default() }), 0);
    assert_eq!(count(Filter { store: Some("even"), agent: Some("ak_1"), ..Filter::default() }), 5);
    assert_eq!(count(Filter { reason: Some("NO_TOKEN"), decision: Some("denied"), ..Filter::default() }), 20);
    assert_eq!(count(Filter { kind: Some("execution.reserved"), ..Filter::default() }), 1);
    let (from, to) = (Some(NOW.plus_seconds(60)), Some(NOW.plus_seconds(180)));
    assert_eq!(count(Filter { from, to, ..Filter::default() }), 2);

    let mut pages = Vec::new();
    let mut cursor = 0;
    loop {
        let page = store.events(&Filter::default(), cursor, 25).unwrap();
        let Some(last) = page.last() else { break };
        cursor = last.index;
        pages.push(page.len());
    }
    assert_eq!(pages, [25, 25, 12]);

    let newest = store.decisions(&Filter::default(), 3).unwrap();
    assert!(newest.iter().all(|event| event.read().unwrap().name() == "execution.denied"));
    assert!(newest[0].index > newest[1].index);
    let latest = store.latest(Some(&odd)).unwrap().unwrap();
    assert_eq!(latest, newest[0].read().unwrap().correlation);
    assert_eq!(store.latest(Some(&[])).unwrap(), None);
}

#[test]
fn a_timeline_joins_what_belongs_together() {
    let setting = Setting::new();
    let spool = open_spool(&setting.spool("a"), "/a");
    let (first, second, stranger) = (Jti::random(), Jti::random(), Jti::random());
    let order = |mut event: Event| {
        event.data.order_id = Some("1001".into());
        event.data.store_id = Some(store_of("s"));
        event
    };
    let about = |kind, jti| {
        let mut event = Event::new(kind, NOW, TraceId::random()).of_token(jti);
        event.data.store_id = Some(store_of("s"));
        event
    };
    // Two tokens are issued and used in one cart, which is named after the first.
    let issued = [about(EventKind::ExecutionAuthorized, first), about(EventKind::ExecutionAuthorized, second)];
    let mut of_second = about(EventKind::ExecutionValidated, second);
    of_second.correlation = first.into();
    let cart = [order(about(EventKind::ExecutionValidated, first)), of_second];
    let trace = cart[0].data.trace_id.unwrap();
    let mut elsewhere = order(about(EventKind::ExecutionValidated, stranger));
    elsewhere.data.store_id = Some(store_of("another"));
    for event in [&elsewhere, &issued[0], &issued[1], &cart[0], &cart[1], &denied("s")] {
        let _receipt = spool.append(event).unwrap();
    }
    let store = setting.take(&["a"], Consumed::Kept);
    let indices = |id: &str, visible: Option<&[StoreId]>| -> Vec<u64> {
        store.timeline(id, visible).unwrap().events.iter().map(|event| event.index).collect()
    };
    let whole = vec![3, 4, 5, 6];
    for id in [first.to_string(), second.to_string(), format!("exec_{first}"), trace.to_string(), "1001".to_owned()] {
        assert_eq!(indices(&id, None), whole, "{id}");
        assert_eq!(indices(&id, Some(&[store_of("s")])), whole, "{id}");
    }
    assert_eq!(indices(&first.to_string(), Some(&[store_of("another")])), [0_u64; 0]);
    assert_eq!(indices("1001", Some(&[store_of("another")])), [2]);
    for unknown in ["", "nothing", "exec_", "trc_00000000000000000000000000000000", &Jti::random().to_string()] {
        assert_eq!(indices(unknown, None), [0_u64; 0], "{unknown}");
    }
}

#[test]
fn a_timeline_has_a_length() {
    let setting = Setting::new();
    let spool = open_spool(&setting.spool("a"), "/a");
    let jti = Jti::random();
    for _ in 0..=LIMIT_MAX {
        let event = Event::new(EventKind::ExecutionReplayDetected, NOW, TraceId::random()).of_token(jti);
        let _receipt = spool.append(&event).unwrap();
    }
    let store = setting.take(&["a"], Consumed::Kept);
    let joined = store.timeline(&jti.to_string(), None).unwrap();
    assert_eq!((joined.events.len(), joined.truncated), (LIMIT_MAX, true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A reader that looks while the file grows by any number of bytes sees every record once.
    #[test]
    fn a_growing_file_is_read_record_by_record(sizes in prop::collection::vec(1usize..300, 1..30), steps in prop::collection::vec(1usize..200, 1..200), room in 1usize..5) {
        let dir = tempfile::tempdir().unwrap();
        let mut whole = Vec::new();
        for (sequence, size) in (1..).zip(&sizes) {
            let mut one = Vec::new();
            record::encode(&mut one, sequence, |body| body.extend(std::iter::repeat_n(b'x', *size))).unwrap();
            whole.extend(one);
        }
        let mut file = std::fs::File::create(dir.path().join(format!("{:020}.spool", 1))).unwrap();
        let mut tail = Tail::new(dir.path().to_owned(), 1, Keep::NOT_AT_ALL);
        let mut read = Vec::new();
        let mut rest = whole.as_slice();
        for step in steps.into_iter().chain([whole.len()]) {
            let (now, later) = rest.split_at(step.min(rest.len()));
            file.write_all(now).unwrap();
            rest = later;
            while tail.read(room, &mut read).unwrap() == Place::Within {}
        }
        let found: Vec<_> = read.iter().map(|record| (record.sequence, record.body.len())).collect();
        let written: Vec<_> = (1..).zip(sizes).collect();
        prop_assert_eq!(found, written);
    }
}
