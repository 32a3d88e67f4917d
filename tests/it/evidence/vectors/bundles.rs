//! Bundles.

use permyx::audit::bundle::{Content, Entry, Scope, ScopeKind, write};
use permyx::tlog::hash::leaf_hash;
use permyx::tlog::merkle::Inclusion;
use permyx::tlog::tile::bytes_of;

use super::super::build::{Log, jti, purchases, signed, signer};
use super::super::pmx::Pmx;
use super::{Brings, Vector};

fn scope(kind: ScopeKind, value: &str) -> Scope {
    Scope::new(kind, value).unwrap()
}

fn all() -> Scope {
    scope(ScopeKind::All, "-")
}

fn execution(number: u32) -> Scope {
    scope(ScopeKind::Execution, &format!("exec_{}", jti(number)))
}

fn log() -> Log {
    Log(purchases(4))
}

/// The second purchase of four.
fn second() -> Vec<u8> {
    log().bundle(execution(1), &[2, 3], &[3, 5], &[signer(1)])
}

pub fn good() -> Vec<Vector> {
    let kept = |size| log().at(size).checkpoint(&[signer(1)]).note().to_string();
    let stream = scope(ScopeKind::Source, "/gateways/eu-2/\"b\"");
    vec![
        Vector::bundle("bundle", "one execution of a log", second(), &[]),
        Vector::bundle(
            "bundle-all",
            "every event",
            log().bundle(all(), &[0, 1, 2, 3, 4, 5, 6, 7], &[], &[signer(1)]),
            &[],
        ),
        Vector::bundle("bundle-source", "one stream", log().bundle(stream, &[2, 3, 6, 7], &[], &[signer(1)]), &[]),
        Vector::bundle("bundle-known", "it goes on from a kept checkpoint", second(), &[]).knowing(kept(5)),
        Vector::bundle("bundle-unproven", "no proof leads to the kept checkpoint", second(), &[]).knowing(kept(4)),
        Vector::bundle("bundle-no-key", "mistake 4: without a key nothing passes", second(), &[])
            .with(Brings::Nothing)
            .unknown(),
        Vector::bundle(
            "bundle-empty",
            "mistake 4: an empty package proves nothing",
            log().bundle(execution(9), &[], &[], &[signer(1)]),
            &[],
        )
        .unknown(),
    ]
}

pub fn bad() -> Vec<Vector> {
    [proofs(), files()].into_iter().flatten().collect()
}

/// A bundle in which the log's own key vouches for a proof that proves nothing.
fn claimed(index: u64, bytes: &[u8], path: Inclusion) -> Vec<u8> {
    let checkpoint = log().checkpoint(&[signer(1)]);
    let events = vec![Entry { index, bytes, path }];
    let content = Content { checkpoint: &checkpoint, scope: execution(1), range: 0..8, events, consistency: vec![] };
    write(&content, &[signer(1)]).unwrap()
}

/// The two hashes of a node for a leaf. Of so many events, one pair can stand in a line.
fn node_as_leaf() -> Vec<u8> {
    let leaves = log();
    let hash = |n: usize| leaf_hash(&leaves.0[n]);
    let pair = |n: usize| bytes_of(&[hash(2 * n), hash(2 * n + 1)]);
    let at = (0..4).find(|n| !pair(*n).contains(&b'\n')).unwrap();
    let path = leaves.inclusion(2 * at as u64).0[1..].to_vec();
    claimed(at as u64, &pair(at), Inclusion(path))
}

fn proofs() -> Vec<Vector> {
    let leaves = log();
    let mut short = leaves.inclusion(3);
    short.0.pop();
    let mut other = Pmx::open(&second());
    let note = String::from_utf8(other.file("checkpoint").clone()).unwrap();
    let lies = signed(&[signer(1)], 4, leaves.at(4).root()).note().to_string();
    other.replace("proofs/2.tlog-proof", &note, &lies);
    let mut index = Pmx::open(&second());
    index.replace("proofs/2.tlog-proof", "index 2\n", "index 3\n");
    let mut spaced = Pmx::open(&second());
    spaced.replace("events.jsonl", "\"quantity\":1", "\"quantity\": 1");
    let strangers = leaves.bundle(execution(1), &[2, 3, 4], &[], &[signer(1)]);
    let mut strayed = Pmx::open(&second());
    strayed.replace("consistency/5", "=\n", "=\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
    let kept = leaves.at(5).checkpoint(&[signer(1)]).note().to_string();
    let signed = |pmx: Pmx| pmx.sign(&[signer(1)]).bytes();
    vec![
        Vector::bundle(
            "bad-node-as-leaf",
            "mistake 1: a node is shown as a leaf",
            node_as_leaf(),
            &["inclusion", "canonical"],
        ),
        Vector::bundle(
            "bad-empty-proof",
            "mistake 3: an empty proof for index 3",
            claimed(3, &leaves.0[3], Inclusion(vec![])),
            &["inclusion"],
        ),
        Vector::bundle(
            "bad-short-proof",
            "mistake 3: a proof that is too short",
            claimed(3, &leaves.0[3], short),
            &["inclusion"],
        ),
        Vector::bundle(
            "bad-other-index",
            "the right proof for another index",
            claimed(2, &leaves.0[3], leaves.inclusion(3)),
            &["inclusion"],
        ),
        Vector::bundle(
            "bad-own-tree",
            "mistake 7: a proof brings size and root of its own",
            signed(other),
            &["inclusion"],
        ),
        Vector::bundle("bad-proof-index", "a proof tells another index", signed(index), &["inclusion"]),
        Vector::bundle(
            "bad-rewritten-bytes",
            "mistake 6: the same value in other bytes",
            signed(spaced),
            &["inclusion", "canonical"],
        ),
        Vector::bundle("bad-stranger", "mistake 9: an event of another execution", strangers, &["join"]),
        Vector::bundle("bad-consistency", "a proof of consistency that is none", signed(strayed), &["consistency"])
            .knowing(kept),
    ]
}

/// Bundles that somebody without the key has changed, or made.
fn files() -> Vec<Vector> {
    let own = log().bundle(execution(1), &[2, 3], &[], &[signer(2)]);
    let changed = |change: fn(&mut Pmx)| {
        let mut pmx = Pmx::open(&second());
        change(&mut pmx);
        pmx.bytes()
    };
    let counted = changed(|pmx| pmx.replace("manifest", "events 2", "events 3"));
    let told = changed(|pmx| pmx.replace("VERIFY.md", "not from here", "from here"));
    let outside = changed(|pmx| pmx.0[1].0 = "../VERIFY.md".to_owned());
    let twice = changed(|pmx| pmx.0.insert(1, pmx.0[1].clone()));
    let more = changed(|pmx| pmx.0.push(("z.exe".to_owned(), b"MZ".to_vec())));
    let mut grows = second();
    grows[18..26].fill(0xff);
    let mut hidden = second();
    hidden.extend(b"PK");
    let mut thinned = Pmx::open(&log().bundle(all(), &[0, 1, 2, 3, 4, 5, 6, 7], &[], &[signer(1)]));
    let lines = String::from_utf8(thinned.file("events.jsonl").clone()).unwrap();
    *thinned.file("events.jsonl") =
        lines.lines().take(7).map(|line| format!("{line}\n")).collect::<String>().into_bytes();
    thinned.replace("indices", "7\n", "");
    thinned.0.retain(|(name, _)| name != "proofs/7.tlog-proof");
    thinned.replace("manifest", "events 8", "events 7");
    vec![
        Vector::bundle(
            "bad-own-key-bundle",
            "mistake 4: everything is signed by a key of its own",
            own,
            &["signature", "manifest"],
        ),
        Vector::bundle("bad-count", "the manifest is changed", counted, &["manifest"]),
        Vector::bundle("bad-file", "a file is changed", told, &["manifest"]),
        Vector::bundle("bad-outside", "a name leads out of the directory", outside, &["manifest"]),
        Vector::bundle("bad-twice", "a file stands twice", twice, &["manifest"]),
        Vector::bundle("bad-more", "a file too many", more, &["manifest"]),
        Vector::bundle("bad-grows", "a file that would be 4 GiB", grows, &["manifest"]),
        Vector::bundle("bad-behind", "something stands behind the archive", hidden, &["manifest"]),
        Vector::bundle(
            "bad-thinned",
            "every event but one, for all",
            thinned.sign(&[signer(1)]).bytes(),
            &["manifest"],
        ),
    ]
}
