//! Another implementation of the same specifications, as a second opinion: `tlog_tiles` and
//! `signed_note`, which Cloudflare derived from Go's `sumdb`.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use signed_note::{StandardSigner, StandardVerifier, VerifierList};
use tlog_tiles::{HashReader, TileHashReader, TileReader};

use super::super::key::VerifierKey;
use super::super::tile::{self, Kind};
use super::*;

fn theirs(hash: Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(*hash.as_bytes())
}

fn all_theirs(path: &[Hash]) -> Vec<tlog_tiles::Hash> {
    path.iter().copied().map(theirs).collect()
}

impl HashReader for Leaves {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        let read = |index: &u64| {
            let (level, index) = tlog_tiles::split_stored_hash_index(*index);
            let Ok(hash) = self.clone().node(level.into(), index);
            theirs(hash)
        };
        Ok(indexes.iter().map(read).collect())
    }
}

#[test]
fn their_proofs_are_ours() {
    let tree = Leaves::numbered(300);
    for (size, pick) in [(1, 0), (2, 1), (7, 6), (8, 3), (255, 254), (256, 17), (257, 256), (300, 150)] {
        let root = theirs(tree.root_at(size));
        let path = all_theirs(&tree.inclusion(pick, size).0);
        assert_eq!(tlog_tiles::tree_hash(size, &tree).unwrap(), root);
        assert_eq!(tlog_tiles::prove_record(size, pick, &tree).unwrap(), path);
        tlog_tiles::check_record(&path, size, root, pick, theirs(tree.0[pick as usize])).unwrap();
        for old in 1..=size {
            let path = all_theirs(&tree.consistency(old, size).0);
            assert_eq!(tlog_tiles::prove_tree(size, old, &tree).unwrap(), path, "{old}→{size}");
            tlog_tiles::check_tree(&path, size, root, old, theirs(tree.root_at(old))).unwrap();
        }
    }
}

/// In Go's paths the height of a tile stands first, and entries are `data`.
fn their_path(tile: &tlog_tiles::Tile) -> String {
    tile.path().replacen("tile/8/", "tile/", 1).replacen("/data/", "/entries/", 1)
}

#[test]
fn their_tiles_have_our_paths() {
    for size in [1, 255, 256, 257, 65_535, 65_536, 70_000, 300_000] {
        let hashes = tile::tiles(size).filter(|tile| tile.kind() != Kind::Entries);
        let expected = tlog_tiles::Tile::new_tiles(8, 0, size);
        let (mut ours, mut expected): (Vec<_>, Vec<_>) =
            (hashes.map(|tile| tile.to_string()).collect(), expected.iter().map(their_path).collect());
        ours.sort();
        expected.sort();
        assert_eq!(ours, expected, "{size}");
    }
    for index in [0, 999, 1000, 1_234_067, 123_456_789_012] {
        let entries = tlog_tiles::Tile::new(8, 0, index, 17, true);
        assert_eq!(tile::Tile::new(Kind::Entries, index, 17).unwrap().to_string(), their_path(&entries));
    }
}

/// Our tiles, as their reader asks for them. It checks each against the root.
impl TileReader for Leaves {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &tlog_tiles::Tile| {
            let ours = tile::Tile::parse(&their_path(tile)).unwrap();
            let Kind::Hashes(level) = ours.kind() else { panic!("asked for entries") };
            let first = ours.index() * 256;
            let node = |index| {
                let Ok(hash) = self.clone().node(8 * level, index);
                hash
            };
            tile::bytes_of(&(first..first + u64::from(ours.width())).map(node).collect::<Vec<_>>())
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _tiles: &[tlog_tiles::Tile], _data: &[Vec<u8>]) {}
}

#[test]
fn they_prove_from_our_tiles() {
    let tree = Leaves::numbered(700);
    let root = theirs(tree.root());
    let reader = TileHashReader::new(700, root, &tree);
    for index in [0, 255, 256, 699] {
        let path = tlog_tiles::prove_record(700, index, &reader).unwrap();
        assert_eq!(path, all_theirs(&tree.inclusion(index, 700).0));
    }
}

#[test]
fn they_believe_our_checkpoints() {
    let keys = [signer(ORIGIN), signer(ORIGIN)];
    let tree = Leaves::numbered(5);
    let note = signed(&keys, 5, tree.root()).note().to_string();
    for key in &keys {
        let verifier = StandardVerifier::new(&key.verifier().to_string()).unwrap();
        let note = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
        let (known, unknown) = note.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
        assert_eq!((known.len(), unknown.len()), (1, 1));
        let read = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
        assert_eq!((read.origin(), read.size(), read.hash()), (ORIGIN, 5, &theirs(tree.root())));
        assert_eq!(read.to_bytes(), note.text());
    }
}

#[test]
fn we_believe_their_checkpoints() {
    let seed = [7; 32];
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let key = VerifierKey::new(name(ORIGIN), pair.public_key().as_ref().try_into().unwrap());
    let secret = STANDARD.encode([&[1], seed.as_slice()].concat());
    let signer = StandardSigner::new(&format!("PRIVATE+KEY+{ORIGIN}+{}+{secret}", key.id())).unwrap();
    let root = leaf_hash(b"a");
    let body = tlog_tiles::Checkpoint::new(ORIGIN, 1, theirs(root), "").unwrap().to_bytes();
    let mut note = signed_note::Note::new(&body, &[]).unwrap();
    note.add_sigs(&[&signer]).unwrap();
    let opened = Checkpoint::open(&note.to_bytes(), &Trusted::new(vec![key]).unwrap()).unwrap();
    assert_eq!((opened.size(), *opened.root()), (1, root));
    assert_eq!(opened.note().to_string().as_bytes(), note.to_bytes());
}
