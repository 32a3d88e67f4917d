//! Archives, good and damaged. Whatever the bytes are, a reader answers, and hands over nothing that the manifest
//! does not name.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::archive::{Archive, Body, Refused, Target, front};
use super::layout::Place;
use super::manifest::{FORMAT, Listed, Manifest};
use super::tar;
use super::{BackupError, Unpacked, Wanted, take};
use crate::evidence::log::{Appender, LogDir, LogError, LogKeys};
use crate::evidence::store;
use crate::model::intent::Sha256;
use crate::model::time::Timestamp;

const MADE: Timestamp = Timestamp::of_millis(1_795_000_000_123);

type Files = BTreeMap<String, Vec<u8>>;

#[derive(Default)]
struct Memory(Files);

impl Target for Memory {
    type File = Vec<u8>;
    type Error = Refused;

    fn open(&mut self, _file: &Listed, _place: Place) -> Result<Vec<u8>, Refused> {
        Ok(Vec::new())
    }

    fn close(&mut self, file: &Listed, whole: Vec<u8>) -> Result<(), Refused> {
        self.0.insert(file.name.clone(), whole);
        Ok(())
    }

    fn unwritten(&self, file: &Listed, source: io::Error) -> Refused {
        Refused::Unreadable { name: file.name.clone(), source }
    }

    fn refused(&self, why: Refused) -> Refused {
        why
    }
}

fn files() -> Files {
    let spool = (0..600_u32).flat_map(u32::to_le_bytes).collect();
    let all = [
        ("agent-keys.json", b"{}".to_vec()),
        ("evidence/reconciled", b"7\n".to_vec()),
        ("keys/a.pem", Vec::new()),
        ("log/2026/tile/0/000.p/16", vec![7; 512]),
        ("spool/00000000000000000001.spool", spool),
    ];
    all.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

/// What is packed, and what would stand in front of it.
fn packed(files: &Files) -> (Vec<u8>, Vec<Listed>) {
    let mut body = Body::begin(Vec::new(), MADE);
    for (name, bytes) in files {
        body.add(name, bytes.len() as u64, &mut bytes.as_slice()).unwrap();
    }
    body.end().unwrap()
}

fn archive(files: &Files) -> Vec<u8> {
    let (body, listed) = packed(files);
    [front(&Manifest::new("0.1.0", MADE, true, listed)).unwrap(), body].concat()
}

fn unpacked(bytes: &[u8]) -> Result<Files, Refused> {
    let mut memory = Memory::default();
    Archive::open(bytes)?.unpack(&mut memory)?;
    Ok(memory.0)
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// The tar in an archive.
fn plain(archive: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    MultiGzDecoder::new(archive).read_to_end(&mut all).unwrap();
    all
}

fn why(bytes: &[u8]) -> String {
    unpacked(bytes).unwrap_err().to_string()
}

#[test]
fn what_is_packed_unpacks_and_says_what_it_is() {
    let bytes = archive(&files());
    assert_eq!(unpacked(&bytes).unwrap(), files());
    let opened = Archive::open(bytes.as_slice()).unwrap();
    let manifest = opened.manifest();
    assert_eq!((manifest.version.as_str(), manifest.keys, manifest.files().len()), ("0.1.0", true, 5));
    assert_eq!(manifest.made, MADE);
    assert!(manifest.has("keys/a.pem") && !manifest.has("keys/b.pem"));
    assert_eq!(unpacked(&archive(&Files::new())).unwrap(), Files::new());
}

#[test]
fn every_cut_and_every_changed_byte_is_refused_or_changes_nothing() {
    let good = archive(&files());
    for cut in 0..good.len() {
        assert!(unpacked(&good[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..good.len() {
        for flip in [1, 0x80, 0xFF] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            if let Ok(found) = unpacked(&bad) {
                // Time and system in the heads of gzip.
                assert_eq!(found, files(), "byte {at}");
            }
        }
    }
}

#[test]
fn every_changed_byte_of_the_tar_is_refused() {
    let good = plain(&archive(&files()));
    assert_eq!(unpacked(&gz(&good)).unwrap(), files(), "one member is as good as two");
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let found = unpacked(&gz(&bad));
        // What the manifest says of time and program is nobody's proof.
        assert!(found.is_err() || (at > 512 && at < 2048), "byte {at} of {}", good.len());
        assert!(found.is_err() || found.unwrap() == files(), "byte {at}");
    }
    for cut in (0..good.len()).step_by(37).chain(good.len() - 1024..good.len()) {
        assert!(unpacked(&gz(&good[..cut])).is_err(), "cut at {cut}");
    }
}

#[test]
fn nothing_stands_behind_the_end() {
    let good = archive(&files());
    for more in [b"x".to_vec(), gz(b"x"), gz(&[0; 512]), good.clone()] {
        assert!(unpacked(&[good.as_slice(), &more].concat()).is_err());
    }
}

#[test]
fn names_lead_nowhere_else() {
    let digest = Sha256::of(b"x");
    let told = |names: &[&str], size| {
        let listed = names.iter().map(|name| Listed::new((*name).to_owned(), size, &digest)).collect();
        why(&front(&Manifest::new("0.1.0", MADE, true, listed)).unwrap())
    };
    for name in [
        "../x",
        "/etc/passwd",
        "keys/../../x",
        "keys/a.pem/",
        "",
        "evil.sh",
        "log/2026/tile/../../x",
        "policies/.x.toml",
    ] {
        assert!(told(&[name], 1).contains("no such file belongs"), "{name}: {}", told(&[name], 1));
    }
    assert!(told(&["keys/b.pem", "keys/a.pem"], 1).contains("twice, or not in the order"));
    assert!(told(&["keys/a.pem", "keys/a.pem"], 1).contains("twice, or not in the order"));
    assert!(told(&["admin.token"], 1 << 40).contains("longer than such a file can be"));
    assert!(told(&["evidence/evidence.db"], 1 << 62).contains("cut off at `evidence/evidence.db`"));
    let many = ["evidence/evidence.db", "spool/00000000000000000001.spool"];
    assert!(told(&many, u64::MAX).contains("longer than such a file can be"));
    let listed = vec![Listed::new("keys/a.pem".to_owned(), 1, &digest)];
    let without = why(&front(&Manifest::new("0.1.0", MADE, false, listed)).unwrap());
    assert!(without.contains("no keys are said to be in it"), "{without}");
}

/// A link, a directory, a second name, another mode: none of them is what the manifest says.
#[test]
fn other_kinds_of_entries_are_refused() {
    let good = plain(&archive(&files()));
    let at = good.windows(10).rposition(|some| some == b"keys/a.pem").unwrap();
    for (offset, byte) in
        [(156, b'2'), (156, b'5'), (156, b'L'), (156, b'x'), (157, b'/'), (345, b'a'), (100, b'4'), (265, b'r')]
    {
        let mut bad = good.clone();
        bad[at + offset] = byte;
        let sum: u32 = (0..512).map(|n| if (148..156).contains(&n) { 32 } else { u32::from(bad[at + n]) }).sum();
        bad[at + 148..at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let told = why(&gz(&bad));
        assert!(told.contains("another kind of file"), "{offset}: {told}");
    }
    // A file between those that are named.
    let mut between = good[..at].to_vec();
    between.extend(tar::header("keys/A.pem", 0, 0o600, 1_795_000_000).unwrap());
    between.extend(&good[at..]);
    assert!(why(&gz(&between)).contains("`keys/a.pem` is damaged"));
}

#[test]
fn a_later_format_names_the_program_that_reads_it() {
    let text = format!("{{\"format\":{},\"version\":\"7.1.0\",\"new\":true}}", FORMAT + 1);
    let mut bytes = tar::header("manifest.json", text.len() as u64, 0o600, 0).unwrap().to_vec();
    bytes.extend(text.as_bytes());
    bytes.resize(1024, 0);
    let told = why(&gz(&bytes));
    assert_eq!(
        told,
        "it was made by permyx 7.1.0 in the format 2, and this program reads format 1: use that one or a later"
    );
}

#[test]
fn what_is_no_backup_says_so() {
    for other in [b"".to_vec(), b"PK\x03\x04".to_vec(), gz(b""), gz(&[0; 4096]), b"SQLite format 3\0".repeat(40)] {
        assert!(why(&other).starts_with("it is no backup of Permyx: "), "{}", why(&other));
    }
    let mut body = Body::begin(Vec::new(), MADE);
    assert!(body.add("keys/a.pem", 3, &mut &b"ab"[..]).is_err());
    assert!(Body::begin(Vec::new(), MADE).add("notes.txt", 1, &mut &b"a"[..]).is_err());
}

#[test]
fn a_clock_behind_the_backup_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (file, new) = (dir.path().join("a"), dir.path().join("new"));
    std::fs::write(&file, archive(&files())).unwrap();
    let unpack = |now| Unpacked::beside(&file, &new, now, &mut |_, _, _| ());
    let early = unpack(MADE.plus_seconds(-1)).map(drop).unwrap_err();
    assert!(matches!(early, BackupError::Clock { .. }), "{early}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    // Keys and a tile, and nothing that says that they are a log.
    let restored = unpack(MADE).unwrap().check(&[], &mut |_, _, _| ()).map(drop).unwrap_err();
    assert!(matches!(restored, BackupError::NotSigned(_)), "{restored}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// A log that was begun and not yet shown may have been shown a moment later.
#[test]
fn a_log_that_is_not_published_yet_is_held_too() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file, new) = (dir.path().join("data"), dir.path().join("a"), dir.path().join("new"));
    std::fs::create_dir_all(data.join("evidence")).unwrap();
    let keys = LogKeys::open(&data, MADE).unwrap();
    let (_store, mut writer) = store::open(&data.join("evidence/evidence.db")).unwrap();
    writer.begin_log(2026, None, MADE).unwrap();
    let wanted = Wanted { data: &data, output: &file, keys: true, version: "0.1.0", now: MADE };
    let taken = take(&wanted, &mut |_, _, _| ()).unwrap();
    assert!(taken.logs.is_empty() && taken.left_out.is_empty() && taken.manifest.has("evidence/evidence.db"));
    let restore = |goes_on| {
        let checked = Unpacked::beside(&file, &new, MADE, &mut |_, _, _| ()).unwrap().check(&[], &mut |_, _, _| ());
        checked.unwrap().restore(&new, goes_on).unwrap()
    };
    assert_eq!(restore(false).held, Some("log-keys/held-2026".into()));
    let log = || LogDir::of(&new, "shop.example/permyx", 2026).unwrap();
    assert!(matches!(
        Appender::open(log(), &LogKeys::existing(&new).unwrap(), MADE).map(drop),
        Err(LogError::Held { .. })
    ));
    assert_eq!(keys.list().unwrap(), LogKeys::existing(&new).unwrap().list().unwrap());
    std::fs::remove_dir_all(&new).unwrap();
    assert_eq!(restore(true).held, None);
    Appender::open(log(), &LogKeys::existing(&new).unwrap(), MADE).unwrap();
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(unpacked(&bytes).is_err());
        prop_assert!(unpacked(&gz(&bytes)).is_err());
    }

    #[test]
    fn a_manifest_of_any_bytes_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]{}:,\"a-z0-9./ ]{0,200}") {
        prop_assert!(Manifest::read(&bytes).is_err());
        prop_assert!(Manifest::read(text.as_bytes()).is_err());
    }
}
