//! Who says what: the gateway alone speaks in Permyx's name, to the merchant and to the caller.

use crate::support::gateway::{AGENT, MUG};
use crate::support::http::{post, request, request_to};
use crate::support::merchant::Recorded;

use super::{OPEN_HOST, STAND, trace};

/// The Permyx headers of a request, in every spelling that a server might take for one.
fn ours(request: &Recorded) -> Vec<String> {
    let head = request.head();
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let fields = fields.map(|(name, value)| format!("{}:{value}", name.to_ascii_lowercase().replace('_', "-")));
    let mut lines: Vec<_> = fields.filter(|field| field.starts_with("permyx-")).collect();
    lines.sort();
    lines
}

#[test]
fn the_merchant_hears_of_a_purchase_from_the_gateway_alone() {
    let token = STAND.gateway.token("shop");
    let forged = [
        "Permyx-Trace: trc_forged",
        "PERMYX-DECISION: allowed",
        "Permyx-Agent: ak_forged",
        "permyx-intent: sha256:forged",
        "Permyx-Explain: 1",
        "X-Permyx-Kept: 1",
        &format!("Permyx-Execution-Token: {token}"),
    ];
    let bought = post(STAND.gateway.address(), "/shop", &forged, MUG);
    assert_eq!(bought.status, 200, "{}", bought.text());
    let arrived = STAND.arrived(&bought).remove(0);
    let intent = permyx::model::intent::Sha256::of(b"shop|shopify:variant:123456|1|29.99|USD|agent_exec");
    let expected = [
        format!("permyx-agent: {AGENT}"),
        "permyx-decision: allowed".to_owned(),
        format!("permyx-intent: {intent}"),
        format!("permyx-trace: {}", trace(&bought)),
    ];
    assert_eq!(ours(&arrived), expected);
    assert_eq!(arrived.header("x-permyx-kept"), ["1"]);
    assert!(!String::from_utf8_lossy(&arrived.bytes).contains(&token));
}

/// Whatever the path and whoever enforces: a caller's own words in our name never arrive.
#[test]
fn what_a_caller_says_in_our_name_never_arrives() {
    let token = STAND.gateway.token("shop");
    let spoken = [
        format!("Permyx-Execution-Token: {token}"),
        "permyx-TRACE: forged".to_owned(),
        "Permyx-Decision: forged".to_owned(),
        "Permyx-Agent: forged".to_owned(),
        "Permyx-Anything: forged".to_owned(),
    ];
    let underscored = ["Permyx_Trace: forged", "permyx_execution-token: forged", "PERMYX_AGENT: forged"];
    let nominated = ["Connection: Permyx-Trace, Permyx-Decision, X-Hop", "X-Hop: 1"];
    for (host, target, lenient) in [
        ("shop.example", "/shop?a", false),
        ("shop.example", "/not-guarded", false),
        (OPEN_HOST, "/seen?a", true),
        (OPEN_HOST, "/not-guarded", true),
    ] {
        for method in ["GET", "PUT"] {
            let mut lines: Vec<&str> = spoken.iter().map(String::as_str).collect();
            if lenient {
                lines.extend(underscored.iter().chain(&nominated));
            }
            if method == "PUT" && !lenient && target.starts_with("/shop") {
                // With a token it would be a request that the preset does not know.
                lines.remove(0);
            }
            let answer = STAND.gateway.send(&request_to(host, method, target, &lines, "{}"));
            assert_eq!(answer.status, 200, "{method} {host} {target}: {}", answer.text());
            let arrived = STAND.arrived(&answer).remove(0);
            let expected = [
                format!("permyx-decision: {}", answer.header("permyx-decision").unwrap()),
                format!("permyx-trace: {}", trace(&answer)),
            ];
            assert_eq!(ours(&arrived), expected, "{method} {host} {target}");
            assert_eq!((arrived.header("connection"), arrived.header("x-hop")), (vec![], vec![]), "{host} {target}");
        }
    }
}

/// On a host where something is enforced, such spellings are not even cleaned: they are refused.
#[test]
fn spellings_that_servers_confuse_are_refused_where_something_is_enforced() {
    let lines =
        ["permyx_execution_token: x", "Permyx_Trace: x", "Connection: Permyx-Trace", "connection: close, permyx_agent"];
    for line in lines {
        let answer = post(STAND.gateway.address(), "/shop", &[line], MUG);
        assert_eq!((super::refused(&answer, 400).as_str(), STAND.arrived(&answer).len()), ("BAD_REQUEST", 0), "{line}");
    }
}

/// The caller always learns what was decided and under which trace, and never from the merchant.
#[test]
fn every_answer_has_a_trace_and_a_decision() {
    let cases = [
        (request("POST", "/shop", &[], MUG), "observed"),
        (request("POST", "/agents", &[], MUG), "denied; reason=NO_TOKEN"),
        (request("GET", "/shop", &[], ""), "none"),
        (request("HEAD", "/anything", &[], ""), "none"),
        (request("GET", "/anything", &[], ""), "none"),
        (request("GET", "//anything", &[], ""), "denied; reason=BAD_REQUEST"),
    ];
    let mut traces = std::collections::BTreeSet::new();
    for (bytes, decision) in cases {
        let mut connection = crate::support::http::Connection::open(STAND.gateway.address());
        connection.send(&bytes);
        let method = if bytes.starts_with(b"HEAD") { "HEAD" } else { "POST" };
        let answer = connection.answer_to(method).unwrap().unwrap();
        assert_eq!(answer.header("permyx-decision"), Some(decision), "{}", String::from_utf8_lossy(&bytes));
        let trace = trace(&answer).to_owned();
        assert!(permyx::model::ids::TraceId::parse(&trace).is_some() && traces.insert(trace));
    }
    for lane in ["/shop?forge", "/agents?forge", "/anything?forge"] {
        let token = format!("Permyx-Execution-Token: {}", STAND.gateway.token("agents"));
        let lines = if lane.starts_with("/agents") { vec![token.as_str()] } else { vec![] };
        let answer = post(STAND.gateway.address(), lane, &lines, MUG);
        let named: Vec<_> = answer.headers.iter().filter(|(name, _)| name.starts_with("permyx")).collect();
        assert_eq!((answer.status, named.len()), (200, 2), "{lane}: {named:?}");
        assert_ne!(trace(&answer), "trc_forged");
    }
}
