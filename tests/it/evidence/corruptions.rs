//! Corruptions that are planted by chance: each is found, and named alike, by both verifiers.
//! `PERMYX_CORRUPTIONS=10000` plants so many.

use std::collections::BTreeMap;
use std::path::Path;

use permyx::tlog::hash::Hash;

use super::build::{Log, purchases, put, signed, signer};
use super::judges::{Case, Python, failed, verdicts};
use super::pmx::Pmx;
use crate::support::dir::TempDir;
use crate::support::told;

const COUNT: usize = 1_000;
const PURCHASES: u32 = 300;

/// A generator of chance that is the same everywhere (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ bits >> 31) as usize % limit
    }
}

/// The checks of which one at least must fail, and whether the auditor has kept the checkpoint.
type Planted = (&'static str, &'static [&'static str], bool);

const KINDS: [Planted; 10] = [
    ("a bit of a log", &["signature", "tree"], false),
    ("leaves changed by somebody without the key", &["signature"], false),
    ("leaves changed by somebody with the key", &["consistency"], true),
    ("the tail cut by somebody with the key", &["consistency"], true),
    ("two events of a stream exchanged by somebody with the key", &["continuity"], false),
    ("a checkpoint signed by somebody else", &["signature"], false),
    ("a checkpoint of which the text was changed", &["signature"], false),
    ("two files of a log exchanged", &["signature", "tree"], false),
    ("a bit of a bundle", &["signature", "manifest"], false),
    ("a file of a bundle changed by somebody without the key", &["manifest"], false),
];

struct Field<'t> {
    dir: &'t Path,
    log: Log,
    files: BTreeMap<String, Vec<u8>>,
    bundle: Vec<u8>,
}

impl Field<'_> {
    /// Plants the corruption, and says where the evidence is.
    fn plant(&self, kind: usize, dice: &mut Dice) -> std::path::PathBuf {
        let (ours, theirs) = ([signer(1)], [signer(2)]);
        let mut files = self.files.clone();
        match kind {
            0 => {
                let at = dice.below(files.len());
                flip(files.values_mut().nth(at).unwrap(), dice);
            }
            1 | 2 => files = self.changed(dice).files(if kind == 1 { &theirs } else { &ours }),
            3 => files = self.log.at(1 + dice.below(self.log.0.len() - 1)).files(&ours),
            4 => {
                // Events of one stream follow each other in pairs.
                let mut log = self.log.clone();
                let first = 2 * dice.below(log.0.len() / 2);
                log.0.swap(first, first + 1);
                files = log.files(&ours);
            }
            5 => {
                let root = Hash::new(std::array::from_fn(|_| dice.below(256) as u8));
                let forged = signed(&theirs, self.log.size() + dice.below(3) as u64, root).note().to_string();
                files.insert("checkpoint".to_owned(), forged.into_bytes());
            }
            6 => {
                let text = String::from_utf8(files["checkpoint"].clone()).unwrap();
                let size = format!("\n{}\n", dice.below(600));
                files.insert("checkpoint".to_owned(), text.replacen("\n600\n", &size, 1).into_bytes());
            }
            7 => {
                let names: Vec<_> = files.keys().cloned().collect();
                let first = dice.below(names.len());
                let second = (first + 1 + dice.below(names.len() - 1)) % names.len();
                let (left, right) = (files[&names[first]].clone(), files[&names[second]].clone());
                files.extend([(names[first].clone(), right), (names[second].clone(), left)]);
            }
            _ => return self.plant_in_bundle(kind, dice),
        }
        let path = self.dir.join("log");
        put(&path, &files);
        path
    }

    fn plant_in_bundle(&self, kind: usize, dice: &mut Dice) -> std::path::PathBuf {
        let mut bytes = self.bundle.clone();
        if kind == 8 {
            flip(&mut bytes, dice);
        } else {
            let mut pmx = Pmx::open(&bytes);
            let at = 1 + dice.below(pmx.0.len() - 1);
            flip(&mut pmx.0[at].1, dice);
            bytes = if dice.below(2) == 0 { pmx } else { pmx.sign(&[signer(2)]) }.bytes();
        }
        let path = self.dir.join("bundle.pmx");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A log with a leaf removed, doubled, moved or changed.
    fn changed(&self, dice: &mut Dice) -> Log {
        let mut log = self.log.clone();
        let at = dice.below(log.0.len() - 1);
        match dice.below(4) {
            0 => drop(log.0.remove(at)),
            1 => log.0.insert(at, log.0[at].clone()),
            2 => log.0.swap(at, at + 1),
            _ => flip(&mut log.0[at], dice),
        }
        log
    }
}

fn flip(bytes: &mut [u8], dice: &mut Dice) {
    let bit = dice.below(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

#[test]
fn every_planted_corruption_is_found_and_named_by_both() {
    let count = told("PERMYX_CORRUPTIONS").map_or(COUNT, |count| count.parse().unwrap());
    let (dir, ours) = (TempDir::new(), [signer(1)]);
    let log = Log(purchases(PURCHASES));
    let scope = permyx::audit::bundle::Scope::new(permyx::audit::bundle::ScopeKind::Store, "store-123").unwrap();
    let bundle = log.bundle(scope, &[0, 1, 255, 256, 599], &[17], &ours);
    let field = Field { dir: dir.path(), files: log.files(&ours), log, bundle };
    std::fs::write(dir.path().join("kept"), &field.files["checkpoint"]).unwrap();
    let mut python = Python::start();
    let mut dice = Dice(20_261_125);
    let mut seen = [0; KINDS.len()];
    for nth in 0..count {
        let kind = nth % KINDS.len();
        let (what, expected, has_kept) = KINDS[kind];
        let case = Case {
            path: field.plant(kind, &mut dice),
            keys: vec![signer(1).verifier().to_string()],
            checkpoints: if has_kept { vec![dir.path().join("kept")] } else { vec![] },
        };
        python.ask(&case);
        let (ours, theirs) = (case.judged(), python.answer());
        let found = failed(&ours);
        assert!(expected.iter().any(|check| found.contains_key(*check)), "{nth}: {what}: {ours:#}");
        assert!(found.values().all(|place| place != &serde_json::json!({}) || kind == 8), "{nth}: {what}: {found:?}");
        assert_eq!(verdicts(&ours), verdicts(&theirs), "{nth}: {what}\n{ours:#}\n{theirs:#}");
        assert_eq!(found, failed(&theirs), "{nth}: {what}\n{ours:#}\n{theirs:#}");
        assert_eq!((&ours["exit"], &theirs["exit"]), (&1.into(), &1.into()), "{nth}: {what}");
        seen[kind] += 1;
    }
    println!("{count} corruptions, all found by both: {seen:?}");
}
