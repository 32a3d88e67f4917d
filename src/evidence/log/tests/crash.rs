//! A crash between any two operations leaves a directory that opens and goes on.

use super::*;

/// A publication that grows a log from `OLD` to `NEW` leaves: full tiles, and partial ones on two
/// levels.
const OLD: u64 = 250;
const NEW: u64 = 700;

/// What a publication writes, each at the name under which it is not yet whole.
fn scratches(data: &Data) -> Vec<PathBuf> {
    let tiles = tiles(NEW).filter(|tile| !partial_tiles(OLD).any(|old| old == *tile));
    let mut paths: Vec<_> = tiles.map(|tile| data.root().join(tile.to_string())).collect();
    paths.push(data.dir.path().join(format!("log-keys/signed-{YEAR}")));
    paths.push(data.root().join("checkpoint"));
    let scratch = |path: PathBuf| path.with_file_name(format!(".{}.tmp", path.file_name().unwrap().to_str().unwrap()));
    paths.into_iter().map(scratch).collect()
}

/// Makes the writing of a file fail: a directory that is not empty stands in its place.
fn obstruct(scratch: &Path) {
    std::fs::create_dir_all(scratch.join("in the way")).unwrap();
}

#[test]
fn a_write_that_fails_anywhere_loses_nothing_that_was_published() {
    let steps = scratches(&Data::new()).len();
    assert_eq!(steps, 9);
    for step in 0..steps {
        let data = Data::new();
        let old = data.grow(OLD);
        let scratch = scratches(&data).remove(step);
        let mut log = data.open().unwrap();
        obstruct(&scratch);
        let failed = grow(&mut log, NEW);
        assert!(failed.is_err(), "{}", scratch.display());
        assert!(matches!(log.publish(), Err(LogError::Broken)));
        drop(log);

        // A reader sees the old log, whole.
        let reader = data.reader();
        let tree = reader.tree().unwrap().unwrap();
        assert_eq!(tree.checkpoint(), &old);
        assert!(tree.proof(OLD - 1).unwrap().is_some());

        std::fs::remove_dir_all(&scratch).unwrap();
        lose_what_was_not_flushed(&data);
        let mut log = data.open().unwrap();
        // Once it is signed it is published, even if nobody saw it.
        assert_eq!(log.size(), if step == steps - 1 { NEW } else { OLD });
        grow(&mut log, NEW).unwrap();
        let expected = Data::new();
        expected.grow(OLD);
        expected.grow(NEW);
        assert!(data.tiles() == expected.tiles(), "{}", scratch.display());
    }
}

/// Without power, a file that was not flushed may be there and empty. Only what a signed
/// checkpoint names was flushed.
fn lose_what_was_not_flushed(data: &Data) {
    let signed = data.keys.last_signed(YEAR, &data.trusted()).unwrap().unwrap().size();
    let flushed: Vec<_> = tiles(signed).chain(partial_tiles(OLD)).collect();
    for tile in data.tiles().into_keys().filter(|tile| !flushed.contains(tile)) {
        std::fs::write(data.root().join(tile.to_string()), "").unwrap();
    }
}

#[test]
fn a_crash_while_old_tiles_are_removed_is_no_harm() {
    let data = Data::new();
    data.grow(3);
    let mut log = data.open().unwrap();
    grow(&mut log, 5).unwrap();
    // A directory cannot be removed as a file is.
    let stale = data.root().join("tile/0/000.p/3");
    std::fs::remove_file(&stale).unwrap();
    obstruct(&stale);
    assert!(grow(&mut log, 9).is_err());
    drop(log);
    assert_eq!(data.open().unwrap().size(), 9);
    // What is left goes when the tile is full, and nobody reads its forerunners any more.
    let mut log = data.open().unwrap();
    for size in [257, 258, 259] {
        grow(&mut log, size).unwrap();
    }
    assert!(!data.root().join("tile/0/000.p").exists());
}

#[test]
fn a_first_publication_that_was_cut_short_begins_anew() {
    let data = Data::new();
    let mut log = data.open().unwrap();
    (0..300).for_each(|n| log.append(&leaf(n)).unwrap());
    drop(log);
    std::fs::write(data.root().join("tile/0/000"), "torn").unwrap();
    assert_eq!(data.open().unwrap().size(), 0);
    data.grow(300);
    let reader = data.reader();
    assert!(reader.tree().unwrap().unwrap().proof(7).unwrap().is_some());
}

#[test]
fn one_process_writes_a_log() {
    let data = Data::new();
    let _log = data.open().unwrap();
    let lock = std::fs::File::open(data.root().join(".lock")).unwrap();
    assert!(lock.try_lock().is_err());
}
