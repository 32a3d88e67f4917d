//! Roots and proofs.

use proptest::prelude::*;

use super::super::hash::empty_root;
use super::super::merkle::Refusal;
use super::super::tile::{self, Kind, Tile, place_of};
use super::*;

/// Inputs and roots of transparency-dev/merkle, `testonly/constants.go`.
const INPUTS: [&[u8]; 8] = [b"", b"\x00", b"\x10", b"\x20\x21", b"\x30\x31", b"@ABC", b"PQRSTUVW", b"`abcdefghijklmno"];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn hex(hash: &Hash) -> String {
    hash.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_roots_are_those_of_certificate_transparency() {
    let mut tree = Frontier::default();
    assert_eq!(hex(&empty_root()), ROOTS[0]);
    assert_eq!(hex(&tree.root()), ROOTS[0]);
    for (input, root) in INPUTS.iter().zip(&ROOTS[1..]) {
        tree.extend([leaf_hash(input)]);
        assert_eq!(hex(&tree.root()), *root, "{} leaves", tree.size());
    }
}

/// `TestRefInclusionProof` and `TestRefConsistencyProof` of the same source.
#[test]
fn the_proofs_are_those_of_certificate_transparency() {
    let tree = Leaves(INPUTS.iter().map(|input| leaf_hash(input)).collect());
    let paths = |path: &[Hash]| path.iter().map(|hash| hex(hash).split_at(8).0.to_owned()).collect::<Vec<_>>();
    assert_eq!(paths(&tree.inclusion(0, 8).0), ["96a296d2", "5f083f0a", "6b47aaf2"]);
    assert_eq!(paths(&tree.inclusion(5, 8).0), ["bc1a0643", "ca854ea1", "d37ee418"]);
    assert_eq!(paths(&tree.inclusion(2, 3).0), ["fac54203"]);
    assert_eq!(paths(&tree.inclusion(1, 5).0), ["6e340b9c", "5f083f0a", "bc1a0643"]);
    assert_eq!(paths(&tree.consistency(1, 1).0), [""; 0]);
    assert_eq!(paths(&tree.consistency(1, 8).0), ["96a296d2", "5f083f0a", "6b47aaf2"]);
    assert_eq!(paths(&tree.consistency(6, 8).0), ["0ebc5d34", "ca854ea1", "d37ee418"]);
    assert_eq!(paths(&tree.consistency(2, 5).0), ["5f083f0a", "bc1a0643"]);
}

#[test]
fn every_leaf_of_every_small_tree_is_proved_and_nowhere_else() {
    let tree = Leaves::numbered(40);
    for size in 1..=40 {
        let root = tree.root_at(size);
        for index in 0..size {
            let path = tree.inclusion(index, size);
            for at in 0..size + 2 {
                let verdict = path.verify(tree.0[index as usize], at, size, &root);
                assert_eq!(verdict.is_ok(), at == index, "leaf {index} of {size} as {at}");
            }
        }
    }
}

#[test]
fn every_small_tree_continues_every_smaller_one_and_no_other() {
    let tree = Leaves::numbered(24);
    let roots: Vec<_> = (0..=24).map(|size| tree.root_at(size)).collect();
    for (old, new) in (0..=24_u64).flat_map(|new| (0..=new).map(move |old| (old, new))) {
        let path = tree.consistency(old, new);
        assert_eq!(path.0.is_empty(), old == 0 || old == new);
        for (from, to) in (0..=24_u64).flat_map(|to| (0..=24).map(move |from| (from, to))) {
            let verdict = path.verify((from, &roots[from as usize]), (to, &roots[to as usize]));
            let empty = path.0.is_empty() && (from == 0 || from == to);
            assert_eq!(verdict.is_ok(), (from, to) == (old, new) || empty && from <= to, "{old}→{new} as {from}→{to}");
        }
    }
}

#[test]
fn what_is_not_in_a_tree_has_no_proof() {
    let mut tree = Leaves::numbered(3);
    assert_eq!(Inclusion::compute(3, 3, &mut tree), Ok(None));
    assert_eq!(Inclusion::compute(0, 0, &mut tree), Ok(None));
    assert_eq!(Consistency::compute(4, 3, &mut tree), Ok(None));
    let (three, two) = (tree.root(), tree.root_at(2));
    let shrunk = Consistency::default().verify((3, &three), (2, &two));
    assert_eq!(shrunk, Err(Refusal::Shrunk { old: 3, new: 2 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_changed_proof_is_refused(size in 2_u64..700, pick: u64, beside: usize, bit in 0_usize..256, old in 1_u64..700) {
        let tree = Leaves::numbered(size);
        let (index, root) = (pick % size, tree.root());
        let leaf = tree.0[index as usize];
        let good = tree.inclusion(index, size);
        prop_assert_eq!(good.verify(leaf, index, size, &root), Ok(()));
        for bad in changed(&good.0, beside, bit) {
            prop_assert!(Inclusion(bad).verify(leaf, index, size, &root).is_err());
        }
        prop_assert_eq!(good.verify(flipped(leaf, bit), index, size, &root), Err(Refusal::OtherRoot));

        let old = (old % size).max(1);
        let old_root = tree.root_at(old);
        let good = tree.consistency(old, size);
        prop_assert_eq!(good.verify((old, &old_root), (size, &root)), Ok(()));
        for bad in changed(&good.0, beside, bit) {
            prop_assert!(Consistency(bad).verify((old, &old_root), (size, &root)).is_err());
        }
        prop_assert!(good.verify((old, &flipped(old_root, bit)), (size, &root)).is_err());
        prop_assert!(good.verify((old, &old_root), (size, &flipped(root, bit))).is_err());
    }

    #[test]
    fn a_proof_fits_no_other_size_with_that_sizes_root(size in 1_u64..200, other in 1_u64..200, pick: u64) {
        prop_assume!(size != other);
        let tree = Leaves::numbered(200);
        let index = pick % size;
        let path = tree.inclusion(index, size);
        prop_assert!(path.verify(tree.0[index as usize], index, other, &tree.root_at(other)).is_err());
    }

    #[test]
    fn any_path_at_any_place_is_judged_without_a_panic(
        path in prop::collection::vec(any::<[u8; 32]>().prop_map(Hash::new), 0..70), index: u64, size: u64, old: u64,
    ) {
        let root = empty_root();
        prop_assert!(Inclusion(path.clone()).verify(root, index, size, &root).is_err());
        let empty = path.is_empty() && (old == 0 || old == size);
        prop_assert!(empty || Consistency(path).verify((old, &root), (size, &root)).is_err());
    }

    #[test]
    fn a_tree_reads_back_from_its_complete_subtrees(size in 0_u64..700) {
        let mut tree = Leaves::numbered(size);
        let Ok(read) = Frontier::read(size, &mut tree);
        prop_assert_eq!(read, tree.frontier(size));
    }

    #[test]
    fn a_subtree_is_found_in_its_tile(size in 1_u64..70_000, level in 0_u32..20, pick: u64) {
        prop_assume!(size >> level > 0);
        let index = pick % (size >> level);
        let place = place_of(level, index, size).unwrap();
        let Kind::Hashes(tiles) = place.tile.kind() else { panic!("not of hashes") };
        // The first leaf and the number of leaves are those of the subtree.
        let first = (place.tile.index() * 256 + place.start as u64) << (8 * tiles);
        prop_assert_eq!((first, (place.count as u64) << (8 * tiles)), (index << level, 1 << level));
        prop_assert!(place.start + place.count <= usize::from(place.tile.width()));
        prop_assert!(tile::tiles(size).any(|tile| tile == place.tile));
        prop_assert_eq!(place_of(level, size >> level, size), None);
    }
}

#[test]
fn a_tree_is_cut_into_the_tiles_of_the_specification() {
    let mut widths: Vec<(Kind, u16, usize)> = Vec::new();
    for tile in tile::tiles(70_000) {
        match widths.last_mut().filter(|(kind, width, _)| (*kind, *width) == (tile.kind(), tile.width())) {
            Some((_, _, count)) => *count += 1,
            None => widths.push((tile.kind(), tile.width(), 1)),
        }
    }
    let (zero, one, two) = (Kind::Hashes(0), Kind::Hashes(1), Kind::Hashes(2));
    let hashes = [(zero, 256, 273), (zero, 112, 1), (one, 256, 1), (one, 17, 1), (two, 1, 1)];
    assert_eq!(widths[..5], hashes);
    assert_eq!(widths[5..], [(Kind::Entries, 256, 273), (Kind::Entries, 112, 1)]);
    let of_256: Vec<_> = tile::tiles(256).map(|tile| tile.to_string()).collect();
    assert_eq!(of_256, ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]);
    let partial: Vec<_> = tile::partial_tiles(70_000).map(|tile| tile.to_string()).collect();
    assert_eq!(partial, ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1", "tile/entries/273.p/112"]);
    assert_eq!(tile::tiles(0).chain(tile::partial_tiles(0)).count(), 0);
    assert_eq!(tile::partial_tiles(u64::MAX).map(|tile| u64::from(tile.width())).sum::<u64>(), 9 * 255);
    assert_eq!(Tile::new(Kind::Entries, 1_234_067, 256).unwrap().to_string(), "tile/entries/x001/x234/067");
}

fn flipped(hash: Hash, bit: usize) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[bit / 8] ^= 1 << (bit % 8);
    Hash::new(bytes)
}

/// The path with one bit flipped, with a hash taken out, doubled, and added at either end.
fn changed(path: &[Hash], at: usize, bit: usize) -> [Vec<Hash>; 5] {
    let at = at % path.len();
    let with = |change: &dyn Fn(&mut Vec<Hash>)| {
        let mut path = path.to_vec();
        change(&mut path);
        path
    };
    [
        with(&|path| path[at] = flipped(path[at], bit)),
        with(&|path| _ = path.remove(at)),
        with(&|path| path.insert(at, path[at])),
        with(&|path| path.push(empty_root())),
        with(&|path| path.insert(0, empty_root())),
    ]
}
