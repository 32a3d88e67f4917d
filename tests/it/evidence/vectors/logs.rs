//! Whole logs.

use std::collections::BTreeMap;

use permyx::tlog::hash::{leaf_hash, node_hash};
use serde_json::{Value, json};

use super::super::build::{Log, Producer, bought, jti, purchases, signed, signer};
use super::{Brings, Vector};

fn files(leaves: Vec<Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    Log(leaves).files(&[signer(1)])
}

fn gap(of: &str, range: Option<(u64, u64)>) -> Value {
    match range {
        Some((from, to)) => json!({"cause": "write_failed", "fromSequence": from, "of": of, "toSequence": to}),
        None => json!({"cause": "went_back", "of": of}),
    }
}

/// The stream `/a` with a part lost, and what the control plane says of that.
fn with_hole(declared: Option<Value>) -> Vec<Vec<u8>> {
    let (mut gateway, mut plane) = (Producer::new("/a"), Producer::new("/plane"));
    let mut leaves = gateway.purchase(1).to_vec();
    gateway.lose(2);
    leaves.extend(gateway.purchase(2));
    leaves.extend(declared.map(|gap| plane.event("evidence.gap", 9, gap)));
    leaves
}

fn set_back(declared: bool) -> Vec<Vec<u8>> {
    let (mut gateway, mut plane) = (Producer::new("/a"), Producer::new("/plane"));
    let mut leaves: Vec<_> = [gateway.purchase(1), gateway.purchase(2)].concat();
    leaves.extend(declared.then(|| plane.event("evidence.gap", 9, gap("/a", None))));
    gateway.set_back(3);
    leaves.extend(gateway.purchase(3));
    leaves
}

/// Two executions of which the caller gave one trace to both.
fn one_trace(settled_elsewhere: bool) -> Vec<Vec<u8>> {
    let mut gateway = Producer::new("/a");
    let of = |token: u32| {
        let mut data = bought(token);
        data["traceId"] = "trc_00000000000000000000000000000001".into();
        data
    };
    let mut leaves = vec![gateway.event("execution.reserved", 1, of(1)), gateway.event("execution.reserved", 2, of(2))];
    leaves.push(gateway.event("execution.validated", if settled_elsewhere { 2 } else { 1 }, of(1)));
    leaves.push(gateway.event("execution.released", 2, of(2)));
    leaves
}

fn events(told: &[(&str, u32, Value)]) -> Vec<Vec<u8>> {
    let mut gateway = Producer::new("/a");
    told.iter().map(|(kind, execution, data)| gateway.event(kind, *execution, data.clone())).collect()
}

pub fn good() -> Vec<Vector> {
    let log = Log(purchases(3));
    let mut opened = Producer::new("/plane");
    let mut next = vec![opened.event("evidence.log_opened", 9, json!({"checkpoint": "the last one of 2025"}))];
    let mut gateway = Producer::new("/a");
    let _in_the_log_before = gateway.purchase(1);
    next.extend(gateway.purchase(2));
    let later = [
        ("execution.reserved", 1, bought(1)),
        ("execution.indeterminate", 1, bought(1)),
        ("execution.resolved", 1, bought(1)),
    ];
    vec![
        Vector::log("log", "three purchases over two gateways", files(purchases(3)), &[]),
        Vector::log("log-300", "more than one tile", files(purchases(150)), &[]),
        Vector::log("log-known", "it goes on from a checkpoint that was kept", files(purchases(3)), &[])
            .knowing(log.at(4).checkpoint(&[signer(1)]).note().to_string()),
        Vector::log("log-two-keys", "the key changes: both sign", log.files(&[signer(1), signer(3)]), &[])
            .with(Brings::Keys),
        Vector::log(
            "log-next-key",
            "signed by the next key too, which is not known yet",
            log.files(&[signer(3), signer(1)]),
            &[],
        ),
        Vector::log(
            "log-gap",
            "events are lost, and that is declared",
            files(with_hole(Some(gap("/a", Some((3, 4)))))),
            &[],
        ),
        Vector::log(
            "log-set-back",
            "a spool was restored from a copy, and that is declared",
            files(set_back(true)),
            &[],
        ),
        Vector::log(
            "log-one-trace",
            "mistake 9: two executions with one traceId stay two",
            files(one_trace(false)),
            &[],
        ),
        Vector::log(
            "log-resolved",
            "what became of it is known later: burned no second time",
            files(events(&later)),
            &[],
        ),
        Vector::log("log-next-year", "streams go on from the log of the year before", files(next), &[]),
        Vector::log("log-no-key", "mistake 4: without a key nothing passes", files(purchases(3)), &[])
            .with(Brings::Nothing)
            .unknown(),
        Vector::log("log-empty", "mistake 4: nothing is proven by nothing", files(vec![]), &[]).unknown(),
    ]
}

pub fn bad() -> Vec<Vector> {
    [forged(), streams(), told(), spelled(), known()].into_iter().flatten().collect()
}

/// What does not hash to what was signed.
fn forged() -> Vec<Vector> {
    let log = Log(purchases(3));
    let three = log.at(3);
    let hash = |n: usize| leaf_hash(&three.0[n]);
    let doubled = node_hash(&node_hash(&hash(0), &hash(1)), &node_hash(&hash(2), &hash(2)));
    let mut odd = three.files(&[signer(1)]);
    odd.insert("checkpoint".to_owned(), signed(&[signer(1)], 3, doubled).note().to_string().into_bytes());
    let mut first = log.files(&[signer(1)]);
    let entries = first.get_mut("tile/entries/000.p/6").unwrap();
    let price = entries.windows(5).position(|bytes| bytes == b"29.90").unwrap();
    entries[price] = b'1';
    let mut no_tile = log.files(&[signer(1)]);
    no_tile.remove("tile/0/000.p/6");
    let mut cut = log.files(&[signer(1)]);
    cut.get_mut("tile/entries/000.p/6").unwrap().pop();
    let mut resigned = log.files(&[signer(1)]);
    let text = String::from_utf8(resigned["checkpoint"].clone()).unwrap().replacen("\n6\n", "\n5\n", 1);
    resigned.insert("checkpoint".to_owned(), text.into_bytes());
    let mut unsigned = log.files(&[signer(1)]);
    unsigned.remove("checkpoint");
    vec![
        Vector::log("bad-odd-node-doubled", "mistake 2: the root of [A,B,C,C] for [A,B,C]", odd, &["tree"]),
        Vector::log(
            "bad-first-entry",
            "mistake 5: the first line of a file is changed, not the last",
            first,
            &["tree", "continuity", "intent"],
        ),
        Vector::log(
            "bad-own-key",
            "mistake 4: signed by a key that nobody pinned",
            log.files(&[signer(2)]),
            &["signature"],
        ),
        Vector::log("bad-no-tile", "a tile is missing", no_tile, &["tree"]),
        Vector::log("bad-cut-entries", "a bundle of entries is cut", cut, &["tree"]),
        Vector::log("bad-size", "the size in the checkpoint is changed", resigned, &["signature", "tree"]),
        Vector::log("bad-unsigned", "there is no checkpoint", unsigned, &["signature"]),
    ]
}

/// Streams of which something is missing, signed by the key of the log.
fn streams() -> Vec<Vector> {
    let mut swapped = purchases(3);
    swapped.swap(2, 3);
    let mut doubled = purchases(3);
    doubled.push(doubled[5].clone());
    let late = purchases(3).split_off(1);
    let mut changed = purchases(4);
    changed[0] = String::from_utf8(changed[0].clone()).unwrap().replace("ak_7f3c", "ak_7f3d").into_bytes();
    vec![
        Vector::log("bad-hole", "two events are missing", files(with_hole(None)), &["continuity"]),
        Vector::log(
            "bad-hole-half",
            "one of two is declared",
            files(with_hole(Some(gap("/a", Some((3, 3)))))),
            &["continuity"],
        ),
        Vector::log(
            "bad-hole-other",
            "the gap is in another stream",
            files(with_hole(Some(gap("/b", Some((3, 4)))))),
            &["continuity"],
        ),
        Vector::log("bad-set-back", "a stream goes back and nobody says so", files(set_back(false)), &["continuity"]),
        Vector::log("bad-swapped", "two events of a stream are exchanged", files(swapped), &["continuity"]),
        Vector::log("bad-doubled", "an event stands twice", files(doubled), &["continuity", "burn"]),
        Vector::log(
            "bad-first-missing",
            "the first event of a stream is missing",
            files(late),
            &["continuity", "burn"],
        ),
        Vector::log("bad-chain", "an event was changed, and the tree was made anew", files(changed), &["continuity"]),
    ]
}

/// Events that cannot all be true.
fn told() -> Vec<Vector> {
    let reserved = ("execution.reserved", 1, bought(1));
    let twice = [reserved.clone(), ("execution.validated", 1, bought(1)), ("execution.validated", 1, bought(1))];
    let unclear = [reserved.clone(), ("execution.indeterminate", 1, bought(1)), ("execution.validated", 1, bought(1))];
    let mut cheap = bought(1);
    cheap["price"] = "0.01 USD".into();
    let no_token = json!({"tokenId": jti(1).to_uppercase()});
    vec![
        Vector::log("bad-burned-twice", "a token is burned twice", files(events(&twice)), &["burn"]),
        Vector::log("bad-burned-unclear", "an unresolved outcome and an execution", files(events(&unclear)), &["burn"]),
        Vector::log(
            "bad-unreserved",
            "a settlement without a reservation",
            files(events(&[("execution.validated", 1, bought(1))])),
            &["burn"],
        ),
        Vector::log(
            "bad-token",
            "a token in another spelling",
            files(events(&[("execution.reserved", 1, no_token)])),
            &["burn"],
        ),
        Vector::log("bad-joined-by-trace", "mistake 9: joined by traceId alone", files(one_trace(true)), &["join"]),
        Vector::log(
            "bad-intent",
            "the price is not the one that was authorised",
            files(events(&[("execution.reserved", 1, cheap)])),
            &["intent"],
        ),
    ]
}

/// A leaf that says the same in other bytes, or nothing that every reader reads alike.
fn spelled() -> Vec<Vector> {
    let spellings = [
        ("bad-fraction", "mistake 8: a number with a fraction", ":120", ":120.00"),
        ("bad-large-number", "mistake 8: a number beyond 2^53-1", ":120", ":9007199254740993"),
        ("bad-space", "mistake 6: the same value in other bytes", ":120", ": 120"),
        ("bad-escape", "an escape that need not be", "é", "\\u00e9"),
        ("bad-twice-named", "a member stands twice", "\"count\":120", "\"count\":120,\"count\":1"),
        ("bad-order", "members in another order", "\"count\":120,\"limit\":\"é\"", "\"limit\":\"é\",\"count\":120"),
        ("bad-no-event", "a leaf that is no event", "\"pmxprev\"", "\"pmxprew\""),
    ];
    let vector = |(name, about, from, to): (&'static str, &'static str, &str, &str)| {
        let told = json!({"count": 120, "limit": "é"});
        let mut leaves = events(&[("execution.reserved", 1, bought(1)), ("policy.activated", 2, told)]);
        let text = String::from_utf8(leaves.pop().unwrap()).unwrap();
        assert!(text.contains(from), "{text}");
        leaves.push(text.replacen(from, to, 1).into_bytes());
        Vector::log(name, about, files(leaves), &["canonical"])
    };
    spellings.map(vector).into()
}

/// Logs that agree with themselves, and not with what the auditor knows.
fn known() -> Vec<Vector> {
    let (whole, ours) = (Log(purchases(3)), [signer(1)]);
    let kept = |log: &Log| log.checkpoint(&ours).note().to_string();
    let mut anew = purchases(4);
    anew.drain(..2);
    let mut anew: Vec<_> = anew.into_iter().filter(|leaf| !String::from_utf8_lossy(leaf).contains("eu-1")).collect();
    anew.extend(Producer::new("/c").purchase(7));
    anew.extend(Producer::new("/d").purchase(8));
    let other = kept(&whole).replace("permyx/2026", "permyx/2025");
    vec![
        Vector::log(
            "bad-cut-tail",
            "the tail is cut: only a kept checkpoint tells",
            whole.at(4).files(&ours),
            &["consistency"],
        )
        .knowing(kept(&whole)),
        Vector::log(
            "bad-rewritten",
            "the history is written anew with the log's own key",
            files(anew),
            &["consistency"],
        )
        .knowing(kept(&whole.at(4))),
        Vector::log("bad-forged-known", "the kept checkpoint is of another log", whole.files(&ours), &["consistency"])
            .knowing(other),
    ]
}
