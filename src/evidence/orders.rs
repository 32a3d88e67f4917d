//! Orders in the store: what joins them to executions, and who told of them.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Statement, Transaction, params};
use uuid::Uuid;

use super::query::{Conditions, Filter, LIMIT_MAX, NO_REFUSAL, json, with_shared_tokens};
use super::store::{Store, StoreError};
use super::stored::{Body, StoredEvent};
use crate::model::event::EventKind;
use crate::model::ids::StoreId;
use crate::model::time::Timestamp;

pub(super) const SCHEMA: &str = include_str!("orders.sql");
/// How far apart in time an order and a sighting of it may be.
const NEAR_S: i64 = 600;
/// Most executions or orders that one question finds.
const FOUND_MAX: usize = 64;

/// Fills the tables that find orders, in the transaction that takes their events.
pub(super) struct Index<'t> {
    refs: Statement<'t>,
    sightings: Statement<'t>,
}

impl<'t> Index<'t> {
    pub(super) fn new(transaction: &'t Transaction<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            refs: transaction.prepare("INSERT OR IGNORE INTO refs VALUES (?1, ?2)")?,
            sightings: transaction.prepare("INSERT OR IGNORE INTO sightings VALUES (?1, ?2, ?3, ?4, ?5)")?,
        })
    }

    pub(super) fn add(&mut self, idx: i64, body: &Body<'_>, time: Timestamp) -> rusqlite::Result<()> {
        let data = &body.data;
        for name in data.refs.iter().copied().chain(data.carried).chain(data.delivery) {
            self.refs.execute(params![name, idx])?;
        }
        let bought = data.store_id.zip(data.variant_id.as_deref()).zip(data.quantity);
        let sighted = body.kind() == Some(EventKind::ExecutionObserved) && data.token_id.is_none();
        if let Some(((store, variant), quantity)) = bought.filter(|_| sighted) {
            self.sightings.execute(params![store, variant, quantity, time.millis(), idx])?;
        }
        Ok(())
    }
}

/// What an order says that could join it to an execution.
#[derive(Clone, Default, Debug)]
pub struct Clues {
    pub store: String,
    pub order: String,
    /// Digests of carts, checkouts and sessions.
    pub refs: BTreeSet<String>,
    /// Executions and traces of ours that it carries.
    pub carried: BTreeSet<String>,
    /// What was bought, and when, where it was one kind of thing.
    pub bought: Option<(String, u32, Timestamp)>,
}

impl Store {
    /// What the log holds about an order: what the store told, and what was judged.
    pub fn order(&self, store: &str, order: &str) -> Result<Vec<StoredEvent>, StoreError> {
        let mut wanted = Conditions::default();
        wanted.add("order_id = ?", order.to_owned());
        wanted.add("+store = ?", store.to_owned());
        self.read(|at| wanted.select(at, "idx ASC", LIMIT_MAX))
    }

    /// All events of the executions that an order may be.
    pub fn candidates(&self, clues: &Clues) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(|at| {
            let snapshot = at.unchecked_transaction()?;
            let mut found = named(&snapshot, clues)?;
            if let Some((variant, quantity, time)) = &clues.bought {
                found.extend(sighted(&snapshot, &clues.store, variant, *quantity, *time)?);
            }
            let joined = with_shared_tokens(&snapshot, found)?;
            let mut wanted = Conditions::default();
            wanted.add("corr IN (SELECT value FROM json_each(?))", json(&joined));
            wanted.add("+store = ?", clues.store.clone());
            wanted.add_text(NO_REFUSAL);
            wanted.select(&snapshot, "idx ASC", LIMIT_MAX)
        })
    }

    /// The orders of a store that carry or refer to one of these names.
    pub fn orders_naming(&self, store: &str, names: &BTreeSet<String>) -> Result<BTreeSet<String>, StoreError> {
        let mut wanted = Conditions::default();
        wanted.add_text("+type GLOB 'order.*' AND +order_id IS NOT NULL");
        wanted.add("+store = ?", store.to_owned());
        wanted.add("idx IN (SELECT idx FROM refs WHERE ref IN (SELECT value FROM json_each(?)))", json(names));
        self.read(|at| wanted.distinct(at, "order_id"))
    }

    /// The orders of a store that were made about this time.
    pub fn orders_near(&self, store: &str, time: Timestamp) -> Result<BTreeSet<String>, StoreError> {
        let mut wanted = Conditions::default();
        wanted.add_text("type = 'order.observed'");
        wanted.add("store = ?", store.to_owned());
        wanted.add("t_ms >= ?", time.plus_seconds(-NEAR_S).millis());
        wanted.add("t_ms <= ?", time.plus_seconds(NEAR_S).millis());
        self.read(|at| wanted.distinct(at, "order_id"))
    }

    /// True when a delivery with this digest told of the order before.
    pub fn has_delivery(&self, digest: &str) -> Result<bool, StoreError> {
        let known = "SELECT 1 FROM refs WHERE ref = ?1 LIMIT 1";
        self.read(|at| at.query_row(known, [digest], |_| Ok(())).optional()).map(|found| found.is_some())
    }

    /// The next sequence that the store wants of the stream with this name.
    pub fn wants(&self, stream: &str) -> Result<u64, StoreError> {
        let identity = Uuid::try_parse(stream).unwrap_or_default().to_string();
        let newest = "SELECT next_seq FROM streams WHERE identity = ?1 ORDER BY generation DESC LIMIT 1";
        let found = self.read(|at| at.query_row(newest, [identity], |row| row.get::<_, i64>(0)).optional())?;
        Ok(found.map_or(1, i64::unsigned_abs))
    }

    /// The newest judgements of orders first, at most `limit`.
    pub fn judgements(&self, visible: Option<&[StoreId]>, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let kinds = [EventKind::OrderCorrelated, EventKind::OrderUnmatched, EventKind::OrderCorrelationRevised];
        let mut found = Vec::new();
        // Each kind by itself is walked back from its newest; all at once they would be sorted.
        for kind in kinds.map(EventKind::name) {
            let wanted = Conditions::of(&Filter { visible, kind: Some(kind), ..Filter::default() });
            found.extend(self.read(|at| wanted.select(at, "idx DESC", limit.min(LIMIT_MAX)))?);
        }
        found.sort_by_key(|event| std::cmp::Reverse(event.index));
        found.truncate(limit);
        Ok(found)
    }

    /// Events that tell what became of orders, commits and tokens, after the index `cursor`.
    pub fn accounts(&self, filter: &Filter<'_>, cursor: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let mut wanted = Conditions::of(filter);
        wanted.add("idx > ?", i64::try_from(cursor).unwrap_or(i64::MAX));
        wanted.add_text(
            "(+type GLOB 'order.*' OR +type = 'attribution.ingested' OR +type IN ('execution.validated',
             'execution.indeterminate', 'execution.resolved', 'execution.observed', 'execution.bypassed',
             'execution.replay_detected'))",
        );
        self.read(|at| wanted.select(at, "idx ASC", limit.min(LIMIT_MAX)))
    }

    /// Events about orders and executions after the index `cursor`, at most `limit`, and the index up
    /// to which was looked.
    pub fn unreconciled(&self, cursor: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let mut wanted = Conditions::default();
        wanted.add("idx > ?", i64::try_from(cursor).unwrap_or(i64::MAX));
        wanted.add_text("(+type GLOB 'execution.*' OR +type GLOB 'order.*' OR +type = 'attribution.ingested')");
        self.read(|at| wanted.select(at, "idx ASC", limit.min(LIMIT_MAX)))
    }
}

/// The executions that an order names: by what it carries, by its id, by its cart.
fn named(at: &Connection, clues: &Clues) -> rusqlite::Result<BTreeSet<String>> {
    let (executions, traces): (BTreeSet<_>, BTreeSet<_>) =
        clues.carried.iter().cloned().partition(|name| name.starts_with("exec_"));
    let mut found = executions;
    for (condition, names) in [
        ("trace IN (SELECT value FROM json_each(?))", &traces),
        ("order_id IN (SELECT value FROM json_each(?))", &BTreeSet::from([clues.order.clone()])),
        ("idx IN (SELECT idx FROM refs WHERE ref IN (SELECT value FROM json_each(?)))", &clues.refs),
    ] {
        let mut wanted = Conditions::default();
        wanted.add(condition, json(names));
        wanted.add("+store = ?", clues.store.clone());
        found.extend(wanted.distinct(at, "corr")?);
    }
    Ok(found)
}

fn sighted(
    at: &Connection,
    store: &str,
    variant: &str,
    quantity: u32,
    time: Timestamp,
) -> rusqlite::Result<Vec<String>> {
    let sql = format!(
        "SELECT e.corr FROM sightings s JOIN events e ON e.idx = s.idx WHERE s.store = ?1 AND s.variant = ?2
         AND s.quantity = ?3 AND s.t_ms BETWEEN ?4 AND ?5 ORDER BY s.t_ms LIMIT {FOUND_MAX}"
    );
    let (from, to) = (time.plus_seconds(-NEAR_S).millis(), time.plus_seconds(NEAR_S).millis());
    let mut statement = at.prepare(&sql)?;
    statement.query_map(params![store, variant, quantity, from, to], |row| row.get(0))?.collect()
}

/// Adds the executions that have an order or a cart in common with these.
pub(super) fn with_same_purchase(at: &Connection, mut joined: BTreeSet<String>) -> rusqlite::Result<BTreeSet<String>> {
    let these = json(&joined);
    let same = [
        "idx IN (SELECT e.idx FROM events o JOIN events e ON e.order_id = o.order_id AND e.store IS o.store
                 WHERE o.corr IN (SELECT value FROM json_each(?)) AND o.order_id IS NOT NULL)",
        "idx IN (SELECT other.idx FROM events e JOIN refs r ON r.idx = e.idx JOIN refs other ON other.ref = r.ref
                 WHERE e.corr IN (SELECT value FROM json_each(?)))",
    ];
    for condition in same {
        let mut wanted = Conditions::default();
        wanted.add(condition, these.clone());
        joined.extend(wanted.distinct(at, "corr")?);
    }
    Ok(joined)
}
