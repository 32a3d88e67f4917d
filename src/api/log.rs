//! The signed log over HTTP: its checkpoint, tiles and keys as files (C2SP tlog-tiles), proofs, and
//! bundles that an auditor verifies without a connection.
//!
//! Hashes are for everybody. Entries are the events of all stores: they are for those who may see
//! everything.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::audit::bundle::{Content, Entry, Scope, ScopeKind, write};
use crate::authority::Authority;
use crate::evidence::log::{LogDir, LogError, LogKeys, LogReader};
use crate::evidence::{Body, LogPlace, Store, StoredEvent, YearLog};
use crate::keystore::agents::ApiKeys;
use crate::model::event::{Event, EventKind};
use crate::model::ids::TraceId;
use crate::model::intent::Sha256;
use crate::model::reason::Fault;
use crate::reload::Reloaded;
use crate::tlog::hash::leaf_hash;
use crate::tlog::tile::{Kind, Tile};

use super::evidence::{NoEvidence, key_of, malformed, viewer_of};

/// Most events of one bundle that is asked for here.
const BUNDLE_EVENTS: usize = 1000;

/// What the log is shown from.
#[derive(Clone)]
pub struct LogApi {
    store: Arc<Store>,
    place: LogPlace,
    authority: Arc<Authority>,
    keys: Arc<Reloaded<ApiKeys>>,
}

impl LogApi {
    #[must_use]
    pub fn new(store: &Arc<Store>, place: &LogPlace, authority: &Arc<Authority>, keys: Arc<Reloaded<ApiKeys>>) -> Self {
        Self { store: store.clone(), place: place.clone(), authority: authority.clone(), keys }
    }

    fn dir(&self, year: u16) -> Result<LogDir, LogError> {
        LogDir::of(&self.place.data, &self.place.name, year)
    }

    fn log_keys(&self) -> Result<LogKeys, LogError> {
        LogKeys::open(&self.place.data, self.authority.clock.now())
    }

    fn reader(&self, year: u16) -> Result<LogReader, LogError> {
        let dir = self.dir(year)?;
        let trusted = self.log_keys()?.trusted(dir.origin())?;
        Ok(LogReader::new(dir, trusted))
    }
}

/// `/log/…`, `/v1/evidence/proof/{id}` and `/v1/evidence/export`.
pub fn log_router(api: LogApi) -> Router {
    Router::new()
        .route("/log/keys", get(keys))
        .route("/log/{year}/checkpoint", get(checkpoint))
        .route("/log/{year}/tile/{*path}", get(tile))
        .route("/v1/evidence/proof/{id}", get(proof))
        .route("/v1/evidence/export", get(export_range))
        .route("/v1/evidence/export/{id}", get(export))
        .with_state(api)
}

impl From<LogError> for NoEvidence {
    fn from(error: LogError) -> Self {
        tracing::error!(%error, "the evidence log did not answer");
        Fault::Internal.into()
    }
}

/// Works with files, off the threads that serve.
async fn off<T: Send + 'static>(
    api: LogApi,
    work: impl FnOnce(LogApi) -> Result<T, NoEvidence> + Send + 'static,
) -> Result<T, NoEvidence> {
    tokio::task::spawn_blocking(move || work(api)).await.map_err(|_died| NoEvidence::from(Fault::Internal))?
}

const TEXT: &str = "text/plain; charset=utf-8";

fn answer(kind: &'static str, caching: &'static str, body: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, caching)], body).into_response()
}

/// The keys that sign, one a line, as an auditor pins them: for each log under its name.
async fn keys(State(api): State<LogApi>) -> Result<Response, NoEvidence> {
    let lines = off(api, |api| {
        let mut lines = String::new();
        for YearLog { year, .. } in api.store.logs()? {
            let dir = api.dir(year)?;
            for key in api.log_keys()?.list()? {
                lines.push_str(&format!("{}\n", key.verifier(dir.origin())?));
            }
        }
        Ok(lines)
    });
    Ok(answer(TEXT, "no-cache", lines.await?))
}

async fn checkpoint(State(api): State<LogApi>, Path(year): Path<u16>) -> Result<Response, NoEvidence> {
    let path = api.dir(year)?.root().join("checkpoint");
    Ok(answer(TEXT, "no-cache", file(path).await?))
}

async fn tile(
    State(api): State<LogApi>,
    headers: HeaderMap,
    Path((year, path)): Path<(u16, String)>,
) -> Result<Response, NoEvidence> {
    let tile = Tile::parse(&format!("tile/{path}")).ok_or(Fault::NotFound)?;
    if tile.kind() == Kind::Entries && viewer_of(&api.keys, &headers)?.stores().is_some() {
        return Err(Fault::Forbidden.into());
    }
    let file = file(api.dir(year)?.root().join(tile.to_string())).await?;
    let caching = if tile.is_full() { "public, max-age=31536000, immutable" } else { "no-cache" };
    let caching = if tile.kind() == Kind::Entries { "no-store" } else { caching };
    Ok(answer("application/octet-stream", caching, file))
}

async fn file(path: PathBuf) -> Result<Vec<u8>, NoEvidence> {
    let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
    read.ok().and_then(Result::ok).ok_or_else(|| Fault::NotFound.into())
}

/// The `.tlog-proof` of an event, by its id or its index.
async fn proof(State(api): State<LogApi>, headers: HeaderMap, Path(id): Path<String>) -> Result<Response, NoEvidence> {
    let viewer = viewer_of(&api.keys, &headers)?;
    let text = off(api, move |api| {
        let event = api.store.event(&id, viewer.stores())?.ok_or(Fault::NotFound)?;
        let log = api.store.log_of(event.index)?.ok_or(Fault::NotFound)?;
        let reader = api.reader(log.year)?;
        let tree = reader.tree()?.ok_or_else(not_yet)?;
        let leaf = log.leaf_of(event.index).ok_or(Fault::NotFound)?;
        let (bytes, proof) = tree.proof(leaf)?.ok_or_else(not_yet)?;
        // A proof of something else than what is shown here would be worse than none.
        if bytes != event.body.as_bytes() {
            tracing::error!(index = event.index, "the store and the log differ");
            return Err(Fault::Internal.into());
        }
        Ok(proof.to_string())
    });
    Ok(answer(TEXT, "no-store", text.await?))
}

fn not_yet() -> NoEvidence {
    Fault::EvidenceUnavailable.into()
}

/// What is to be exported, beside an id.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    /// Size of a checkpoint that the auditor kept: the bundle proves that the log continues it.
    since: Option<u64>,
    /// Indices of the first leaf, and of the one behind the last, in this year's log.
    from: Option<u64>,
    to: Option<u64>,
}

/// A bundle of one execution, which a trace, a token or an order may name.
async fn export(
    State(api): State<LogApi>,
    headers: HeaderMap,
    Path(id): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, NoEvidence> {
    let viewer = viewer_of(&api.keys, &headers)?;
    let asked = checked(asked)?;
    if asked.from.or(asked.to).is_some() {
        return Err(malformed("from", "a range is exported without an id: /v1/evidence/export?from=…&to=…"));
    }
    let bundle = move |api: &LogApi| {
        let found = api.store.timeline(&id, viewer.stores())?;
        let (execution, index) = named(&found.events, &id).ok_or(Fault::NotFound)?;
        let log = api.store.log_of(index)?.ok_or(Fault::NotFound)?;
        let is_of = |event: &StoredEvent| event.read().is_some_and(|body| body.correlation == execution);
        let events: Vec<_> =
            found.events.into_iter().filter(|event| event.index >= log.first && is_of(event)).collect();
        if found.truncated || events.len() > BUNDLE_EVENTS {
            return Err(malformed("id", "more events than one bundle holds: export ranges of the log"));
        }
        let leaves = events.into_iter().filter_map(|event| Some((log.leaf_of(event.index)?, event.body.into_bytes())));
        let scope = Scope::new(ScopeKind::Execution, &execution).ok_or(Fault::Internal)?;
        bundle(api, log, &Wanted { scope, range: None, leaves: leaves.collect(), since: asked.since })
    };
    exported(api, &headers, bundle).await
}

/// The execution that an id names, and the index of one of its events. A timeline joins others to it that
/// share a cart: those are not what was asked for.
fn named(events: &[StoredEvent], id: &str) -> Option<(String, u64)> {
    let read = || events.iter().rev().filter_map(|event| Some((event.index, event.read()?)));
    let judged = |body: &Body<'_>| matches!(body.name(), "order.correlated" | "order.correlation_revised");
    let exactly = |body: &Body<'_>| {
        body.correlation == id || body.correlation.strip_prefix("exec_") == Some(id) || body.data.trace_id == Some(id)
    };
    let of_order = |body: &Body<'_>| body.data.order_id.as_deref() == Some(id);
    let found = read()
        .find(|(_, body)| exactly(body))
        .or_else(|| read().find(|(_, body)| of_order(body) && judged(body)))
        .or_else(|| read().find(|(_, body)| of_order(body)))
        .or_else(|| read().next().filter(|_| id == "last"));
    found.map(|(index, body)| (body.correlation.to_owned(), index))
}

/// A bundle of a range of this year's log, whole: for those who may see everything.
async fn export_range(
    State(api): State<LogApi>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, NoEvidence> {
    if viewer_of(&api.keys, &headers)?.stores().is_some() {
        return Err(Fault::Forbidden.into());
    }
    let Asked { since, from: Some(from), to: Some(to) } = checked(asked)? else {
        return Err(malformed("from", "say which leaves: `from` the first, `to` the one behind the last"));
    };
    let count = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
    if !(1..=BUNDLE_EVENTS).contains(&count) {
        return Err(malformed("to", format!("a bundle holds from 1 to {BUNDLE_EVENTS} events")));
    }
    let bundle = move |api: &LogApi| {
        let log = api.store.logs()?.last().copied().ok_or(Fault::NotFound)?;
        let leaves: Vec<_> = (from..to).zip(api.store.leaves(log, from, count)?).collect();
        if leaves.len() < count {
            return Err(malformed("to", "the log has no leaf there yet"));
        }
        let scope = Scope::new(ScopeKind::All, "-").ok_or(Fault::Internal)?;
        bundle(api, log, &Wanted { scope, range: Some(from..to), leaves, since })
    };
    exported(api, &headers, bundle).await
}

fn checked(asked: Result<Query<Asked>, QueryRejection>) -> Result<Asked, NoEvidence> {
    asked.map(|Query(asked)| asked).map_err(|rejection| malformed("query", rejection.body_text()))
}

/// Gives a bundle out, once it is recorded that somebody took it: evidence that leaves without a
/// record of it does not leave.
async fn exported(
    api: LogApi,
    headers: &HeaderMap,
    bundle: impl FnOnce(&LogApi) -> Result<Vec<u8>, NoEvidence> + Send + 'static,
) -> Result<Response, NoEvidence> {
    let by = key_of(&api.keys, headers)?.id.clone();
    let bundle = off(api, move |api| {
        let bundle = bundle(&api)?;
        let mut event = Event::new(EventKind::EvidenceExported, api.authority.clock.now(), TraceId::random());
        event.data.by = Some(by.to_string().into());
        event.data.subject = Some(Sha256::of(&bundle).to_string().into());
        if let Err(error) = api.authority.evidence.append(&event) {
            tracing::error!(%error, "an export is not recorded, and not given out");
            return Err(Fault::EvidenceUnavailable.into());
        }
        Ok(bundle)
    });
    Ok(answer("application/zip", "no-store", bundle.await?))
}

/// What a bundle is to hold.
struct Wanted {
    scope: Scope,
    /// Among which leaves they were looked for; `None` is the whole log.
    range: Option<Range<u64>>,
    leaves: Vec<(u64, Vec<u8>)>,
    since: Option<u64>,
}

fn bundle(api: &LogApi, log: YearLog, wanted: &Wanted) -> Result<Vec<u8>, NoEvidence> {
    let reader = api.reader(log.year)?;
    let tree = reader.tree()?.ok_or_else(not_yet)?;
    let size = tree.checkpoint().size();
    let entry = |(index, bytes): &(u64, Vec<u8>)| {
        let path = tree.inclusion(*index, size)?.ok_or_else(not_yet)?;
        // What the store holds and the log does not is not signed once more.
        path.verify(leaf_hash(bytes), *index, size, tree.checkpoint().root()).map_err(|_| {
            tracing::error!(index, "the store and the log differ");
            NoEvidence::from(Fault::Internal)
        })?;
        Ok::<_, NoEvidence>((*index, bytes.clone(), path))
    };
    let entries = wanted.leaves.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    let events = entries.iter().map(|(index, bytes, path)| Entry { index: *index, bytes, path: path.clone() });
    let no_such =
        || malformed("since", "the log has no tree of that size: it is that of another log, or this one was cut");
    let continues = |old| Ok::<_, NoEvidence>((old, tree.consistency(old, size)?.ok_or_else(no_such)?));
    let content = Content {
        checkpoint: tree.checkpoint(),
        scope: wanted.scope.clone(),
        range: wanted.range.clone().unwrap_or(0..size),
        events: events.collect(),
        consistency: wanted.since.map(continues).transpose()?.into_iter().collect(),
    };
    let signers = api.log_keys()?.signers(api.dir(log.year)?.origin(), api.authority.clock.now())?;
    write(&content, &signers).map_err(|error| {
        tracing::error!(%error, "a bundle is not written");
        Fault::Internal.into()
    })
}
