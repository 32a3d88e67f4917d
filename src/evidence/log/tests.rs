//! What the log on disk promises.

mod crash;
mod keys;
mod restored;

use std::collections::BTreeMap;

use tempfile::TempDir;

use super::*;
use crate::model::time::Timestamp;
use crate::tlog::checkpoint::{Trusted, VerifiedCheckpoint};
use crate::tlog::tile::{Tile, partial_tiles, tiles};

const NOW: Timestamp = Timestamp::of_millis(1_795_000_000_123);
const NAME: &str = "evidence.shop.example/permyx/acme";
const YEAR: u16 = 2026;

/// A deployment's data directory.
struct Data {
    dir: TempDir,
    keys: LogKeys,
}

impl Data {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = LogKeys::open(dir.path(), NOW).unwrap();
        Self { dir, keys }
    }

    fn log(&self) -> LogDir {
        LogDir::of(self.dir.path(), NAME, YEAR).unwrap()
    }

    fn root(&self) -> PathBuf {
        self.log().root().to_owned()
    }

    fn open(&self) -> Result<Appender, LogError> {
        Appender::open(self.log(), &self.keys, NOW)
    }

    /// Appends up to `size` and publishes.
    fn grow(&self, size: u64) -> VerifiedCheckpoint {
        grow(&mut self.open().unwrap(), size).unwrap()
    }

    fn trusted(&self) -> Trusted {
        self.keys.trusted(self.log().origin()).unwrap()
    }

    fn reader(&self) -> LogReader {
        LogReader::new(self.log(), self.trusted())
    }

    fn rebuild(&self, leaves: impl Iterator<Item = Vec<u8>>) -> Result<Appender, LogError> {
        let mut rebuild = Rebuild::begin(self.log(), &self.keys, NOW)?;
        for leaf in leaves {
            rebuild = rebuild.push(&leaf)?;
        }
        rebuild.finish()
    }

    /// Every tile of the directory, by its path.
    fn tiles(&self) -> BTreeMap<Tile, Vec<u8>> {
        let root = self.root();
        let files = all_files(&root).into_iter();
        let name = |path: &PathBuf| Tile::parse(path.strip_prefix(&root).unwrap().to_str().unwrap());
        files.filter_map(|path| Some((name(&path)?, std::fs::read(&path).unwrap()))).collect()
    }
}

fn all_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let inside = entries.map(|entry| entry.unwrap().path());
    inside.flat_map(|path| if path.is_dir() { all_files(&path) } else { vec![path] }).collect()
}

fn leaf(n: u64) -> Vec<u8> {
    format!("{{\"event\":{n}}}").into_bytes()
}

fn grow(log: &mut Appender, size: u64) -> Result<VerifiedCheckpoint, LogError> {
    (log.size()..size).try_for_each(|n| log.append(&leaf(n)))?;
    log.publish().cloned()
}

#[test]
fn every_leaf_is_read_and_proved_from_the_files() {
    let data = Data::new();
    assert!(data.reader().tree().unwrap().is_none());
    let mut log = data.open().unwrap();
    for size in [0, 1, 2, 255, 256, 257, 700] {
        let published = grow(&mut log, size).unwrap();
        let reader = data.reader();
        let tree = reader.tree().unwrap().unwrap();
        assert_eq!((tree.checkpoint(), published.size()), (&published, size));
        for index in (0..size).step_by(50).chain(size.checked_sub(1)) {
            let (bytes, proof) = tree.proof(index).unwrap().unwrap();
            assert_eq!(bytes, leaf(index));
            assert_eq!(proof.open(&bytes, &data.trusted()).unwrap().index, index);
        }
        assert!(tree.proof(size).unwrap().is_none() && tree.leaf(size).unwrap().is_none());
    }
}

#[test]
fn every_checkpoint_is_continued_by_those_after_it() {
    let data = Data::new();
    let mut log = data.open().unwrap();
    let checkpoints: Vec<_> = [1, 3, 256, 300, 513].map(|size| grow(&mut log, size).unwrap()).into();
    let reader = data.reader();
    let tree = reader.tree().unwrap().unwrap();
    for (n, old) in checkpoints.iter().enumerate() {
        assert_eq!(tree.root_at(old.size()).unwrap(), Some(*old.root()));
        for new in &checkpoints[n..] {
            let proof = tree.consistency(old.size(), new.size()).unwrap().unwrap();
            assert_eq!(proof.verify((old.size(), old.root()), (new.size(), new.root())), Ok(()));
        }
        let path = tree.inclusion(0, old.size()).unwrap().unwrap();
        assert_eq!(path.verify(crate::tlog::hash::leaf_hash(&leaf(0)), 0, old.size(), old.root()), Ok(()));
    }
    assert!(tree.consistency(1, 514).unwrap().is_none() && tree.consistency(3, 1).unwrap().is_none());
    assert!(tree.inclusion(0, 514).unwrap().is_none() && tree.root_at(514).unwrap().is_none());
}

#[test]
fn a_log_that_is_opened_again_goes_on_as_if_it_never_stopped() {
    let (once, often) = (Data::new(), Data::new());
    let straight = once.grow(70_000);
    for size in [1, 255, 256, 257, 600, 65_535, 65_536, 65_537, 70_000] {
        assert_eq!(often.grow(size).size(), size);
    }
    assert_eq!(often.grow(70_000).root(), straight.root());
    for tile in tiles(70_000) {
        assert_eq!(often.tiles()[&tile], once.tiles()[&tile], "{tile}");
        if tile.index() > 4 && tile.is_full() {
            break;
        }
    }
    for tile in partial_tiles(70_000) {
        assert_eq!(often.tiles()[&tile], once.tiles()[&tile], "{tile}");
    }
}

#[test]
fn what_is_not_published_is_appended_again() {
    let data = Data::new();
    data.grow(10);
    let mut log = data.open().unwrap();
    (10..300).for_each(|n| log.append(&leaf(n)).unwrap());
    drop(log);
    assert_eq!(data.open().unwrap().size(), 10);
    assert_eq!(data.grow(300).size(), 300);
    let straight = Data::new();
    straight.grow(10);
    straight.grow(300);
    assert!(data.tiles() == straight.tiles());
}

#[test]
fn the_partial_tiles_of_the_last_two_checkpoints_stay() {
    let data = Data::new();
    let mut log = data.open().unwrap();
    let mut before = 0;
    for size in [3, 5, 250, 256, 258, 300, 512, 513] {
        grow(&mut log, size).unwrap();
        let expected: Vec<_> = partial_tiles(before).chain(partial_tiles(size)).collect();
        let found: Vec<_> = data.tiles().into_keys().filter(|tile| !tile.is_full()).collect();
        assert!(found.iter().all(|tile| expected.contains(tile)), "{size}: {found:?}");
        assert!(expected.iter().all(|tile| found.contains(tile)), "{size}: {found:?}");
        before = size;
    }
}

#[test]
fn a_checkpoint_is_signed_once_for_each_size() {
    let data = Data::new();
    let mut log = data.open().unwrap();
    let first = grow(&mut log, 3).unwrap();
    let written = || std::fs::metadata(data.root().join("checkpoint")).unwrap().modified().unwrap();
    let at = written();
    assert_eq!(log.publish().unwrap(), &first);
    assert_eq!(written(), at);
}

#[test]
fn a_leaf_that_is_too_long_changes_nothing() {
    let data = Data::new();
    let mut log = data.open().unwrap();
    assert!(matches!(log.append(&[0; 65_536]), Err(LogError::TooLong(_))));
    assert_eq!(log.size(), 0);
    log.append(&[0; 65_535]).unwrap();
    assert_eq!(log.publish().unwrap().size(), 1);
}

#[test]
fn a_year_follows_an_earlier_one_of_the_same_name() {
    let data = Data::new();
    let last = data.grow(3);
    let open = |name, year| Appender::open_year(data.dir.path(), (name, year), Some(&last), &data.keys, NOW);
    let mut next = open(NAME, 2027).unwrap();
    assert_eq!(next.size(), 0);
    next.append(last.note().to_string().as_bytes()).unwrap();
    assert_eq!(next.publish().unwrap().origin().as_str(), format!("{NAME}/2027"));
    assert!(matches!(open(NAME, 2025), Err(LogError::NotBefore { .. })));
    assert!(matches!(open("evidence.shop.example/other", 2027), Err(LogError::NotBefore { .. })));
    assert!(matches!(open("a name", 2027), Err(LogError::Key(_))));
    // The log of the year before is as it was.
    assert_eq!(data.open().unwrap().published().unwrap(), &last);
}
