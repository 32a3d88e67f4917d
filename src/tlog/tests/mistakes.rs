//! Mistakes that verifiers of other logs made. Each test is one that ours must not make.

use super::super::checkpoint::CheckpointError;
use super::super::hash::node_hash;
use super::super::merkle::Refusal;
use super::super::note::NoteError;
use super::super::proof::{Proof, ProofError};
use super::*;

#[test]
fn a_node_cannot_be_shown_as_a_leaf() {
    let tree = Leaves::numbered(4);
    let beside = node_hash(&tree.0[2], &tree.0[3]);
    let inside: Vec<u8> = tree.0[..2].iter().flat_map(|hash| *hash.as_bytes()).collect();
    let verdict = Inclusion(vec![beside]).verify(leaf_hash(&inside), 0, 2, &tree.root());
    assert_eq!(verdict, Err(Refusal::OtherRoot));
}

#[test]
fn the_last_leaf_counts_once() {
    let three = Leaves::numbered(3);
    let mut four = three.clone();
    four.0.push(three.0[2]);
    assert_ne!(three.root(), four.root());
    let path = four.inclusion(3, 4);
    assert!(path.verify(three.0[2], 3, 4, &three.root()).is_err());
    assert!(path.verify(three.0[2], 2, 3, &three.root()).is_err());
}

#[test]
fn an_empty_path_proves_only_the_only_leaf() {
    let none = Inclusion::default();
    let tree = Leaves::numbered(1);
    assert_eq!(none.verify(tree.0[0], 0, 1, &tree.root()), Ok(()));
    assert_eq!(none.verify(tree.0[0], 1, 1, &tree.root()), Err(Refusal::NoSuchLeaf { index: 1, size: 1 }));
    assert_eq!(none.verify(tree.0[0], 0, 0, &tree.root()), Err(Refusal::NoSuchLeaf { index: 0, size: 0 }));
    for size in [2, 3, 1 << 20, u64::MAX] {
        for index in [0, 1, size - 1] {
            assert_eq!(none.verify(tree.0[0], index, size, &tree.root()), Err(Refusal::Length), "{index} of {size}");
        }
    }
}

#[test]
fn a_path_is_as_long_as_the_tree_is_high() {
    let tree = Leaves::numbered(8);
    let path = tree.inclusion(0, 8);
    for size in [3, 4, 9, 16, u64::MAX] {
        assert_eq!(path.verify(tree.0[0], 0, size, &tree.root()), Err(Refusal::Length), "{size}");
    }
}

/// Between different sizes, an empty consistency proof would let any tree continue any other.
#[test]
fn an_empty_consistency_proof_proves_only_the_same_tree() {
    let tree = Leaves::numbered(8);
    let none = Consistency::default();
    let at = |size: u64| tree.root_at(size);
    assert_eq!(none.verify((8, &at(8)), (8, &at(8))), Ok(()));
    assert_eq!(none.verify((8, &at(7)), (8, &at(8))), Err(Refusal::OtherRoot));
    assert_eq!(none.verify((4, &at(4)), (8, &at(8))), Err(Refusal::Length));
    assert_eq!(none.verify((4, &at(4)), (8, &at(4))), Err(Refusal::Length));
    assert_eq!(none.verify((0, &at(0)), (8, &at(8))), Ok(()));
    assert_eq!(none.verify((0, &at(1)), (8, &at(8))), Err(Refusal::OtherRoot));
    assert_eq!(tree.consistency(7, 8).verify((0, &at(0)), (8, &at(8))), Err(Refusal::Length));
}

#[test]
fn size_and_root_are_those_of_the_verified_checkpoint() {
    let ours = [signer(ORIGIN)];
    let theirs = [signer(ORIGIN)];
    let tree = Leaves::numbered(10);
    let good = Proof::new(3, tree.inclusion(3, 10), &signed(&ours, 10, tree.root()));
    let trusted = trusting(&ours);
    let included = good.clone().open(&entry(3), &trusted).unwrap();
    assert_eq!((included.index, included.checkpoint.size(), *included.checkpoint.root()), (3, 10, tree.root()));

    assert_eq!(good.clone().open(&entry(4), &trusted), Err(ProofError::Refused(Refusal::OtherRoot)));
    // A tree of one's own, with a path that fits, under a key of one's own.
    let forged = Proof::new(3, tree.inclusion(3, 10), &signed(&theirs, 10, tree.root()));
    let nobody = Err(ProofError::Checkpoint(CheckpointError::Note(NoteError::NoTrustedSignature)));
    assert_eq!(forged.open(&entry(3), &trusted), nobody);
    // Another size in the signed text.
    let text = good.to_string().replacen("\n10\n", "\n11\n", 1);
    let altered = Proof::parse(text.as_bytes()).unwrap().open(&entry(3), &trusted);
    let bad = Err(ProofError::Checkpoint(CheckpointError::Note(NoteError::BadSignature(name(ORIGIN)))));
    assert_eq!(altered, bad);
    // The index is bound by the path alone.
    let text = good.to_string().replacen("index 3\n", "index 2\n", 1);
    let moved = Proof::parse(text.as_bytes()).unwrap().open(&entry(3), &trusted);
    assert_eq!(moved, Err(ProofError::Refused(Refusal::OtherRoot)));
}

#[test]
fn the_key_of_another_log_speaks_only_for_that_log() {
    let (ours, other) = ([signer(ORIGIN)], signer("evidence.shop.example/permyx/acme/2027"));
    let checkpoint = Checkpoint { origin: name(ORIGIN), size: 1, root: leaf_hash(b"") };
    assert_eq!(checkpoint.sign(std::slice::from_ref(&other)), Err(CheckpointError::NoKeys));
    assert_eq!(checkpoint.sign(&[]), Err(CheckpointError::NoKeys));
    assert_eq!(Trusted::new(vec![]), Err(CheckpointError::NoKeys));
    let mixed = vec![ours[0].verifier().clone(), other.verifier().clone()];
    assert_eq!(Trusted::new(mixed), Err(CheckpointError::NoKeys));
    // It may sign such a note, which is not believed then.
    let note = super::super::note::Note::sign(checkpoint.to_string(), std::slice::from_ref(&other)).unwrap();
    let opened = Checkpoint::open(note.to_string().as_bytes(), &trusting(std::slice::from_ref(&other)));
    let expected = other.verifier().name().clone();
    assert_eq!(opened, Err(CheckpointError::OtherLog { found: name(ORIGIN), expected }));
}
