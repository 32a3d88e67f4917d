//! What is written and read: one spelling each, and nothing else is taken.

use proptest::prelude::*;

use super::super::entries;
use super::super::hash::empty_root;
use super::super::key::{KeyError, VerifierKey};
use super::super::note::{NOTE_MAX, Note, NoteError, SIGNATURES_MAX};
use super::super::proof::Proof;
use super::super::tile::{self, Kind, Tile};
use super::*;

/// The example of C2SP signed-note.
const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const NOTE: &str = "This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
";

fn parse(text: &str) -> Result<Note, NoteError> {
    Note::parse(text.as_bytes())
}

#[test]
fn the_example_of_the_specification_verifies() {
    let key = VerifierKey::parse(VKEY).unwrap();
    let note = parse(NOTE).unwrap();
    assert_eq!(note.text(), "This is an example message.\n");
    assert_eq!(note.verify(std::slice::from_ref(&key)).unwrap(), [&key]);
    let other = parse(&NOTE.replace("example message", "exanple message")).unwrap();
    assert_eq!(other.verify(&[key]), Err(NoteError::BadSignature(name("example.com/foo"))));
}

#[test]
fn both_keys_of_a_rotation_are_believed_and_strangers_are_passed_over() {
    let keys = [signer(ORIGIN), signer(ORIGIN)];
    let witness = signer("witness.example");
    let checkpoint = Checkpoint { origin: name(ORIGIN), size: 0, root: empty_root() };
    let all = [keys[0].clone(), keys[1].clone(), witness.clone()];
    let note = Note::sign(checkpoint.to_string(), &all).unwrap().to_string();
    for known in [&keys[..1], &keys[1..], &keys[..]] {
        let verified = Checkpoint::open(note.as_bytes(), &trusting(known)).unwrap();
        let signers: Vec<_> = known.iter().map(|signer| signer.verifier().clone()).collect();
        assert_eq!(verified.signers(), signers);
        assert_eq!(verified.note().to_string(), note);
    }
    assert!(Checkpoint::open(note.as_bytes(), &trusting(&[signer(ORIGIN)])).is_err());
}

/// One bad signature of a known key is not outweighed by a good one beside it.
#[test]
fn a_bad_signature_spoils_the_note() {
    let keys = [signer(ORIGIN), signer(ORIGIN)];
    let known: Vec<_> = keys.iter().map(|signer| signer.verifier().clone()).collect();
    let good = Note::sign("a\n".to_owned(), &keys[..1]).unwrap().to_string();
    let of_other_text = Note::sign("b\n".to_owned(), &keys[1..]).unwrap().to_string();
    let note = parse(&format!("{good}{}", of_other_text.split_once("\n\n").unwrap().1)).unwrap();
    assert!(note.verify(&known[..1]).is_ok());
    assert_eq!(note.verify(&known), Err(NoteError::BadSignature(name(ORIGIN))));
}

#[test]
fn a_note_of_another_form_is_refused() {
    let (text, line) = NOTE.split_once("\n\n").unwrap();
    let with = |lines: &str| format!("{text}\n\n{lines}");
    let long = "a".repeat(NOTE_MAX);
    for bad in [
        "",
        "\n",
        "\n\n",
        text,
        line,
        &with(""),
        &with("\n"),
        &with(line.trim_end()),
        &with(&line.replace("— ", "- ")),
        &with(&line.replace("foo ", "foo  ")),
        &with(&line.replace("foo", "f+o")),
        &with(&line.replace("aQM=", "aQM")),
        &with(&line.replace("aQM=", "aQN=")),
        &with("— a AAAA\n"),
        &with("— a AAAAAA==\n"),
        &with("—  AAAAAAAA\n"),
        &NOTE.replace("an", "a\tn"),
        &NOTE.replace('\n', "\r\n"),
        &NOTE.replace("an", "a\0n"),
        &format!("{long}{NOTE}"),
        &with(&line.repeat(SIGNATURES_MAX + 1)),
    ] {
        assert!(matches!(parse(bad), Err(NoteError::Malformed(_))), "{bad:?}");
    }
    assert!(parse(&with(&line.repeat(SIGNATURES_MAX))).is_ok());
    assert!(parse(&with("— a AAAAAAA=\n")).is_ok());
    assert!(Note::parse(b"\xff\n\n").is_err());
    for bad in ["", "no newline", "a\rb\n"] {
        assert!(Note::sign(bad.to_owned(), &[signer("a")]).is_err(), "{bad:?}");
    }
    assert!(Note::sign("a\n".to_owned(), &[]).is_err());
}

#[test]
fn a_verifier_key_has_one_spelling() {
    assert_eq!(VerifierKey::parse(VKEY).unwrap().to_string(), VKEY);
    let bad = Err(KeyError::NotAVerifierKey);
    assert_eq!(VerifierKey::parse("example.com/foo"), bad);
    assert_eq!(VerifierKey::parse(&VKEY.replace("530d903a", "530D903A")), bad);
    assert_eq!(VerifierKey::parse(&VKEY.replace("530d903a", "530d903b")), bad);
    assert_eq!(VerifierKey::parse(&VKEY.replace("foo", "bar")), bad);
    assert_eq!(VerifierKey::parse(&VKEY.replace("+Aek", "+Bek")), Err(KeyError::NotEd25519));
    assert_eq!(VerifierKey::parse("a+00000000+AQ=="), Err(KeyError::NotEd25519));
    for bad in ["", "a b", "a+b", "a\u{2003}b", "a\nb", &"a".repeat(201)] {
        assert_eq!(KeyName::parse(bad), Err(KeyError::NotAName), "{bad:?}");
    }
}

#[test]
fn a_private_key_reads_back_and_prints_nowhere() {
    let key = SecretKey::generate().unwrap();
    let pem = key.to_pem().unwrap();
    assert_eq!(SecretKey::from_pem(&pem).unwrap().public(), key.public());
    assert_eq!(format!("{key:?}"), "SecretKey(redacted)");
    let ecdsa = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for bad in ["", "no pem", &ecdsa] {
        assert_eq!(SecretKey::from_pem(bad).err(), Some(KeyError::NotPkcs8));
    }
}

#[test]
fn a_checkpoint_is_three_lines() {
    let signers = [signer(ORIGIN)];
    let (root, none) = (leaf_hash(b"a"), empty_root());
    let opens = |text: String| {
        let note = Note::sign(text, &signers).unwrap().to_string();
        Checkpoint::open(note.as_bytes(), &trusting(&signers)).is_ok()
    };
    assert!(opens(format!("{ORIGIN}\n1\n{root}\n")));
    assert!(opens(format!("{ORIGIN}\n9223372036854775807\n{root}\n")));
    assert!(opens(format!("{ORIGIN}\n0\n{none}\n")));
    for (size, root, rest) in [
        ("0", root, ""),
        ("01", root, ""),
        ("+1", root, ""),
        ("", root, ""),
        ("1", root, "more\n"),
        ("1", root, "\n"),
        ("9223372036854775808", root, ""),
        ("18446744073709551616", root, ""),
        ("-1", root, ""),
        ("1 ", root, ""),
    ] {
        assert!(!opens(format!("{ORIGIN}\n{size}\n{root}\n{rest}")), "{size:?} {rest:?}");
    }
    assert!(!opens(format!("{ORIGIN}\n1\n")));
    assert!(!opens(format!("{ORIGIN}\n1\n{}\n", root.to_string().trim_end_matches('='))));
    assert!(!opens(format!("{ORIGIN}\n1\nAAAA\n")));
}

#[test]
fn a_path_of_a_tile_has_one_spelling() {
    for good in [
        "tile/0/000",
        "tile/0/x001/067",
        "tile/0/x001/x234/067.p/8",
        "tile/7/000.p/255",
        "tile/entries/999.p/1",
        "tile/6/255",
        "tile/0/x072/x057/x594/x037/x927/935",
    ] {
        assert_eq!(Tile::parse(good).unwrap().to_string(), good);
    }
    for bad in [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/00/000",
        "tile/8/000",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/067",
        "tile/0/x001/x067",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p/1.p/1",
        "tile/data/000",
        "/tile/0/000",
        "tile/0/000/",
        "tile/7/001",
        "tile/0/../000",
        "tile/0/x072/x057/x594/x037/x927/936",
        "tile/0/٠٠٠",
        "tile/0/+01",
        "tile/6/256",
    ] {
        assert_eq!(Tile::parse(bad), None, "{bad}");
    }
}

#[test]
fn bundles_and_tiles_are_as_long_as_they_say() {
    let entries: [&[u8]; 3] = [b"one", b"", &[7; entries::ENTRY_MAX]];
    let mut bundle = Vec::new();
    entries.iter().for_each(|entry| entries::push(&mut bundle, entry).unwrap());
    assert_eq!(bundle[..7], *b"\0\x03one\0\0");
    assert_eq!(entries::read(&bundle, 3).unwrap(), entries);
    assert_eq!(entries::read(&bundle, 2), None);
    assert_eq!(entries::read(&bundle, 4), None);
    assert_eq!(entries::read(&bundle[..bundle.len() - 1], 3), None);
    assert_eq!(entries::push(&mut bundle, &[0; entries::ENTRY_MAX + 1]), Err(entries::TooLong(65536)));

    let tree = Leaves::numbered(3);
    let bytes = tile::bytes_of(&tree.0);
    let tile = |width| Tile::new(Kind::Hashes(0), 0, width).unwrap();
    assert_eq!(tile::hashes_of(tile(3), &bytes).unwrap(), tree.0);
    assert_eq!(tile::hashes_of(tile(2), &bytes), None);
    assert_eq!(tile::hashes_of(tile(3), &bytes[..95]), None);
}

/// A tree whose leaves are all alike, as large as one likes.
struct Alike;

impl Nodes for Alike {
    type Error = Infallible;

    fn node(&mut self, level: u32, _index: u64) -> Result<Hash, Infallible> {
        let leaf = leaf_hash(&entry(0));
        Ok((0..level).fold(leaf, |node, _| super::super::hash::node_hash(&node, &node)))
    }
}

#[test]
fn a_proof_from_a_million_events_fits_into_three_halves_of_a_kibibyte() {
    let size = 1 << 20;
    // While a key is replaced, two sign.
    let signers = [signer(ORIGIN), signer(ORIGIN)];
    let Ok(root) = Frontier::read(size, &mut Alike).map(|tree| tree.root());
    let Ok(path) = Inclusion::compute(size - 7, size, &mut Alike);
    let text = Proof::new(size - 7, path.unwrap(), &signed(&signers, size, root)).to_string();
    assert!(text.len() <= 1536, "{} bytes", text.len());
    let read = Proof::parse(text.as_bytes()).unwrap();
    assert_eq!(read.index(), size - 7);
    assert_eq!(read.open(&entry(0), &trusting(&signers)).unwrap().checkpoint.size(), size);
}

fn a_proof() -> String {
    let signers = [signer(ORIGIN)];
    let tree = Leaves::numbered(6);
    Proof::new(4, tree.inclusion(4, 6), &signed(&signers, 6, tree.root())).to_string()
}

#[test]
fn a_proof_of_another_form_is_refused() {
    let good = a_proof();
    assert_eq!(Proof::parse(good.as_bytes()).unwrap().to_string(), good);
    let with_extra = good.replace("index", "extra AAE=\nindex");
    let read = Proof::parse(with_extra.as_bytes()).unwrap();
    assert_eq!((read.extra(), read.to_string()), (Some([0, 1].as_slice()), with_extra));
    let line = format!("{}\n", empty_root());
    for bad in [
        good.replace("@v1", "@v2"),
        good.replace("index 4", "index 04"),
        good.replace("index 4\n", ""),
        good.replace("index 4", "index  4"),
        good.replace("index", "extra \nindex"),
        good.replacen("=\n", "\n", 1),
        good.replace("index", "extra AAE=\nextra AAE=\nindex"),
        good.replace("\n\n", "\n"),
        good.replacen('\n', "\r\n", 1),
        good.replace("index 4\n", &format!("index 4\n{}", line.repeat(63))),
        format!("\n{good}"),
        good.replace("index", &format!("extra {}\nindex", "AAAA".repeat(2000))),
        good.trim_end().to_owned(),
    ] {
        assert!(Proof::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn junk_is_refused_or_prints_as_it_was(junk in "[tile0-9x/.pentrsa+=— \n]{0,40}") {
        reads_back(junk.as_bytes())?;
    }

    #[test]
    fn bytes_are_refused_or_print_as_they_were(junk: Vec<u8>) {
        reads_back(&junk)?;
    }

    #[test]
    fn a_changed_document_is_refused_or_prints_as_it_was(pick: prop::sample::Index, byte: u8, kind in 0..3) {
        for good in [a_proof(), NOTE.to_owned(), VKEY.to_owned(), "tile/0/x001/x234/067.p/8".to_owned()] {
            let mut bytes = good.into_bytes();
            let at = pick.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
            reads_back(&bytes)?;
        }
    }
}

fn reads_back(bytes: &[u8]) -> Result<(), TestCaseError> {
    let text = String::from_utf8_lossy(bytes);
    let same = |printed: Option<String>| prop_assert(printed.is_none_or(|printed| printed.as_bytes() == bytes));
    same(Note::parse(bytes).ok().map(|note| note.to_string()))?;
    same(Proof::parse(bytes).ok().map(|proof| proof.to_string()))?;
    same(VerifierKey::parse(&text).ok().map(|key| key.to_string()))?;
    same(Tile::parse(&text).map(|tile| tile.to_string()))?;
    same(Hash::parse(&text).map(|hash| hash.to_string()))?;
    for count in 0..4 {
        if let Some(found) = entries::read(bytes, count) {
            let mut again = Vec::new();
            found.iter().for_each(|entry| entries::push(&mut again, entry).unwrap());
            prop_assert_eq!(again, bytes);
        }
    }
    Ok(())
}

fn prop_assert(holds: bool) -> Result<(), TestCaseError> {
    prop_assert!(holds);
    Ok(())
}
