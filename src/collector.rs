//! Floor 4: sends finished requests to a collector of OpenTelemetry, as OTLP over HTTP.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::InvalidHeaderValue;
use http::{HeaderName, HeaderValue, Request, Response};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use prometheus::IntCounterVec;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::model::trace_parent::TraceParent;
use crate::net::client::{Client, ClientError, Limits};
use crate::telemetry::traces::{Finished, Part, Sink, fresh};

/// Finished requests that wait to be sent; what comes beyond them is dropped and counted.
const WAITING_MAX: usize = 2048;
/// Most requests of one delivery, and how long the first of them waits for others.
const BATCH: usize = 256;
const GATHER: Duration = Duration::from_secs(1);
/// Time for one delivery; for the last ones of a process there is less.
const LIMITS: Limits = Limits { time: Duration::from_secs(10), body: 1 << 16 };
const LAST: Duration = Duration::from_secs(2);
/// Most bytes of the file with header fields.
const HEADERS_MAX: usize = 1 << 14;

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    #[error("the header fields for the collector cannot be read from `{}`", .path.display())]
    Headers { path: PathBuf, source: std::io::Error },
    #[error("line {line} of `{}` is no header field; write `Name: value`", .path.display())]
    Header { path: PathBuf, line: usize },
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the traces cannot be sent: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// Where traces are sent, and as whose.
pub struct Destination<'a> {
    /// As in `http://collector:4318/v1/traces`.
    pub url: &'a str,
    /// File with header fields that the collector asks for, one on a line.
    pub headers: Option<&'a Path>,
    /// The name of this gateway.
    pub name: &'a str,
}

/// The queue before the collector.
pub struct Queue {
    waiting: mpsc::Sender<Finished>,
    counts: IntCounterVec,
}

impl Sink for Queue {
    fn take(&self, finished: Finished) {
        if self.waiting.try_send(finished).is_err() {
            self.counts.with_label_values(&["dropped"]).inc();
        }
    }
}

/// Takes what waits in a queue to the collector.
pub struct Courier {
    waiting: mpsc::Receiver<Finished>,
    exporter: SpanExporter,
    counts: IntCounterVec,
    /// False from a failure, which is told once, until it is over.
    well: bool,
}

/// A queue, and who empties it.
pub fn open(to: &Destination<'_>, counts: IntCounterVec) -> Result<(Queue, Courier), CollectorError> {
    let headers = to.headers.map(header_fields).transpose()?.unwrap_or_default();
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(to.url)
        .with_headers(headers)
        .with_timeout(LIMITS.time)
        // It would sleep on a thread of the requests. What is lost is counted.
        .with_retry_policy(RetryPolicy::disabled())
        .with_http_client(Post(Client::new(LIMITS)?))
        .build()?;
    let resource = Resource::builder()
        .with_service_name("permyx")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", to.name.to_owned()))
        .build();
    exporter.set_resource(&resource);
    let (sender, waiting) = mpsc::channel(WAITING_MAX);
    let queue = Queue { waiting: sender, counts: counts.clone() };
    Ok((queue, Courier { waiting, exporter, counts, well: true }))
}

/// Reads the fields that a collector asks for, one on a line.
pub fn header_fields(path: &Path) -> Result<HashMap<String, String>, CollectorError> {
    let text = std::fs::read_to_string(path).and_then(|text| {
        let fits = text.len() <= HEADERS_MAX;
        if fits { Ok(text) } else { Err(std::io::Error::other(format!("it has more than {HEADERS_MAX} bytes"))) }
    });
    let text = text.map_err(|source| CollectorError::Headers { path: path.to_owned(), source })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let fields = lines.map(|(number, line)| {
        field(line).ok_or_else(|| CollectorError::Header { path: path.to_owned(), line: number + 1 })
    });
    fields.collect()
}

fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    let value: Result<HeaderValue, InvalidHeaderValue> = HeaderValue::from_str(value.trim());
    let name: HeaderName = name.trim().parse().ok()?;
    Some((name.to_string(), value.ok()?.to_str().ok()?.to_owned()))
}

impl Courier {
    /// Delivers until `stop` turns true and the rest is delivered, for a short while at most.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut batch = Vec::with_capacity(BATCH);
        let stopped = async {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        tokio::select! {
            () = stopped => {}
            () = async {
                loop {
                    self.gather(&mut batch).await;
                    self.deliver(&mut batch).await;
                }
            } => {}
        }
        self.waiting.close();
        let rest = async {
            while !batch.is_empty() || self.waiting.recv_many(&mut batch, BATCH).await > 0 {
                self.deliver(&mut batch).await;
            }
        };
        let _ = timeout(LAST, rest).await;
    }

    /// As many as come within a short while after the first.
    async fn gather(&mut self, batch: &mut Vec<Finished>) {
        if batch.is_empty() && self.waiting.recv_many(batch, BATCH).await == 0 {
            // Nobody is left who could send.
            std::future::pending::<()>().await;
        }
        let more =
            async { while batch.len() < BATCH && self.waiting.recv_many(batch, BATCH - batch.len()).await > 0 {} };
        let _ = timeout(GATHER, more).await;
    }

    async fn deliver(&mut self, batch: &mut Vec<Finished>) {
        let mut counted = Counted { requests: batch.len() as u64, result: "failed", counts: self.counts.clone() };
        let spans = batch.drain(..).flat_map(spans).collect();
        let sent = self.exporter.export(spans).await;
        match &sent {
            Err(error) if self.well => tracing::warn!(%error, "the collector does not take traces"),
            Ok(()) if !self.well => tracing::info!("the collector takes traces again"),
            _ => {}
        }
        self.well = sent.is_ok();
        if self.well {
            counted.result = "sent";
        }
    }
}

/// Counts a delivery when it is over, also where it is cut short.
struct Counted {
    requests: u64,
    result: &'static str,
    counts: IntCounterVec,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.with_label_values(&[self.result]).inc_by(self.requests);
    }
}

/// The span of a request and those of its parts.
fn spans(finished: Finished) -> impl Iterator<Item = SpanData> {
    let Finished { own, parent, onward, took, ended } = finished;
    let began = at(ended.began.millis() * 1000);
    let mut attributes = vec![
        KeyValue::new("http.request.method", ended.method),
        KeyValue::new("http.response.status_code", i64::from(ended.status)),
        KeyValue::new("permyx.route", ended.route.to_string()),
        KeyValue::new("permyx.decision", ended.decision),
        KeyValue::new("permyx.trace", ended.trace.to_string()),
    ];
    attributes.extend(ended.refused.map(|code| KeyValue::new("permyx.reason", code)));
    // A refusal is an answer; what failed is what has none, or one that says so.
    let failed = ended.status == 0 || ended.status >= 500;
    let request = SpanData {
        span_kind: SpanKind::Server,
        parent_span_is_remote: parent.is_some(),
        attributes,
        status: if failed { Status::error(ended.refused.unwrap_or_default()) } else { Status::Unset },
        ..span("permyx.proxy", own, parent.unwrap_or(0), began, ended.total_us)
    };
    let parts = took.into_iter().map(move |took| {
        let (kind, place) = match took.part {
            Part::Merchant => (SpanKind::Client, onward),
            Part::Session => (SpanKind::Client, own.child(fresh())),
            Part::Verify | Part::Policy | Part::Ledger | Part::Evidence => (SpanKind::Internal, own.child(fresh())),
        };
        let from = began + micros(took.from_us);
        SpanData { span_kind: kind, ..span(took.part.as_str(), place, own.span(), from, took.us) }
    });
    std::iter::once(request).chain(parts)
}

fn span(name: &'static str, place: TraceParent, parent: u64, from: SystemTime, us: i64) -> SpanData {
    let (trace, id) = (TraceId::from(place.trace()), SpanId::from(place.span()));
    SpanData {
        // Whatever the caller decided: who comes here is sampled.
        span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: SpanId::from(parent),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time: from,
        end_time: from + micros(us),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("permyx").build(),
    }
}

fn at(micros_of_unix: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + micros(micros_of_unix)
}

fn micros(count: i64) -> Duration {
    Duration::from_micros(u64::try_from(count).unwrap_or(0))
}

/// Our own client: no redirects, no proxies, one time limit.
struct Post(Client);

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Post")
    }
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let answer = self.0.post(&head.uri.to_string(), head.headers, body).await?;
        let mut response = Response::new(answer.body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids;
    use crate::model::time::Timestamp;
    use crate::telemetry::traces::{Ended, Took};

    fn finished(status: u16) -> Finished {
        let caller = TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        let own = caller.child(2);
        let took = [(Part::Verify, 10, 20), (Part::Merchant, 40, 500)];
        Finished {
            own,
            parent: Some(caller.span()),
            onward: own.child(3),
            took: took.map(|(part, from_us, us)| Took { part, from_us, us }).into(),
            ended: Ended {
                trace: ids::TraceId::random(),
                began: Timestamp::of_seconds(100),
                total_us: 600,
                route: "checkout".into(),
                method: "POST",
                status,
                decision: "allowed",
                refused: None,
            },
        }
    }

    #[test]
    fn a_request_and_its_parts_stand_in_the_trace_of_the_caller() {
        let spans: Vec<_> = spans(finished(200)).collect();
        let named: Vec<_> = spans.iter().map(|span| (&*span.name, span.parent_span_id)).collect();
        let (caller, own) = (SpanId::from(0x00f0_67aa_0ba9_02b7), SpanId::from(2));
        assert_eq!(named, [("permyx.proxy", caller), ("verify", own), ("upstream", own)]);
        assert_eq!(spans[2].span_context.span_id(), SpanId::from(3), "what the merchant was told");
        assert_eq!(spans[2].start_time, at(100_000_040));
        assert_eq!(spans[2].end_time, at(100_000_540));
        assert_eq!(spans[0].status, Status::Unset);
        assert_ne!(super::spans(finished(502)).next().unwrap().status, Status::Unset);
    }

    #[test]
    fn header_fields_are_read_from_a_file_and_what_is_none_is_named() {
        let dir = std::env::temp_dir().join(format!("permyx-headers-{}", uuid::Uuid::new_v4().simple()));
        std::fs::write(&dir, "Authorization: Bearer abc\n\nX-Team: shop\n").unwrap();
        let fields = header_fields(&dir).unwrap();
        assert_eq!((fields.len(), &*fields["authorization"], &*fields["x-team"]), (2, "Bearer abc", "shop"));
        std::fs::write(&dir, "X-Team: shop\nno field\n").unwrap();
        assert!(header_fields(&dir).unwrap_err().to_string().starts_with("line 2 of"));
        std::fs::remove_file(&dir).unwrap();
        assert!(header_fields(&dir).is_err());
    }

    #[tokio::test]
    async fn what_the_queue_does_not_hold_is_dropped_and_counted() {
        let counts = crate::telemetry::metrics::Metrics::new().unwrap().traces.clone();
        let to = Destination { url: "http://127.0.0.1:1/v1/traces", headers: None, name: "tests" };
        let (queue, courier) = open(&to, counts.clone()).unwrap();
        (0..WAITING_MAX + 3).for_each(|_| queue.take(finished(200)));
        let count = |result: &str| counts.with_label_values(&[result]).get();
        assert_eq!(count("dropped"), 3);
        // Nobody listens there: what waited is told of as not delivered, all of it, when the end has come.
        let (told, stop) = watch::channel(false);
        told.send_replace(true);
        courier.run(stop).await;
        assert_eq!((count("failed"), count("sent")), (WAITING_MAX as u64, 0));
    }
}
