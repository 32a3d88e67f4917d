//! Traces: what a collector of OpenTelemetry is told of each request. It is read with the published definitions of
//! OTLP.

use std::collections::BTreeMap;
#[cfg(feature = "control-plane")]
use std::sync::{Arc, Mutex};
use std::time::Instant;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
#[cfg(feature = "control-plane")]
use permyx::telemetry::traces::{Finished, Part, Sink, Traces};
use prost::Message;

use crate::support::PATIENCE;
use crate::support::dir::TempDir;
use crate::support::gateway::{Gateway, Guard, MUG, Start, with_token};
use crate::support::http::{Answer, get, request};
use crate::support::merchant::{Merchant, Reply};
#[cfg(feature = "control-plane")]
use crate::support::plane::{AUTHORIZE, Held, Plane, Setup, VALIDATE, purchase};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A gateway whose requests are traced, what it stands before, and where its traces go.
struct Stand {
    gateway: Gateway,
    shop: Merchant,
    collector: Merchant,
    _dir: TempDir,
}

impl Stand {
    fn start(share: &str) -> Self {
        let shop =
            Merchant::start(
                |request| {
                    if request.request_line().contains("hangup") { Reply::Close } else { Reply::sold() }
                },
            );
        let collector = Merchant::start(|_| Reply::json(200, ""));
        let dir = TempDir::new();
        let headers = dir.write("headers", "Authorization: Bearer collector-only\n");
        let more = format!(
            "[traces]\nurl = \"{}/v1/traces\"\nshare = {share}\nheaders_file = \"{}\"\n",
            collector.url(),
            headers.display()
        );
        let guards = [Guard::enforcing("shop", shop.url())];
        let gateway = Gateway::start_as(&Start { more: &more, ..Start::alone(&guards) });
        Self { gateway, shop, collector, _dir: dir }
    }

    fn buy(&self, target: &str, token: &str, flags: &str) -> Answer {
        let parent = format!("traceparent: 00-{TRACE}-{CALLER}-{flags}");
        let token = format!("Permyx-Execution-Token: {token}");
        self.gateway.send(&request("POST", target, &[&parent, &token], MUG))
    }

    /// Spans of so many requests by name, once they are there.
    fn spans(&self, requests: usize) -> Vec<Span> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told: Vec<_> = self.collector.recorded();
            let told = told.iter().map(|told| ExportTraceServiceRequest::decode(told.body()).unwrap());
            let spans = told.flat_map(|told| told.resource_spans).flat_map(|told| told.scope_spans);
            let spans: Vec<_> = spans.flat_map(|told| told.spans).collect();
            if spans.iter().filter(|span| span.name == "permyx.proxy").count() >= requests {
                return spans;
            }
            assert!(Instant::now() < deadline, "{requests} requests in {spans:#?}");
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == name);
    found.map(|found| format!("{:?}", found.value)).unwrap_or_default()
}

#[test]
fn a_purchase_is_part_of_the_trace_of_its_caller_and_the_merchant_of_ours() {
    let stand = Stand::start("0");
    let answer = stand.buy("/shop", &stand.gateway.token("shop"), "01");
    assert_eq!(answer.status, 200);
    let spans = stand.spans(1);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));
    let of: BTreeMap<&str, &Span> = spans.iter().map(|span| (span.name.as_str(), span)).collect();
    let names: Vec<_> = of.keys().copied().collect();
    assert_eq!(names, ["evidence", "ledger", "permyx.proxy", "policy", "upstream", "verify"]);
    let proxy = of["permyx.proxy"];
    assert_eq!(hex(&proxy.parent_span_id), CALLER);
    for (name, span) in &of {
        assert!(proxy.start_time_unix_nano <= span.start_time_unix_nano, "{name}");
        assert!(span.end_time_unix_nano <= proxy.end_time_unix_nano, "{name}");
        assert!(*name == "permyx.proxy" || span.parent_span_id == proxy.span_id, "{name}");
    }
    let told = stand.shop.recorded()[0].header("traceparent");
    assert_eq!(told, [format!("00-{TRACE}-{}-01", hex(&of["upstream"].span_id))]);
    assert!(text(proxy, "permyx.decision").contains("allowed") && text(proxy, "permyx.route").contains("shop"));
    assert!(text(proxy, "permyx.trace").contains(answer.header("permyx-trace").unwrap()));
    assert_eq!(stand.collector.recorded()[0].header("authorization"), ["Bearer collector-only"]);
}

#[test]
fn who_calls_decides_but_for_what_is_refused_or_of_unknown_outcome() {
    let stand = Stand::start("1");
    let token = stand.gateway.token("shop");
    assert_eq!(stand.buy("/shop", &token, "00").status, 200);
    assert_eq!(stand.shop.recorded()[0].header("traceparent")[0].split('-').next_back(), Some("00"));
    assert_eq!(stand.buy("/shop", &token, "00").status, 403);
    assert_eq!(stand.buy("/shop?hangup", &stand.gateway.token("shop"), "00").status, 502);
    // Without a trace of its own, the share decides: all of them.
    assert_eq!(stand.gateway.send(&with_token("/shop", &stand.gateway.token("shop"), MUG)).status, 200);
    let spans = stand.spans(3);
    let requests = spans.iter().filter(|span| span.name == "permyx.proxy");
    let mut reasons: Vec<_> = requests.map(|span| text(span, "permyx.reason")).collect();
    reasons.sort();
    assert_eq!(reasons.len(), 3);
    assert!(reasons[0].is_empty() && reasons[1].contains("OUTCOME_UNKNOWN") && reasons[2].contains("REPLAY_DETECTED"));
}

#[test]
fn a_collector_that_is_not_there_costs_no_request() {
    let mut stand = Stand::start("1");
    drop(std::mem::replace(&mut stand.collector, Merchant::selling()));
    for _ in 0..5 {
        assert_eq!(stand.buy("/shop", &stand.gateway.token("shop"), "01").status, 200);
    }
    let deadline = Instant::now() + PATIENCE;
    let failed = |text: &str| text.lines().any(|line| line == "permyx_traces_total{result=\"failed\"} 5");
    while !failed(&get(stand.gateway.ops(), "/metrics").text()) {
        assert!(Instant::now() < deadline, "{}", get(stand.gateway.ops(), "/metrics").text());
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    assert!(stand.gateway.log().contains("the collector does not take traces"));
    assert!(stand.gateway.stop().success());
}

#[test]
fn what_is_under_way_to_the_collector_arrives_before_the_end() {
    let mut stand = Stand::start("1");
    assert_eq!(stand.buy("/shop", &stand.gateway.token("shop"), "01").status, 200);
    assert!(stand.gateway.stop().success());
    assert_eq!(stand.collector.recorded().len(), 1);
}

/// What would be sent.
#[cfg(feature = "control-plane")]
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Finished>>>);

#[cfg(feature = "control-plane")]
impl Sink for Kept {
    fn take(&self, finished: Finished) {
        self.0.lock().unwrap().push(finished);
    }
}

#[cfg(feature = "control-plane")]
#[test]
fn a_call_of_the_api_is_part_of_the_trace_of_its_caller() {
    let kept = Kept::default();
    let traces = Some(Arc::new(Traces::new(0.0, Box::new(kept.clone()))));
    let plane = Plane::start(Setup { traces, ..Setup::default() });
    plane.clock.advance(1000);
    let (agent, parent) = (plane.agent(), format!("traceparent: 00-{TRACE}-{CALLER}-01"));
    let call = |path: &str, held: &Held, body: &serde_json::Value| {
        plane.send("POST", path, held, &[&parent], &body.to_string())
    };
    let token = call(AUTHORIZE, &agent, &purchase()).json()["executionToken"].clone();
    let mut asked = purchase();
    asked["executionToken"] = token;
    assert_eq!(call(VALIDATE, &agent, &asked).json()["allowed"], true);
    // Refused, in no trace at all.
    assert_eq!(plane.post(AUTHORIZE, &agent, &serde_json::json!({})).status, 400);
    let kept = kept.0.lock().unwrap();
    let told: Vec<_> = kept.iter().map(|one| (&*one.ended.route, one.ended.status, one.parent.is_some())).collect();
    assert_eq!(told, [("authorize", 200, true), ("validate", 200, true), ("authorize", 400, false)]);
    let parts: Vec<_> = kept[1].took.iter().map(|took| took.part).collect();
    assert_eq!(parts, [Part::Verify, Part::Policy, Part::Ledger, Part::Evidence, Part::Ledger]);
}
