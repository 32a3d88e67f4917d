use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::store::{self, Writer};
use super::*;
use crate::clock::Clock;
use crate::model::event::{Event, EventKind};
use crate::model::ids::{StoreId, TraceId};
use crate::model::intent::Sha256;
use crate::model::time::Timestamp;
use crate::telemetry::metrics::Metrics;

const NOW: Timestamp = Timestamp::of_millis(1_795_000_000_123);

fn event(kind: EventKind, second: i64) -> Event {
    let mut event = Event::new(kind, NOW.plus_seconds(second), TraceId::random());
    event.data.store_id = Some(StoreId::parse("s").unwrap());
    event
}

fn sighting(second: i64, variant: &'static str, quantity: u32) -> Event {
    let mut event = event(EventKind::ExecutionObserved, second);
    event.data.variant_id = Some(variant.into());
    event.data.quantity = Some(quantity);
    event
}

/// A store that holds these events, and the spool that they came by.
fn filled(dir: &Path, events: &[Event]) -> (Store, Spool) {
    let (clock, metrics) = (Clock::manual(NOW), Arc::new(Metrics::new().unwrap()));
    let place = dir.join("spool");
    let options = SpoolOptions {
        dir: place.clone(),
        source: "/a".to_owned(),
        limit_bytes: 1 << 30,
        segment_bytes: 1 << 20,
        class: Class::Spool,
    };
    let spool = Spool::open(options, clock.clone(), metrics.clone()).unwrap();
    for event in events {
        let _receipt = spool.append(event).unwrap();
    }
    let (store, writer): (Store, Writer) = store::open(&dir.join("evidence.db")).unwrap();
    let followed = vec![Followed { dir: place, consumed: Consumed::Kept }];
    Follower::start(writer, followed, None, clock, metrics).unwrap().stop();
    (store, spool)
}

fn correlations(events: &[StoredEvent]) -> BTreeSet<String> {
    events.iter().map(|event| event.read().unwrap().correlation.to_owned()).collect()
}

#[test]
fn an_order_finds_executions_by_what_it_carries_by_its_cart_and_by_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let by_trace = event(EventKind::ExecutionObserved, 0);
    let mut by_cart = event(EventKind::ExecutionObserved, 0);
    by_cart.data.refs = vec![Sha256::of(b"cart")];
    let mut by_answer = event(EventKind::OrderObserved, 0);
    by_answer.data.order_id = Some("1001".into());
    let stranger = event(EventKind::ExecutionObserved, 0);
    let (store, _spool) = filled(dir.path(), &[by_trace.clone(), by_cart.clone(), by_answer.clone(), stranger]);
    let clues = Clues {
        store: "s".to_owned(),
        order: "1001".to_owned(),
        refs: BTreeSet::from([Sha256::of(b"cart").to_string()]),
        carried: BTreeSet::from([by_trace.data.trace_id.unwrap().to_string()]),
        bought: None,
    };
    let expected = [&by_trace, &by_cart, &by_answer].map(|event| event.correlation.to_string());
    assert_eq!(correlations(&store.candidates(&clues).unwrap()), BTreeSet::from(expected));
    // The same names in another store are other things.
    assert!(store.candidates(&Clues { store: "other".to_owned(), ..clues }).unwrap().is_empty());
}

#[test]
fn a_sighting_is_found_within_ten_minutes_and_by_exactly_what_was_bought() {
    let dir = tempfile::tempdir().unwrap();
    let near = [sighting(600, "mug", 1), sighting(-600, "mug", 1)];
    let far = [sighting(601, "mug", 1), sighting(0, "mug", 2), sighting(0, "hat", 1)];
    let (store, _spool) = filled(dir.path(), &[near.to_vec(), far.to_vec()].concat());
    let bought = Some(("mug".to_owned(), 1, NOW));
    let found = store.candidates(&Clues { store: "s".to_owned(), bought, ..Clues::default() }).unwrap();
    assert_eq!(correlations(&found), near.map(|event| event.correlation.to_string()).into());
}

#[test]
fn orders_are_found_from_the_other_side_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut order = event(EventKind::OrderObserved, 0);
    order.data.order_id = Some("1001".into());
    order.data.carried = Some("trc_1".into());
    order.data.delivery = Some(Sha256::of(b"body"));
    let (store, _spool) = filled(dir.path(), &[order]);
    let names = |name: &str| store.orders_naming("s", &BTreeSet::from([name.to_owned()])).unwrap();
    assert_eq!(names("trc_1"), BTreeSet::from(["1001".to_owned()]));
    assert_eq!(names("trc_2"), BTreeSet::new());
    assert_eq!(store.orders_near("s", NOW.plus_seconds(600)).unwrap().len(), 1);
    assert_eq!(store.orders_near("s", NOW.plus_seconds(601)).unwrap().len(), 0);
    assert!(store.has_delivery(&Sha256::of(b"body").to_string()).unwrap());
    assert!(!store.has_delivery(&Sha256::of(b"another").to_string()).unwrap());
}

#[test]
fn a_store_of_the_first_schema_is_brought_forward_with_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("evidence.db");
    let (_store, spool) = filled(dir.path(), &[sighting(0, "mug", 1)]);
    spool.close().unwrap();
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(
        "DROP TABLE refs; DROP TABLE sightings; DROP INDEX events_order_time; DROP TABLE logs; DROP INDEX events_id;
         ALTER TABLE streams DROP COLUMN producer; ALTER TABLE streams DROP COLUMN source;
         ALTER TABLE streams DROP COLUMN last_leaf; PRAGMA user_version = 1",
    )
    .unwrap();
    drop(old);
    let (store, _writer) = store::open(&path).unwrap();
    let bought = Some(("mug".to_owned(), 1, NOW));
    assert_eq!(store.candidates(&Clues { store: "s".to_owned(), bought, ..Clues::default() }).unwrap().len(), 1);
}
