//! Metrics: one registry of our own, closed label sets, base units.

use std::sync::atomic::{AtomicI64, Ordering};

use http::Method;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use crate::model::time::Timestamp;

/// Everything that is counted. Made once, shared by reference.
pub struct Metrics {
    registry: Registry,
    /// Under the names that every exporter has: processor time, memory, descriptors.
    process: ProcessCollector,
    /// Answers by listener, route, code class and decision.
    pub http_requests: IntCounterVec,
    /// Time from the first byte of a request to the last of its answer.
    pub http_duration: HistogramVec,
    /// Our own part of that, by what it is spent on.
    pub overhead: Overhead,
    pub connections: IntGaugeVec,
    pub draining: IntGauge,
    /// How far the clock of another machine is ahead of ours.
    pub clock_skew: GaugeVec,
    /// Lines of the access log that did not fit.
    /// Requests that were sampled: sent, dropped, or not taken by the collector.
    pub traces: IntCounterVec,
    pub access_dropped: IntCounter,
    /// Judgements by stage, decision, reason and enforcement.
    pub decisions: IntCounterVec,
    /// Refusals that are no judgement, by what was at fault.
    pub faults: IntCounterVec,
    pub tokenless: IntCounterVec,
    pub tokens_issued: IntCounter,
    pub replays: IntCounter,
    pub ledger_duration: HistogramVec,
    pub ledger_operations: IntCounterVec,
    pub ledger_entries: IntGauge,
    /// How many it may remember; 0 where that is not bounded here.
    pub ledger_capacity: IntGauge,
    pub ledger_up: IntGauge,
    /// Operations that the ledger did not answer, by what was wrong.
    pub ledger_errors: IntCounterVec,
    /// Epochs that began because the ledger may have forgotten.
    pub ledger_epochs: IntCounterVec,
    pub ledger_quarantine: IntGauge,
    /// Reservations whose outcome was recorded by somebody else than their call.
    pub ledger_recovered: IntCounterVec,
    pub upstream_connect: HistogramVec,
    pub upstream_duration: HistogramVec,
    pub released: IntCounter,
    pub indeterminate: IntCounter,
    pub bypassed: IntCounterVec,
    /// `same`, `drifted`, or `not_told` where the answer does not repeat the order.
    pub order_checks: IntCounterVec,
    pub policy_info: IntGaugeVec,
    pub reload_ok: IntGaugeVec,
    pub reload_at: GaugeVec,
    pub reloads: IntCounterVec,
    pub jwks_keys: IntGauge,
    pub jwks_refreshes: IntCounterVec,
    pub jwks_age: Gauge,
    pub evidence_events: IntCounterVec,
    /// Refusals that are told with others as one event.
    pub evidence_folded: IntCounter,
    pub evidence_spool_bytes: IntGauge,
    pub evidence_spool_limit_bytes: IntGauge,
    /// Seconds since the oldest event that is not yet in the store.
    pub evidence_lag: Gauge,
    /// 0 while a control plane elsewhere does not take this process's events.
    pub evidence_shipping: IntGauge,
    pub evidence_gaps: IntCounterVec,
    pub evidence_commit: Histogram,
    /// Time to sign a checkpoint with all that it names on the disk.
    pub evidence_publish: Histogram,
    /// When the signed log last covered all that was in the store.
    pub evidence_sealed: Sealed,
    pub evidence_checkpoint_age: Gauge,
    /// Events in the signed log of this year.
    pub evidence_log_size: IntGauge,
    /// 0 while the log cannot be continued.
    pub evidence_log_ok: IntGauge,
    /// 0 unless the last verification of the signed log held.
    pub evidence_log_verified: IntGauge,
    pub api_requests: IntCounterVec,
    pub api_rate_limited: IntCounterVec,
    pub in_flight: IntGaugeVec,
    /// From the command to its taking effect in this process.
    pub revocation_propagation: Histogram,
    pub revocations: IntGaugeVec,
    pub revocation_sync_ok: IntGauge,
}

/// What a request costs beside waiting for its caller and the merchant, each phase by itself.
pub struct Overhead {
    /// Reading and verifying a token.
    pub verify: Histogram,
    /// Comparing what is bought with what was authorised, and the rules.
    pub policy: Histogram,
    /// Reserving and settling in the ledger.
    pub ledger: Histogram,
    /// Waiting until an event is written.
    pub evidence: Histogram,
    /// All that we did, from the head of a request to its last answer byte.
    pub total: Histogram,
}

impl Overhead {
    fn of(phases: &HistogramVec) -> Self {
        let phase = |name: &str| phases.with_label_values(&[name]);
        Self {
            verify: phase("verify"),
            policy: phase("policy"),
            ledger: phase("ledger"),
            evidence: phase("evidence"),
            total: phase("total"),
        }
    }
}

const OVERHEAD_S: [f64; 13] =
    [0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1];
const LATENCY_S: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

impl Metrics {
    /// Builds and registers everything. Fails only on a name that stands twice, which a test finds.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("permyx".to_owned()), None)?;
        let r = &registry;
        let build = int_gauges(r, "build_info", "The running build", &["version", "revision", "features"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), REVISION, FEATURES]).set(1);
        Ok(Self {
            http_requests: counters(
                r,
                "http_requests_total",
                "Answered requests",
                &["listener", "route", "code_class", "decision"],
            )?,
            http_duration: histograms(
                r,
                "http_request_duration_seconds",
                "Request to last answer byte",
                &["listener", "route"],
            )?,
            traces: counters(r, "traces_total", "Requests whose trace was to be sent", &["result"])?,
            access_dropped: counter(r, "access_log_dropped_total", "Lines of the access log that did not fit")?,
            overhead: Overhead::of(&overhead(r)?),
            connections: int_gauges(r, "downstream_connections", "Connections of callers", &["listener"])?,
            draining: gauge(r, "draining", "1 while the process is on its way out")?,
            clock_skew: gauges(
                r,
                "clock_skew_seconds",
                "How far the clock of a peer is ahead of this one's",
                &["peer"],
            )?,
            decisions: counters(r, "decisions_total", "Judgements", &["stage", "decision", "reason", "enforcement"])?,
            faults: counters(
                r,
                "faults_total",
                "Refusals that are no judgement: outages, conflicts, malformed requests",
                &["listener", "code"],
            )?,
            tokenless: counters(
                r,
                "tokenless_requests_total",
                "Requests to guarded routes without a token",
                &["route", "agent_signal"],
            )?,
            tokens_issued: counter(r, "tokens_issued_total", "Execution tokens issued")?,
            replays: counter(r, "replays_total", "Tokens presented again after they were used")?,
            ledger_duration: histograms(
                r,
                "ledger_operation_duration_seconds",
                "Time of a ledger operation",
                &["backend", "op"],
            )?,
            ledger_operations: counters(
                r,
                "ledger_operations_total",
                "Ledger operations",
                &["backend", "op", "result"],
            )?,
            ledger_entries: gauge(r, "ledger_entries", "Tokens that the ledger remembers")?,
            ledger_capacity: gauge(r, "ledger_capacity", "Tokens that the ledger may remember; 0: not bounded here")?,
            ledger_up: gauge(r, "ledger_up", "1 while the ledger answers")?,
            ledger_errors: counters(r, "ledger_errors_total", "Ledger operations without an answer", &["kind"])?,
            ledger_epochs: counters(
                r,
                "ledger_epoch_changes_total",
                "Times that the ledger may have forgotten",
                &["cause"],
            )?,
            ledger_quarantine: gauge(
                r,
                "ledger_quarantine_seconds",
                "Seconds until tokens that are issued now are taken; 0 when they are",
            )?,
            ledger_recovered: counters(
                r,
                "ledger_recovered_total",
                "Reservations of a process that died, settled by another or after a restart",
                &["how"],
            )?,
            upstream_connect: histograms(
                r,
                "upstream_connect_duration_seconds",
                "New connections to merchants, by how they ended",
                &["upstream", "result"],
            )?,
            upstream_duration: histograms(
                r,
                "upstream_response_duration_seconds",
                "Request sent to answer complete",
                &["route"],
            )?,
            released: counter(r, "released_total", "Reservations given back: nothing was executed")?,
            indeterminate: counter(r, "indeterminate_total", "Executions whose outcome is unknown")?,
            order_checks: counters(
                r,
                "order_checks_total",
                "Orders compared with what was authorised and read",
                &["result"],
            )?,
            bypassed: counters(
                r,
                "bypassed_total",
                "Requests that passed unjudged because policy allows it",
                &["cause"],
            )?,
            policy_info: int_gauges(r, "policy_info", "Policies in force", &["store", "mode", "hash8"])?,
            reload_ok: int_gauges(r, "config_last_reload_successful", "1 when the last reload was taken", &["kind"])?,
            reload_at: gauges(
                r,
                "config_last_reload_success_timestamp_seconds",
                "When a reload was last taken",
                &["kind"],
            )?,
            reloads: counters(r, "config_reloads_total", "Reloads", &["kind", "result"])?,
            jwks_keys: gauge(r, "jwks_keys", "Keys that tokens are verified with")?,
            jwks_refreshes: counters(r, "jwks_refresh_total", "Refreshes of the key set", &["result"])?,
            jwks_age: float_gauge(r, "jwks_age_seconds", "Age of the key set")?,
            evidence_events: counters(r, "evidence_events_total", "Events written", &["type"])?,
            evidence_folded: counter(r, "evidence_folded_total", "Calls that are told with others as one event")?,
            evidence_spool_bytes: gauge(r, "evidence_spool_bytes", "Bytes in the spool")?,
            evidence_spool_limit_bytes: gauge(r, "evidence_spool_limit_bytes", "Bytes that the spool may hold")?,
            evidence_lag: float_gauge(
                r,
                "evidence_lag_seconds",
                "Age of the oldest event that is not in the store yet",
            )?,
            evidence_shipping: well(
                r,
                "evidence_shipping_ok",
                "0 while a control plane elsewhere does not take this spool's events",
            )?,
            evidence_gaps: counters(r, "evidence_gap_events_total", "Declared gaps; must stay 0", &["cause"])?,
            evidence_publish: histogram(r, "evidence_publish_duration_seconds", "Time to publish a checkpoint")?,
            evidence_sealed: Sealed::default(),
            evidence_checkpoint_age: float_gauge(
                r,
                "evidence_checkpoint_age_seconds",
                "Since the signed log last covered every event of the store; 0 where this process signs none",
            )?,
            evidence_log_size: gauge(r, "evidence_log_leaves", "Events in the signed log of this year")?,
            evidence_log_verified: gauge(r, "evidence_log_verified", "Whether the signed log verifies")?,
            evidence_log_ok: gauge(r, "evidence_log_ok", "Whether the signed log is continued")?,
            evidence_commit: histogram(r, "evidence_commit_duration_seconds", "Time to commit a batch to the store")?,
            api_requests: counters(
                r,
                "agent_api_requests_total",
                "Calls of the execution API",
                &["endpoint", "code_class"],
            )?,
            api_rate_limited: counters(
                r,
                "agent_api_rate_limited_total",
                "Calls refused by an allowance",
                &["window"],
            )?,
            in_flight: int_gauges(r, "in_flight_requests", "Requests under way", &["listener"])?,
            revocation_propagation: histogram(
                r,
                "revocation_propagation_seconds",
                "From a revocation to its taking effect here",
            )?,
            revocations: int_gauges(r, "revocations", "What is revoked", &["kind"])?,
            revocation_sync_ok: gauge(r, "revocation_sync_ok", "1 unless revocations should be shared and are not")?,
            process: ProcessCollector::for_self(),
            registry,
        })
    }

    /// What came of reading something again: `kind` is `policy`, `certificate` and the like.
    #[expect(clippy::cast_precision_loss, reason = "seconds are exact in a double for millions of years")]
    pub fn reloaded(&self, kind: &str, taken: bool, now: Timestamp) {
        let result = if taken { "taken" } else { "rejected" };
        self.reloads.with_label_values(&[kind, result]).inc();
        self.reload_ok.with_label_values(&[kind]).set(i64::from(taken));
        if taken {
            self.reload_at.with_label_values(&[kind]).set(now.seconds() as f64);
        }
    }

    /// The text exposition format.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // Writing to a Vec cannot fail, and the families were checked when they were registered.
        let families = self.registry.gather().into_iter().chain(self.process.collect()).collect::<Vec<_>>();
        let _ = TextEncoder::new().encode(&families, &mut out);
        out
    }
}

/// One of what a gauge counts, as long as the value lives.
pub struct Counted(IntGauge);

impl Counted {
    #[must_use]
    pub fn one(of: &IntGauge) -> Self {
        of.inc();
        Self(of.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// When the signed log last covered all that was in the store.
#[derive(Default)]
pub struct Sealed(AtomicI64);

impl Sealed {
    pub fn at(&self, now: Timestamp) {
        self.0.store(now.millis(), Ordering::Relaxed);
    }

    /// Seconds since then; 0 where nothing is sealed here.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a duration, exact far beyond any that occurs")]
    pub fn age_s(&self, now: Timestamp) -> f64 {
        match self.0.load(Ordering::Relaxed) {
            0 => 0.0,
            at => (now.millis() - at).max(0) as f64 / 1e3,
        }
    }
}

/// What was built, as whoever builds a release says it.
const REVISION: &str = match option_env!("PERMYX_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};
const FEATURES: &str = match (cfg!(feature = "gateway"), cfg!(feature = "control-plane")) {
    (true, true) => "gateway,control-plane",
    (true, false) => "gateway",
    (false, true) => "control-plane",
    (false, false) => "none",
};

/// `2xx` and so on: a closed set whatever the merchant answers.
#[must_use]
pub fn code_class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "other",
    }
}

/// The methods of RFC 9110 that a checkout sees; any other is `other`.
#[must_use]
pub fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn overhead(r: &Registry) -> Result<HistogramVec, prometheus::Error> {
    let help = "Time of a request that is not spent on its caller or the merchant";
    let opts = HistogramOpts::new("proxy_overhead_seconds", help).buckets(OVERHEAD_S.to_vec());
    registered(r, HistogramVec::new(opts, &["phase"]))
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: Result<C, prometheus::Error>,
) -> Result<C, prometheus::Error> {
    let metric = made?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counter(r: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    registered(r, IntCounter::new(name, help))
}

fn counters(r: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    registered(r, IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauge(r: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    registered(r, IntGauge::new(name, help))
}

/// A gauge that is 1 until something is wrong.
fn well(r: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    gauge(r, name, help).inspect(|gauge| gauge.set(1))
}

fn float_gauge(r: &Registry, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
    registered(r, Gauge::new(name, help))
}

fn gauges(r: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, prometheus::Error> {
    registered(r, GaugeVec::new(Opts::new(name, help), labels))
}

fn int_gauges(r: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
    registered(r, IntGaugeVec::new(Opts::new(name, help), labels))
}

fn histogram(r: &Registry, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
    registered(r, Histogram::with_opts(HistogramOpts::new(name, help).buckets(LATENCY_S.to_vec())))
}

fn histograms(r: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, prometheus::Error> {
    registered(r, HistogramVec::new(HistogramOpts::new(name, help).buckets(LATENCY_S.to_vec()), labels))
}
