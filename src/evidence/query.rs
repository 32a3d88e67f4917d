//! What is asked of the store.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row, ToSql};

use super::orders::with_same_purchase;
use super::store::{Store, StoreError};
use super::stored::StoredEvent;
use crate::model::event::EventKind;
use crate::model::ids::{Jti, StoreId, TraceId};
use crate::model::time::Timestamp;

/// Most events that one query answers.
pub const LIMIT_MAX: usize = 1000;
/// The events of which a caller can make as many as it likes, and the others.
pub(super) const REFUSAL: &str =
    "+type IN ('execution.denied', 'execution.expired', 'execution.replay_detected', 'execution.retried')";
pub(super) const NO_REFUSAL: &str =
    "+type NOT IN ('execution.denied', 'execution.expired', 'execution.replay_detected', 'execution.retried')";
/// Most executions that one timeline joins.
const JOINED_MAX: usize = 64;

/// Which events are asked for. An absent member excludes nothing.
#[derive(Clone, Copy, Default, Debug)]
pub struct Filter<'a> {
    /// The stores that the caller may see; `None` is all, and also events of no store.
    pub visible: Option<&'a [StoreId]>,
    pub store: Option<&'a str>,
    /// Short name of the type (`execution.denied`).
    pub kind: Option<&'a str>,
    /// Only these kinds; of an empty list, all.
    pub kinds: &'a [EventKind],
    pub decision: Option<&'a str>,
    pub reason: Option<&'a str>,
    pub agent: Option<&'a str>,
    /// First instant.
    pub from: Option<Timestamp>,
    /// First instant that is not wanted any more.
    pub to: Option<Timestamp>,
}

/// Events of joined executions.
#[derive(Clone, Default, Debug)]
pub struct Joined {
    /// In the order of the log.
    pub events: Vec<StoredEvent>,
    /// True when there are more than [`LIMIT_MAX`]; the first ones are here.
    pub truncated: bool,
}

impl Store {
    /// Events after the index `cursor`, in the order of the log, at most `limit`.
    pub fn events(&self, filter: &Filter<'_>, cursor: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let mut wanted = Conditions::of(filter);
        wanted.add("idx > ?", i64::try_from(cursor).unwrap_or(i64::MAX));
        self.select(&wanted, "idx ASC", limit)
    }

    /// The newest decisions and outcomes first, at most `limit`.
    pub fn decisions(&self, filter: &Filter<'_>, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let mut wanted = Conditions::of(filter);
        // A reservation is the first half of what `validated`, `released` or `indeterminate` tells.
        // The plus keeps SQLite from sorting all executions instead of walking back from the newest.
        wanted.add_text("+type GLOB 'execution.*' AND +type <> 'execution.reserved'");
        self.select(&wanted, "idx DESC", limit)
    }

    /// The execution (`exec_…`) that was last heard of.
    pub fn latest(&self, visible: Option<&[StoreId]>) -> Result<Option<String>, StoreError> {
        let newest = self.decisions(&Filter { visible, ..Filter::default() }, 1)?;
        Ok(newest.first().and_then(|event| event.read().map(|body| body.correlation.to_owned())))
    }

    /// All events of the executions that `id` names: a trace, the jti of a token, an execution
    /// (`exec_…`), an order, the digest of a cart, or `last`. Tokens that were used together are joined,
    /// with their issue, and so are executions of the same order or cart.
    pub fn timeline(&self, id: &str, visible: Option<&[StoreId]>) -> Result<Joined, StoreError> {
        let latest = if id == "last" { self.latest(visible)? } else { None };
        let id = latest.as_deref().unwrap_or(id);
        self.read(|connection| {
            // One state of the log for all queries of this call.
            let snapshot = connection.unchecked_transaction()?;
            let named = executions_of(&snapshot, id, visible)?;
            let joined = with_shared_tokens(&snapshot, named)?;
            let joined = with_shared_tokens(&snapshot, with_same_purchase(&snapshot, joined)?)?;
            // What was decided and came of it first: refusals, of which anybody can make many, hide none of it.
            let mut events = Vec::new();
            for sort in [NO_REFUSAL, REFUSAL] {
                let mut wanted = Conditions::of(&Filter { visible, ..Filter::default() });
                wanted.add("corr IN (SELECT value FROM json_each(?))", json(&joined));
                wanted.add_text(sort);
                events.extend(wanted.select(&snapshot, "idx ASC", LIMIT_MAX + 1)?);
            }
            let truncated = events.len() > LIMIT_MAX;
            events.truncate(LIMIT_MAX);
            events.sort_by_key(|event| event.index);
            Ok(Joined { events, truncated })
        })
    }

    /// One event, by its id or its index.
    pub fn event(&self, id: &str, visible: Option<&[StoreId]>) -> Result<Option<StoredEvent>, StoreError> {
        let mut wanted = Conditions::of(&Filter { visible, ..Filter::default() });
        match id.parse::<i64>() {
            Ok(index) => wanted.add("idx = ?", index),
            Err(_) => wanted.add("id = ?", id.to_owned()),
        }
        Ok(self.select(&wanted, "idx ASC", 1)?.pop())
    }

    /// How many events the log holds.
    pub fn size(&self) -> Result<u64, StoreError> {
        let newest = "SELECT coalesce(max(idx), 0) FROM events";
        self.read(|connection| connection.query_row(newest, [], |row| row.get::<_, i64>(0))).map(i64::unsigned_abs)
    }

    /// How many records are known to be missing.
    pub fn missing(&self) -> Result<u64, StoreError> {
        let sum =
            "SELECT coalesce(sum(min(to_seq - from_seq + 1, 1 << 40)), 0) FROM gaps WHERE cause <> 'broken_chain'";
        self.read(|connection| connection.query_row(sum, [], |row| row.get::<_, i64>(0))).map(i64::unsigned_abs)
    }

    fn select(&self, wanted: &Conditions, order: &str, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(|connection| wanted.select(connection, order, limit.min(LIMIT_MAX)))
    }
}

/// The executions that an id names directly.
fn executions_of(at: &Connection, id: &str, visible: Option<&[StoreId]>) -> rusqlite::Result<BTreeSet<String>> {
    let mut wanted = Conditions::of(&Filter { visible, ..Filter::default() });
    if id.starts_with("exec_") {
        return Ok(BTreeSet::from([id.to_owned()]));
    } else if let Some(jti) = Jti::parse(id) {
        return Ok(BTreeSet::from([format!("exec_{jti}")]));
    } else if let Some(trace) = TraceId::parse(id) {
        wanted.add("trace = ?", trace.to_string());
    } else if id.starts_with("sha256:") {
        wanted.add("idx IN (SELECT idx FROM refs WHERE ref = ?)", id.to_owned());
    } else {
        wanted.add("order_id = ?", id.to_owned());
        if let Some(newest) = wanted.select(at, "idx DESC", 1)?.first().and_then(|event| event.read()) {
            // Two stores may both have an order 1001; the one that was heard of last is meant.
            wanted.add("store IS ?", newest.data.store_id.map(str::to_owned));
        }
    }
    wanted.distinct(at, "corr")
}

/// Adds the executions that share a token with these: a cart of several tokens is named after its
/// first, and each token was issued in an execution of its own name.
pub(super) fn with_shared_tokens(at: &Connection, mut joined: BTreeSet<String>) -> rusqlite::Result<BTreeSet<String>> {
    // From a later token of a cart to the cart's name, from there to the cart's other tokens.
    for _ in 0..2 {
        let mut in_these = Conditions::default();
        in_these.add("corr IN (SELECT value FROM json_each(?))", json(&joined));
        in_these.add_text("jti IS NOT NULL");
        let mut tokens = in_these.distinct(at, "jti")?;
        tokens.extend(joined.iter().filter_map(|corr| corr.strip_prefix("exec_").map(str::to_owned)));
        let mut used_in = Conditions::default();
        used_in.add("jti IN (SELECT value FROM json_each(?))", json(&tokens));
        used_in.add_text("jti IS NOT NULL AND 'exec_' || jti <> corr");
        joined.extend(used_in.distinct(at, "corr")?);
        joined.extend(tokens.iter().map(|jti| format!("exec_{jti}")));
    }
    Ok(joined)
}

pub(super) fn json(texts: &BTreeSet<String>) -> String {
    serde_json::json!(texts).to_string()
}

/// A conjunction of fixed texts, each with at most one value.
#[derive(Default)]
pub(super) struct Conditions {
    text: String,
    values: Vec<Box<dyn ToSql>>,
}

impl Conditions {
    pub(super) fn of(filter: &Filter<'_>) -> Self {
        let mut all = Self::default();
        match filter.visible {
            None => {}
            Some([only]) => all.add("store = ?", only.as_str().to_owned()),
            Some(stores) => {
                let names = stores.iter().map(|store| store.as_str().to_owned()).collect();
                all.add("+store IN (SELECT value FROM json_each(?))", json(&names));
            }
        }
        let texts = [
            ("store = ?", filter.store),
            ("type = ?", filter.kind),
            ("decision = ?", filter.decision),
            ("reason = ?", filter.reason),
            ("agent = ?", filter.agent),
        ];
        for (condition, value) in texts {
            if let Some(value) = value {
                all.add(condition, value.to_owned());
            }
        }
        if !filter.kinds.is_empty() {
            let names = filter.kinds.iter().map(|kind| kind.name().to_owned()).collect();
            all.add("+type IN (SELECT value FROM json_each(?))", json(&names));
        }
        for (condition, instant) in [("t_ms >= ?", filter.from), ("t_ms < ?", filter.to)] {
            if let Some(instant) = instant {
                all.add(condition, instant.millis());
            }
        }
        all
    }

    pub(super) fn add(&mut self, condition: &str, value: impl ToSql + 'static) {
        self.add_text(condition);
        self.values.push(Box::new(value));
    }

    pub(super) fn add_text(&mut self, condition: &str) {
        self.text.push_str(if self.text.is_empty() { "WHERE " } else { " AND " });
        self.text.push_str(condition);
    }

    pub(super) fn select(&self, at: &Connection, order: &str, limit: usize) -> rusqlite::Result<Vec<StoredEvent>> {
        let sql = format!("SELECT idx, body FROM events {} ORDER BY {order} LIMIT {limit}", self.text);
        let mut statement = at.prepare(&sql)?;
        let rows = statement.query_map(rusqlite::params_from_iter(&self.values), stored)?;
        rows.collect()
    }

    /// The different values of a column, at most [`JOINED_MAX`].
    pub(super) fn distinct(&self, at: &Connection, column: &str) -> rusqlite::Result<BTreeSet<String>> {
        let sql = format!("SELECT DISTINCT {column} FROM events {} LIMIT {JOINED_MAX}", self.text);
        let mut statement = at.prepare(&sql)?;
        let rows = statement.query_map(rusqlite::params_from_iter(&self.values), |row| row.get(0))?;
        rows.collect()
    }
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredEvent> {
    let body: Vec<u8> = row.get(1)?;
    // Only bytes that were read as JSON are in the table, so they are UTF-8.
    Ok(StoredEvent { index: row.get::<_, i64>(0)?.unsigned_abs(), body: String::from_utf8(body).unwrap_or_default() })
}
