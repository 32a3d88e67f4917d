//! The one writer of the store: events of streams go in, and what is missing of them is told in the
//! log itself, by a stream of the store's own.

use rusqlite::{Connection, OptionalExtension, Row, Statement, Transaction, params};
use uuid::Uuid;

use super::orders;
use super::store::{Hole, HoleCause, Producer, StoreError, Stream, Writer, signed};
use super::stored::Body;
use super::tail::Read;
use crate::model::event::{Event, EventKind, Link};
use crate::model::ids::{AgentId, TraceId};
use crate::model::intent::Sha256;
use crate::model::time::Timestamp;

/// The identity of the store's own stream.
const OWN: &str = "log";

impl Writer {
    /// How far the stream with this identity was taken; a new one begins with 1.
    pub fn stream(&mut self, identity: Uuid) -> Result<Stream, StoreError> {
        let known = self.0.query_row(
            "SELECT id, next_seq, source, last_leaf FROM streams WHERE identity = ?1 ORDER BY generation DESC LIMIT 1",
            [identity.to_string()],
            stream,
        );
        match known.optional()? {
            Some(stream) => Ok(stream),
            None => Ok(begin_stream(&self.0, identity, 1, None)?),
        }
    }

    /// The same of a stream that is delivered: it belongs to the key that began it, and has one source.
    /// Those that are read on this host belong to nobody else.
    pub fn delivered(&mut self, identity: Uuid, by: &Producer, source: Option<&str>) -> Result<Stream, StoreError> {
        let owner = "SELECT producer FROM streams WHERE identity = ?1 ORDER BY generation DESC LIMIT 1";
        let owner =
            self.0.query_row(owner, [identity.to_string()], |row| row.get::<_, Option<String>>(0)).optional()?;
        match owner {
            Some(None) => return Err(StoreError::Local),
            Some(Some(owner)) if owner != by.key.as_str() && !by.inherits => {
                return Err(AgentId::parse(&owner).map_or(StoreError::Local, StoreError::Foreign));
            }
            _ => {}
        }
        let stream = self.stream(identity)?;
        if stream.source.as_deref().zip(source).is_some_and(|(known, told)| known != told) {
            return Err(StoreError::OtherSource);
        }
        let owns = "UPDATE streams SET producer = ?2 WHERE identity = ?1 AND producer IS NOT ?2";
        self.0.execute(owns, params![identity.to_string(), by.key.as_str()])?;
        Ok(stream)
    }

    /// Begins the next generation of a stream that was set back, whose first event will have the
    /// sequence `next`. The log says so.
    pub fn restart(
        &mut self,
        identity: Uuid,
        before: &Stream,
        next: u64,
        now: Timestamp,
    ) -> Result<Stream, StoreError> {
        let transaction = self.begin()?;
        let stream = begin_stream(&transaction, identity, next, before.source.as_deref())?;
        let hole = Hole { from: next, to: before.next.saturating_sub(1), cause: HoleCause::WentBack };
        tell(&transaction, before, &[hole], now)?;
        transaction.commit()?;
        Ok(stream)
    }

    /// Takes records of one stream, in one transaction with the new place in it. Answers what is
    /// missing before and between them, which the log then tells too.
    pub fn commit(&mut self, stream: &mut Stream, records: &[Read], now: Timestamp) -> Result<Vec<Hole>, StoreError> {
        let transaction = self.begin()?;
        let mut taken = stream.clone();
        let holes = insert_all(&transaction, &mut taken, records)?;
        for Hole { from, to, cause } in &holes {
            let values = params![stream.id, signed(*from), signed(*to), cause.as_str()];
            transaction.execute("INSERT OR IGNORE INTO gaps VALUES (?1, ?2, ?3, ?4)", values)?;
        }
        tell(&transaction, &taken, &holes, now)?;
        let last = taken.last.as_ref().map(|last| last.as_bytes().as_slice());
        let moved = transaction.execute(
            "UPDATE streams SET next_seq = ?3, source = ?4, last_leaf = ?5 WHERE id = ?1 AND next_seq = ?2",
            params![stream.id, signed(stream.next), signed(taken.next), taken.source, last],
        )?;
        if moved != 1 {
            return Err(StoreError::SecondWriter);
        }
        transaction.commit()?;
        *stream = taken;
        Ok(holes)
    }
}

fn begin_stream(at: &Connection, identity: Uuid, next: u64, source: Option<&str>) -> rusqlite::Result<Stream> {
    at.execute(
        "INSERT INTO streams(identity, generation, next_seq, source, producer)
         SELECT ?1, 1 + coalesce(max(generation), 0), ?2, ?3, max(producer) FROM streams WHERE identity = ?1",
        params![identity.to_string(), signed(next), source],
    )?;
    Ok(Stream { id: at.last_insert_rowid(), next, source: source.map(str::to_owned), last: None })
}

fn stream(row: &Row<'_>) -> rusqlite::Result<Stream> {
    let last: Option<Vec<u8>> = row.get(3)?;
    Ok(Stream {
        id: row.get(0)?,
        next: row.get::<_, i64>(1)?.unsigned_abs(),
        source: row.get(2)?,
        last: last.and_then(|last| Sha256::read(&last)),
    })
}

fn insert_all(transaction: &Transaction<'_>, stream: &mut Stream, records: &[Read]) -> rusqlite::Result<Vec<Hole>> {
    let mut insert = transaction.prepare(INSERT)?;
    let mut index = orders::Index::new(transaction)?;
    let mut holes = Vec::new();
    let one = |sequence, cause| Hole { from: sequence, to: sequence, cause };
    for Read { sequence, body: bytes } in records {
        if *sequence > stream.next {
            holes.push(Hole { from: stream.next, to: sequence - 1, cause: HoleCause::Missing });
            stream.last = None;
        }
        stream.next = sequence.saturating_add(1);
        let inserted = match Body::read(bytes) {
            Some(body) => insert_event((&mut insert, &mut index), stream.id, *sequence, &body, bytes)?.then_some(body),
            None => None,
        };
        let Some(body) = inserted else {
            holes.push(one(*sequence, HoleCause::Unreadable));
            stream.last = None;
            continue;
        };
        if body.previous.zip(stream.last).is_some_and(|(named, last)| !last.is_printed_as(named)) {
            holes.push(one(*sequence, HoleCause::BrokenChain));
        }
        stream.last = Some(Sha256::of_leaf(bytes));
        stream.source.get_or_insert(body.source);
    }
    Ok(holes)
}

const INSERT: &str = "INSERT INTO events(stream, seq, id, type, corr, store, trace, agent, jti, decision, reason, \
                      order_id, t_ms, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";

/// False when the record is no event.
fn insert_event(
    (insert, index): (&mut Statement<'_>, &mut orders::Index<'_>),
    stream: i64,
    sequence: u64,
    body: &Body<'_>,
    bytes: &[u8],
) -> rusqlite::Result<bool> {
    let Some(time) = Timestamp::parse(body.time) else { return Ok(false) };
    let data = &body.data;
    let idx = insert.insert(params![
        stream,
        signed(sequence),
        body.id,
        body.name(),
        body.correlation,
        data.store_id,
        data.trace_id,
        data.agent_id,
        data.token_id,
        data.decision,
        data.reason_code,
        data.order_id,
        time.millis(),
        bytes,
    ])?;
    index.add(idx, body, time)?;
    Ok(true)
}

/// Tells of holes in the log itself.
fn tell(transaction: &Transaction<'_>, of: &Stream, holes: &[Hole], now: Timestamp) -> rusqlite::Result<()> {
    let gap = |hole: &Hole| {
        let mut event = Event::new(EventKind::EvidenceGap, now, TraceId::random());
        event.data.cause = Some(hole.cause.as_str().into());
        event.data.of = of.source.clone().map(Into::into);
        event.data.from_sequence = Some(hole.from);
        event.data.to_sequence = Some(hole.to);
        event
    };
    tell_own(transaction, &holes.iter().map(gap).collect::<Vec<_>>(), now)
}

/// Adds events of the store's own, behind all others.
pub(super) fn tell_own(transaction: &Transaction<'_>, events: &[Event], now: Timestamp) -> rusqlite::Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let mut own = own_stream(transaction)?;
    let mut records = Vec::with_capacity(events.len());
    let source = own.source.clone().unwrap_or_default();
    let mut previous = own.last.unwrap_or_else(|| Link::first(&source, now).previous);
    for (sequence, event) in (own.next..).zip(events) {
        let mut body = Vec::new();
        event.write_json(&mut body, Link { source: &source, sequence, previous, recorded: now });
        previous = Sha256::of_leaf(&body);
        records.push(Read { sequence, body });
    }
    insert_all(transaction, &mut own, &records)?;
    let last = previous.as_bytes().as_slice();
    let moved = "UPDATE streams SET next_seq = ?2, last_leaf = ?3 WHERE id = ?1";
    transaction.execute(moved, params![own.id, signed(own.next), last]).map(drop)
}

fn own_stream(transaction: &Transaction<'_>) -> rusqlite::Result<Stream> {
    let source = format!("/log/{}", Uuid::now_v7().simple());
    let begins = "INSERT OR IGNORE INTO streams(identity, generation, next_seq, source) VALUES (?1, 1, 1, ?2)";
    transaction.execute(begins, [OWN, &source])?;
    let own = "SELECT id, next_seq, source, last_leaf FROM streams WHERE identity = ?1";
    transaction.query_row(own, [OWN], stream)
}
