//! The reservations of an earlier life of this process that have no outcome in its spool: it was
//! killed between sending and writing down what came of it.

use std::collections::hash_map::{Entry, HashMap};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::model::event::EventKind;
use crate::model::ids::{AgentId, Correlation, Jti, StoreId, TraceId};
use crate::model::time::Timestamp;

use super::record::{self, Next};
use super::segment::{self, Keep};
use super::stored::Body;

/// How long a spool keeps what was read already, so that a process that starts again finds what it
/// had begun: longer than any reservation lives.
const KEPT: Duration = Duration::from_secs(600);

impl Keep {
    /// What was read of a spool with this limit. Half of it is for what is still to come: a spool that
    /// was full goes on as soon as somebody has taken what it held.
    #[must_use]
    pub const fn for_a_restart(limit_bytes: u64) -> Self {
        Self { idle: KEPT, room: limit_bytes / 2 }
    }
}

/// How the cause of a settlement ends that the ledger did not take.
pub const NOT_IN_LEDGER: &str = "; not in the ledger";

/// A reservation without an outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsettled {
    pub store: StoreId,
    pub jti: Jti,
    /// What its events are joined by: a cart has the name of one of its tokens.
    pub execution: Correlation,
    pub trace: TraceId,
    pub agent: Option<AgentId>,
    pub route: Option<String>,
    /// Where it was decided: `gateway` or `validate`.
    pub stage: &'static str,
    pub since: Timestamp,
    /// True when its outcome is in evidence, and only the ledger did not take it.
    pub recorded: bool,
}

/// Reads the newest segments of a spool. Only what was written within [`KEPT`] of the last record
/// is looked at: what is older has lapsed and was told of by then.
pub fn unsettled(dir: &Path) -> io::Result<Vec<Unsettled>> {
    let written = |path: &Path| std::fs::metadata(path).and_then(|found| found.modified());
    let segments = segment::list(dir)?;
    let newest = segments.last().map(|segment| written(&segment.path)).transpose()?.unwrap_or(SystemTime::UNIX_EPOCH);
    let mut open = HashMap::new();
    for segment in segments {
        let age = newest.duration_since(written(&segment.path)?).unwrap_or_default();
        if age <= KEPT {
            read(&std::fs::read(&segment.path)?, &mut open);
        }
    }
    let mut found: Vec<_> = open.into_values().collect();
    found.sort_by_key(|unsettled| unsettled.since);
    Ok(found)
}

fn read(content: &[u8], open: &mut HashMap<(Jti, TraceId), Unsettled>) {
    let mut rest = content;
    loop {
        let step = match record::next(rest) {
            Next::Record(record) => {
                note(record.body, open);
                record.framed_len()
            }
            Next::Damage { bytes } => bytes,
            Next::Tail => return,
        };
        rest = rest.get(step..).unwrap_or_default();
    }
}

fn note(body: &[u8], open: &mut HashMap<(Jti, TraceId), Unsettled>) {
    let Some(body) = Body::read(body) else { return };
    let Some(kind) = body.kind().filter(|kind| kind.is_settlement()) else { return };
    let data = &body.data;
    let ids = (data.token_id.and_then(Jti::parse), data.trace_id.and_then(TraceId::parse));
    let (Some(jti), Some(trace)) = ids else { return };
    if kind != EventKind::ExecutionReserved {
        let in_ledger = !data.cause.as_deref().is_some_and(|cause| cause.ends_with(NOT_IN_LEDGER));
        match open.entry((jti, trace)) {
            Entry::Occupied(told) if in_ledger => drop(told.remove()),
            Entry::Occupied(mut told) => told.get_mut().recorded = true,
            Entry::Vacant(_) => {}
        }
        return;
    }
    let store = data.store_id.and_then(|id| StoreId::parse(id).ok());
    let (Some(store), Some(since)) = (store, Timestamp::parse(body.time)) else { return };
    let agent = data.agent_id.and_then(|id| AgentId::parse(id).ok());
    let execution = Correlation::parse(body.correlation).unwrap_or_else(|| jti.into());
    let stage = if data.stage == Some("validate") { "validate" } else { "gateway" };
    open.insert(
        (jti, trace),
        Unsettled { store, jti, execution, trace, agent, route: data.route.clone(), stage, since, recorded: false },
    );
}
