//! What is counted: closed sets, whatever callers send.

use std::collections::BTreeSet;

use crate::support::gateway::{Gateway, Guard, MUG, with_token};
use crate::support::http::{Connection, get, request};
use crate::support::merchant::Merchant;

/// Requests that differ in everything a caller can choose; `PERMYX_JUNK` asks for another number.
const JUNK: usize = 20_000;
/// Sent together on one connection.
const TOGETHER: usize = 200;
const CALLERS: usize = 4;

/// The names and labels of all series.
fn series(gateway: &Gateway) -> BTreeSet<String> {
    let text = get(gateway.ops(), "/metrics").text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
}

fn value(gateway: &Gateway, series: &str) -> f64 {
    let text = get(gateway.ops(), "/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no `{series}`")).parse().unwrap()
}

/// No two are alike.
fn junk(number: usize, token: &str) -> Vec<u8> {
    let method = ["POST", "GET", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "X"][number % 8];
    let target = match number % 5 {
        0 => format!("/shop?n={number}"),
        1 => format!("/shop/{number}"),
        2 => format!("/{number}/shop"),
        3 => format!("/shop%2f{number}"),
        _ => "/shop".to_owned(),
    };
    let own = match number % 7 {
        0 => format!("Permyx-Execution-Token: {token}{number}"),
        1 => format!("Permyx-Execution-Token: {number}.{number}.{number}"),
        2 => format!("Permyx-Agent: agent-{number}"),
        3 => format!("traceparent: 00-{number:032x}-{number:016x}-01"),
        4 => format!("Idempotency-Key: {number}"),
        5 => format!("User-Agent: bot-{number}/{number}"),
        _ => format!("X-{number}: {number}"),
    };
    request(method, &target, &[&own, &format!("Permyx-Decision: made-up-{number}")], &format!("{{\"n\":{number}}}"))
}

fn send(gateway: &Gateway, numbers: std::ops::Range<usize>, token: &str) {
    let together: Vec<usize> = numbers.collect();
    for together in together.chunks(TOGETHER) {
        let mut connection = Connection::open(gateway.address());
        let bytes: Vec<u8> = together.iter().flat_map(|&number| junk(number, token)).collect();
        std::thread::scope(|scope| {
            let mut writing = connection.writer();
            scope.spawn(move || writing.send(bytes));
            let answers = together.iter().take_while(|_| connection.answer().is_some()).count();
            assert_eq!(answers, together.len());
        });
    }
}

#[test]
fn junk_adds_no_series() {
    let merchant = Merchant::selling();
    let gateway = Gateway::start(&[Guard::enforcing("shop", merchant.url())], "");
    let token = gateway.token("shop");
    assert_eq!(gateway.post("/shop", &token, MUG).status, 200);
    // One of each sort.
    send(&gateway, 0..8 * 5 * 7, &token);
    let before = series(&gateway);
    let asked = std::env::var_os("PERMYX_JUNK").map_or(JUNK, |text| text.to_str().unwrap().parse().unwrap());
    let each = asked / CALLERS;
    std::thread::scope(|scope| {
        for caller in 1..=CALLERS {
            let (gateway, token) = (&gateway, &token);
            scope.spawn(move || send(gateway, caller * each..(caller + 1) * each, token));
        }
    });
    let added: Vec<_> = series(&gateway).difference(&before).cloned().collect();
    assert_eq!(added, Vec::<String>::new());
}

#[test]
fn what_we_cost_is_told_by_phase_and_waiting_for_others_is_not_in_it() {
    let merchant = Merchant::start(|_| {
        std::thread::sleep(std::time::Duration::from_millis(600));
        crate::support::merchant::Reply::sold()
    });
    let gateway = Gateway::start(&[Guard::enforcing("shop", merchant.url())], "");
    let mut connection = Connection::open(gateway.address());
    let bytes = with_token("/shop", &gateway.token("shop"), MUG);
    let (head, body) = bytes.split_at(bytes.len() - 10);
    connection.send(head);
    // A caller who takes time.
    std::thread::sleep(std::time::Duration::from_millis(600));
    connection.send(body);
    assert_eq!(connection.answer().unwrap().status, 200);
    for phase in ["verify", "policy", "ledger", "evidence", "total"] {
        let of = |what: &str| value(&gateway, &format!("permyx_proxy_overhead_seconds_{what}{{phase=\"{phase}\"}}"));
        assert!(of("count") >= 1.0 && of("sum") < 0.5, "{phase}: {} in {}", of("sum"), of("count"));
    }
    let took = value(&gateway, "permyx_http_request_duration_seconds_sum{listener=\"gateway\",route=\"shop\"}");
    assert!(took >= 1.2, "{took}");
    assert!(value(&gateway, "permyx_downstream_connections{listener=\"gateway\"}") >= 1.0);
}
